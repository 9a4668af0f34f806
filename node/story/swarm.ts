/**
 * A local swarm: the chain process, the contracts on it, and the nodes with their keys, funds and
 * stakes. Started again on the same data directory it finds everything as it was.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { JsonRpcProvider } from 'ethers';
import { type Deployment, deploymentPlan, verifyDeployment } from '#contracts';
import { type Address, addressOfPrivateKey, fromHex, parseAddress, toHex } from '#crypto';
import { loadModelDirectory } from '#runtime';
import { connectChain } from '../chain/client.ts';
import { openOutbox } from '../chain/outbox.ts';
import { EXIT } from '../errors.ts';
import { shippedBase } from '../paths.ts';
import { type Account, openAccount } from '../services/account.ts';
import { keyAt } from '../store/key-file.ts';
import { type SwarmFile, writeSwarmFile } from '../swarm-file.ts';
import type { Narrator } from './narrator.ts';
import { authorisationFor } from './owners.ts';
import { settledPort } from './ports.ts';
import { type Child, residentBytes, startChild } from './supervisor.ts';

export type SwarmOptions = {
  readonly dataDir: string;
  readonly nodes: number;
  readonly token: string;
  readonly challenges: boolean;
  /** Of the node that cheats (the last), whose score it overstates; null = nobody cheats. */
  readonly inflate: Address | null;
  readonly restarts: boolean;
  /** Nodes work with the stake of owners whose keys they do not have. */
  readonly workerKeys: boolean;
  readonly gatewayPort: number;
  readonly threads: number;
  readonly narrator: Narrator;
};

export type Swarm = {
  readonly file: SwarmFile;
  /** The deployer and faucet of the local chain. */
  readonly operator: Account;
  readonly deployment: Deployment;
  readonly rpc: string;
  readonly chainId: number;
  readonly treasury: Address;
  readonly baseHash: `0x${string}`;
  readonly peakRssBytes: () => number;
  readonly close: () => Promise<void>;
};

const NODE_FUNDS_WEI = 1_000n * 10n ** 18n;
const READY_WITHIN_MS = 60_000;
const MEMORY_EVERY_MS = 500;

/** Starts chain and nodes; returns when all nodes serve. */
export async function startSwarm(options: SwarmOptions): Promise<Swarm> {
  const { dataDir, narrator } = options;
  mkdirSync(dataDir, { recursive: true });
  const children: Child[] = [];
  let peak = 0;
  const measure = () => {
    peak = Math.max(peak, residentBytes([process.pid, ...children.map(({ pid }) => pid)]));
  };
  const timer = setInterval(measure, MEMORY_EVERY_MS);
  let operator: Account | null = null;
  const stopAll = async () => {
    clearInterval(timer);
    await operator?.close();
    // Nodes first: they may still want to write to the chain.
    await Promise.all(children.slice(1).map((child) => child.stop('SIGTERM')));
    await children[0]?.stop('SIGTERM');
  };
  try {
    const chain = await startChain(options, children);
    const founded = await foundContracts(options, chain);
    operator = founded.operator;
    narrator.fact(
      `chain ${chain.chainId} at ${chain.rpc}, ${Object.keys(founded.deployment.contracts).length} contracts`,
    );
    narrator.heading(2, `${options.nodes} nodes, each a process with its own key`);
    const file = await startNodes(options, chain, founded, children);
    return {
      ...founded,
      ...chain,
      file,
      peakRssBytes: () => {
        measure();
        return peak;
      },
      close: stopAll,
    };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

type Chain = { readonly rpc: string; readonly chainId: number };

async function startChain(
  { dataDir, restarts, narrator }: SwarmOptions,
  children: Child[],
): Promise<Chain> {
  // The same port after a restart, so that nodes find the chain again.
  const port = await settledPort(join(dataDir, 'chain.port'));
  const child = await startChild({
    name: 'chain',
    args: ['--data-dir', dataDir, 'chain', '--port', String(port)],
    // Large answers are garbage at once; a small young space gives their memory back (measured:
    // 200 MB instead of 290 MB under polling).
    nodeFlags: ['--max-semi-space-size=1'],
    logFile: join(dataDir, 'logs', 'chain.log'),
    restartAfterMs: restarts ? 500 : null,
    readyWithinMs: READY_WITHIN_MS,
    onDeath: ({ code, signal }) =>
      narrator.warn(`the chain process ended (${signal ?? code}); it is started again`),
  });
  children.push(child);
  const { rpc, chainId } = child.ready as { rpc: string; chainId: number };
  return { rpc, chainId };
}

type Founded = {
  readonly operator: Account;
  readonly deployment: Deployment;
  readonly treasury: Address;
  readonly baseHash: `0x${string}`;
};

/** Deploys the contracts, each transaction once, and checks what stands on the chain. */
async function foundContracts(
  { dataDir }: SwarmOptions,
  { rpc, chainId }: Chain,
): Promise<Founded> {
  const operatorKey = fromHex(readFileSync(join(dataDir, 'chain', 'faucet.key'), 'utf8').trim());
  const treasury = addressOfPrivateKey(await keyAt(join(dataDir, 'keys', 'treasury.json')));
  const plan = deploymentPlan('local', {
    deployer: addressOfPrivateKey(operatorKey),
    nonce: 0,
    treasury,
    chainId,
  });
  const client = await connectChain({
    rpcUrl: rpc,
    expectedChainId: chainId,
    privateKey: toHex(operatorKey),
  });
  const outboxFile = join(dataDir, 'operator.outbox');
  const outbox = await openOutbox(client, outboxFile);
  let deployedAtBlock = 0;
  const receipts = await Promise.all(
    plan.transactions.map(({ key, data }) => outbox.submit({ key, to: null, data, valueWei: 0n })),
  );
  for (const { blockNumber } of receipts) deployedAtBlock = Math.max(deployedAtBlock, blockNumber);
  await outbox.close();
  client.close();
  const deployment: Deployment = { ...plan.deployment, deployedAtBlock };
  const provider = new JsonRpcProvider(rpc, chainId, { staticNetwork: true, cacheTimeout: -1 });
  await verifyDeployment(provider, deployment);
  provider.destroy();
  const operator = await openAccount({
    rpc,
    chainId,
    deployment,
    privateKey: operatorKey,
    outboxFile,
    patienceMs: 60_000,
  });
  const base = await loadModelDirectory(shippedBase());
  const baseHash = toHex(base.hash) as `0x${string}`;
  await operator.chain.submit({
    key: `base/${baseHash}`,
    contract: 'ModelRegistry',
    fn: 'registerBase',
    args: [baseHash, 'base', treasury],
  });
  return { operator, deployment, treasury, baseHash };
}

/** Keys and funds of the nodes, and what their owners authorise them by, if they have any. */
async function prepareNodes(
  { dataDir, workerKeys }: SwarmOptions,
  place: Chain,
  { operator, deployment }: Founded,
  names: readonly string[],
): Promise<{ addresses: readonly Address[]; authorisations: readonly string[] }> {
  const addresses = await Promise.all(
    names.map(async (name) => addressOfPrivateKey(await keyAt(join(dataDir, name, 'key.json')))),
  );
  await Promise.all(
    addresses.map((to) =>
      operator.outbox.submit({ key: `fund/${to}`, to, data: '0x', valueWei: NODE_FUNDS_WEI }),
    ),
  );
  if (!workerKeys) return { addresses, authorisations: [] };
  const owners = { dataDir, ...place, deployment, operator };
  const authorisations = await Promise.all(
    addresses.map((worker, index) => authorisationFor(owners, names[index] as string, worker)),
  );
  return { addresses, authorisations };
}

async function startNodes(
  options: SwarmOptions,
  place: Chain,
  founded: Founded,
  children: Child[],
): Promise<SwarmFile> {
  const { dataDir, token, narrator } = options;
  const { rpc, chainId } = place;
  const { deployment } = founded;
  const names = Array.from({ length: options.nodes }, (_, i) => `node-${i + 1}`);
  const joinFile = join(dataDir, 'join.json');
  writeFileSync(joinFile, JSON.stringify({ rpc, chainId, token, deployment }), { mode: 0o600 });
  const { addresses, authorisations } = await prepareNodes(options, place, founded, names);
  const bar = narrator.progress('nodes', names.length);
  let up = 0;
  const start = async (
    name: string,
    index: number,
    bootstrap: readonly string[],
  ): Promise<Child> => {
    const port = await settledPort(join(dataDir, name, 'p2p.port'));
    const isGateway = index === 0;
    const apiPort =
      isGateway && options.gatewayPort !== 0
        ? options.gatewayPort
        : await settledPort(join(dataDir, name, 'api.port'));
    const authorisation = authorisations[index];
    const cheats = options.inflate !== null && index === names.length - 1;
    const child = await startChild({
      name,
      args: [
        '--data-dir',
        join(dataDir, name),
        'up',
        '--swarm',
        joinFile,
        '--name',
        name,
        '--port',
        String(port),
        '--threads',
        String(options.threads),
        '--api-port',
        String(apiPort),
        ...(isGateway ? ['--gateway'] : []),
        ...(options.challenges ? [] : ['--no-challenge']),
        ...(authorisation === undefined ? [] : ['--authorisation', authorisation]),
        // The client that does not look is the second node.
        ...(cheats ? ['--inflate', `${options.inflate}:${addresses[1]}`] : []),
        ...(bootstrap.length > 0 ? ['--bootstrap', ...bootstrap] : []),
      ],
      logFile: join(dataDir, 'logs', `${name}.log`),
      restartAfterMs: options.restarts ? 2_000 : null,
      readyWithinMs: READY_WITHIN_MS,
      onDeath: ({ code, signal }) =>
        narrator.warn(
          `${name} ended (${signal ?? code})${options.restarts && code !== EXIT.replaced ? '; it is started again' : ''}`,
        ),
    });
    children.push(child);
    up += 1;
    bar.update(up, name);
    return child;
  };
  const first = await start(names[0] as string, 0, []);
  const bootstrap = first.ready['listen'] as string[];
  // All are waited for, also when one fails: only a child that is known can be stopped.
  const others = await Promise.allSettled(
    names.slice(1).map((name, i) => start(name, i + 1, bootstrap.slice(0, 1))),
  ).then((outcomes) =>
    outcomes.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    }),
  );
  bar.end();
  const file: SwarmFile = {
    version: 1,
    preset: 'local',
    chainId,
    rpc,
    gateway: first.ready['api'] as string,
    token,
    nodes: [first, ...others].map(({ name, ready }) => ({
      name,
      api: ready['api'] as string,
      peerId: ready['peerId'] as string,
      address: parseAddress(ready['address'] as string),
    })),
    deployment,
  };
  writeSwarmFile(join(dataDir, 'swarm.json'), file);
  return file;
}
