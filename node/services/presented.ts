/**
 * Receipts that are put on chain because no anchorer pays them: their lines for the epoch that this
 * node anchors, and the presenting of those that this node has and others left out.
 */
import type { Bytes32 } from '#crypto';
import {
  ASK_TREES,
  channelKeyOf,
  dividedBy,
  type EpochManifest,
  type EpochReceipt,
  type FeeRules,
  presentIntent,
  type ReceiptContent,
  receiptHash,
} from '#protocol';
import type { Log } from '../log.ts';
import type { ChainPort } from './chain-port.ts';

type Port = Pick<
  ChainPort<'EpochDisputes' | 'InferenceEscrow' | 'Parameters' | 'PaymentDisputes'>,
  'read' | 'submit'
>;

/** The line of a presented receipt; null if no rules divide it so, which the contract excludes. */
export async function presentedLine(
  chain: Port,
  content: ReceiptContent,
): Promise<EpochReceipt | null> {
  const { receipt } = content;
  const right = await chain.read<FeeRules[]>('Parameters', 'feesAround', receipt.issuedAt);
  for (const rules of right) {
    const divided = dividedBy(content, rules);
    if (divided === null) continue;
    const { split, payouts } = divided;
    const { client, provider, adapterId, issuedAt, feeWei } = receipt;
    const { modelOwnerWei, stakersWei, fallbackWei } = split;
    return {
      file: null,
      receiptHash: receiptHash(receipt),
      client,
      provider,
      adapterId,
      issuedAt,
      feeWei,
      modelOwnerWei,
      stakersWei,
      fallbackWei,
      payouts,
    };
  }
  return null;
}

/** Final epochs that may pass over a receipt before it is presented: the first may not have known it. */
const PASSED_OVER = 2;
const CONTENTS = ASK_TREES.indexOf('contents');

export type Presenter = {
  /**
   * Presents collected receipts that final epochs keep passing over, if they are worth the gas.
   * @param waiting receipts that no epoch has paid
   */
  readonly present: (
    finalised: readonly EpochManifest[],
    waiting: readonly EpochReceipt[],
    contentOf: (line: EpochReceipt) => Promise<ReceiptContent | null>,
  ) => Promise<void>;
};

export function createPresenter(chain: Port, log: Log): Presenter {
  /** Final epochs there were when a receipt was seen first. */
  const seenAt = new Map<Bytes32, number>();
  const done = new Set<Bytes32>();
  const isCollected = async (line: EpochReceipt, last: EpochManifest | undefined) => {
    const key = channelKeyOf(line);
    const covered = last?.covered.find((each) => channelKeyOf(each) === key)?.feeWei ?? 0n;
    const { client, provider } = line;
    const args = [client, provider];
    const channel = await chain.read<{ feeWei: bigint }>('InferenceEscrow', 'getChannel', ...args);
    return covered + line.feeWei <= channel.feeWei;
  };
  return {
    present: async (finalised, waiting, contentOf) => {
      for (const line of waiting) {
        const { receiptHash: hash } = line;
        if (done.has(hash)) continue;
        const since = seenAt.get(hash) ?? finalised.length;
        seenAt.set(hash, since);
        if (finalised.length < since + PASSED_OVER) continue;
        if (!(await isCollected(line, finalised.at(-1)))) continue;
        // What showing it would be paid on request is about what presenting it costs.
        const costWei = await chain.read<bigint>('EpochDisputes', 'bondOf', CONTENTS, 1);
        const content = line.feeWei > costWei ? await contentOf(line) : null;
        if (content === null) continue;
        await chain.submit(presentIntent(content));
        done.add(hash);
        log.warn('a receipt that epochs left out was presented on chain', { receiptHash: hash });
      }
    },
  };
}
