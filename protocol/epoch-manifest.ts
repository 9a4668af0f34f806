/** The published form of an epoch, and the check that it is what its own contents compute to. */
import { type Bytes32, equal } from '#crypto';
import { cidOf, digestOfCid } from './cbor.ts';
import {
  address,
  type Decoded,
  decodeWith,
  encodeWith,
  hash32,
  link,
  list,
  literal,
  nullable,
  object,
  uint,
  uint32,
  wei,
} from './codec.ts';
import { aggregateEpoch, type EpochManifest, type PreviousEpoch } from './epoch.ts';

/** Receipts in one epoch and accounts that were ever paid; bounds manifests and proofs. */
export const EPOCH_RECEIPTS_MAX = 65_536;
export const EPOCH_ACCOUNTS_MAX = 1_048_576;
export const EPOCH_MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

const channels = list(
  object({ client: address, feeWei: wei, provider: address }),
  EPOCH_ACCOUNTS_MAX,
);
const codec = object({
  collected: channels,
  covered: channels,
  epoch: uint32,
  modelOwners: list(object({ adapterId: hash32, owner: address }), EPOCH_RECEIPTS_MAX),
  payouts: list(object({ account: address, amountWei: wei, runningWei: wei }), EPOCH_ACCOUNTS_MAX),
  potTotalWei: wei,
  previous: nullable(hash32),
  receipts: list(
    object({
      adapterId: hash32,
      client: address,
      fallbackWei: wei,
      feeWei: wei,
      file: nullable(link()),
      issuedAt: uint(),
      modelOwnerWei: wei,
      payouts: list(object({ account: address, amountWei: wei }), 65_536),
      provider: address,
      receiptHash: hash32,
      stakersWei: wei,
    }),
    EPOCH_RECEIPTS_MAX,
  ),
  stakers: list(object({ account: address, stakeWei: wei }), EPOCH_ACCOUNTS_MAX),
  treasury: address,
  v: literal(3),
});

export function encodeEpochManifest(manifest: EpochManifest): Uint8Array {
  return encodeWith(codec, { ...manifest, v: 3 });
}

export function decodeEpochManifest(encoded: Uint8Array): Decoded<EpochManifest> {
  const decoded = decodeWith(codec, encoded, EPOCH_MANIFEST_BYTES_MAX);
  if (!decoded.ok) return decoded;
  const { v: _, ...value } = decoded.value;
  return { ok: true, value };
}

/** The digest that is anchored. */
export function epochManifestDigest(manifest: EpochManifest): Bytes32 {
  return digestOfCid(cidOf(encodeEpochManifest(manifest)));
}

export type EpochCheck =
  | { readonly ok: true }
  | { readonly ok: false; readonly code: 'EPOCH_PREVIOUS_WRONG' | 'EPOCH_DIVISION_WRONG' };

/**
 * Whether a manifest follows from its predecessor and its own inputs. That the inputs are the
 * chain's and the receipts are valid is checked apart, by who has the chain and the files.
 * @param isPaid whether a receipt was paid in any earlier epoch
 */
export function checkEpochManifest(
  manifest: EpochManifest,
  previous: PreviousEpoch,
  isPaid: (receiptHash: Bytes32) => boolean,
): EpochCheck {
  const isNext =
    manifest.previous === (previous?.digest ?? null) &&
    manifest.epoch === (previous?.manifest.epoch ?? 0) + 1;
  if (!isNext) return { ok: false, code: 'EPOCH_PREVIOUS_WRONG' };
  const again = aggregateEpoch({ ...manifest, previous, isPaid });
  return equal(encodeEpochManifest(again), encodeEpochManifest(manifest))
    ? { ok: true }
    : { ok: false, code: 'EPOCH_DIVISION_WRONG' };
}
