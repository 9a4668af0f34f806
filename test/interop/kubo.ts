// A kubo node in a private repository that knows nobody: loopback only, no bootstrap, no DHT.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Kubo = {
  readonly peerId: string;
  /** Loopback TCP address with the peer id. */
  readonly address: string;
  /** Runs one `ipfs` command against the daemon; fails with its error output. */
  run(args: readonly string[], input?: Uint8Array): Promise<Buffer>;
  stop(): Promise<void>;
};

/** What a daemon that must stay on this machine is told. */
const settings: Record<string, unknown> = {
  Bootstrap: [],
  'Addresses.Swarm': ['/ip4/127.0.0.1/tcp/0'],
  'Addresses.API': '/ip4/127.0.0.1/tcp/0',
  'Addresses.Gateway': [],
  'Routing.Type': 'none',
  'AutoConf.Enabled': false,
  'AutoTLS.Enabled': false,
  'Discovery.MDNS.Enabled': false,
  'Swarm.DisableNatPortMap': true,
  'Swarm.RelayClient.Enabled': false,
  'Swarm.Transports.Network.QUIC': false,
  'Swarm.Transports.Network.Relay': false,
  'Swarm.Transports.Network.WebTransport': false,
  'Swarm.Transports.Network.WebRTCDirect': false,
  'Swarm.Transports.Network.Websocket': false,
};

export async function startKubo(program: string): Promise<Kubo> {
  const repository = mkdtempSync(join(tmpdir(), 'openledger-kubo-'));
  const env = { ...process.env, IPFS_PATH: repository, IPFS_TELEMETRY: 'off', GOMAXPROCS: '1' };
  // Not synchronous: our host in this process has to serve what the command asks for.
  const run = (args: readonly string[], input?: Uint8Array) => command(program, args, env, input);
  await run(['init', '--empty-repo', '--profile=test']);
  for (const [key, value] of Object.entries(settings)) {
    await run(['config', '--json', key, JSON.stringify(value)]);
  }
  const daemon = spawn(program, ['daemon'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  try {
    await ready(daemon);
    const { ID, Addresses } = JSON.parse((await run(['id'])).toString());
    const address = (Addresses as string[]).find((each) => each.startsWith('/ip4/127.0.0.1/tcp/'));
    if (address === undefined) throw new Error(`expected kubo on loopback, got ${Addresses}`);
    return { peerId: ID, address, run, stop: () => stop(daemon, repository) };
  } catch (error) {
    await stop(daemon, repository);
    throw error;
  }
}

async function command(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  input: Uint8Array = new Uint8Array(),
): Promise<Buffer> {
  const child = spawn(program, args, { env, stdio: 'pipe' });
  child.stdin.end(input);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [output, errors] = [child.stdout, child.stderr].map((stream) => {
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    return parts;
  });
  if ((await ended) === 0) return Buffer.concat(output ?? []);
  const said = Buffer.concat(errors ?? []).toString();
  throw new Error(`expected \`ipfs ${args.join(' ')}\` to succeed, got: ${said}`);
}

function ready(daemon: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let log = '';
    const onData = (chunk: Buffer) => {
      log += chunk.toString();
      if (log.includes('Daemon is ready')) resolve();
    };
    daemon.stdout?.on('data', onData);
    daemon.stderr?.on('data', onData);
    daemon.once('exit', (code) => reject(new Error(`kubo ended with ${code}:\n${log}`)));
  });
}

async function stop(daemon: ChildProcess, repository: string): Promise<void> {
  if (daemon.exitCode === null && daemon.signalCode === null) {
    const ended = new Promise((resolve) => daemon.once('exit', resolve));
    daemon.kill('SIGTERM');
    const timer = setTimeout(() => daemon.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  }
  rmSync(repository, { recursive: true, force: true });
}
