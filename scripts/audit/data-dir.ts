/** What a run left in its data directory: what it states, where its chain and its blocks are. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ContractName, contractNames } from '#contracts';
import { type Address, type Bytes32, parseAddress, parseBytes32 } from '#crypto';
import { AuditError, reasonOf } from './errors.ts';

/** The story as it states itself. Of this only `stated` is audited; the rest says where to look. */
export type StatedStory = {
  readonly stated: Readonly<Record<string, unknown>>;
  /** The block whose state the figures are of; null: the newest. */
  readonly atBlock: number | null;
  readonly scenario: 'story' | 'reduced';
  /** Whether anybody was to challenge a false score. */
  readonly challenges: boolean;
  /** The request that the run's cheat answered falsely; null when nobody lied. */
  readonly lie: string | null;
  readonly datanetId: Bytes32;
  readonly datanetVersion: number;
  readonly taskId: number;
  readonly adapterId: Bytes32;
  /** Which receipt each question was counted with. */
  readonly requestIds: ReadonlySet<string>;
};

export type SwarmAddress = {
  readonly rpc: string;
  readonly chainId: number;
  readonly contracts: Readonly<Record<ContractName, Address>>;
};

export type DataDir = {
  readonly path: string;
  readonly story: StatedStory;
  readonly swarm: SwarmAddress;
  /** The block folders of all nodes. */
  readonly stores: readonly string[];
};

/** @throws AuditError NO_DATA_DIR, STORY_UNFINISHED, FILE_UNREADABLE */
export function openDataDir(path: string): DataDir {
  if (!existsSync(path)) throw new AuditError('NO_DATA_DIR', { dataDir: path });
  const stores = readdirSync(path)
    .filter((name) => /^node-\d+$/.test(name))
    .map((name) => join(path, name, 'network', 'blocks'))
    .filter((folder) => existsSync(folder));
  return { path, story: readStory(join(path, 'story.json')), swarm: readSwarm(path), stores };
}

type JsonMap = Readonly<Record<string, unknown>>;

function readStory(file: string): StatedStory {
  if (!existsSync(file)) throw new AuditError('STORY_UNFINISHED', { file, reason: 'absent' });
  const text = readFileSync(file, 'utf8');
  const cut = text.indexOf('\n');
  const [form, digest] = text.slice(0, Math.max(0, cut)).split(' ');
  const body = text.slice(cut + 1);
  const sum = createHash('sha256').update(body).digest('hex');
  if (form !== 'openledger-state/1' || digest !== sum)
    throw new AuditError('FILE_UNREADABLE', { file, reason: 'its checksum does not hold' });
  const story = parsed(file, body);
  const { result } = story;
  if (typeof result !== 'object' || result === null)
    throw new AuditError('STORY_UNFINISHED', { file, reason: 'it has no result yet' });
  const stated = result as JsonMap;
  const { atBlock } = stated;
  return reading(file, () => ({
    stated,
    atBlock: typeof atBlock === 'number' ? atBlock : null,
    scenario: story['scenario'] === 'reduced' ? 'reduced' : 'story',
    challenges: story['challenges'] === true,
    lie: String((story['cheat'] as JsonMap | null)?.['receiptId'] ?? '') || null,
    datanetId: parseBytes32(String(story['datanetId'])),
    datanetVersion: Number(story['datanetVersion']),
    taskId: Number(story['taskId']),
    adapterId: parseBytes32(String(story['adapterId'])),
    requestIds: new Set(
      (story['answers'] as readonly JsonMap[]).map((each) => String(each['receiptId'])),
    ),
  }));
}

function readSwarm(path: string): SwarmAddress {
  const file = join(path, 'swarm.json');
  if (!existsSync(file)) throw new AuditError('FILE_UNREADABLE', { file, reason: 'absent' });
  const swarm = parsed(file, readFileSync(file, 'utf8'));
  return reading(file, () => {
    const { contracts } = swarm['deployment'] as { contracts: Record<string, string> };
    const entries = contractNames.map((name) => [name, parseAddress(String(contracts[name]))]);
    return {
      rpc: String(swarm['rpc']),
      chainId: Number(swarm['chainId']),
      contracts: Object.fromEntries(entries) as Record<ContractName, Address>,
    };
  });
}

function parsed(file: string, text: string): JsonMap {
  return reading(file, () => JSON.parse(text) as JsonMap);
}

function reading<Value>(file: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw new AuditError('FILE_UNREADABLE', { file, reason: reasonOf(error) }, error);
  }
}
