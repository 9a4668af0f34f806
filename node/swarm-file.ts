/**
 * `swarm.json`: how commands find a running swarm. Written by whoever starts it, mode 0600 because it
 * holds the token of the nodes' control APIs.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
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

/** Writes the file so that a reader sees the old one or the new one, whole. */
export function writeSwarmFile(file: string, swarm: SwarmFile): void {
  writeFileSync(`${file}.new`, JSON.stringify(swarm, null, 2), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
