/**
 * The files of a model directory: small ones read whole, weights read in pieces where they are
 * needed, and the hash of everything that was read.
 */
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelError, type ModelErrorCode } from './errors.ts';
import type { ByteSource } from './safetensors.ts';

/** No configuration or tokenizer is larger. */
const SMALL_FILE_BYTES_MAX = 256 * 1024 * 1024;
const HASH_DOMAIN = 'openledger/model-directory/1\n';

/** See `openFiles`. */
export type ModelFiles = {
  has(name: string): Promise<boolean>;
  /**
   * The parsed content of a JSON file.
   *
   * @throws ModelError MODEL_FILE_MISSING | MODEL_FILE_TOO_LARGE, or `code` when it is not JSON
   */
  json(name: string, code: ModelErrorCode): Promise<unknown>;
  /** The content of a text file. */
  text(name: string): Promise<string>;
  /** A large file, of which only the pieces that are asked for come into memory. */
  source(name: string): Promise<ByteSource>;
  /** SHA-256 over the names and hashes of the files used; large ones are read through once more. */
  hash(): Promise<Uint8Array>;
  /** Sizes of the files used so far. */
  bytes(): number;
};

/** The files of a directory; those that are `outsideHash` do not count for hash and size. */
export function openFiles(directory: string, outsideHash: readonly string[]): ModelFiles {
  const hashes = new Map<string, string>();
  const large = new Map<string, number>();
  let bytes = 0;
  const size = async (name: string): Promise<number | undefined> => {
    try {
      const found = await stat(join(directory, name));
      return found.isFile() ? found.size : undefined;
    } catch {
      return undefined;
    }
  };
  const read = async (name: string): Promise<Uint8Array> => {
    const file = join(directory, name);
    const found = present(await size(name), file);
    if (found > SMALL_FILE_BYTES_MAX) {
      const expected = `at most ${SMALL_FILE_BYTES_MAX} bytes`;
      const details = { file, expected, found: `${found}` };
      throw new ModelError('MODEL_FILE_TOO_LARGE', 'no such file is so large', details);
    }
    const content = await readFile(file);
    if (outsideHash.includes(name)) return content;
    hashes.set(name, createHash('sha256').update(content).digest('hex'));
    bytes += content.length;
    return content;
  };
  return {
    has: async (name) => (await size(name)) !== undefined,
    json: async (name, code) => parseJson(await read(name), name, code),
    text: async (name) => new TextDecoder().decode(await read(name)),
    async source(name) {
      const found = present(await size(name), join(directory, name));
      large.set(name, found);
      return fileSource(join(directory, name));
    },
    async hash() {
      for (const name of large.keys()) {
        if (!hashes.has(name)) hashes.set(name, await fileHash(join(directory, name)));
      }
      const hash = createHash('sha256').update(HASH_DOMAIN);
      for (const name of [...hashes.keys()].sort()) {
        // What somebody calls a GGUF file does not change what it computes.
        const shown = name.endsWith('.gguf') ? 'model.gguf' : name;
        hash.update(`${shown}\0${hashes.get(name)}\n`);
      }
      return new Uint8Array(hash.digest());
    },
    bytes: () => [...large.values()].reduce((sum, one) => sum + one, bytes),
  };
}

function present(size: number | undefined, file: string): number {
  if (size !== undefined) return size;
  const remedy = 'give the path of a model in Hugging Face layout';
  const details = { file, expected: 'a file', remedy };
  throw new ModelError('MODEL_FILE_MISSING', 'the model lacks a file', details);
}

async function fileHash(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(piece);
  return hash.digest('hex');
}

/** `use` gets the open file and says whether it gave all it should; false is MODEL_FILE_CHANGED. */
export type FileSource = Required<ByteSource> & {
  use(take: (descriptor: number) => boolean): void;
};

/**
 * A file on disk, opened anew for every read so that nothing has to be closed. What is read must
 * still be what was hashed and whose header was checked, so a file that changed is refused.
 *
 * @param expected what the file was when somebody checked it; absent: what it is now
 */
export function fileSource(file: string, expected?: string): FileSource {
  const identity = (descriptor: number) => {
    const { ino, size, mtimeMs } = fstatSync(descriptor);
    return { size, mark: `${ino}, ${size} bytes, ${mtimeMs}` };
  };
  const opened = <Result>(use: (descriptor: number) => Result): Result => {
    const descriptor = openSync(file, 'r');
    try {
      return use(descriptor);
    } finally {
      closeSync(descriptor);
    }
  };
  const { size, mark: current } = opened(identity);
  const mark = expected ?? current;
  const unchanged = (take: (descriptor: number) => void) =>
    opened((descriptor) => {
      const found = identity(descriptor).mark;
      if (found !== mark) throw changed(file, mark, found);
      take(descriptor);
    });
  return {
    size,
    place: { path: file, mark },
    use: (take) =>
      unchanged((descriptor) => {
        if (!take(descriptor)) throw changed(file, mark, 'fewer bytes');
      }),
    read: (into, at) =>
      unchanged((descriptor) => {
        let done = 0;
        while (done < into.length) {
          const count = readSync(descriptor, into, done, into.length - done, at + done);
          if (count === 0) throw changed(file, `${into.length} bytes at ${at}`, `${done}`);
          done += count;
        }
      }),
  };
}

function changed(file: string, expected: string, found: string): ModelError {
  const remedy = 'open the model again';
  const details = { file, expected, found, remedy };
  return new ModelError('MODEL_FILE_CHANGED', 'the file changed after it was opened', details);
}

function parseJson(bytes: Uint8Array, file: string, code: ModelErrorCode): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw new ModelError(code, 'not JSON', { file, expected: 'UTF-8 JSON', found });
  }
}
