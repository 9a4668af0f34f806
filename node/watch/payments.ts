/**
 * What a watcher holds an epoch's payments against: the receipts it lists, and what the chain says of
 * stakes, owners, rules, collections and presented receipts.
 */
import type { Address, Bytes32, Hex, SigningDomain } from '#crypto';
import {
  type AdapterOwner,
  type AnchoredPayments,
  type Channel,
  channelKeyOf,
  type EpochLeaves,
  type FeeRules,
  type Presentation,
  type ReceiptContent,
  receiptHash,
} from '#protocol';
import type { ChainPort } from '../services/chain-port.ts';
import type { BlockPort } from '../services/datanets.ts';
import type { PendingEpoch } from '../services/epochs.ts';
import { contentOfFile, contentOfShown } from '../services/receipt-contents.ts';
import { readStakes } from '../services/staking.ts';
import type { Asked } from './leaves.ts';

export type PaymentParts = {
  readonly chain: Pick<
    ChainPort<
      'Epochs' | 'InferenceEscrow' | 'ModelRegistry' | 'Parameters' | 'PaymentDisputes' | 'Staking'
    >,
    'read'
  >;
  readonly blocks: Pick<BlockPort, 'get'>;
  /** The domain in which receipts are signed. */
  readonly domain: SigningDomain;
  readonly treasury: Address;
  /** Receipts that were presented on chain, once per presenter. */
  readonly presented: () => Promise<
    readonly { readonly content: ReceiptContent; readonly presenter: Address }[]
  >;
};

/** A receipt file that nobody has is asked for on chain soon enough. */
const FILE_PATIENCE_MS = 3_000;
const PENDING = { timeoutMs: FILE_PATIENCE_MS };

/**
 * The contents of an epoch's receipts, as far as they are to be had: from what was shown, from
 * presentations, from the files that its manifest names.
 * @param known contents that were found before; what is found is added
 */
export async function findContents(
  { blocks, domain, presented }: PaymentParts,
  { manifest }: PendingEpoch,
  { receipts }: EpochLeaves,
  asked: Asked,
  known: Map<Bytes32, ReceiptContent>,
): Promise<void> {
  const files = new Map(manifest?.receipts.map((line) => [line.receiptHash, line.file]) ?? []);
  const onChain = new Map(
    (await presented()).map(({ content }) => [receiptHash(content.receipt), content]),
  );
  for (const [index, hash] of receipts.entries()) {
    if (known.has(hash)) continue;
    const shown = asked.contents.get(index) ?? null;
    const file = files.get(hash) ?? null;
    let content = onChain.get(hash) ?? null;
    if (shown !== null) content = contentOfShown(shown as Hex);
    if (content === null && file !== null) {
      const bytes = await blocks.get(file.toString(), PENDING).catch(() => null);
      if (bytes !== null) content = contentOfFile(bytes, hash, domain);
    }
    if (content !== null) known.set(hash, content);
  }
}

/** What is judged of an epoch, with what the chain says of it now. */
export async function readPayments(
  { chain, treasury, presented }: PaymentParts,
  { epoch, before, earlier, chain: { openedBlock, totalWei } }: PendingEpoch,
  leaves: EpochLeaves,
  contents: ReadonlyMap<Bytes32, ReceiptContent>,
): Promise<AnchoredPayments> {
  const presentations = await readPresented(chain, await presented());
  const receipts = [...contents.values(), ...presentations.map(({ content }) => content)].map(
    ({ receipt }) => receipt,
  );
  const owners = new Map<Bytes32, AdapterOwner | null>();
  const rules = new Map<number, readonly FeeRules[]>();
  const collected = new Map<Bytes32, bigint>();
  for (const receipt of receipts) {
    const { adapterId, issuedAt, client, provider } = receipt;
    if (!owners.has(adapterId)) owners.set(adapterId, await ownerOf(chain, adapterId));
    if (!rules.has(issuedAt)) {
      rules.set(issuedAt, await chain.read<FeeRules[]>('Parameters', 'feesAround', issuedAt));
    }
    const key = channelKeyOf(receipt);
    if (collected.has(key)) continue;
    const channel = await chain.read<{ feeWei: bigint }>(
      'InferenceEscrow',
      'getChannel',
      client,
      provider,
    );
    collected.set(key, channel.feeWei);
  }
  const [allWei, laterWei] = await Promise.all([
    chain.read<bigint>('Epochs', 'potTotalWei'),
    chain.read<bigint>('Epochs', 'potOf', epoch + 1),
  ]);
  return {
    epoch,
    openedBlock,
    totalWei,
    potWei: allWei - laterWei,
    leaves,
    before,
    earlier,
    contents,
    presented: presentations,
    treasury,
    stakers: await readStakes(chain, openedBlock),
    ownerOf: (adapterId) => owners.get(adapterId) ?? null,
    rulesAt: (issuedAt) => rules.get(issuedAt) ?? [],
    collectedWei: (channel: Channel) => collected.get(channelKeyOf(channel)) ?? 0n,
  };
}

async function ownerOf(
  chain: PaymentParts['chain'],
  adapterId: Bytes32,
): Promise<AdapterOwner | null> {
  const [owner, since] = await chain.read<[Address, number]>('ModelRegistry', 'ownerOf', adapterId);
  return since === 0 ? null : { owner, since };
}

/** Presentations that stand: not refuted, with the chain's own dates. */
export async function readPresented(
  chain: Pick<ChainPort<'PaymentDisputes'>, 'read'>,
  presented: readonly { readonly content: ReceiptContent; readonly presenter: Address }[],
): Promise<readonly Presentation[]> {
  type Stated = Pick<Presentation, 'collectedWei' | 'blockNumber' | 'finalisedCount'>;
  const standing: Presentation[] = [];
  for (const { content, presenter } of presented) {
    const args = [receiptHash(content.receipt), presenter];
    const stated = await chain.read<Stated>('PaymentDisputes', 'getPresented', ...args);
    if (stated.blockNumber > 0) standing.push({ content, presenter, ...stated });
  }
  return standing;
}
