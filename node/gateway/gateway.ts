/**
 * A gateway put together: the directory of providers, the ledger of promises, the receipts, and the
 * HTTP server in front of them.
 */
import type { FastifyInstance } from 'fastify';
import { type Address, type Bytes32, parseAddress, type SigningDomain } from '#crypto';
import { decodeReceiptFile, inferVoucher, signVoucher, type TrustedAnchors } from '#protocol';
import type { AskPort, LogPort, Table } from '../provider/ports.ts';
import { openReceipts, ownReceiptFile, type Receipts } from '../provider/receipts.ts';
import { type AnswerParts, answer } from './answer.ts';
import { askOver, handOver } from './ask.ts';
import { type CheckDepth, checkReceipt } from './check.ts';
import { type Directory, openDirectory } from './directory.ts';
import { type Escrow, type Ledger, openLedger } from './ledger.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { type ListedAdapter, openModels } from './models.ts';
import { receiptView } from './receipt-view.ts';
import { openFaults } from './routing.ts';
import { buildServer, SERVER_DEFAULTS } from './server.ts';
import { openSettler } from './settle.ts';
import { exchangeTokens, type Wording } from './wording.ts';

export type GatewayParts = {
  readonly rpc: AskPort;
  /** Key of the client who pays; the gateway's own. */
  readonly clientKey: Uint8Array;
  readonly client: Address;
  /** verifyingContract = InferenceEscrow. */
  readonly escrowDomain: SigningDomain;
  readonly escrow: Escrow;
  readonly table: Table;
  readonly baseName: string;
  readonly baseHash: Bytes32;
  readonly wording: Wording;
  readonly adapters: () => Promise<readonly ListedAdapter[]>;
  readonly isServing: (provider: Address) => Promise<boolean>;
  /** What the chain says now about this adapter and the governed numbers. */
  readonly anchors: (adapterId: Bytes32 | null) => Promise<TrustedAnchors>;
  /** More for `/swarm/v1/status`. */
  readonly status: () => Promise<Record<string, unknown>>;
  /** Names of checks of the rest of the node that fail. */
  readonly notReady: () => Promise<readonly string[]>;
  /** 32 fresh random bytes. */
  readonly random32: () => Bytes32;
  readonly nowMs: () => number;
  readonly log: LogPort;
};

export type GatewayOptions = {
  readonly feeWeiPerToken: bigint;
  readonly checkDepth: CheckDepth;
  readonly topUpWei: bigint;
  readonly outputTokensDefault: number;
  readonly attemptsMax: number;
  readonly priceMaxWei: bigint | null;
  /** An announcement older than this is not believed. */
  readonly staleMs: number;
  /** A provider silent for so long is given up. */
  readonly silenceMs: number;
  readonly faultHalfLifeMs: number;
  readonly bodyBytesMax: number;
  readonly pingMs: number;
};

export const GATEWAY_DEFAULTS: Omit<GatewayOptions, 'feeWeiPerToken' | 'staleMs' | 'silenceMs'> = {
  checkDepth: 'all',
  topUpWei: 10_000_000_000_000_000n,
  outputTokensDefault: 64,
  attemptsMax: 4,
  priceMaxWei: null,
  faultHalfLifeMs: 30_000,
  ...SERVER_DEFAULTS,
};

export type Gateway = {
  /** The caller adds routes of its own, listens, and closes. */
  readonly server: FastifyInstance;
  readonly directory: Directory;
  readonly receipts: Receipts;
  readonly ledger: Ledger;
  readonly metrics: Metrics;
  /** Tries vouchers that could not be handed over; to be called now and then, and at the start. */
  readonly retryVouchers: () => Promise<void>;
  /** Resolves when every voucher under way has arrived or failed. */
  readonly settled: () => Promise<void>;
};

export function openGateway(parts: GatewayParts, options: GatewayOptions): Gateway {
  const { rpc, table, client, log, nowMs } = parts;
  const { baseHash, isServing } = parts;
  const { feeWeiPerToken } = options;
  const directory = openDirectory({ baseHash, feeWeiPerToken, isServing, nowMs });
  const receipts = openReceipts(table, 'received/');
  const metrics = createMetrics();
  const models = openModels(parts.baseName, parts.adapters);
  const ledger = openLedger({
    table,
    escrow: parts.escrow,
    topUpWei: options.topUpWei,
    sign: (provider, totals) => {
      const voucher = {
        client,
        provider: parseAddress(provider),
        cumulativeComputeWei: totals.computeWei,
        cumulativeFeeWei: totals.feeWei,
      };
      const signature = signVoucher(parts.escrowDomain, voucher, parts.clientKey);
      return inferVoucher.encode({ ...voucher, signature });
    },
  });
  const settler = openSettler({
    ledger,
    peerOf: (provider) => directory.offers().find((offer) => offer.provider === provider)?.peer,
    handOver: (peer, voucher) => handOver(rpc, peer, voucher),
    log,
  });
  const answerParts: AnswerParts = {
    offers: directory.offers,
    resolve: models.resolve,
    wording: parts.wording,
    ask: askOver(rpc, { client, baseHash, silenceMs: options.silenceMs }),
    check: (offer, ask, output, file, verify) =>
      checkReceipt(
        {
          ...parts,
          countTokens: exchangeTokens(parts.wording),
          depth: verify ?? options.checkDepth,
        },
        offer,
        ask,
        output,
        file,
      ),
    ledger,
    keep: async (bytes) => {
      await receipts.put(ownReceiptFile(bytes), bytes);
    },
    settle: ({ provider }) => settler.settle(provider),
    faults: openFaults(nowMs, options.faultHalfLifeMs),
    metrics,
    nowMs,
    log,
  };
  const server = buildServer(
    {
      answer: (question, questionId, signal) =>
        answer(answerParts, options, question, questionId, signal),
      models: models.list,
      receipt: async (requestId) => {
        const file = await receipts.byRequest(requestId);
        if (file === undefined) return null;
        const decoded = decodeReceiptFile(file);
        return decoded.ok ? { view: receiptView(decoded.value), file } : null;
      },
      status: async () => ({
        client,
        base: { name: parts.baseName, hash: baseHash },
        providers: directory.offers().map((offer) => ({
          provider: offer.provider,
          peer: offer.peer,
          adapters: offer.residentAdapters,
          slotsFree: offer.slotsFree,
          heardMsAgo: nowMs() - offer.announcedAtMs,
        })),
        ...(await parts.status()),
      }),
      notReady: async () => {
        const heard = directory
          .offers()
          .some((offer) => nowMs() - offer.announcedAtMs <= options.staleMs);
        return [...(heard ? [] : ['providers']), ...(await parts.notReady())];
      },
      metrics,
      bytesOf: parts.wording.bytesOf,
      renderChat: parts.wording.renderChat,
      newQuestionId: parts.random32,
      nowMs,
      log,
    },
    { ...options, fingerprint: baseHash.slice(2, 18) },
  );
  return {
    server,
    directory,
    receipts,
    ledger,
    metrics,
    retryVouchers: settler.retry,
    settled: settler.idle,
  };
}
