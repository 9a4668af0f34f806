/**
 * Puts provider, gateway and their chain ends together for one node: what `node.ts` would otherwise
 * spell out. The parts know each other only through their ports.
 */
import { randomBytes } from 'node:crypto';
import type { ContractName } from '#contracts';
import { type Address, type Bytes32, toHex } from '#crypto';
import {
  capacityAnnouncement,
  type EpochProof,
  PRESETS,
  type ProtocolParameters,
  receiptAnnouncement,
} from '#protocol';
import type { ModelDirectory, Pool, Serving } from '#runtime';
import type { ChainClient } from '../chain/client.ts';
import type { Gateway } from '../gateway/gateway.ts';
import { GATEWAY_DEFAULTS, openGateway } from '../gateway/gateway.ts';
import { wordingOf } from '../gateway/wording.ts';
import type { Log } from '../log.ts';
import type { Host } from '../network/host.ts';
import { loadAdapterBundle } from '../provider/bundle.ts';
import { openEngine } from '../provider/engine.ts';
import type { InflateConfig } from '../provider/inflate.ts';
import type { Table } from '../provider/ports.ts';
import { openProvider, PROVIDER_DEFAULTS, type Provider } from '../provider/provider.ts';
import { openWatch, WATCH_DEFAULTS, type Watch } from '../watch/watch.ts';
import { type Adapters, openAdapters } from './adapters.ts';
import type { ChainPort } from './chain-port.ts';
import type { ChainView } from './chain-view.ts';
import type { BlockPort } from './datanets.ts';
import { readStakers } from './staking.ts';

export type ServingParts = {
  readonly host: Host;
  readonly chain: ChainPort<ContractName>;
  readonly view: ChainView;
  readonly blocks: BlockPort;
  readonly table: Table;
  readonly privateKey: Uint8Array;
  readonly chainId: number;
  readonly preset: ProtocolParameters['preset'];
  readonly base: ModelDirectory;
  readonly pool: Pool;
  readonly serving: Serving;
  readonly adapters: Pick<Adapters, 'own' | 'listed'>;
  readonly inflate: InflateConfig | null;
  readonly status: () => Promise<Record<string, unknown>>;
  readonly log: Log;
};

/** The part of the name before the colon in `base:adapter`. */
export const BASE_NAME = 'base';

/** Fetches and checks an adapter of the chain. */
function bundleLoader({ blocks, view, base }: Pick<ServingParts, 'blocks' | 'view' | 'base'>) {
  const fetching = { timeoutMs: 20_000 };
  const source = {
    get: (cid: string) => blocks.get(cid, fetching),
    getLarge: (cid: string) => blocks.getLarge(cid, fetching),
  };
  return async (adapterId: Bytes32) =>
    loadAdapterBundle(source, await view.lineage(adapterId), base.config);
}

/** The adapters of a node: those on chain and those that its operator imported. */
export function openServingAdapters(
  parts: Pick<ServingParts, 'blocks' | 'view' | 'base' | 'serving'>,
  dataDir: string,
): Adapters {
  const { base, view, serving } = parts;
  const load = bundleLoader(parts);
  return openAdapters({
    dataDir,
    base: { config: base.config, hash: base.hash, name: BASE_NAME },
    baseHash: toHex(base.hash),
    registered: view.adapters,
    pin: (adapterId, isPinned) => serving.pin(adapterId, isPinned),
    load: async (adapterId) => (await load(adapterId)).adapter(),
    nowMs: Date.now,
  });
}

export function openServingProvider(parts: ServingParts): Promise<Provider> {
  const { host, chain, view, blocks } = parts;
  const baseHash: Bytes32 = toHex(parts.base.hash);
  const preset = PRESETS[parts.preset];
  return openProvider(
    {
      rpc: host.rpc,
      key: parts.privateKey,
      account: chain.self,
      chainId: parts.chainId,
      referee: chain.addressOf('Referee'),
      escrowDomain: escrowDomain(parts),
      preset: parts.preset,
      baseHash,
      engine: engineOf(parts),
      table: parts.table,
      loadBundle: bundleLoader(parts),
      adapters: parts.adapters.own,
      rules: view.rules,
      channel: (client) => view.channel(client, chain.self),
      collect: view.collect,
      putBlock: (file) => blocks.put(file, { codec: 'dag-cbor' }),
      announce: async (announcement) => {
        await host.gossip.publish(
          receiptAnnouncement.topic,
          receiptAnnouncement.encode(announcement),
        );
      },
      count: () => undefined,
      nowMs: Date.now,
      log: parts.log,
    },
    {
      ...PROVIDER_DEFAULTS,
      price: preset.price,
      answersMax: preset.answersMax,
      isVerifier: true,
      inflate: parts.inflate,
    },
  );
}

export function openServingGateway(parts: ServingParts): Gateway {
  const { host, chain, view, base } = parts;
  const preset = PRESETS[parts.preset];
  return openGateway(
    {
      rpc: host.rpc,
      clientKey: parts.privateKey,
      client: chain.self,
      escrowDomain: escrowDomain(parts),
      escrow: view.escrow,
      table: parts.table,
      baseName: BASE_NAME,
      baseHash: toHex(base.hash),
      wording: wordingOf(base),
      adapters: parts.adapters.listed,
      isServing: view.isServing,
      anchors: view.anchors,
      status: parts.status,
      notReady: async () => [],
      random32: () => toHex(randomBytes(32)),
      nowMs: Date.now,
      log: parts.log,
    },
    {
      ...GATEWAY_DEFAULTS,
      feeWeiPerToken: preset.price.feeWeiPerToken,
      staleMs: preset.capacityTtlMs,
      silenceMs: preset.answerSilenceMs,
    },
  );
}

const engineOf = ({ serving, pool, base }: ServingParts) =>
  openEngine({
    serving,
    pool,
    tokenizer: base.tokenizer,
    stopIds: base.generation.stopIds,
  });

/** How the base's tokenizer counts the tokens of an exchange; receipts are checked by it. */
export function countTokensOf(base: Pick<ModelDirectory, 'tokenizer'>) {
  const { tokenizer } = base;
  return (prompt: string, output: string) => ({
    promptTokens: tokenizer.encodePrompt(prompt).length,
    outputTokens: tokenizer.encode(output).length,
  });
}

const escrowDomain = ({ chain, chainId }: ServingParts) => ({
  chainId,
  verifyingContract: chain.addressOf('InferenceEscrow') as Address,
});

/** Says what this node offers, and hears what others do. */
export function announceCapacity(host: Host, provider: Provider): () => Promise<void> {
  return async () => {
    const bytes = capacityAnnouncement.encode(provider.capacity());
    await host.gossip.publish(capacityAnnouncement.topic, bytes);
  };
}

export type WatchEnds = {
  readonly challenges: boolean;
  readonly client: ChainClient;
  readonly proofOf: (receiptHash: Bytes32) => Promise<EpochProof | null>;
};

/** The cross-check of other providers' receipts; on the local preset of all of them. */
export function openServingWatch(parts: ServingParts, provider: Provider, ends: WatchEnds): Watch {
  const { host, chain, view, base, blocks } = parts;
  const engine = engineOf(parts);
  return openWatch(
    {
      self: chain.self,
      rpc: host.rpc,
      getBlock: (cid) => blocks.get(cid, { timeoutMs: 10_000 }),
      table: parts.table,
      bundles: provider.bundles,
      sketch: engine.sketch,
      countTokens: countTokensOf(base),
      anchors: view.anchors,
      chain,
      waitForBlock: (number, signal) => ends.client.waitForBlock(number, signal),
      watchers: async () => (await readStakers(chain)).map(({ account }) => account),
      proofOf: ends.proofOf,
      count: () => undefined,
      nowMs: Date.now,
      log: parts.log,
    },
    {
      ...WATCH_DEFAULTS,
      samplePpm: parts.preset === 'local' ? 1_000_000 : 50_000,
      staggerMs: PRESETS[parts.preset].staggerMs,
      challenges: ends.challenges,
    },
  );
}
