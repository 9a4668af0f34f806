/**
 * Datanets on a node: relays contributions of people who have no funds yet, mirrors what others
 * reveal, and loads versions, checked against their roots on chain.
 */
import { type Address, type Bytes32, keccak256, toHex, utf8 } from '#crypto';
import {
  buildVersion,
  CONTRIBUTION_STATES,
  cidOfDigest,
  cutShards,
  decodeContributionManifest,
  decodeShard,
  decodeVersionManifest,
  digestOfCid,
  encodeContributionManifest,
  encodeShard,
  hashRecord,
  type IncomingRecord,
  isOverdue,
  parseCid,
  recordLeaves,
  recordsRoot,
  revealIntent,
  type ShardsAnnouncement,
  type VersionManifest,
  type VersionTree,
} from '#protocol';
import { NodeError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { ChainPort } from './chain-port.ts';
import type { ContractContribution, ContractDatanet, ContractVersion } from './contract-types.ts';

/** What the services need of the blockstore. */
export type BlockPort = {
  readonly put: (bytes: Uint8Array, options: { codec: 'raw' | 'dag-cbor' }) => Promise<string>;
  readonly get: (
    cid: string,
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ) => Promise<Uint8Array>;
  readonly putLarge: (bytes: Uint8Array) => Promise<string>;
  readonly getLarge: (
    cid: string,
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ) => Promise<Uint8Array>;
  readonly has: (cid: string) => Promise<boolean>;
  readonly provide: (cid: string) => Promise<boolean>;
};

export type DatanetOptions = {
  readonly chain: ChainPort<'DatanetRegistry' | 'Parameters'>;
  /** The second of the chain's latest block. */
  readonly chainSeconds: () => Promise<number>;
  readonly blocks: BlockPort;
  /** Tells the network where a revealed contribution is. */
  readonly announce: (announcement: Omit<ShardsAnnouncement, 'sentAtMs'>) => Promise<void>;
  readonly log: Log;
};

export type Contribution = ContractContribution & {
  readonly id: number;
  /** The account that the contributor acts with now, after all changes of its key. */
  readonly account: Address;
};
export type Datanet = ContractDatanet & { readonly id: Bytes32 };

export type LoadedVersion = {
  readonly datanetId: Bytes32;
  readonly version: number;
  readonly manifest: VersionManifest;
  readonly records: readonly Uint8Array[];
  readonly tree: VersionTree;
};

export type CommitRequest = {
  readonly datanetId: Bytes32;
  readonly contributor: Address;
  readonly commitment: Bytes32;
  readonly recordCount: number;
  readonly signature: string;
};

export type CommitReply = {
  readonly contributionId: number;
  /** It was not revealed in time, and never can be: its records have to be committed to anew. */
  readonly lapsed: boolean;
};

export type ContributorView = { readonly account: Address; readonly nonce: bigint };

export type SignedRotation = {
  readonly from: Address;
  readonly to: Address;
  readonly deadline: bigint;
  readonly fromSignature: string;
  readonly toSignature: string;
};

export type Datanets = {
  /** Creates a datanet whose curator is this node; the same name gives the same datanet. */
  readonly create: (name: string, licence: string) => Promise<Bytes32>;
  readonly list: () => Promise<readonly Datanet[]>;
  readonly contributions: (datanetId: Bytes32) => Promise<readonly Contribution[]>;
  readonly contribution: (id: number) => Promise<Contribution>;
  /** Sends a commit and its deposit, once: a commitment that is on chain is found there. */
  readonly relayCommit: (request: CommitRequest) => Promise<CommitReply>;
  /** The account that a contributor acts with now, and how often it has changed its key. */
  readonly contributor: (account: Address) => Promise<ContributorView>;
  /** Sends a change of a contributor's key, which both keys have signed. */
  readonly relayRotation: (request: SignedRotation) => Promise<void>;
  /** Publishes the records of a committed contribution; returns the CIDs of its shards. */
  readonly relayReveal: (
    id: number,
    salt: Bytes32,
    records: readonly Uint8Array[],
  ) => Promise<readonly string[]>;
  /** The records of a revealed contribution, checked against its root. */
  readonly recordsOf: (
    contribution: Contribution,
    signal?: AbortSignal,
  ) => Promise<RevealedRecords>;
  /** A version's records, checked against the root on chain; kept in memory once loaded. */
  readonly load: (datanetId: Bytes32, version: number) => Promise<LoadedVersion>;
  /** The same, not kept: for whoever looks at it once. */
  readonly fetch: (datanetId: Bytes32, version: number) => Promise<LoadedVersion>;
  /** Fetches and announces what others have revealed since the last time. */
  readonly mirror: (signal: AbortSignal) => Promise<void>;
  /** The same for one contribution, as soon as it is announced. */
  readonly mirrorOne: (id: number) => Promise<void>;
};

export type RevealedRecords = {
  readonly records: readonly Uint8Array[];
  readonly shards: readonly string[];
};

const FETCH_TIMEOUT_MS = 20_000;
const PAGE = 128;

export function createDatanets(options: DatanetOptions): Datanets {
  const { chain, blocks, log } = options;
  const loaded = new Map<string, Promise<LoadedVersion>>();
  const mirrored = new Set<number>();
  const reading = reader(chain);
  const recordsOf = (of: Contribution, signal?: AbortSignal) => fetchRecords(blocks, of, signal);
  const mirrorEntry = async (entry: Contribution, signal?: AbortSignal): Promise<void> => {
    const state = CONTRIBUTION_STATES[entry.state];
    if (mirrored.has(entry.id) || entry.revokedAt > 0) return;
    if (state !== 'revealed' && state !== 'accepted') return;
    mirrored.add(entry.id);
    try {
      const { records, shards } = await recordsOf(entry, signal);
      provideAll(blocks, shards);
      log.info('contribution mirrored', { id: entry.id, records: records.length });
    } catch (error) {
      mirrored.delete(entry.id);
      log.warn('contribution not mirrored, will try again', { id: entry.id, error });
    }
  };
  return {
    ...reading,
    recordsOf,
    create: (name, licence) => createDatanet(chain, name, licence),
    relayCommit: (request) => relayCommit(options, request),
    contributor: async (account) => ({
      account: await chain.read<Address>('DatanetRegistry', 'contributorOf', account),
      nonce: await chain.read<bigint>('DatanetRegistry', 'rotationNonce', account),
    }),
    relayRotation: async ({ from, to, deadline, fromSignature, toSignature }) => {
      // A key is replaced once, by one other.
      await chain.submit({
        key: `contributor/${from}/${to}/${deadline}`,
        contract: 'DatanetRegistry',
        fn: 'rotateContributor',
        args: [from, to, deadline, fromSignature, toSignature],
      });
    },
    relayReveal: async (id, salt, records) => {
      mirrored.add(id);
      return relayReveal(options, await reading.contribution(id), salt, records);
    },
    load: (datanetId, version) => {
      const key = `${datanetId}/${version}`;
      const known = loaded.get(key);
      if (known !== undefined) return known;
      const loading = loadVersion(chain, blocks, datanetId, version);
      loaded.set(key, loading);
      loading.catch(() => loaded.delete(key));
      return loading;
    },
    fetch: (datanetId, version) => loadVersion(chain, blocks, datanetId, version),
    mirror: async (signal) => {
      for (const datanet of await reading.list())
        for (const entry of await reading.contributions(datanet.id))
          await mirrorEntry(entry, signal);
    },
    mirrorOne: async (id) => mirrorEntry(await reading.contribution(id)),
  };
}

/** What the registry says. */
function reader(
  chain: ChainPort<'DatanetRegistry'>,
): Pick<Datanets, 'list' | 'contributions' | 'contribution'> {
  return {
    list: async () => {
      const count = await chain.read<bigint>('DatanetRegistry', 'datanetCount');
      const ids = await chain.read<Bytes32[]>('DatanetRegistry', 'datanetIds', 0, count);
      return Promise.all(
        ids.map(async (id) => ({
          ...(await chain.read<ContractDatanet>('DatanetRegistry', 'getDatanet', id)),
          id,
        })),
      );
    },
    contributions: async (datanetId) => {
      const all: Contribution[] = [];
      for (;;) {
        const [ids, page] = await chain.read<[bigint[], ContractContribution[]]>(
          'DatanetRegistry',
          'getContributions',
          datanetId,
          all.length,
          PAGE,
        );
        const contributors = page.map(({ contributor }) => contributor);
        const accounts =
          page.length === 0
            ? []
            : await chain.read<Address[]>('DatanetRegistry', 'contributorsOf', contributors);
        all.push(
          ...page.map((entry, at) => ({
            ...entry,
            id: Number(ids[at]),
            account: accounts[at] as Address,
          })),
        );
        if (page.length < PAGE) return all;
      }
    },
    contribution: async (id) => {
      const entry = await chain.read<ContractContribution>(
        'DatanetRegistry',
        'getContribution',
        id,
      );
      const { contributor } = entry;
      const account = await chain.read<Address>('DatanetRegistry', 'contributorOf', contributor);
      return { ...entry, id, account };
    },
  };
}

async function createDatanet(
  chain: ChainPort<'DatanetRegistry'>,
  name: string,
  licence: string,
): Promise<Bytes32> {
  const receipt = await chain.submit({
    key: `datanet/create/${toHex(keccak256(utf8(name)))}`,
    contract: 'DatanetRegistry',
    fn: 'createDatanet',
    args: [toHex(keccak256(utf8(licence))), toHex(keccak256(utf8('openledger/policy/1'))), name],
  });
  const event = chain.event<{ datanetId: Bytes32 }>(receipt, 'DatanetRegistry', 'DatanetCreated');
  if (event === null) throw new Error('a created datanet has an event');
  return event.datanetId;
}

async function relayCommit(
  { chain, chainSeconds }: DatanetOptions,
  request: CommitRequest,
): Promise<CommitReply> {
  const { datanetId, contributor, commitment, recordCount, signature } = request;
  const [id, [depositWei]] = await Promise.all([
    chain.read<bigint>('DatanetRegistry', 'contributionIdOf', contributor, commitment),
    chain.read<[bigint, bigint]>('Parameters', 'depositTerms'),
  ]);
  if (id > 0n) {
    const known = await chain.read<ContractContribution>('DatanetRegistry', 'getContribution', id);
    const isOver = CONTRIBUTION_STATES[known.state] === 'lapsed';
    return {
      contributionId: Number(id),
      lapsed: isOver || isOverdue(known, await chainSeconds()),
    };
  }
  const receipt = await chain.submit({
    // Another deposit is another transaction.
    key: `contribution/commit/${commitment}/${depositWei}`,
    contract: 'DatanetRegistry',
    fn: 'commit',
    args: [datanetId, contributor, commitment, recordCount, signature],
    valueWei: depositWei,
  });
  const event = chain.event<{ contributionId: bigint }>(
    receipt,
    'DatanetRegistry',
    'ContributionCommitted',
  );
  if (event === null) throw new Error('a committed contribution has an event');
  return { contributionId: Number(event.contributionId), lapsed: false };
}

async function relayReveal(
  { chain, blocks, announce, log }: DatanetOptions,
  committed: Contribution,
  salt: Bytes32,
  records: readonly Uint8Array[],
): Promise<readonly string[]> {
  const cids: string[] = [];
  for (const shard of cutShards(committed.contributor, records))
    cids.push(await blocks.put(encodeShard(shard), { codec: 'dag-cbor' }));
  const manifest = await blocks.put(encodeContributionManifest({ shards: cids.map(parseCid) }), {
    codec: 'dag-cbor',
  });
  await chain.submit(
    revealIntent(committed.id, {
      recordsRoot: recordsRoot(records.map(hashRecord)),
      salt,
      manifest: digestOfCid(parseCid(manifest)),
    }),
  );
  provideAll(blocks, [...cids, manifest]);
  // Whoever misses it finds the contribution on chain a little later.
  announce({
    contributionId: committed.id,
    datanetId: committed.datanetId,
    manifest: parseCid(manifest),
    shards: cids.map(parseCid),
  }).catch((error: unknown) => log.warn('shards not announced', { id: committed.id, error }));
  return cids;
}

/** Announcing goes on in the background: a record that is not announced yet is still served. */
function provideAll(blocks: BlockPort, cids: readonly string[]): void {
  for (const cid of cids) void blocks.provide(cid);
}

async function fetchRecords(
  blocks: BlockPort,
  contribution: Contribution,
  signal?: AbortSignal,
): Promise<RevealedRecords> {
  const options = { timeoutMs: FETCH_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) };
  const cid = cidOfDigest(contribution.manifest).toString();
  const manifest = decodeContributionManifest(await blocks.get(cid, options));
  if (!manifest.ok) throw unusable(`contribution ${contribution.id}`, manifest.message);
  const records: Uint8Array[] = [];
  const shards: string[] = [];
  for (const link of manifest.value.shards) {
    const shard = decodeShard(await blocks.get(link.toString(), options));
    if (!shard.ok) throw unusable(`shard ${link.toString()}`, shard.message);
    if (shard.value.contributor !== contribution.contributor)
      throw unusable(`shard ${link.toString()}`, 'it names another contributor');
    records.push(...shard.value.records);
    shards.push(link.toString());
  }
  if (recordsRoot(records.map(hashRecord)) !== contribution.recordsRoot)
    throw unusable(`contribution ${contribution.id}`, 'its records do not have the root on chain');
  return { records, shards: [...shards, cid] };
}

async function loadVersion(
  chain: ChainPort<'DatanetRegistry'>,
  blocks: BlockPort,
  datanetId: Bytes32,
  version: number,
): Promise<LoadedVersion> {
  const stated = await chain.read<ContractVersion>(
    'DatanetRegistry',
    'getVersion',
    datanetId,
    version,
  );
  const options = { timeoutMs: FETCH_TIMEOUT_MS };
  const bytes = await blocks.get(cidOfDigest(stated.manifest).toString(), options);
  const manifest = decodeVersionManifest(bytes);
  const what = `version ${version} of datanet ${datanetId}`;
  if (!manifest.ok) throw unusable(what, manifest.message);
  const records: Uint8Array[] = [];
  const incoming: IncomingRecord[] = [];
  for (const { contributor, registeredAt, shards } of manifest.value.contributions) {
    for (const link of shards) {
      const shard = decodeShard(await blocks.get(link.toString(), options));
      if (!shard.ok) throw unusable(what, shard.message);
      for (const record of shard.value.records) {
        records.push(record);
        incoming.push({ recordHash: hashRecord(record), contributor, registeredAt });
      }
    }
  }
  const tree = buildVersion(recordLeaves(incoming, manifest.value.clusters));
  if (tree.root !== stated.root)
    throw unusable(what, `its root is ${tree.root}, not ${stated.root}`);
  return { datanetId, version, manifest: manifest.value, records, tree };
}

const unusable = (what: string, reason: string): NodeError =>
  new NodeError(
    'FILE_UNREADABLE',
    { file: what, reason },
    'its author published something else than it committed to; nothing was kept',
  );
