/**
 * The datanet again from its blocks: every contribution's records under the root that was committed,
 * the version under its root, and for each refused contribution the copies that it was refused for.
 */
import { type Address, type Bytes32, parseAddress, parseBytes32 } from '#crypto';
import {
  buildVersion,
  type CID,
  CONTRIBUTION_STATES,
  type ContributionState,
  cidOfDigest,
  contributionCommitment,
  decodeContributionManifest,
  decodeNearCopyEvidence,
  decodeShard,
  decodeVersionManifest,
  hashRecord,
  type IncomingRecord,
  judgeContribution,
  type NearCopy,
  recordLeaves,
  recordsRoot,
} from '#protocol';
import { clustersOf, createNearCopyIndex } from '#runtime';
import type { Blocks } from './blocks.ts';
import type { Chain } from './chain.ts';
import type { StatedStory } from './data-dir.ts';
import { AuditError } from './errors.ts';
import type { Recomputed } from './report.ts';

/** A contribution as it stands on chain. */
export type Contribution = {
  readonly id: number;
  readonly state: ContributionState;
  readonly contributor: Address;
  readonly committedAt: number;
  readonly recordCount: number;
  readonly commitment: Bytes32;
  readonly recordsRoot: Bytes32;
  readonly salt: Bytes32;
  readonly manifest: Bytes32;
  readonly evidence: Bytes32;
  readonly earlierRecordHash: Bytes32;
};

const PAGE = 128;

const wrong = (what: string, reason: string) => new AuditError('CONTENT_WRONG', { what, reason });

/** All contributions to the story's datanet, in the order of their commits. */
export async function readContributions(
  { read }: Chain,
  datanetId: Bytes32,
): Promise<readonly Contribution[]> {
  const all: Contribution[] = [];
  for (;;) {
    const [ids, page] = await read('DatanetRegistry', 'getContributions', [
      datanetId,
      all.length,
      PAGE,
    ]);
    for (const [at, entry] of page.entries())
      all.push({
        id: Number(ids[at]),
        state: CONTRIBUTION_STATES[Number(entry.state)] as ContributionState,
        contributor: parseAddress(entry.contributor),
        committedAt: Number(entry.committedAt),
        recordCount: Number(entry.recordCount),
        commitment: parseBytes32(entry.commitment),
        recordsRoot: parseBytes32(entry.recordsRoot),
        salt: parseBytes32(entry.salt),
        manifest: parseBytes32(entry.manifest),
        evidence: parseBytes32(entry.evidence),
        earlierRecordHash: parseBytes32(entry.earlierRecordHash),
      });
    if (page.length < PAGE) return all;
  }
}

/** How many different people had a contribution accepted. */
export function auditContributors(
  { history }: Chain,
  datanetId: Bytes32,
  contributions: readonly Contribution[],
): Recomputed {
  const accepted = contributions.filter(({ state }) => state === 'accepted');
  const told = history
    .of('DatanetRegistry', 'ContributionAccepted')
    .filter(({ args }) => args['datanetId'] === datanetId);
  const faults =
    told.length === accepted.length
      ? []
      : [`${accepted.length} contributions are accepted, ${told.length} acceptances were logged`];
  return { value: new Set(accepted.map(({ contributor }) => contributor)).size, faults };
}

/** The records of a revealed contribution, which are those that were committed to. */
async function recordsOf(
  blocks: Blocks,
  datanetId: Bytes32,
  entry: Contribution,
): Promise<{ readonly records: readonly Uint8Array[]; readonly shards: readonly CID[] }> {
  const what = `contribution ${entry.id}`;
  const manifest = decodeContributionManifest(
    await blocks.get(cidOfDigest(entry.manifest), `manifest of ${what}`),
  );
  if (!manifest.ok) throw wrong(what, manifest.message);
  const { shards } = manifest.value;
  const records: Uint8Array[] = [];
  for (const cid of shards)
    records.push(...(await readShard(blocks, cid, entry.contributor, what)));
  const root = recordsRoot(records.map(hashRecord));
  const opening = { ...entry, datanetId, recordCount: records.length };
  if (root !== entry.recordsRoot || contributionCommitment(opening) !== entry.commitment)
    throw wrong(what, 'its records are not those that were committed to');
  return { records, shards };
}

async function readShard(
  blocks: Blocks,
  cid: CID,
  contributor: Address,
  what: string,
): Promise<readonly Uint8Array[]> {
  const shard = decodeShard(await blocks.get(cid, `shard of ${what}`));
  if (!shard.ok) throw wrong(`shard ${cid} of ${what}`, shard.message);
  if (shard.value.contributor !== contributor)
    throw wrong(`shard ${cid} of ${what}`, `it names ${shard.value.contributor}`);
  return shard.value.records;
}

/** Whether two accounts are one contributor's, who has changed its key in between. */
async function isSame(read: Chain['read'], one: Address, other: Address): Promise<boolean> {
  if (one === other) return true;
  const [now, then] = await Promise.all(
    [one, other].map((account) => read('DatanetRegistry', 'contributorOf', [account])),
  );
  return now === then;
}

/** The records of the story's version, with its root rebuilt from shards and clusters. */
export async function auditRecords(
  { read }: Chain,
  blocks: Blocks,
  { datanetId, datanetVersion }: Pick<StatedStory, 'datanetId' | 'datanetVersion'>,
  contributions: readonly Contribution[],
): Promise<Recomputed> {
  const what = `version ${datanetVersion} of the datanet`;
  const onChain = await read('DatanetRegistry', 'getVersion', [datanetId, datanetVersion]);
  const cid = cidOfDigest(parseBytes32(onChain.manifest));
  const manifest = decodeVersionManifest(await blocks.get(cid, `manifest of ${what}`));
  if (!manifest.ok) throw wrong(what, manifest.message);
  const faults: string[] = [];
  const entries = new Map(contributions.map((entry) => [entry.id, entry]));
  const records: Uint8Array[] = [];
  const incoming: IncomingRecord[] = [];
  for (const { id, contributor, registeredAt, shards } of manifest.value.contributions) {
    const entry = entries.get(id);
    if (entry?.state !== 'accepted' || !(await isSame(read, entry.contributor, contributor)))
      faults.push(`${what} holds contribution ${id}, which ${contributor} has no accepted one of`);
    else if (entry.committedAt !== registeredAt)
      faults.push(`contribution ${id} was committed at ${entry.committedAt}, not ${registeredAt}`);
    else if (`${(await recordsOf(blocks, datanetId, entry)).shards}` !== `${shards}`)
      faults.push(`${what} has other shards of contribution ${id} than were revealed`);
    for (const shard of shards) {
      const giver = entry?.contributor ?? contributor;
      const own = await readShard(blocks, shard, giver, `contribution ${id}`);
      records.push(...own);
      for (const record of own)
        incoming.push({ recordHash: hashRecord(record), contributor, registeredAt });
    }
  }
  const { root } = buildVersion(recordLeaves(incoming, Array.from(clustersOf(records))));
  if (root !== onChain.root)
    faults.push(`the root of ${what} is ${root}, on chain ${onChain.root}`);
  if (Number(onChain.recordCount) !== records.length)
    faults.push(`${what} says ${onChain.recordCount} records on chain`);
  return { value: records.length, faults };
}

/** The refused contributions; each really is mostly copies of what was accepted before it. */
export async function auditRefusals(
  blocks: Blocks,
  datanetId: Bytes32,
  contributions: readonly Contribution[],
): Promise<Recomputed> {
  const faults: string[] = [];
  const accepted: { entry: Contribution; records: readonly Uint8Array[] }[] = [];
  let refused = 0;
  for (const entry of contributions) {
    if (entry.state !== 'accepted' && entry.state !== 'refused') continue;
    const { records } = await recordsOf(blocks, datanetId, entry);
    if (entry.state === 'accepted') {
      accepted.push({ entry, records });
      continue;
    }
    refused += 1;
    const what = `evidence against contribution ${entry.id}`;
    const evidence = decodeNearCopyEvidence(await blocks.get(cidOfDigest(entry.evidence), what));
    if (!evidence.ok) throw wrong(what, evidence.message);
    faults.push(
      ...refusalFaults(entry, records, evidence.value, accepted).map((each) => `${what}: ${each}`),
    );
  }
  return { value: refused, faults };
}

/** What does not hold of a refusal: each copy is looked up, and its overlap counted again. */
function refusalFaults(
  entry: Contribution,
  records: readonly Uint8Array[],
  evidence: readonly NearCopy[],
  accepted: readonly { entry: Contribution; records: readonly Uint8Array[] }[],
): string[] {
  const faults: string[] = [];
  const own = new Map(records.map((record) => [hashRecord(record), record]));
  const earlier = new Map(
    accepted.flatMap(({ entry: { contributor, committedAt }, records: theirs }) =>
      theirs.map((record) => [hashRecord(record), { record, contributor, committedAt }] as const),
    ),
  );
  for (const { record, earlier: hash, earlierContributor, jaccardPpm } of evidence) {
    const copy = own.get(record);
    const first = earlier.get(hash);
    if (copy === undefined) faults.push(`record ${record} is not in the contribution`);
    else if (first === undefined) faults.push(`record ${hash} was not accepted before`);
    else if (first.contributor !== earlierContributor || first.committedAt > entry.committedAt)
      faults.push(`record ${hash} is not an earlier one of ${earlierContributor}`);
    else {
      const index = createNearCopyIndex();
      index.add(first.record);
      const ppm = index.find(copy)[0]?.jaccardPpm ?? 0;
      if (ppm !== jaccardPpm)
        faults.push(`${record} overlaps ${hash} by ${ppm} ppm, not ${jaccardPpm}`);
    }
  }
  // Evidence that lists a record twice counts it once.
  const distinct = [...new Map(evidence.map((pair) => [pair.record, pair])).values()];
  const verdict = judgeContribution(entry.contributor, records.length, distinct);
  if (verdict.verdict === 'accept')
    faults.push(`${distinct.length} of ${records.length} are copies`);
  else if (!distinct.some(({ earlier: hash }) => hash === entry.earlierRecordHash))
    faults.push(`the chain names ${entry.earlierRecordHash}, the evidence does not`);
  return faults;
}

/** The accounts that staked and registered to serve. */
export function auditNodes({ history }: Chain): Recomputed {
  const accountsOf = (event: string) =>
    new Set(history.of('Staking', event).map(({ args }) => String(args['account'])));
  const [staked, serving] = [accountsOf('StakerListed'), accountsOf('ServingRegistered')];
  const faults = [...serving].filter((account) => !staked.has(account));
  return {
    value: serving.size,
    faults: faults.map((account) => `${account} serves without stake`),
  };
}
