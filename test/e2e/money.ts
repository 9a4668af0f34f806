/**
 * What must hold of the money and the transactions of a swarm, read from its chain and its files by
 * code of its own: nothing lost, nothing made, nothing sent, paid or counted twice.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { JsonRpcProvider } from 'ethers';
import { base32upper } from 'multiformats/bases/base32';
import { connectContracts, type Deployment, decodeEvent } from '#contracts';
import { cidOfDigest, decodeEpochManifest, decodeReceiptFile } from '#protocol';
import { type Place, swarmOf } from './harness.ts';

/** All that a local chain ever held, in one genesis account. */
const GENESIS_WEI = 10n ** 27n;
const FEE_VAULTS = ['11', '19', '1a', '1b'].map(
  (end) => `0x42000000000000000000000000000000000000${end}`,
);

type Block = {
  readonly miner: string;
  readonly transactions: readonly {
    readonly hash: string;
    readonly from: string;
    readonly to: string | null;
    readonly nonce: string;
    readonly type: string;
  }[];
};
type Log = {
  readonly address: string;
  readonly topics: readonly string[];
  readonly data: string;
  readonly transactionHash: string;
};

/** A chain as it stands: all its transactions and all its logs. */
export type Seen = {
  readonly provider: JsonRpcProvider;
  readonly deployment: Deployment;
  readonly blocks: readonly Block[];
  readonly logs: readonly Log[];
};

const PAGE = 100;

/** Reads a whole chain. */
export async function readChain(rpc: string, deployment: Deployment): Promise<Seen> {
  const provider = new JsonRpcProvider(rpc, deployment.chainId, {
    staticNetwork: true,
    cacheTimeout: -1,
    batchMaxCount: PAGE,
  });
  const head = Number(await provider.send('eth_blockNumber', []));
  const blocks: Block[] = [];
  for (let from = 0; from <= head; from += PAGE) {
    const numbers = Array.from({ length: Math.min(PAGE, head + 1 - from) }, (_, i) => from + i);
    blocks.push(
      ...(await Promise.all(
        numbers.map((number) =>
          provider.send('eth_getBlockByNumber', [`0x${number.toString(16)}`, true]),
        ),
      )),
    );
  }
  const logs: Log[] = await provider.send('eth_getLogs', [{ fromBlock: '0x0', toBlock: 'latest' }]);
  return { provider, deployment, blocks, logs };
}

/** Starts the chain of a stopped swarm alone, and hands over what it holds. */
export async function withChain<T>(
  place: Place,
  dataDir: string,
  use: (seen: Seen) => Promise<T>,
): Promise<T> {
  const chain = place.start(['--data-dir', dataDir, 'chain', '--port', '0']);
  const ready = JSON.parse(await chain.says(/^\{/, 60_000)) as { rpc: string };
  const seen = await readChain(ready.rpc, swarmOf(dataDir).deployment);
  try {
    return await use(seen);
  } finally {
    seen.provider.destroy();
    chain.signal('SIGTERM');
    await chain.ended;
  }
}

/** What all accounts that were ever named on the chain hold together, less what there was. */
export async function conservationErrorWei({ provider, deployment, blocks, logs }: Seen) {
  const accounts = new Set<string>([
    ...FEE_VAULTS,
    ...Object.values(deployment.contracts).map((each) => each.toLowerCase()),
  ]);
  for (const { miner, transactions } of blocks) {
    accounts.add(miner.toLowerCase());
    for (const { from, to } of transactions) {
      accounts.add(from.toLowerCase());
      if (to !== null) accounts.add(to.toLowerCase());
    }
  }
  for (const { topics } of logs)
    for (const topic of topics.slice(1))
      if (/^0x0{24}(?!0{8})/.test(topic)) accounts.add(`0x${topic.slice(26)}`);
  const balances = await Promise.all(
    [...accounts].map((account) => provider.send('eth_getBalance', [account, 'latest'])),
  );
  return balances.reduce((sum: bigint, each: string) => sum + BigInt(each), 0n) - GENESIS_WEI;
}

type BookLine = {
  readonly type: 'outbox' | 'signed' | 'finished' | 'released';
  readonly address?: string;
  readonly key?: string;
  readonly hash?: string;
  readonly outcome?: { readonly receipt: { readonly hash: string } };
};

/** The lines of one outbox: which action was signed as which transaction, and how it ended. */
export function readBook(file: string): BookLine[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const payload = /^\d+ \d+ [0-9a-f]{32} (.*)$/.exec(line)?.[1];
      assert.ok(payload !== undefined, `${file} holds records, got ${line.slice(0, 80)}`);
      return JSON.parse(payload) as BookLine;
    });
}

export function booksOf(dataDir: string): string[] {
  return readdirSync(dataDir, { recursive: true, encoding: 'utf8' })
    .filter((name) => /(^|\/|\.)outbox$/.test(name))
    .map((name) => join(dataDir, name));
}

/** No transaction twice on chain, and no action of any outbox mined under two transactions. */
export function assertSentOnce(seen: Seen, dataDir: string): void {
  const mined = new Map<string, string>();
  const slots = new Set<string>();
  for (const { transactions } of seen.blocks)
    for (const { hash, from, nonce, type } of transactions) {
      // The sequencer's own deposit transactions have no nonce of an account.
      if (type === '0x7e') continue;
      const slot = `${from.toLowerCase()}/${Number(nonce)}`;
      assert.ok(!slots.has(slot), `one transaction per nonce, two at ${slot}`);
      assert.ok(!mined.has(hash), `transaction ${hash} stands in one block`);
      slots.add(slot);
      mined.set(hash, from.toLowerCase());
    }
  const known = new Set<string>();
  const books = booksOf(dataDir);
  assert.ok(books.length > 0, 'there are outboxes');
  const addresses = new Set<string>();
  for (const book of books) {
    const hashes = new Map<string, Set<string>>();
    for (const line of readBook(book)) {
      if (line.type === 'outbox') addresses.add((line.address ?? '').toLowerCase());
      if (line.type !== 'signed') continue;
      const of = hashes.get(line.key ?? '') ?? new Set();
      hashes.set(line.key ?? '', of.add(line.hash ?? ''));
      known.add(line.hash ?? '');
    }
    for (const [key, of] of hashes) {
      const times = [...of].filter((hash) => mined.has(hash)).length;
      assert.ok(times <= 1, `${book}: ${key} was mined ${times} times`);
    }
  }
  for (const [hash, from] of mined)
    if (addresses.has(from)) assert.ok(known.has(hash), `${hash} of ${from} is in its outbox`);
}

type Event = { readonly event: string; readonly args: Record<string, unknown> };

/** Events of one contract, in order. */
export function eventsOf({ deployment, logs }: Seen, contract: string, event: string): Event[] {
  return logs.flatMap((log) => {
    const decoded = decodeEvent(deployment, log);
    return decoded?.contract === contract && decoded.event === event
      ? [{ event, args: decoded.args.toObject() as Record<string, unknown> }]
      : [];
  });
}

/** Every claim paid once, every receipt in one epoch, every channel collected once. */
export async function assertPaidOnce(seen: Seen, dataDir: string): Promise<void> {
  const { Epochs, InferenceEscrow } = connectContracts(seen.deployment, seen.provider);
  const claimed = new Map<string, bigint>();
  const claims = new Set<string>();
  for (const { args } of eventsOf(seen, 'Epochs', 'Claimed')) {
    const account = String(args['account']);
    const claim = `${account}/${args['epoch']}/${args['claimedWei']}`;
    assert.ok(!claims.has(claim), `one claim at ${claim}`);
    claims.add(claim);
    claimed.set(account, (claimed.get(account) ?? 0n) + (args['amountWei'] as bigint));
  }
  // What a judgement withheld is taken off the claims of the account and given to the client.
  for (const { args } of eventsOf(seen, 'Epochs', 'WithheldPaid')) {
    const account = String(args['account']);
    claimed.set(account, (claimed.get(account) ?? 0n) + (args['amountWei'] as bigint));
  }
  for (const [account, sumWei] of claimed)
    assert.equal(await Epochs.claimedWei(account), sumWei, `claims of ${account} add up`);
  const collected = new Map<string, bigint>();
  for (const { args } of eventsOf(seen, 'InferenceEscrow', 'VoucherCollected')) {
    const channel = `${args['client']}/${args['provider']}`;
    const wei = ['computeWei', 'platformWei', 'potWei'].map((name) => args[name] as bigint);
    collected.set(
      channel,
      wei.reduce((sum, each) => sum + each, collected.get(channel) ?? 0n),
    );
  }
  for (const [channel, sumWei] of collected) {
    const [client = '', provider = ''] = channel.split('/');
    const { computeWei, feeWei } = await InferenceEscrow.getChannel(client, provider);
    assert.equal(computeWei + feeWei, sumWei, `what was collected of ${channel} adds up`);
  }
  await assertReceiptsOnce(seen, dataDir);
}

async function assertReceiptsOnce(seen: Seen, dataDir: string): Promise<void> {
  const { Epochs } = connectContracts(seen.deployment, seen.provider);
  const paid = new Set<string>();
  const count = Number(await Epochs.epochCount());
  let digest = count === 0 ? null : ((await Epochs.getEpoch(count)).manifest as `0x${string}`);
  for (let epoch = count; epoch > 0; epoch -= 1) {
    assert.ok(digest !== null, `epoch ${epoch} has a manifest`);
    const decoded = decodeEpochManifest(blockIn(dataDir, digest));
    assert.ok(decoded.ok, `the manifest of epoch ${epoch} can be read`);
    digest = decoded.value.previous;
    for (const { receiptHash } of decoded.value.receipts) {
      assert.ok(!paid.has(receiptHash), `receipt ${receiptHash} stands in one epoch`);
      paid.add(receiptHash);
    }
  }
}

/** Where a node keeps the block with this sha2-256 digest: blockstore-fs names files by multihash. */
export function blockFile(nodeDir: string, digest: `0x${string}`): string {
  const name = base32upper.encode(cidOfDigest(digest).multihash.bytes);
  return join(nodeDir, 'network', 'blocks', name.slice(-2), `${name}.data`);
}

/** A block from the blockstore of any node. */
export function blockIn(dataDir: string, digest: `0x${string}`): Uint8Array {
  for (const node of readdirSync(dataDir).filter((name) => /^node-\d+$/.test(name))) {
    const file = blockFile(join(dataDir, node), digest);
    if (existsSync(file)) return new Uint8Array(readFileSync(file));
  }
  throw new Error(`no node holds block ${digest}`);
}

/** What a node as a client has promised each provider, and what the answers that it paid cost. */
export type Spending = ReadonlyMap<
  string,
  { readonly promisedWei: bigint; readonly pricedWei: bigint }
>;

async function openTable(nodeDir: string): Promise<ClassicLevel<string, Uint8Array>> {
  const valueEncoding = 'view';
  const table = new ClassicLevel<string, Uint8Array>(join(nodeDir, 'table'), { valueEncoding });
  await table.open({ createIfMissing: false });
  return table;
}

/** The receipt of a request as the stopped node keeps it that asked. */
async function fileOf(table: ClassicLevel<string, Uint8Array>, requestId: string) {
  const hash = await table.get(`received/request/${requestId}`);
  assert.ok(hash !== undefined, `the receipt of request ${requestId} is kept`);
  const file = await table.get(`received/file/${Buffer.from(hash).toString()}`);
  return new Uint8Array(file ?? new Uint8Array());
}

export async function receiptFileIn(nodeDir: string, requestId: string): Promise<Uint8Array> {
  const table = await openTable(nodeDir);
  try {
    return await fileOf(table, requestId);
  } finally {
    await table.close();
  }
}

/** Reads the table of a node that has stopped. */
export async function spendingOf(nodeDir: string): Promise<Spending> {
  const table = await openTable(nodeDir);
  const entries = async (prefix: string) => {
    const found: [string, Record<string, string>][] = [];
    for await (const [key, value] of table.iterator({ gte: prefix, lt: `${prefix}~` }))
      found.push([key.slice(prefix.length), JSON.parse(Buffer.from(value).toString())]);
    return found;
  };
  try {
    const spending = new Map<string, { promisedWei: bigint; pricedWei: bigint }>();
    for (const [provider, account] of await entries('ledger/account/')) {
      const promisedWei = BigInt(account['computeWei'] ?? 0) + BigInt(account['feeWei'] ?? 0);
      spending.set(provider, { promisedWei, pricedWei: 0n });
    }
    for (const [question, paid] of await entries('ledger/question/')) {
      const { provider = '', requestId = '' } = paid;
      const decoded = decodeReceiptFile(await fileOf(table, requestId));
      assert.ok(decoded.ok, `the receipt of question ${question} can be read`);
      const { computeWei, feeWei } = decoded.value.receipt;
      const before = spending.get(provider) ?? { promisedWei: 0n, pricedWei: 0n };
      spending.set(provider, { ...before, pricedWei: before.pricedWei + computeWei + feeWei });
    }
    return spending;
  } finally {
    await table.close();
  }
}

/**
 * Every client promised each provider what its answers cost, once each, and no provider collected
 * more than that; `all` = everything promised was collected too.
 */
export async function assertCollectedAsPromised(
  seen: Seen,
  dataDir: string,
  all: boolean,
): Promise<void> {
  const { InferenceEscrow } = connectContracts(seen.deployment, seen.provider);
  for (const { name, address } of swarmOf(dataDir).nodes) {
    for (const [provider, { promisedWei, pricedWei }] of await spendingOf(join(dataDir, name))) {
      const what = `${name} to ${provider}`;
      assert.equal(promisedWei, pricedWei, `${what}: promised is the sum of its answers' prices`);
      const { computeWei, feeWei } = await InferenceEscrow.getChannel(address, provider);
      const collectedWei = computeWei + feeWei;
      assert.ok(
        collectedWei <= promisedWei,
        `${what}: ${collectedWei} of ${promisedWei} collected`,
      );
      if (all) assert.equal(collectedWei, promisedWei, `${what}: all that was promised`);
    }
  }
}

/** All of it, of a swarm that has stopped after its story. */
export async function assertBooksRight(
  place: Place,
  dataDir: string,
  also: (seen: Seen) => Promise<void> = async () => undefined,
): Promise<void> {
  await withChain(place, dataDir, async (seen) => {
    assert.equal(await conservationErrorWei(seen), 0n, 'not a wei is missing or too much');
    assertSentOnce(seen, dataDir);
    await assertPaidOnce(seen, dataDir);
    await assertCollectedAsPromised(seen, dataDir, true);
    await also(seen);
  });
}
