/**
 * `swarm.json`: how commands find a running swarm. Written by whoever starts it, mode 0600 because it
 * holds the token of the nodes' control APIs. `join.json` is the part that another machine needs.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import type { Deployment } from '#contracts';
import { NodeError } from './errors.ts';

const schema = z.object({
  version: z.literal(1),
  preset: z.enum(['local', 'testnet', 'mainnet']),
  chainId: z.number().int(),
  rpc: z.string(),
  gateway: z.string(),
  token: z.string(),
  nodes: z.array(
    z.object({ name: z.string(), api: z.string(), peerId: z.string(), address: z.string() }),
  ),
  deployment: z.unknown(),
});

export type SwarmFile = z.infer<typeof schema>;

/** Parses the file; FILE_UNREADABLE names the first thing that is wrong. */
export function parseSwarmFile(text: string, file: string): SwarmFile {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw unreadable(file, 'not JSON', error);
  }
  const parsed = schema.safeParse(body);
  if (!parsed.success) throw unreadable(file, z.prettifyError(parsed.error), parsed.error);
  return parsed.data;
}

const unreadable = (file: string, reason: string, cause: unknown): NodeError =>
  new NodeError(
    'FILE_UNREADABLE',
    { file, reason },
    'start the swarm again, it rewrites the file',
    cause,
  );

const joinSchema = z.object({
  rpc: z.string(),
  chainId: z.number().int(),
  token: z.string(),
  deployment: z.looseObject({ contracts: z.record(z.string(), z.string()) }),
});

/** Chain and contracts of a swarm, and the token of its nodes. */
export type JoinFile = Omit<z.infer<typeof joinSchema>, 'deployment'> & {
  readonly deployment: Deployment;
};

/** Reads a `join.json`, or a `swarm.json`, which has all of it. FILE_UNREADABLE says what is wrong. */
export function readJoinFile(file: string): JoinFile {
  try {
    const joined = joinSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
    return { ...joined, deployment: joined.deployment as unknown as Deployment };
  } catch (error) {
    const said = error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message;
    throw new NodeError(
      'FILE_UNREADABLE',
      { file, reason: said.split('\n')[0] ?? '' },
      'name the join.json in the data directory of a swarm with --swarm',
      error,
    );
  }
}

/** Writes the file so that a reader sees the old one or the new one, whole. */
export function writeSwarmFile(file: string, swarm: SwarmFile): void {
  writeFileSync(`${file}.new`, JSON.stringify(swarm, null, 2), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
