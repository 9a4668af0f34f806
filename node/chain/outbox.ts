// Exactly-once transactions. Every action has a key for ever; its signed transaction is on disk before it
// is sent, is sent again byte for byte after any crash, and its outcome is kept, so that asking twice
// never acts twice.
import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { keccak256, Transaction, type Wallet } from 'ethers';
import { asReverted, type ChainClient, parseLog, type RawLog, revertedError } from './client.ts';
import { TRANSACTION_GAS_CAP } from './engine.ts';
import { ChainError, isChainError } from './errors.ts';
import { takeLock } from './lock.ts';
import {
  type ChainReceipt,
  type Intent,
  isSameAction,
  type OutboxBook,
  type Outcome,
  openOutboxBook,
  type SignedIntent,
} from './outbox-book.ts';
import type { DecodedRevert } from './reverts.ts';

export type SubmitOptions = {
  /** Called when the action reverted in a block: the key to try again under, or null to give up. */
  readonly retryKey?: (key: string, error: ChainError<'CHAIN_REVERTED'>) => string | null;
};

export type Outbox = {
  readonly address: string;
  /** Records of the file that were damaged and restored from its mirror at opening. */
  readonly restored: readonly number[];
  /**
   * Does the action once, whatever crashes, and resolves with its receipt; a key that is done gives its
   * old receipt.
   * @throws ChainError CHAIN_REVERTED (stored when it happened in a block: details.hash is set),
   * CHAIN_UNFUNDED, CHAIN_KEY_REUSED (same key, another action), CHAIN_REFUSED, CHAIN_UNREACHABLE
   * (still pending: ask again with the same key), CHAIN_CLOSED, CHAIN_DISK_FULL.
   */
  submit(intent: Intent, options?: SubmitOptions): Promise<ChainReceipt>;
  /** The stored state of a key. */
  status(key: string): 'unknown' | 'pending' | 'done' | 'reverted';
  /** Keys that were signed and have no outcome yet. */
  pending(): string[];
  close(): Promise<void>;
};

/**
 * Opens the outbox of the client's key in `path`; what it had pending goes out again at once.
 * @throws ChainError CHAIN_LOCKED, CHAIN_ID_MISMATCH, CHAIN_JOURNAL_CORRUPT.
 */
export async function openOutbox(client: ChainClient, path: string): Promise<Outbox> {
  const { signer } = client;
  if (signer === null) throw new Error('An outbox needs a client with a private key.');
  const unlock = await takeLock(`${path}.lock`);
  try {
    const chain = `${client.chainId}:${client.genesisHash}`;
    const book = await openOutboxBook(path, chain, signer.address);
    return new OutboxRunner(client, signer, book, unlock);
  } catch (error) {
    await unlock();
    throw error;
  }
}

type Waiter = {
  readonly done: (outcome: Outcome) => void;
  readonly failed: (error: unknown) => void;
};
/**
 * Room for what the transactions before this one in its block change: a staker who comes first may
 * make the stake tree grow by a level (two new words on the way up, 44,000 gas each).
 */
const NEIGHBOURS_GAS = 150_000n;

type Quote = {
  readonly nonce: number;
  readonly gasLimit: bigint;
  readonly maxFeeWei: bigint;
  readonly tipWei: bigint;
  /** The most that the transaction can cost. */
  readonly neededWei: bigint;
};
type RawTransaction = { readonly blockNumber: string | null };
type RawReceipt = {
  readonly blockNumber: string;
  readonly blockHash: string;
  readonly status: string;
  readonly gasUsed: string;
  readonly effectiveGasPrice: string;
  readonly l1Fee?: string;
  readonly contractAddress: string | null;
  readonly logs: RawLog[];
};

/** The chain could not judge the transaction just then; it says nothing about the transaction. */
const RPC_INTERNAL_ERROR = -32603;

class OutboxRunner implements Outbox {
  readonly address: string;
  readonly restored: readonly number[];
  readonly #client: ChainClient;
  readonly #signer: Wallet;
  readonly #book: OutboxBook;
  readonly #unlock: () => Promise<void>;
  readonly #closed = new AbortController();
  readonly #waiters = new Map<string, Waiter[]>();
  readonly #starting = new Map<string, { intent: Intent; outcome: Promise<Outcome> }>();
  #queue: Promise<unknown> = Promise.resolve();
  #watching: Promise<void> | null = null;

  constructor(client: ChainClient, signer: Wallet, book: OutboxBook, unlock: () => Promise<void>) {
    this.#client = client;
    this.#signer = signer;
    this.#book = book;
    this.#unlock = unlock;
    this.address = signer.address;
    this.restored = book.restored;
    // One listener per request in flight.
    setMaxListeners(0, this.#closed.signal);
    this.#watch();
  }

  async submit(intent: Intent, options: SubmitOptions = {}): Promise<ChainReceipt> {
    const { receipt, revert } = await this.#outcomeOf(intent);
    if (revert === null) return receipt;
    const error = revertedError(revert, receipt.hash);
    const key = options.retryKey?.(intent.key, error) ?? null;
    if (key === null) throw error;
    return this.submit({ ...intent, key }, options);
  }

  status(key: string): 'unknown' | 'pending' | 'done' | 'reverted' {
    const entry = this.#book.get(key);
    if (entry === null) return 'unknown';
    if (entry.outcome === null) return 'pending';
    return entry.outcome.revert === null ? 'done' : 'reverted';
  }

  pending(): string[] {
    return this.#book.unfinished().map(({ key }) => key);
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#queue;
    await this.#watching;
    this.#failAll(closedError());
    await this.#book.close();
    await this.#unlock();
  }

  #outcomeOf(intent: Intent): Promise<Outcome> {
    if (this.#closed.signal.aborted) return Promise.reject(closedError());
    const starting = this.#starting.get(intent.key);
    if (starting !== undefined) {
      const isSame = actionOf(starting.intent) === actionOf(intent);
      return isSame ? starting.outcome : Promise.reject(reusedError(intent.key));
    }
    const entry = this.#book.get(intent.key);
    if (entry !== null) {
      if (!isSameAction(entry.raw, intent)) return Promise.reject(reusedError(intent.key));
      return entry.outcome === null ? this.#await(intent.key) : Promise.resolve(entry.outcome);
    }
    const outcome = this.#exclusive(() => this.#start(intent)).then(() => this.#await(intent.key));
    this.#starting.set(intent.key, { intent, outcome });
    const forget = () => this.#starting.delete(intent.key);
    outcome.then(forget, forget);
    return outcome;
  }

  /** A request that closing the outbox does not wait for: what it did is found out again later. */
  #ask(method: string, params: readonly unknown[]): Promise<unknown> {
    const { signal } = this.#closed;
    return new Promise((resolve, reject) => {
      if (signal.aborted) reject(closedError());
      const cut = () => reject(closedError());
      signal.addEventListener('abort', cut, { once: true });
      const uncut = () => signal.removeEventListener('abort', cut);
      this.#client.request(method, params).finally(uncut).then(resolve, reject);
    });
  }

  /** One at a time: nonces follow the order of submits, and an estimate sees those before it. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #start(intent: Intent): Promise<void> {
    if (this.#closed.signal.aborted) throw closedError();
    const quote = await this.#quote(intent);
    const signed = await this.#sign(intent, quote);
    await this.#book.sign(signed);
    try {
      await this.#send(signed);
    } catch (error) {
      if (!isVerdict(error)) return;
      // Refused the first time it was ever sent: nobody holds it, so it can never be mined.
      await this.#book.release(signed.key);
      throw await this.#explain(error, quote.neededWei);
    }
  }

  /** Everything a signature needs, in one round trip. */
  async #quote(intent: Intent): Promise<Quote> {
    const { key: _, to, data, valueWei, gasLimit } = intent;
    const { address } = this;
    const call = { from: address, to, data, value: hex(valueWei) };
    const [price, tip, count, latest, estimate] = await Promise.all([
      this.#ask('eth_gasPrice', []),
      this.#ask('eth_maxPriorityFeePerGas', []),
      this.#ask('eth_getTransactionCount', [address, 'latest']),
      this.#balance('latest'),
      gasLimit === undefined ? this.#estimate(call) : { gas: gasLimit },
    ]);
    const tipWei = BigInt(tip as string);
    const maxFeeWei = 2n * BigInt(price as string) + tipWei;
    const gas = 'error' in estimate ? 0n : estimate.gas;
    const neededWei = valueWei + gas * maxFeeWei;
    const unfinished = this.#book.unfinished();
    if (unfinished.length > 0 || latest < neededWei) {
      // Only the pending state knows what is spent and earned before this one; it costs the chain more.
      const reservedWei = unfinished.reduce((sum, entry) => sum + BigInt(entry.costWei), neededWei);
      const balanceWei = latest >= reservedWei ? latest : await this.#balance('pending');
      if (balanceWei < neededWei) throw unfundedError(address, balanceWei, neededWei);
    }
    if ('error' in estimate) {
      throw asReverted(estimate.error, to, null, { decode: this.#client.decodeRevert });
    }
    // The count may be older than what the book has learnt since: nonces of mined ones are taken too.
    let nonce = Number(count);
    while (this.#book.hasNonce(nonce)) nonce += 1;
    return { nonce, gasLimit: gas, maxFeeWei, tipWei, neededWei };
  }

  /** On the pending state, so that an action may build on one that is not mined yet. */
  async #estimate(call: object): Promise<{ gas: bigint } | { error: unknown }> {
    try {
      const gas = BigInt((await this.#ask('eth_estimateGas', [call, 'pending'])) as string);
      const roomy = gas + gas / 4n + NEIGHBOURS_GAS;
      return { gas: roomy < TRANSACTION_GAS_CAP ? roomy : BigInt(TRANSACTION_GAS_CAP) };
    } catch (error) {
      if (!isChainError(error, 'CHAIN_REFUSED')) throw error;
      return { error };
    }
  }

  async #balance(state: 'latest' | 'pending'): Promise<bigint> {
    const balance = await this.#ask('eth_getBalance', [this.address, state]);
    return BigInt(balance as string);
  }

  async #sign(intent: Intent, quote: Quote): Promise<SignedIntent> {
    const { nonce, gasLimit, maxFeeWei, tipWei } = quote;
    const raw = await this.#signer.signTransaction({
      type: 2,
      chainId: this.#client.chainId,
      nonce,
      to: intent.to,
      data: intent.data,
      value: intent.valueWei,
      gasLimit,
      maxFeePerGas: maxFeeWei,
      maxPriorityFeePerGas: tipWei,
    });
    const costWei = String(quote.neededWei);
    return { key: intent.key, nonce, hash: keccak256(raw), costWei, raw };
  }

  async #send({ raw }: SignedIntent): Promise<void> {
    await this.#ask('eth_sendRawTransaction', [raw]);
  }

  /** Why the chain refused: for want of funds, or as it said itself. */
  async #explain(error: unknown, neededWei: bigint): Promise<unknown> {
    const balanceWei = await this.#balance('pending');
    return balanceWei < neededWei ? unfundedError(this.address, balanceWei, neededWei) : error;
  }

  #await(key: string): Promise<Outcome> {
    const outcome = this.#book.get(key)?.outcome ?? null;
    if (outcome !== null) return Promise.resolve(outcome);
    if (this.#closed.signal.aborted) return Promise.reject(closedError());
    return new Promise((done, failed) => {
      const same = this.#waiters.get(key) ?? [];
      this.#waiters.set(key, [...same, { done, failed }]);
      this.#watch();
    });
  }

  /** Looks after what is unfinished until nothing is. */
  #watch(): void {
    if (this.#watching !== null || this.#book.unfinished().length === 0) return;
    this.#watching = this.#watchLoop().finally(() => {
      this.#watching = null;
      if (!this.#closed.signal.aborted) this.#watch();
    });
  }

  async #watchLoop(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted && this.#book.unfinished().length > 0) {
      try {
        await this.#settle();
      } catch (error) {
        if (isChainError(error, 'CHAIN_CLOSED')) this.#closed.abort();
        this.#failAll(error);
      }
      if (this.#book.unfinished().length === 0) return;
      await pause(this.#client.pollMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** One round: notes what was mined, sends again what the chain no longer knows. */
  async #settle(): Promise<void> {
    const entries = this.#book.unfinished();
    const found = await Promise.all(
      entries.map(({ hash }) => this.#ask('eth_getTransactionByHash', [hash])),
    );
    const states = entries.map((entry, i) => ({ entry, tx: found[i] as RawTransaction | null }));
    const mined = states.filter(({ tx }) => tx !== null && tx.blockNumber !== null);
    await Promise.all(mined.map(({ entry }) => this.#finish(entry)));
    for (const { entry, tx } of states) if (tx === null) await this.#resend(entry);
  }

  async #finish(entry: SignedIntent): Promise<void> {
    const answer = await this.#ask('eth_getTransactionReceipt', [entry.hash]);
    if (answer === null) return;
    const raw = answer as RawReceipt;
    const receipt = receiptOf(entry, raw);
    const revert = BigInt(raw.status) === 1n ? null : await this.#whyReverted(entry, receipt);
    const outcome = { receipt, revert };
    await this.#book.finish(entry.key, outcome);
    for (const waiter of this.#takeWaiters(entry.key)) waiter.done(outcome);
  }

  async #resend(entry: SignedIntent): Promise<void> {
    // A submit may be between writing and sending the same transaction; it goes first.
    await this.#exclusive(async () => {
      if (this.#book.get(entry.key)?.hash !== entry.hash) return;
      try {
        await this.#send(entry);
      } catch (error) {
        if (!isVerdict(error)) throw error;
        await this.#refusedAgain(entry, error);
      }
    });
  }

  async #refusedAgain(entry: SignedIntent, error: unknown): Promise<void> {
    const count = await this.#ask('eth_getTransactionCount', [this.address, 'latest']);
    const receipt = await this.#ask('eth_getTransactionReceipt', [entry.hash]);
    if (receipt !== null) return;
    const { to, data, value, gasLimit } = Transaction.from(entry.raw);
    const intent = { key: entry.key, to, data, valueWei: value, gasLimit };
    if (Number(count) > entry.nonce) {
      // Another transaction of this key took the nonce: this one is dead, its action still to be done.
      await this.#book.release(entry.key);
      await this.#start(intent).catch((failure) => this.#fail(entry.key, failure));
      return;
    }
    this.#fail(entry.key, await this.#explain(error, BigInt(entry.costWei)));
  }

  /** Runs the call again where it ran, since a receipt does not carry the revert's data. */
  async #whyReverted(entry: SignedIntent, receipt: ChainReceipt): Promise<DecodedRevert> {
    const { from, to, data, value, gasLimit } = Transaction.from(entry.raw);
    const call = { from, to, data, value: hex(value), gas: hex(gasLimit) };
    for (const block of [receipt.blockNumber - 1, receipt.blockNumber]) {
      try {
        await this.#ask('eth_call', [call, hex(BigInt(block))]);
      } catch (error) {
        if (!isChainError(error, 'CHAIN_REFUSED')) throw error;
        if (error.details.data !== null) return this.#client.decodeRevert(to, error.details.data);
      }
    }
    return this.#client.decodeRevert(to, '0x');
  }

  #takeWaiters(key: string): Waiter[] {
    const waiters = this.#waiters.get(key) ?? [];
    this.#waiters.delete(key);
    return waiters;
  }

  #fail(key: string, error: unknown): void {
    for (const waiter of this.#takeWaiters(key)) waiter.failed(error);
  }

  #failAll(error: unknown): void {
    for (const key of [...this.#waiters.keys()]) this.#fail(key, error);
  }
}

function receiptOf(entry: SignedIntent, raw: RawReceipt): ChainReceipt {
  const gasUsed = BigInt(raw.gasUsed);
  return {
    key: entry.key,
    hash: entry.hash,
    blockNumber: Number(raw.blockNumber),
    blockHash: raw.blockHash,
    gasUsed,
    feeWei: gasUsed * BigInt(raw.effectiveGasPrice) + BigInt(raw.l1Fee ?? 0),
    contractAddress: raw.contractAddress,
    logs: raw.logs.map(parseLog),
  };
}

/** Whether the chain looked at the transaction and said no, as opposed to not being able to. */
function isVerdict(error: unknown): boolean {
  return isChainError(error, 'CHAIN_REFUSED') && error.details.rpcCode !== RPC_INTERNAL_ERROR;
}

function actionOf({ to, data, valueWei }: Intent): string {
  return `${to} ${data} ${valueWei}`.toLowerCase();
}

function unfundedError(address: string, balanceWei: bigint, neededWei: bigint) {
  const message =
    `${address} holds ${balanceWei} wei of OPEN and needs ${neededWei}: ` +
    'send it at least the difference, then try again.';
  return new ChainError('CHAIN_UNFUNDED', message, { address, balanceWei, neededWei });
}

function reusedError(key: string) {
  const message = `The key ${key} names another action already: give this one a key of its own.`;
  return new ChainError('CHAIN_KEY_REUSED', message, { key });
}

function closedError() {
  return new ChainError('CHAIN_CLOSED', 'The outbox was closed.', { what: 'outbox' });
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
