// Seals blocks: takes transactions in, writes the journal, mines, and tells who listens. The only place
// where the chain changes; every change goes through one queue.
import { keccak_256 } from '@noble/hashes/sha3.js';
import { type BlockHeader, type ChainCore, IDLE_WINDOW_BLOCKS } from './chain-core.ts';
import type { ChainClock } from './clock.ts';
import type { EngineReply } from './engine.ts';
import { ChainError } from './errors.ts';
import type { Journal, JournalEntry } from './journal.ts';

/** How many missed blocks are made up for; after a longer sleep the chain's time jumps instead. */
const CATCH_UP_BLOCKS = 60;

export type SealerOptions = {
  readonly core: ChainCore;
  readonly journal: Journal;
  readonly clock: ChainClock;
  readonly blockMs: number;
  readonly sealOnTransaction: boolean;
};

/** Owns the journal and the alarm of a running chain. */
export class Sealer {
  readonly failed: Promise<unknown>;
  readonly #options: SealerOptions;
  readonly #listeners = new Set<(block: BlockHeader) => void>();
  #fail: (error: unknown) => void = () => {};
  #head: BlockHeader;
  #markedNumber: number;
  #admitted: string[] = [];
  #stopped: unknown = null;
  #cancelWake: () => void = () => {};
  #pendingSeal: Promise<void> | null = null;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(options: SealerOptions, head: BlockHeader) {
    this.#options = options;
    this.#head = head;
    this.#markedNumber = options.core.number;
    this.failed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  /** Takes a replayed chain on from here: notes the start, skips the time it was down, seals. */
  static async start(options: SealerOptions): Promise<Sealer> {
    const { core, clock } = options;
    const sealer = new Sealer(options, await core.head());
    const nowMs = clock.nowMs();
    if (core.blockMs !== options.blockMs) {
      core.blockMs = options.blockMs;
      core.nextTickMs = Math.min(core.nextTickMs, nowMs + core.blockMs);
    }
    const late = Math.floor((nowMs - core.nextTickMs) / core.blockMs);
    await sealer.#writeMark(core.nextTickMs + Math.max(0, late) * core.blockMs, false);
    sealer.#sleep();
    return sealer;
  }

  /** Admits a signed transaction; one that was admitted or mined before gives its hash again. */
  async sendRaw(raw: string): Promise<EngineReply> {
    const reply = await this.#exclusive(() => this.#admit(raw));
    if (!reply.ok || !this.#options.sealOnTransaction || this.#admitted.length === 0) return reply;
    // Whoever was admitted while the queue got here shares one block.
    this.#pendingSeal ??= this.#exclusive(async () => {
      this.#pendingSeal = null;
      if (this.#admitted.length > 0) await this.#sealNow();
    });
    try {
      await this.#pendingSeal;
      return reply;
    } catch (error) {
      this.#stop(error);
      return refusal(error);
    }
  }

  onBlock(listener: (block: BlockHeader) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Seals what was admitted, notes that nothing came after it, and closes the journal. */
  async close(): Promise<void> {
    this.#cancelWake();
    try {
      await this.#exclusive(async () => {
        if (this.#stopped !== null) return;
        if (this.#admitted.length > 0) await this.#sealNow();
        await this.#writeMark(this.#options.core.nextTickMs, true);
        this.#stopped = new ChainError('CHAIN_CLOSED', 'The chain was closed.', { what: 'chain' });
        this.#cancelWake();
      });
    } finally {
      await this.#options.journal.log.close();
    }
  }

  /** One at a time, in order of arrival. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #append(entry: JournalEntry): Promise<void> {
    return this.#options.journal.log.append(entry);
  }

  async #writeMark(nextTickMs: number, closed: boolean): Promise<void> {
    const { core } = this.#options;
    const { number, blockMs } = core;
    const { hash } = this.#head;
    await this.#append({ type: 'mark', number, hash, nextTickMs, blockMs, closed });
    this.#markedNumber = number;
    core.nextTickMs = nextTickMs;
  }

  /** Journals the admitted transactions, then mines them: nothing is visible before it is durable. */
  async #sealBlock(atMs: number, nextTickMs: number): Promise<void> {
    const { core } = this.#options;
    const frame = core.frame(atMs);
    const number = core.number + 1;
    const [parentHash, txs] = [this.#head.hash, this.#admitted];
    await this.#append({ type: 'block', number, parentHash, ...frame, nextTickMs, txs });
    this.#markedNumber = number;
    this.#admitted = [];
    await core.mine(frame, nextTickMs);
    await this.#announce();
  }

  async #sealNow(): Promise<void> {
    await this.#sealBlock(this.#options.clock.nowMs(), this.#options.core.nextTickMs);
  }

  async #announce(): Promise<void> {
    this.#head = await this.#options.core.head();
    for (const listener of this.#listeners) listener(this.#head);
  }

  /** Seals whatever the time says is due. */
  async #advance(): Promise<void> {
    const { core, clock } = this.#options;
    const nowMs = clock.nowMs();
    const late = Math.floor((nowMs - core.nextTickMs) / core.blockMs);
    if (late > CATCH_UP_BLOCKS) await this.#writeMark(core.nextTickMs + late * core.blockMs, false);
    while (core.nextTickMs <= nowMs && this.#stopped === null) {
      const tickMs = core.nextTickMs;
      if (this.#admitted.length > 0) await this.#sealBlock(tickMs, tickMs + core.blockMs);
      else await this.#sealIdle(nowMs);
    }
  }

  /** Seals the idle blocks that are due, as far as the last journal entry answers for them. */
  async #sealIdle(nowMs: number): Promise<void> {
    const { core } = this.#options;
    const left = this.#markedNumber + IDLE_WINDOW_BLOCKS - core.number;
    if (left === 0) return this.#writeMark(core.nextTickMs, false);
    const due = Math.floor((nowMs - core.nextTickMs) / core.blockMs) + 1;
    // Listeners hear of every block; without them the ones that were missed are made in one go.
    await core.mineIdleTo(core.number + (this.#listeners.size > 0 ? 1 : Math.min(due, left)));
    await this.#announce();
  }

  #sleep(): void {
    if (this.#stopped !== null) return;
    this.#cancelWake = this.#options.clock.wakeAt(this.#options.core.nextTickMs, () => {
      this.#exclusive(() => this.#advance()).then(
        () => this.#sleep(),
        (error: unknown) => this.#stop(error),
      );
    });
  }

  #stop(error: unknown): void {
    this.#stopped ??= error;
    this.#cancelWake();
    this.#fail(error);
  }

  async #admit(raw: string): Promise<EngineReply> {
    if (this.#stopped !== null) return refusal(this.#stopped);
    const { engine } = this.#options.core;
    const reply = await engine.request('eth_sendRawTransaction', [raw]);
    if (reply.ok) {
      this.#admitted.push(raw);
      return reply;
    }
    const hash = transactionHash(raw);
    const known = await engine.request('eth_getTransactionByHash', [hash]);
    return known.ok && known.result !== null ? { ok: true, result: hash } : reply;
  }
}

function refusal(error: unknown): EngineReply {
  const reason = error instanceof Error ? error.message : String(error);
  const message = `The chain takes no transactions: ${reason}`;
  return { ok: false, error: { code: -32603, message } };
}

/** Keccak-256 of the signed bytes; of nonsense, the hash of nonsense, which nobody has. */
function transactionHash(raw: string): string {
  const bytes = Buffer.from(typeof raw === 'string' ? raw.slice(2) : '', 'hex');
  return `0x${Buffer.from(keccak_256(bytes)).toString('hex')}`;
}
