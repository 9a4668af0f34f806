/** The client's cumulative promise to one provider, which the escrow pays out the increase of. */
import {
  type Address,
  isSignedBy,
  type SigningDomain,
  type StructType,
  signDigest,
  structHash,
  typedDigest,
} from '#crypto';
import { FEE_STEP_WEI } from './payouts.ts';

export type Voucher = {
  readonly client: Address;
  readonly provider: Address;
  readonly cumulativeComputeWei: bigint;
  readonly cumulativeFeeWei: bigint;
};

export const VOUCHER_TYPE: StructType = {
  name: 'Voucher',
  fields: [
    ['client', 'address'],
    ['provider', 'address'],
    ['cumulativeComputeWei', 'uint256'],
    ['cumulativeFeeWei', 'uint256'],
  ],
};

/** The digest that the client signs. @param domain verifyingContract = InferenceEscrow */
export function voucherDigest(domain: SigningDomain, voucher: Voucher): Uint8Array {
  return typedDigest(domain, structHash(VOUCHER_TYPE, voucher));
}

export function signVoucher(
  domain: SigningDomain,
  voucher: Voucher,
  privateKey: Uint8Array,
): Uint8Array {
  return signDigest(voucherDigest(domain, voucher), privateKey);
}

/** Whether the voucher's own client signed it. */
export function isVoucherSigned(
  domain: SigningDomain,
  voucher: Voucher,
  signature: Uint8Array,
): boolean {
  return isSignedBy(voucherDigest(domain, voucher), signature, voucher.client);
}

export type VoucherFault =
  | 'VOUCHER_UNSIGNED'
  | 'VOUCHER_WRONG_PROVIDER'
  | 'VOUCHER_TOO_SMALL'
  | 'VOUCHER_FEE_UNEVEN'
  | 'VOUCHER_NOT_COVERED';

/**
 * Judges a voucher as its provider: signed by its client, to me, at least what is owed in both
 * parts, with a fee in whole steps, and covered by what the client has in the escrow for me.
 * @param owed what all answers so far add up to, those collected included
 * @param escrowedWei all that the client ever deposited for me and has not withdrawn
 */
export function judgeVoucher(
  domain: SigningDomain,
  voucher: Voucher,
  signature: Uint8Array,
  expected: {
    readonly provider: Address;
    readonly owedComputeWei: bigint;
    readonly owedFeeWei: bigint;
    readonly escrowedWei: bigint;
  },
): { readonly ok: true } | { readonly ok: false; readonly code: VoucherFault } {
  if (voucher.provider !== expected.provider) return { ok: false, code: 'VOUCHER_WRONG_PROVIDER' };
  if (!isVoucherSigned(domain, voucher, signature)) return { ok: false, code: 'VOUCHER_UNSIGNED' };
  const { cumulativeComputeWei, cumulativeFeeWei } = voucher;
  if (cumulativeComputeWei < expected.owedComputeWei || cumulativeFeeWei < expected.owedFeeWei) {
    return { ok: false, code: 'VOUCHER_TOO_SMALL' };
  }
  // The escrow would refuse to collect it.
  if (cumulativeFeeWei % FEE_STEP_WEI !== 0n) return { ok: false, code: 'VOUCHER_FEE_UNEVEN' };
  if (cumulativeComputeWei + cumulativeFeeWei > expected.escrowedWei) {
    return { ok: false, code: 'VOUCHER_NOT_COVERED' };
  }
  return { ok: true };
}
