// The local chain: engine, journal and clock together. Whatever anybody could have seen is either in the
// journal before it is mined, or an idle block that follows from the journal and the block time; so
// kill -9 at any instant and a replay give back the same blocks with the same hashes.
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type BlockHeader, refillIdle, replay, startCore } from './chain-core.ts';
import { type ChainClock, systemChainClock } from './clock.ts';
import { ENGINE_NAME, type EngineReply } from './engine.ts';
import { ChainError } from './errors.ts';
import { type GenesisEntry, type Journal, openJournal } from './journal.ts';
import { takeLock } from './lock.ts';
import { Sealer } from './sealer.ts';

export type LocalChainOptions = {
  /** Holds `journal`, its mirror and the lock; created when absent. */
  readonly dataDir: string;
  readonly chainId: number;
  readonly blockMs: number;
  /** Accounts funded in the genesis block; of no effect on a chain that exists. */
  readonly alloc: readonly { readonly address: string; readonly balanceWei: bigint }[];
  /** Seal a block as soon as a transaction arrives, besides the one every `blockMs`. */
  readonly sealOnTransaction: boolean;
  readonly baseFeeWei?: bigint;
  readonly blockGasLimit?: number;
  readonly clock?: ChainClock;
};

export type LocalChain = {
  readonly chainId: number;
  readonly baseFeeWei: bigint;
  /** What opening found and did. */
  readonly opened: {
    readonly blocks: number;
    readonly transactions: number;
    readonly replayMs: number;
    readonly restoredEntries: readonly number[];
    readonly tornBytes: number;
  };
  /** Asks the engine anything; what strangers may ask is the server's business. */
  request(method: string, params: readonly unknown[]): Promise<EngineReply>;
  /** Admits a signed transaction; result is its hash, also when it was admitted or mined before. */
  sendRaw(raw: string): Promise<EngineReply>;
  /** Calls `listener` with each new block; returns how to stop that. */
  onBlock(listener: (block: BlockHeader) => void): () => void;
  /** Resolves when sealing has stopped for good, with the reason; never for an ordinary close. */
  readonly failed: Promise<unknown>;
  /** Seals what was admitted, notes the clean end, releases the directory. */
  close(): Promise<void>;
};

const DEFAULT_BASE_FEE_WEI = 1_000_000n;
const DEFAULT_BLOCK_GAS_LIMIT = 60_000_000;

/**
 * Opens the chain in `dataDir`, or founds it there, and starts sealing.
 * @throws ChainError CHAIN_LOCKED, CHAIN_ID_MISMATCH, CHAIN_JOURNAL_CORRUPT, CHAIN_REPLAY_DIVERGED,
 * CHAIN_DISK_FULL.
 */
export async function openLocalChain(options: LocalChainOptions): Promise<LocalChain> {
  await mkdir(options.dataDir, { recursive: true });
  const unlock = await takeLock(join(options.dataDir, 'lock'));
  let journal: Journal | null = null;
  try {
    journal = await openJournal(join(options.dataDir, 'journal'));
    return await openWith(options, journal, unlock);
  } catch (error) {
    await journal?.log.close();
    await unlock();
    throw error;
  }
}

async function openWith(
  options: LocalChainOptions,
  journal: Journal,
  unlock: () => Promise<void>,
): Promise<LocalChain> {
  const startedMs = performance.now();
  const genesis = journal.genesis ?? newGenesis(options);
  if (genesis.chainId !== options.chainId) {
    const [expected, found] = [String(options.chainId), String(genesis.chainId)];
    throw new ChainError(
      'CHAIN_ID_MISMATCH',
      `${options.dataDir} holds chain ${found}, not ${expected}: ` +
        `start with chain id ${found}, or use another directory.`,
      { expected, found, where: options.dataDir },
    );
  }
  if (journal.genesis === null) await journal.log.append(genesis);
  const core = await startCore(genesis);
  const transactions = await replay(core, journal);
  const last = journal.entries.at(-1);
  const floorMs = last === undefined ? genesis.genesisMs : last.nextTickMs - core.blockMs;
  const clock = options.clock ?? systemChainClock(floorMs);
  if (last !== undefined && !(last.type === 'mark' && last.closed)) {
    await refillIdle(core, last.number, clock.nowMs());
  }
  const opened = {
    blocks: core.number,
    transactions,
    replayMs: Math.round(performance.now() - startedMs),
    restoredEntries: journal.log.restored,
    tornBytes: journal.log.tornBytes,
  };
  const { blockMs, sealOnTransaction } = options;
  const sealer = await Sealer.start({ core, journal, clock, blockMs, sealOnTransaction });
  return {
    chainId: genesis.chainId,
    baseFeeWei: BigInt(genesis.baseFeeWei),
    opened,
    request: core.engine.request,
    sendRaw: (raw) => sealer.sendRaw(raw),
    onBlock: (listener) => sealer.onBlock(listener),
    failed: sealer.failed,
    async close() {
      try {
        await sealer.close();
      } finally {
        await unlock();
      }
    },
  };
}

function newGenesis(options: LocalChainOptions): GenesisEntry {
  return {
    type: 'genesis',
    engine: ENGINE_NAME,
    chainId: options.chainId,
    genesisMs: options.clock?.nowMs() ?? Date.now(),
    blockMs: options.blockMs,
    blockGasLimit: options.blockGasLimit ?? DEFAULT_BLOCK_GAS_LIMIT,
    baseFeeWei: String(options.baseFeeWei ?? DEFAULT_BASE_FEE_WEI),
    alloc: options.alloc.map(({ address, balanceWei }) => ({
      address: address.toLowerCase(),
      balanceWei: String(balanceWei),
    })),
    beaconSecret: `0x${randomBytes(32).toString('hex')}`,
  };
}
