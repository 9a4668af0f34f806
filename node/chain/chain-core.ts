// The part of the local chain that must come out the same live and replayed: which blocks follow from
// the journal and the block time, and how they are mined.
import { createHash } from 'node:crypto';
import { type BlockFrame, type Engine, startEngine } from './engine.ts';
import { ChainError } from './errors.ts';
import type { GenesisEntry, Journal } from './journal.ts';
import { withReadCache } from './read-cache.ts';

/** A block header as JSON-RPC shows it, with the transactions' hashes. */
export type BlockHeader = {
  readonly number: string;
  readonly hash: string;
  readonly timestamp: string;
  readonly transactions: readonly string[];
  readonly [field: string]: unknown;
};

/** Idle blocks that may follow a journal entry before another one has to be written. */
export const IDLE_WINDOW_BLOCKS = 1_000;
const REPLAY_BATCH_BLOCKS = 500;

/** The engine with what the next block depends on. */
export type ChainCore = {
  readonly engine: Engine;
  /** Head block: number, and timestamp in seconds. */
  number: number;
  timestamp: number;
  blockMs: number;
  /** When the next block falls due. */
  nextTickMs: number;
  /** The next block's frame, at `atMs` or at the parent's second if that is later. */
  frame(atMs: number): BlockFrame;
  mine(frame: BlockFrame, nextTickMs: number): Promise<void>;
  /** Mines blocks on schedule until the head is `number`. */
  mineIdleTo(number: number): Promise<void>;
  head(): Promise<BlockHeader>;
};

/** Starts the engine at the genesis block. */
export async function startCore(genesis: GenesisEntry): Promise<ChainCore> {
  const bare = await startEngine({
    chainId: genesis.chainId,
    timestamp: Math.floor(genesis.genesisMs / 1000),
    baseFeeWei: BigInt(genesis.baseFeeWei),
    blockGasLimit: genesis.blockGasLimit,
    alloc: genesis.alloc.map((a) => ({ address: a.address, balanceWei: BigInt(a.balanceWei) })),
  });
  const engine = withReadCache(bare);
  const secret = Buffer.from(genesis.beaconSecret.slice(2), 'hex');
  const core: ChainCore = {
    engine,
    number: 0,
    timestamp: Math.floor(genesis.genesisMs / 1000),
    blockMs: genesis.blockMs,
    nextTickMs: genesis.genesisMs + genesis.blockMs,
    frame(atMs: number): BlockFrame {
      const timestamp = Math.max(core.timestamp, Math.floor(atMs / 1000));
      return { timestamp, prevRandao: beacon(secret, core.number + 1) };
    },
    async mine(frame: BlockFrame, nextTickMs: number): Promise<void> {
      await engine.mine([frame]);
      core.number += 1;
      core.timestamp = frame.timestamp;
      core.nextTickMs = nextTickMs;
    },
    async mineIdleTo(number: number): Promise<void> {
      while (core.number < number) {
        const frames: BlockFrame[] = [];
        while (frames.length < REPLAY_BATCH_BLOCKS && core.number < number) {
          const frame = core.frame(core.nextTickMs);
          frames.push(frame);
          core.number += 1;
          core.timestamp = frame.timestamp;
          core.nextTickMs += core.blockMs;
        }
        await engine.mine(frames);
      }
    },
    async head() {
      const reply = await engine.request('eth_getBlockByNumber', ['latest', false]);
      if (!reply.ok) throw new Error(`The engine has no head: ${reply.error.message}`);
      return reply.result as BlockHeader;
    },
  };
  return core;
}

/** The insecure local beacon: unpredictable to all who have not read the journal. */
function beacon(secret: Buffer, blockNumber: number): string {
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(blockNumber));
  return `0x${createHash('sha256').update(secret).update(number).digest('hex')}`;
}

/** Does again what the journal says; returns how many transactions that were. */
export async function replay(core: ChainCore, journal: Journal): Promise<number> {
  let transactions = 0;
  for (const entry of journal.entries) {
    const isBlock = entry.type === 'block';
    await core.mineIdleTo(isBlock ? entry.number - 1 : entry.number);
    const { hash } = await core.head();
    const expected = isBlock ? entry.parentHash : entry.hash;
    if (hash !== expected) throw diverged(journal.path, core.number, expected, hash);
    if (!isBlock) {
      core.nextTickMs = entry.nextTickMs;
      core.blockMs = entry.blockMs;
      continue;
    }
    for (const raw of entry.txs) {
      const reply = await core.engine.request('eth_sendRawTransaction', [raw]);
      if (!reply.ok) throw diverged(journal.path, entry.number, raw, reply.error.message);
    }
    transactions += entry.txs.length;
    const { timestamp, prevRandao } = entry;
    await core.mine({ timestamp, prevRandao }, entry.nextTickMs);
  }
  return transactions;
}

function diverged(path: string, blockNumber: number, expected: string, found: string) {
  return new ChainError(
    'CHAIN_REPLAY_DIVERGED',
    `Replaying ${path} gave another block ${blockNumber} than it was when written ` +
      `(expected ${expected.slice(0, 66)}, found ${found.slice(0, 66)}): use the program version ` +
      'that wrote it, or move the directory away to start from nothing.',
    { blockNumber, expected, found },
  );
}

/**
 * After a crash: mines again every idle block that may have been seen since the last entry. Those that
 * were not yet due are left for their time; they can come out no different.
 */
export async function refillIdle(
  core: ChainCore,
  lastEntryNumber: number,
  nowMs: number,
): Promise<void> {
  const due = Math.floor((nowMs - core.nextTickMs) / core.blockMs) + 1;
  const end = Math.min(core.number + due, lastEntryNumber + IDLE_WINDOW_BLOCKS);
  await core.mineIdleTo(end);
}
