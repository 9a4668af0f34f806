/**
 * The two files of a PEFT directory as one body between the command line and a node: the length of the
 * config in four bytes (little-endian), the config, the weights.
 */
import { NodeError } from './errors.ts';

export type AdapterFiles = { readonly config: string; readonly weights: Uint8Array };

/** Largest body that a node takes: the factors of any model it can hold are smaller. */
export const ADAPTER_BYTES_MAX = 512 * 1024 * 1024;

export function joinAdapterFiles({ config, weights }: AdapterFiles): Uint8Array {
  const head = Buffer.from(config);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length);
  return Buffer.concat([length, head, weights]);
}

/** @throws NodeError FILE_UNREADABLE when the body ends before the config does */
export function splitAdapterFiles(body: Uint8Array): AdapterFiles {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const end = bytes.length < 4 ? Number.POSITIVE_INFINITY : 4 + bytes.readUInt32LE();
  if (end > bytes.length)
    throw new NodeError(
      'FILE_UNREADABLE',
      { file: 'the adapter sent', reason: `${bytes.length} bytes end inside the config` },
      'send the files whole',
    );
  // A copy: tensors are read as words, wherever the config ended.
  return { config: bytes.toString('utf8', 4, end), weights: new Uint8Array(bytes.subarray(end)) };
}
