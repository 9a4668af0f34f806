/**
 * What every command that talks to a running swarm needs: the swarm file that `openledger testnet`
 * writes into its data directory, and calls to a node's HTTP API with clear errors.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { Deployment } from '#contracts';
import { type Address, parseAddress } from '#crypto';
import { NodeError } from '../errors.ts';
import { parseSwarmFile, readJoinFile, type SwarmFile } from '../swarm-file.ts';
import { parseOpen } from '../units.ts';

export type GlobalOptions = { readonly dataDir: string; readonly json: boolean };

/** Global options of the root command, wherever in the tree `command` is. */
export function globals(command: Command): GlobalOptions {
  return command.optsWithGlobals<{ dataDir: string; json: boolean }>();
}

/** Reads the swarm file; NOT_RUNNING when there is none. */
export function readSwarm(dataDir: string): SwarmFile {
  const file = join(dataDir, 'swarm.json');
  if (!existsSync(file))
    throw new NodeError(
      'NOT_RUNNING',
      { dataDir },
      'start a swarm with `npm start`, or name its folder with --data-dir',
    );
  return parseSwarmFile(readFileSync(file, 'utf8'), file);
}

/** The chain and the contracts on it that a command works with. */
export type Place = {
  readonly rpc: string;
  readonly chainId: number;
  readonly deployment: Deployment;
};

/** Where `--swarm` says, else the swarm of the data directory. */
export function placeOf({ dataDir }: GlobalOptions, own: { readonly swarm?: string }): Place {
  if (own.swarm !== undefined) return readJoinFile(own.swarm);
  const { rpc, chainId, deployment } = readSwarm(dataDir);
  return { rpc, chainId, deployment: deployment as Deployment };
}

/** Adds the option that names a swarm on another machine. */
export const withPlace = (command: Command): Command =>
  command.option(
    '--swarm <file>',
    'chain and contracts: the join.json of a swarm; default: the swarm of the data directory',
  );

/** Readers of single values, for options and arguments: what does not fit is wrong usage. */
export function addressValue(text: string): Address {
  try {
    return parseAddress(text);
  } catch {
    throw new InvalidArgumentError('Expected 0x and 40 digits.');
  }
}

export function wholeValue(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}

export function openValue(text: string): bigint {
  const wei = parseOpen(text);
  if (wei === null || wei === 0n)
    throw new InvalidArgumentError('Expected an amount of OPEN above zero, like 12.5.');
  return wei;
}

export type ApiCall = {
  readonly method?: 'GET' | 'POST' | 'DELETE';
  readonly body?: unknown;
  readonly bytes?: Uint8Array;
  readonly timeoutMs?: number;
};

/** One call of a node's control API; API_FAILED says which and why. */
export async function callApi<Reply>(
  api: string,
  token: string,
  path: string,
  call: ApiCall = {},
): Promise<Reply> {
  const url = `${api}${path}`;
  const response = await fetchApi(url, token, call);
  const text = await response.text();
  if (!response.ok) {
    throw new NodeError(
      'API_FAILED',
      { url, reason: reasonOf(text, response.status) },
      adviceFor(response.status),
    );
  }
  return JSON.parse(text) as Reply;
}

/** As `callApi`, for replies that are bytes. */
export async function callApiBytes(api: string, token: string, path: string): Promise<Uint8Array> {
  const url = `${api}${path}`;
  const response = await fetchApi(url, token, {});
  if (!response.ok) {
    const reason = reasonOf(await response.text(), response.status);
    throw new NodeError('API_FAILED', { url, reason }, adviceFor(response.status));
  }
  return new Uint8Array(await response.arrayBuffer());
}

async function fetchApi(url: string, token: string, call: ApiCall): Promise<Response> {
  const headers: Record<string, string> = { authorization: `Bearer ${token}` };
  let body: string | Uint8Array<ArrayBuffer> | undefined;
  if (call.bytes !== undefined) {
    headers['content-type'] = 'application/octet-stream';
    body = new Uint8Array(call.bytes);
  } else if (call.body !== undefined) {
    headers['content-type'] = 'application/json';
    body = JSON.stringify(call.body, (_key, value) =>
      typeof value === 'bigint' ? value.toString() : value,
    );
  }
  try {
    return await fetch(url, {
      method: call.method ?? (body === undefined ? 'GET' : 'POST'),
      headers,
      ...(body === undefined ? {} : { body }),
      signal: AbortSignal.timeout(call.timeoutMs ?? 60_000),
    });
  } catch (error) {
    throw new NodeError(
      'API_FAILED',
      {
        url,
        reason:
          error instanceof Error
            ? ((error.cause as Error | undefined)?.message ?? error.message)
            : String(error),
      },
      'is the swarm running? `openledger info` tells; `npm start` starts it',
      error,
    );
  }
}

function reasonOf(text: string, status: number): string {
  try {
    const body = JSON.parse(text) as { error?: { message?: string } | string; message?: string };
    const told = typeof body.error === 'object' ? body.error.message : (body.message ?? body.error);
    return told ?? `status ${status}`;
  } catch {
    return `status ${status}: ${text.slice(0, 200)}`;
  }
}

const adviceFor = (status: number): string =>
  status === 404
    ? 'check the name or number; `openledger info` lists what there is'
    : 'correct what the reason names and try again';

/** Prints a result: an object as one JSON line, or the text. */
export function print(options: GlobalOptions, value: Record<string, unknown>, text: string): void {
  const line = options.json
    ? JSON.stringify(value, (_key, entry) => (typeof entry === 'bigint' ? entry.toString() : entry))
    : text;
  process.stdout.write(`${line}\n`);
}
