/**
 * A provider put together: admission, the cashier, the bundles of adapters, the receipts it signs,
 * and its handlers on the network.
 */
import type { Address, Bytes32, SigningDomain } from '#crypto';
import {
  type BuiltReceipt,
  type CapacityAnnouncement,
  type Price,
  parseCid,
  type ReceiptAnnouncement,
  type ReceiptRules,
  receiptHash,
  signReceipt,
} from '#protocol';
import { type Admission, openAdmission } from './admission.ts';
import type { AnswererParts } from './answer.ts';
import { type AdapterBundle, type Bundles, openBundles } from './bundle.ts';
import { type Cashier, type Channel, openCashier } from './cashier.ts';
import type { Engine } from './engine.ts';
import { type InflateConfig, openInflate } from './inflate.ts';
import type { LogPort, ServePort, Table } from './ports.ts';
import { openReceipts, ownReceiptFile, type Receipts } from './receipts.ts';
import { openSeal } from './seal.ts';
import { openVoucher, type ProviderParts, serveProvider } from './serve.ts';

export type OpenProviderParts = {
  readonly rpc: ServePort;
  readonly key: Uint8Array;
  readonly account: Address;
  readonly chainId: number;
  readonly referee: Address;
  /** verifyingContract = InferenceEscrow. */
  readonly escrowDomain: SigningDomain;
  readonly preset: string;
  readonly baseHash: Bytes32;
  readonly engine: Engine;
  readonly table: Table;
  /** Fetches and checks one adapter, see `loadAdapterBundle`. */
  readonly loadBundle: (adapterId: Bytes32) => Promise<AdapterBundle>;
  readonly adapters: OwnAdapters;
  /** The governed numbers, as the chain has them now. */
  readonly rules: () => Promise<ReceiptRules>;
  readonly channel: (client: Address) => Promise<Channel>;
  /** Submits one collection and resolves once it is on chain; a key is never sent twice. */
  readonly collect: (key: string, vouchers: readonly Uint8Array[]) => Promise<void>;
  /** Stores a receipt file as a dag-cbor block and returns its CID. */
  readonly putBlock: (file: Uint8Array) => Promise<string>;
  /** Tells the network that a receipt exists; failing is not worth losing the answer for. */
  readonly announce: (announcement: ReceiptAnnouncement) => Promise<void>;
  readonly count: ProviderParts['count'];
  readonly nowMs: () => number;
  readonly log: LogPort;
};

/** What the operator decided about adapters. */
export type OwnAdapters = {
  readonly imported: AnswererParts['imported'];
  readonly importedIds: () => readonly Bytes32[];
  /** A pinned adapter stays in memory once it is there. */
  readonly isPinned: (adapterId: Bytes32) => boolean;
};

export type ProviderOptions = {
  readonly price: Price;
  readonly answersMax: number;
  readonly waitingMax: number;
  readonly bundlesMax: number;
  readonly debtMaxWei: bigint;
  readonly batchMax: number;
  readonly isVerifier: boolean;
  readonly speedMilliTokens: number;
  /** The story's cheat; null everywhere else. */
  readonly inflate: InflateConfig | null;
};

export const PROVIDER_DEFAULTS: Omit<ProviderOptions, 'price' | 'answersMax' | 'isVerifier'> = {
  waitingMax: 16,
  bundlesMax: 8,
  // Some hundred thousand tokens at the usual price: a client whose vouchers got lost can catch up.
  debtMaxWei: 1_000_000_000_000_000n,
  batchMax: 32,
  speedMilliTokens: 0,
  inflate: null,
};

export type Provider = {
  /** Registers the handlers. */
  readonly serve: () => Promise<void>;
  /** What to announce now. */
  readonly capacity: () => CapacityAnnouncement;
  /** Collects vouchers on chain; to be called now and then, and before an epoch is closed. */
  readonly collect: () => Promise<number>;
  /**
   * Loads adapters before anybody asks for them, one after the other, as long as there is room; what
   * cannot be had now is left for the next time.
   */
  readonly prefetch: (adapterIds: readonly Bytes32[]) => Promise<void>;
  readonly cashier: Cashier;
  readonly receipts: Receipts;
  readonly bundles: Bundles;
  readonly admission: Admission;
};

/** @throws InflateError INFLATE_NOT_LOCAL when told to lie outside the local preset. */
export async function openProvider(
  parts: OpenProviderParts,
  options: ProviderOptions,
): Promise<Provider> {
  const { account, baseHash, chainId, engine, log, nowMs, referee, table } = parts;
  const receipts = openReceipts(table, 'signed/');
  const admission = openAdmission({
    runningMax: options.answersMax,
    waitingMax: options.waitingMax,
  });
  const bundles = openBundles(parts.loadBundle, options.bundlesMax, parts.adapters.isPinned);
  const cashier = openCashier(
    {
      table,
      open: openVoucher(account, parts.escrowDomain),
      channel: (client) => parts.channel(client as Address),
      collect: parts.collect,
      log,
    },
    options,
  );
  const answerer: AnswererParts = {
    provider: account,
    baseHash,
    price: () => options.price,
    rules: parts.rules,
    engine,
    bundles,
    imported: parts.adapters.imported,
    admission,
    cashier,
    seal: openSeal({
      chainId,
      referee,
      sign: (domain, receipt) => signReceipt(domain, receipt, parts.key),
    }),
    distort: await openDistortion(parts, options.inflate),
    issue: (built, file) => issue(parts, receipts, built, file),
    nowMs,
    log,
  };
  return {
    serve: () => serveProvider(parts.rpc, { ...answerer, receipts, count: parts.count }),
    capacity: () => ({
      account,
      adapters: [...bundles.resident(), ...parts.adapters.importedIds()].slice(0, ANNOUNCED_MAX),
      bases: [baseHash],
      contextTokens: engine.contextTokens,
      isVerifier: options.isVerifier,
      price: options.price,
      sentAtMs: nowMs(),
      slotsFree: Math.max(0, options.answersMax - admission.load().running),
      speedMilliTokens: options.speedMilliTokens,
    }),
    collect: cashier.collect,
    prefetch: async (adapterIds) => {
      for (const adapterId of adapterIds) {
        const resident = bundles.resident();
        if (resident.length >= options.bundlesMax) return;
        if (resident.includes(adapterId)) continue;
        try {
          (await bundles.get(adapterId)).text();
        } catch (error) {
          log.warn('adapter not prefetched', { adapterId, error });
        }
      }
    },
    cashier,
    receipts,
    bundles,
    admission,
  };
}

/** Adapters in one capacity announcement. */
const ANNOUNCED_MAX = 256;
const INFLATED = 'inflate/done';

async function openDistortion(
  { table, preset, log }: OpenProviderParts,
  inflate: InflateConfig | null,
): Promise<AnswererParts['distort']> {
  if (inflate === null) return null;
  let spent = (await table.get(INFLATED)) !== undefined;
  return openInflate(inflate, {
    preset,
    log,
    spent: {
      read: () => spent,
      write: () => {
        spent = true;
        table
          .write([{ key: INFLATED, value: Buffer.from('1') }])
          .catch((error: unknown) => log.error('could not note the false receipt', { error }));
      },
    },
  });
}

async function issue(
  parts: OpenProviderParts,
  receipts: Receipts,
  { receipt }: BuiltReceipt,
  file: Uint8Array,
): Promise<void> {
  await receipts.put(ownReceiptFile(file), file);
  // Not awaited by the answer: whoever misses it can ask for it.
  tell().catch((error: unknown) => parts.log.warn('receipt not announced', { error }));

  async function tell(): Promise<void> {
    await parts.announce({
      adapterId: receipt.adapterId,
      file: parseCid(await parts.putBlock(file)),
      provider: receipt.provider,
      receiptHash: receiptHash(receipt),
      requestId: receipt.requestId,
      sentAtMs: parts.nowMs(),
    });
  }
}
