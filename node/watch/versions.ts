/**
 * The watch over versions of datanets: whose author put one record into two clusters, although both
 * were shown before, loses what it locked for the version. Level-triggered, each version is looked at
 * until it was judged or its lock is out of reach.
 */
import { encodeSeparationEvidence } from '#contracts';
import type { Address, Bytes32 } from '#crypto';
import {
  findSeparatedRecords,
  hashRecord,
  isTurn,
  type SeparationEvidence,
  type ShownContribution,
  separatedLeaves,
} from '#protocol';
import type { LogPort } from '../provider/ports.ts';
import type { ContractVersion } from '../services/contract-types.ts';
import type { Datanet, Datanets } from '../services/datanets.ts';
import { accuse, type VerdictParts } from './verdict.ts';

export type VersionWatchParts = VerdictParts & {
  readonly datanets: Pick<Datanets, 'list' | 'contributions' | 'recordsOf' | 'fetch'>;
  /** Everybody who watches, this node included. */
  readonly watchers: () => Promise<readonly Address[]>;
  /** The second of the chain's latest block. */
  readonly chainSeconds: () => Promise<number>;
  readonly nowMs: () => number;
  readonly log: LogPort;
};

export type VersionWatchOptions = {
  /** Each next watcher in the order waits so much longer. */
  readonly staggerMs: number;
  /** False: what is found is logged and left alone. */
  readonly challenges: boolean;
};

type Published = ContractVersion & {
  readonly datanet: Datanet;
  readonly version: number;
  /** From when on its lock may be released; 0 if there is none, or no longer. */
  readonly heldUntil: number;
};

/** One look at all versions that were not looked at before. */
export function watchVersions(
  parts: VersionWatchParts,
  options: VersionWatchOptions,
): (signal: AbortSignal) => Promise<void> {
  const { chain, log } = parts;
  const judged = new Set<string>();
  const suspectSinceMs = new Map<string, number>();

  /** One version that cannot be had must not hold up the others; it is tried again. */
  const later =
    (key: string, signal: AbortSignal) =>
    (error: unknown): void => {
      if (!signal.aborted)
        log.warn('a version is not judged yet, will be tried again', { key, error });
    };

  const judge = async (published: Published, key: string, signal: AbortSignal): Promise<void> => {
    const { datanet, version } = published;
    const { tree } = await parts.datanets.fetch(datanet.id, version);
    const separated = separatedLeaves(tree);
    if (separated.length > 0 && options.challenges) {
      const sinceMs = suspectSinceMs.get(key) ?? parts.nowMs();
      suspectSinceMs.set(key, sinceMs);
      const watchers = await parts.watchers();
      const { self, nowMs } = parts;
      if (!isTurn(`versions/${key}`, watchers, self, sinceMs, nowMs(), options.staggerMs)) return;
      const { shown, missing } = await shownBefore(parts, published, signal);
      // The lock is gone with the first pair; the others would cost gas and nobody anything.
      const [evidence] = findSeparatedRecords({ ...published, datanetId: datanet.id, tree }, shown);
      if (evidence !== undefined) await challenge(parts, datanet.curator, evidence, signal);
      else if (missing > 0) throw new Error(`${missing} contributions are not to be had`);
    }
    if (separated.length > 0)
      log.warn('a version separates equal records', { key, places: separated.length });
    judged.add(key);
  };

  return async (signal) => {
    const seconds = await parts.chainSeconds();
    const timing = await chain.read<{ challengeWindowSeconds: number }>('Parameters', 'timing');
    for (const datanet of await parts.datanets.list())
      for (let version = datanet.versionCount; version > 0; version -= 1) {
        if (signal.aborted) return;
        const key = `${datanet.id}/${version}`;
        if (judged.has(key)) continue;
        const stated = await statedOf(chain, datanet, version);
        const isOver = stated.publishedAt + timing.challengeWindowSeconds <= seconds;
        if (isOver && stated.heldUntil === 0) judged.add(key);
        else await judge(stated, key, signal).catch(later(key, signal));
      }
  };
}

async function statedOf(
  chain: VersionWatchParts['chain'],
  datanet: Datanet,
  version: number,
): Promise<Published> {
  const read = <Value>(fn: string) => chain.read<Value>('DatanetRegistry', fn, datanet.id, version);
  const [stated, heldUntil] = await Promise.all([
    read<ContractVersion>('getVersion'),
    read<number>('heldUntil'),
  ]);
  return { ...stated, datanet, version, heldUntil };
}

/** The contributions of a version's datanet that were shown before it, as far as they are to be had. */
async function shownBefore(
  { chain, datanets, log }: VersionWatchParts,
  { datanet, publishedAt }: Published,
  signal: AbortSignal,
): Promise<{ readonly shown: readonly ShownContribution[]; readonly missing: number }> {
  const shown: ShownContribution[] = [];
  let missing = 0;
  for (const entry of await datanets.contributions(datanet.id)) {
    const { id } = entry;
    const revealedAt = await chain.read<number>('DatanetRegistry', 'revealedAt', id);
    if (revealedAt === 0 || revealedAt >= publishedAt) continue;
    try {
      const { records } = await datanets.recordsOf(entry, signal);
      shown.push({ id, revealedAt, recordHashes: records.map(hashRecord) });
    } catch (error) {
      missing += 1;
      log.debug('a contribution is not to be had', { id, error });
    }
  }
  return { shown, missing };
}

/** Takes a pair to the contract: committed first, shown in a later block, so that nobody can copy it. */
async function challenge(
  parts: VersionWatchParts,
  author: Address,
  evidence: SeparationEvidence,
  signal: AbortSignal,
): Promise<void> {
  const { datanetId, version, first, second } = evidence;
  const merged = () => areMerged(parts.chain, datanetId, version, first.cluster, second.cluster);
  if (await merged()) return;
  const key = `versions/${datanetId}/${version}/${first.index}/${second.index}`;
  const accusation = {
    key,
    contract: 'DatanetRegistry',
    fn: 'mergeClusters',
    evidence,
    encoded: encodeSeparationEvidence(evidence),
    accused: author,
    stands: async () => !(await merged()),
  } as const;
  if (await accuse(parts, accusation, signal))
    parts.log.warn('a version was challenged', { datanetId, version, author });
}

const areMerged = (
  chain: VersionWatchParts['chain'],
  datanetId: Bytes32,
  version: number,
  cluster: number,
  other: number,
): Promise<boolean> =>
  chain.read<boolean>('DatanetRegistry', 'areMerged', datanetId, version, cluster, other);
