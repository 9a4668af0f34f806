// Hosts for this folder's tests: real nodes over loopback TCP, closed and removed after each test.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { HostEvent } from './core.ts';
import { type Host, type HostConfig, startHost } from './host.ts';
import { networkPreset } from './preset.ts';

export const TOPIC = '/openledger/test/1';

export type TestHost = Host & { readonly dataDir: string; readonly events: HostEvent[] };

/** A private key by number, so that a failing test names the same peers every time. */
export function testKey(seed: number): Uint8Array {
  return new Uint8Array(32).fill(seed);
}

export async function testHost(
  t: TestContext,
  seed: number,
  config: Partial<HostConfig> = {},
): Promise<TestHost> {
  const dataDir = config.dataDir ?? (await testDirectory(t));
  const events: HostEvent[] = [];
  const host = await startHost({
    privateKey: testKey(seed),
    dataDir,
    preset: networkPreset('local'),
    bootstrap: [],
    topics: [TOPIC],
    onEvent: (event) => events.push(event),
    ...config,
  });
  t.after(() => host.close());
  return { ...host, dataDir, events };
}

/** Two hosts that know each other. */
export async function testPair(t: TestContext): Promise<[TestHost, TestHost]> {
  const first = await testHost(t, 1);
  const second = await testHost(t, 2);
  await second.connect(addressOf(first));
  await Promise.all([first.waitForPeers(1, soon()), second.waitForPeers(1, soon())]);
  return [first, second];
}

export async function testDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'openledger-network-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

export function addressOf(host: Host): string {
  const [address] = host.listenAddresses();
  if (address === undefined) throw new Error('expected a host that listens');
  return address;
}

/** A deadline that only a hanging test reaches. */
export function soon(): AbortSignal {
  return AbortSignal.timeout(60_000);
}

/** Resolves when `condition` holds; the state it reads changes by itself, so it is asked again. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = soon();
  while (!(await condition())) {
    if (deadline.aborted) throw new Error(`expected in time: ${condition.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
