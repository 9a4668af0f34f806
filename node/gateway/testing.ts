/**
 * A small swarm in one process for the tests of serving: real hosts on loopback, real engines on a
 * tiny model, a gateway with its HTTP server; only the chain is a book of deposits.
 */
import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import { type Address, toHex } from '#crypto';
import {
  type CapacityAnnouncement,
  capacityAnnouncement,
  inferVoucher,
  type Price,
  type ReceiptAnnouncement,
  receiptAnnouncement,
  type TrustedAnchors,
} from '#protocol';
import type { Host } from '../network/index.ts';
import { addressOf as hostAddress, soon, testDirectory, testHost } from '../network/testing.ts';
import type { Imported } from '../provider/answer.ts';
import type { Channel } from '../provider/cashier.ts';
import type { Engine, Generation } from '../provider/engine.ts';
import { openLevelTable } from '../provider/level-table.ts';
import type { LogPort } from '../provider/ports.ts';
import {
  openProvider,
  PROVIDER_DEFAULTS,
  type Provider,
  type ProviderOptions,
} from '../provider/provider.ts';
import { anchorOf, baseAloneAnchors } from '../provider/seal.ts';
import { loadWorldBundle, RULES, type World } from '../provider/testing.ts';
import { GATEWAY_DEFAULTS, type Gateway, type GatewayOptions, openGateway } from './gateway.ts';
import type { ListedAdapter } from './models.ts';
import { wordingOf } from './wording.ts';

/** Where receipts are judged, for tests without contracts. */
const NOWHERE: Domain = { chainId: 901, referee: `0x${'0e'.repeat(20)}` };
const ESCROW: Address = `0x${'0f'.repeat(20)}`;
const ESCROW_DOMAIN = { chainId: 901, verifyingContract: ESCROW };
export type Domain = { readonly chainId: number; readonly referee: Address };
export const PRICE: Price = {
  promptWeiPerToken: 1_000_000_000n,
  outputWeiPerToken: 2_000_000_000n,
  feeWeiPerToken: 1_000_000_000n,
};
const TOPICS = [capacityAnnouncement.topic, receiptAnnouncement.topic];
const WINDOW = { clockSkewMs: 5_000, gossipAgeMs: 60_000 };

export const silentLog: LogPort = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** Deposits and collections, as the escrow contract counts them. */
export type Bank = {
  readonly channel: (client: string, provider: string) => Channel;
  readonly deposit: (key: string, client: string, provider: string, amountWei: bigint) => void;
  readonly collect: (key: string, vouchers: readonly Uint8Array[]) => void;
  readonly collections: () => number;
};

export function openBank(): Bank {
  const channels = new Map<string, Channel>();
  const done = new Set<string>();
  let collections = 0;
  const read = (client: string, provider: string): Channel =>
    channels.get(`${client}/${provider}`) ?? { balanceWei: 0n, computeWei: 0n, feeWei: 0n };
  return {
    channel: read,
    deposit: (key, client, provider, amountWei) => {
      if (done.has(key)) return;
      done.add(key);
      const { balanceWei, ...rest } = read(client, provider);
      channels.set(`${client}/${provider}`, { ...rest, balanceWei: balanceWei + amountWei });
    },
    collect: (key, vouchers) => {
      if (done.has(key)) return;
      done.add(key);
      for (const bytes of vouchers) {
        const decoded = inferVoucher.decode(bytes);
        if (!decoded.ok) throw new Error(`expected a voucher, got ${decoded.code}`);
        const { client, provider, cumulativeComputeWei, cumulativeFeeWei } = decoded.value;
        const { balanceWei, computeWei, feeWei } = read(client, provider);
        const paidWei = cumulativeComputeWei - computeWei + cumulativeFeeWei - feeWei;
        if (paidWei <= 0n || paidWei > balanceWei) throw new Error('expected a covered increase');
        channels.set(`${client}/${provider}`, {
          balanceWei: balanceWei - paidWei,
          computeWei: cumulativeComputeWei,
          feeWei: cumulativeFeeWei,
        });
      }
      collections += 1;
    },
    collections: () => collections,
  };
}

/** An engine that can be told to stop before a token until it is let go, or for ever. */
export type Gate = {
  /** Each later answer stops before its token number `tokens`; a promise tells when one does. */
  readonly closeAfter: (tokens: number) => Promise<Generation>;
  readonly open: () => void;
  /** What is stopped, and all that comes later, fails. */
  readonly fail: (error: Error) => void;
  /** Answers that were given up by their signal. */
  readonly aborted: () => number;
};

function deferred<Value>() {
  let resolve: (value: Value) => void = () => undefined;
  const promise = new Promise<Value>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

export function gated(engine: Engine): { readonly engine: Engine; readonly gate: Gate } {
  let limit = Number.POSITIVE_INFINITY;
  let opened = deferred<void>();
  let reached = deferred<Generation>();
  let aborted = 0;
  let failure: Error | undefined;
  async function* generate(generation: Generation, signal: AbortSignal) {
    let count = 0;
    signal.addEventListener('abort', () => (aborted += 1), { once: true });
    for await (const token of engine.generate(generation, signal)) {
      if (count++ === limit) {
        reached.resolve(generation);
        const left = new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => resolve(), { once: true }),
        );
        await Promise.race([opened.promise, left]);
        signal.throwIfAborted();
      }
      if (failure !== undefined) throw failure;
      yield token;
    }
  }
  return {
    engine: { ...engine, generate },
    gate: {
      closeAfter: (tokens) => {
        limit = tokens;
        opened = deferred();
        reached = deferred();
        return reached.promise;
      },
      open: () => {
        limit = Number.POSITIVE_INFINITY;
        opened.resolve();
      },
      fail: (error) => {
        failure = error;
        opened.resolve();
      },
      aborted: () => aborted,
    },
  };
}

export type ProviderNode = {
  readonly host: Host;
  readonly account: Address;
  readonly provider: Provider;
  readonly gate: Gate;
  readonly announcements: ReceiptAnnouncement[];
  /** Tells the gateway what it has to offer, as gossip would. */
  readonly announce: () => Promise<void>;
};

export type Swarm = {
  readonly world: World;
  readonly bank: Bank;
  readonly gateway: Gateway;
  readonly client: Address;
  /** The gateway's host. */
  readonly front: Host;
  readonly url: string;
  readonly providers: readonly ProviderNode[];
  readonly anchors: TrustedAnchors;
};

export type SwarmOptions = {
  readonly gateway?: Partial<GatewayOptions>;
  /** One entry for each provider. */
  readonly providers: readonly Partial<ProviderOptions>[];
  readonly domain?: Domain;
  /** Adapters that every node's operator imported. */
  readonly imported?: readonly { readonly served: Imported; readonly listed: ListedAdapter }[];
};

/** Everything that a verifier trusts in this world. */
export function anchorsOf(world: World, domain: Domain = NOWHERE): TrustedAnchors {
  const alone = baseAloneAnchors(world.baseHash);
  const { datanetId, version, versionRoot, sketchCount } = world.lineage;
  return {
    ...domain,
    adapters: [anchorOf(world), alone.adapter],
    versions: [{ datanetId, version, root: versionRoot, recordCount: sketchCount }, alone.version],
    epochs: [],
    parameters: RULES,
  };
}

/** Starts it all; closed with the test. */
export async function startSwarm(
  t: TestContext,
  world: World,
  options: SwarmOptions,
): Promise<Swarm> {
  const bank = openBank();
  const front = await testHost(t, 1, { topics: TOPICS });
  const client = front.address.toLowerCase() as Address;
  const anchors = anchorsOf(world, options.domain);
  const table = await openLevelTable(`${await testDirectory(t)}/gateway`);
  const gateway = openGateway(
    {
      rpc: front.rpc,
      clientKey: new Uint8Array(32).fill(1),
      client,
      escrowDomain: ESCROW_DOMAIN,
      escrow: {
        coverWei: async (provider) => {
          const { balanceWei, computeWei, feeWei } = bank.channel(client, provider);
          return balanceWei + computeWei + feeWei;
        },
        topUp: async (key, provider, amountWei) => bank.deposit(key, client, provider, amountWei),
      },
      table,
      baseName: 'tiny',
      baseHash: world.baseHash,
      wording: wordingOf(world),
      adapters: async () => [
        { ...world.lineage, isRegistered: true },
        ...(options.imported ?? []).map(({ listed }) => listed),
      ],
      isServing: async () => true,
      anchors: async () => anchors,
      status: async () => ({}),
      notReady: async () => [],
      random32: () => toHex(randomBytes(32)),
      nowMs: Date.now,
      log: silentLog,
    },
    {
      ...GATEWAY_DEFAULTS,
      feeWeiPerToken: PRICE.feeWeiPerToken,
      staleMs: 60_000,
      // Far above what a busy machine takes for a token.
      silenceMs: 120_000,
      ...options.gateway,
    },
  );
  const url = await gateway.server.listen({ host: '127.0.0.1', port: 0 });
  t.after(async () => {
    await gateway.server.close();
    await gateway.settled();
    await table.close();
  });
  const swarm = { world, bank, gateway, client, front, url, anchors };
  const providers: ProviderNode[] = [];
  for (const [index, each] of options.providers.entries())
    providers.push(await startProvider(t, swarm, front, index + 2, each, options.imported ?? []));
  for (const provider of providers) await provider.announce();
  return { ...swarm, providers };
}

async function startProvider(
  t: TestContext,
  { world, bank, gateway, anchors }: Pick<Swarm, 'world' | 'bank' | 'gateway' | 'anchors'>,
  front: Host,
  seed: number,
  options: Partial<ProviderOptions>,
  imported: NonNullable<SwarmOptions['imported']>,
): Promise<ProviderNode> {
  const host = await testHost(t, seed, { topics: TOPICS });
  const account = host.address.toLowerCase() as Address;
  const table = await openLevelTable(`${await testDirectory(t)}/provider`);
  t.after(() => table.close());
  const { engine, gate } = gated(world.engine);
  const announcements: ReceiptAnnouncement[] = [];
  const provider = await openProvider(
    {
      rpc: host.rpc,
      key: new Uint8Array(32).fill(seed),
      account,
      chainId: anchors.chainId,
      referee: anchors.referee,
      escrowDomain: ESCROW_DOMAIN,
      preset: 'local',
      baseHash: world.baseHash,
      engine,
      table,
      loadBundle: async (adapterId) => {
        if (adapterId !== world.lineage.adapterId) throw new Error(`no adapter ${adapterId}`);
        return loadWorldBundle(world);
      },
      adapters: {
        imported: (id) => imported.find(({ served }) => served.handle.id === id)?.served,
        importedIds: () => imported.map(({ listed }) => listed.adapterId),
        isPinned: () => false,
      },
      rules: async () => RULES,
      channel: async (client) => bank.channel(client, account),
      collect: async (key, vouchers) => bank.collect(key, vouchers),
      putBlock: (file) => host.blocks.put(file, { codec: 'dag-cbor' }),
      announce: async (announcement) => {
        announcements.push(announcement);
      },
      count: () => undefined,
      nowMs: Date.now,
      log: silentLog,
    },
    { ...PROVIDER_DEFAULTS, price: PRICE, answersMax: 4, isVerifier: false, ...options },
  );
  await provider.serve();
  await front.connect(hostAddress(host));
  await Promise.all([front, host].map((each) => each.waitForPeers(1, soon())));
  const announce = async (): Promise<void> => {
    const encoded = capacityAnnouncement.encode(provider.capacity());
    const heard = capacityAnnouncement.decode(encoded, Date.now(), WINDOW);
    if (!heard.ok) throw new Error(`expected a capacity announcement, got ${heard.code}`);
    await gateway.directory.announced(heard.value as CapacityAnnouncement, host);
  };
  return { host, account, provider, gate, announcements, announce };
}
