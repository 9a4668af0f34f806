/**
 * The receipts of all anchored epochs, one after the other: fetched by the manifest's content ids,
 * verified against roots that are read from the chain, and kept only as far as figures need them.
 */
import { type Address, type Bytes32, parseAddress, parseBytes32, proveLeaf } from '#crypto';
import {
  type AdapterAnchor,
  decodeReceiptFile,
  type EpochReceipt,
  encodeReceiptFile,
  epochReceiptOf,
  type ReceiptCheck,
  type ReceiptFile,
  type ScoreLeaf,
  scoreLeafOf,
  type TrustedAnchors,
  type VersionAnchor,
  verifyReceiptFile,
  withEpochProof,
} from '#protocol';
import type { Blocks } from './blocks.ts';
import type { Chain } from './chain.ts';
import type { AuditedEpoch } from './epochs.ts';
import { AuditError } from './errors.ts';

/** What figures need of a receipt. */
export type AuditedReceipt = {
  readonly hash: Bytes32;
  readonly requestId: Bytes32;
  readonly adapterId: Bytes32;
  readonly provider: Address;
  readonly issuedAt: number;
  readonly prompt: string;
  /** What its verification found; null: everything in it is right. */
  readonly untrue: string | null;
  /** In what its epoch pays otherwise than it says; null: in nothing. */
  readonly misbooked: string | null;
  readonly scores: readonly ScoreLeaf[];
  readonly topPaid: Address | null;
  readonly topLearned: Address | null;
  readonly topSpan: Address | null;
};

/** The roots and governed numbers that receipts are checked against. */
export async function readAnchors(
  { read, chainId, contracts }: Chain,
  epochs: readonly AuditedEpoch[],
): Promise<TrustedAnchors> {
  const [fees, threshold] = [
    await read('Parameters', 'fees', []),
    await read('Parameters', 'threshold', []),
  ];
  const count = await read('ModelRegistry', 'adapterCount', []);
  const adapters: AdapterAnchor[] = [];
  const versions = new Map<string, VersionAnchor>();
  for (const adapter of await read('ModelRegistry', 'getAdapters', [0, count])) {
    const [datanetId, version] = [parseBytes32(adapter.datanetId), Number(adapter.version)];
    adapters.push({
      adapterId: parseBytes32(adapter.adapterId),
      baseHash: parseBytes32(adapter.baseHash),
      datanetId,
      version,
      adapterHash: parseBytes32(adapter.adapterHash),
      sketchRoot: parseBytes32(adapter.sketchRoot),
      sketchCount: Number(adapter.sketchCount),
    });
    const { root, recordCount } = await read('DatanetRegistry', 'getVersion', [datanetId, version]);
    versions.set(`${datanetId}/${version}`, {
      datanetId,
      version,
      root: parseBytes32(root),
      recordCount: Number(recordCount),
    });
  }
  return {
    chainId,
    referee: parseAddress(contracts.Referee),
    adapters,
    versions: [...versions.values()],
    epochs: epochs.map(({ roots }) => ({
      epoch: roots.epoch,
      receiptsRoot: roots.receiptsRoot,
      receiptCount: roots.receiptCount,
    })),
    parameters: {
      numerator: Number(threshold.numerator),
      denominator: Number(threshold.denominator),
      platformPpm: Number(fees.platformPpm),
      modelOwnerPpm: Number(fees.modelOwnerPpm),
      stakersPpm: Number(fees.stakersPpm),
      dataPpm: Number(fees.dataPpm),
      learnedPpm: Number(fees.learnedPpm),
    },
  };
}

/** Every anchored receipt, verified. @throws AuditError BLOCK_MISSING, CONTENT_WRONG */
export async function* readReceipts(
  blocks: Blocks,
  epochs: readonly AuditedEpoch[],
  check: ReceiptCheck,
): AsyncGenerator<AuditedReceipt, void, undefined> {
  for (const { manifest, roots } of epochs) {
    for (const [index, line] of manifest.receipts.entries()) {
      const what = `receipt ${line.receiptHash} of epoch ${manifest.epoch}`;
      // Of one that was only presented on chain there is no file: the log has it, and the contract checked it.
      if (line.file === null) continue;
      const decoded = decodeReceiptFile(await blocks.get(line.file, what));
      if (!decoded.ok) throw new AuditError('CONTENT_WRONG', { what, reason: decoded.message });
      const { siblings } = proveLeaf(roots.receiptsTree, index);
      const { epoch, receiptsRoot, receiptCount } = roots;
      const proof = { epoch, receiptsRoot, receiptCount, index, siblings };
      const proven = encodeReceiptFile(withEpochProof(decoded.value, proof));
      const verdict = verifyReceiptFile(proven, check);
      yield summaryOf(decoded.value, line.receiptHash, {
        untrue: verdict.valid ? null : `${verdict.code} at ${verdict.field}`,
        misbooked: lineFault(line, epochReceiptOf(decoded.value, line.file)),
      });
    }
  }
}

/** The first field in which an epoch's line is not what the receipt comes to. */
function lineFault(line: EpochReceipt, due: EpochReceipt): string | null {
  const text = (value: unknown): string =>
    JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `${part}` : part));
  const names = Object.keys(due) as (keyof EpochReceipt)[];
  const other = names.find((name) => text(line[name]) !== text(due[name]));
  return other ?? null;
}

function summaryOf(
  file: ReceiptFile,
  hash: Bytes32,
  found: Pick<AuditedReceipt, 'untrue' | 'misbooked'>,
): AuditedReceipt {
  const { receipt, payouts, scores, spans, records } = file;
  const owners = new Map(records.map(({ index, contributor }) => [index, contributor]));
  return {
    hash,
    requestId: receipt.requestId,
    adapterId: receipt.adapterId,
    provider: receipt.provider,
    issuedAt: receipt.issuedAt,
    prompt: new TextDecoder().decode(file.prompt),
    ...found,
    scores: scores.map(scoreLeafOf),
    topPaid: largest(payouts.map(({ account, amountWei }) => [account, amountWei])),
    topLearned: largest(scores.map(({ contributor, score }) => [contributor, BigInt(score)])),
    topSpan: largest(
      spans.map(({ recordIndex, weight }) => [owners.get(recordIndex) as Address, BigInt(weight)]),
    ),
  };
}

/** Who has the largest sum; of equals the lowest account; null where nobody has anything. */
function largest(parts: readonly (readonly [Address, bigint])[]): Address | null {
  const sums = new Map<Address, bigint>();
  for (const [account, part] of parts) sums.set(account, (sums.get(account) ?? 0n) + part);
  let best: readonly [Address, bigint] | null = null;
  for (const [account, sum] of sums)
    if (best === null || sum > best[1] || (sum === best[1] && account < best[0]))
      best = [account, sum];
  return best?.[0] ?? null;
}
