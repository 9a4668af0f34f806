/**
 * The curator of a datanet: judges revealed contributions in the order of their commits, refuses the
 * ones that copy others with the earlier record named, and publishes a version when all that was
 * submitted is decided. Level-triggered; it can be killed between any two lines.
 */
import type { Address, Bytes32 } from '#crypto';
import {
  buildVersion,
  type ContributionVerdict,
  digestOfCid,
  encodeNearCopyEvidence,
  encodeVersionManifest,
  hashRecord,
  type IncomingRecord,
  judgeContribution,
  judgeIntent,
  type NearCopy,
  parseCid,
  publishIntent,
  recordLeaves,
  standingOf,
} from '#protocol';
import { clustersOf, createNearCopyIndex, type NearCopyIndex } from '#runtime';
import type { Log } from '../log.ts';
import type { ContractVersion } from './contract-types.ts';
import { type CuratorChain, type CuratorDuties, createCuratorDuties } from './curator-duties.ts';
import type { BlockPort, Contribution, Datanet, Datanets } from './datanets.ts';

export type CuratorOptions = {
  readonly chain: CuratorChain;
  readonly blocks: BlockPort;
  readonly datanets: Datanets;
  readonly log: Log;
  readonly nowMs: () => number;
  /** The second of the chain's latest block. */
  readonly chainSeconds: () => Promise<number>;
  /** A committed contribution that is not revealed for so long no longer holds up later ones. */
  readonly revealGraceMs: number;
};

/** What is accepted so far in one datanet, in memory; rebuilt from the chain after a restart. */
type Accepted = {
  readonly index: NearCopyIndex;
  readonly owners: { readonly hash: Bytes32; readonly contributor: Address }[];
  contributions: {
    readonly entry: Contribution;
    readonly records: readonly Uint8Array[];
    readonly shards: readonly string[];
  }[];
  /** Who acts now for whom a contribution names. */
  accounts: ReadonlyMap<Address, Address>;
  /** The contributions, by id, that the latest version is known to hold. */
  published: string;
};

/** One look at all datanets that this node curates. */
export function createCurator(options: CuratorOptions): (signal: AbortSignal) => Promise<void> {
  const known = new Map<Bytes32, Accepted>();
  const duties = createCuratorDuties(options.chain, options.chainSeconds, options.log);
  return async (signal) => {
    for (const datanet of await options.datanets.list()) {
      if (datanet.curator !== options.chain.self) continue;
      await duties.releaseLocks(datanet);
      const contributions = await options.datanets.contributions(datanet.id);
      await duties.endOverdue(contributions);
      let accepted = known.get(datanet.id);
      if (accepted === undefined) {
        accepted = {
          index: createNearCopyIndex(),
          owners: [],
          contributions: [],
          accounts: new Map(),
          published: '',
        };
        known.set(datanet.id, accepted);
      }
      if (await judgeAll(options, contributions, accepted, signal))
        await publishVersion(options, duties, datanet, accepted);
    }
  };
}

/** Returns whether everything submitted is decided. */
async function judgeAll(
  options: CuratorOptions,
  contributions: readonly Contribution[],
  accepted: Accepted,
  signal: AbortSignal,
): Promise<boolean> {
  accepted.accounts = new Map(contributions.map((each) => [each.contributor, each.account]));
  const decisions: Promise<unknown>[] = [];
  let decided = true;
  for (const entry of contributions) {
    const standing = standingOf(entry, options.nowMs(), options.revealGraceMs);
    if (standing === 'absent') {
      // Records of a revoked one may be gone from everywhere, and are not looked for.
      accepted.contributions = accepted.contributions.filter((each) => each.entry.id !== entry.id);
      continue;
    }
    if (accepted.contributions.some((each) => each.entry.id === entry.id)) continue;
    if (standing === 'awaited') {
      decided = false;
      break;
    }
    const { records, shards } = await options.datanets.recordsOf(entry, signal);
    const copies = nearCopiesOf(accepted, entry, records);
    const judged = judgeContribution(entry.contributor, records.length, copies);
    if (standing === 'accepted' || judged.verdict === 'accept')
      remember(accepted, entry, records, shards.slice(0, -1));
    if (standing === 'accepted') continue;
    decisions.push(judge(options, entry.id, judged));
  }
  await Promise.all(decisions);
  return decided;
}

/** Puts a judgement on chain, the evidence of a refusal published first. */
async function judge(
  { blocks, chain, log }: CuratorOptions,
  id: number,
  judged: ContributionVerdict,
): Promise<void> {
  if (judged.verdict === 'accept') {
    log.info('contribution accepted', { id });
    await chain.submit(judgeIntent(id, judged, null));
    return;
  }
  const { evidence, earlierRecordHash } = judged;
  const cid = await blocks.put(encodeNearCopyEvidence(evidence), { codec: 'dag-cbor' });
  log.info('contribution refused', { id, earlier: earlierRecordHash, copies: evidence.length });
  await chain.submit(judgeIntent(id, judged, digestOfCid(parseCid(cid))));
}

/** Copies of what the contributor gave itself, under whichever key, name the key of this contribution. */
function nearCopiesOf(
  accepted: Accepted,
  { contributor, account }: Contribution,
  records: readonly Uint8Array[],
): NearCopy[] {
  return records.flatMap((record) => {
    const earliest = accepted.index.find(record)[0];
    if (earliest === undefined) return [];
    const owner = accepted.owners[earliest.record];
    if (owner === undefined) throw new Error('every indexed record has an owner');
    return [
      {
        record: hashRecord(record),
        earlier: owner.hash,
        earlierContributor:
          accountOf(accepted, owner.contributor) === account ? contributor : owner.contributor,
        jaccardPpm: earliest.jaccardPpm,
      },
    ];
  });
}

const accountOf = ({ accounts }: Accepted, contributor: Address): Address =>
  accounts.get(contributor) ?? contributor;

function remember(
  accepted: Accepted,
  entry: Contribution,
  records: readonly Uint8Array[],
  shards: readonly string[],
): void {
  for (const record of records) {
    accepted.index.add(record);
    accepted.owners.push({ hash: hashRecord(record), contributor: entry.contributor });
  }
  accepted.contributions.push({ entry, records, shards });
}

async function publishVersion(
  options: CuratorOptions,
  duties: CuratorDuties,
  datanet: Datanet,
  accepted: Accepted,
): Promise<void> {
  const contributions = accepted.contributions.toSorted((a, b) => a.entry.id - b.entry.id);
  const records = contributions.flatMap((each) => each.records);
  const ids = contributions.map(({ entry }) => entry.id).join();
  // Clusters are costly: looked for only when something came or was revoked, and once after a restart.
  if (records.length === 0 || ids === accepted.published) return;
  const incoming: IncomingRecord[] = contributions.flatMap(({ entry, records: own }) =>
    own.map((record) => ({
      recordHash: hashRecord(record),
      contributor: accountOf(accepted, entry.contributor),
      registeredAt: entry.committedAt,
    })),
  );
  const clusters = Array.from(clustersOf(records));
  const { root } = buildVersion(recordLeaves(incoming, clusters));
  if (datanet.versionCount > 0) {
    const last = await options.chain.read<ContractVersion>(
      'DatanetRegistry',
      'getVersion',
      datanet.id,
      datanet.versionCount,
    );
    if (last.root === root) {
      accepted.published = ids;
      return;
    }
  }
  await duties.prepareLock(datanet);
  const version = datanet.versionCount + 1;
  const manifest = await options.blocks.put(
    encodeVersionManifest({
      datanetId: datanet.id,
      version,
      contributions: contributions.map(({ entry, shards }) => ({
        id: entry.id,
        contributor: accountOf(accepted, entry.contributor),
        registeredAt: entry.committedAt,
        shards: shards.map(parseCid),
      })),
      clusters,
    }),
    { codec: 'dag-cbor' },
  );
  void options.blocks.provide(manifest);
  const manifestDigest = digestOfCid(parseCid(manifest));
  const built = { root, recordCount: records.length, manifestDigest };
  await options.chain.submit(publishIntent(datanet.id, version, built));
  accepted.published = ids;
  options.log.info('version published', { datanet: datanet.id, version, records: records.length });
}
