/**
 * The GGUF container of llama.cpp: magic, version, counts, metadata, table of tensors, data. Only the
 * header comes into memory, and no length in it is believed before the bytes are there. Source of the
 * format: ggml's docs/gguf.md.
 */
import { ModelError, type ModelErrorCode } from '../model/errors.ts';
import type { ByteSource } from '../model/safetensors.ts';

/** Number formats that we read; Q8_0 is blocks of 32 int8 with one binary16 scale. */
export type GgufDtype = 'F32' | 'F16' | 'BF16' | 'Q8_0';

/** One metadata value. Lists of numbers are typed arrays of their stored type, booleans one byte each. */
export type GgufValue = number | bigint | boolean | string | GgufArray;
export type GgufArray = readonly string[] | GgufNumbers;
type GgufNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array;

/** A tensor as the table names it: ggml's type number, sizes from the fastest, offset in the data. */
type TableEntry = {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly type: number;
  readonly offset: number;
};

/** The header as it is written, before anything in it is compared with anything else. */
export type GgufHeader = {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly table: readonly TableEntry[];
  /** Bytes of the header, without the padding before the data. */
  readonly length: number;
};

/** Where a tensor lies. */
export type GgufTensor = {
  readonly dtype: GgufDtype;
  /** Row-major: [out, in], as safetensors has it. */
  readonly shape: readonly number[];
  /** Byte offset in the file. */
  readonly at: number;
};

/** A checked file. */
export type GgufFile = {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** The file on disk, when it is one. */
  readonly place?: ByteSource['place'];
};

/** 'GGUF', little-endian. */
export const GGUF_MAGIC = 0x46554747;
/** ggml's numbers of the formats, and how many values take how many bytes. */
export const GGUF_DTYPES: Readonly<
  Record<GgufDtype, { number: number; block: number; bytes: number }>
> = {
  F32: { number: 0, block: 1, bytes: 4 },
  F16: { number: 1, block: 1, bytes: 2 },
  Q8_0: { number: 8, block: 32, bytes: 34 },
  BF16: { number: 30, block: 1, bytes: 2 },
};
/** Type numbers of metadata values. */
export const GGUF_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;
export const GGUF_ALIGNMENT = 32;

/** Far above any vocabulary, far below trouble. */
const HEADER_BYTES_MAX = 128 * 1024 * 1024;
const COUNT_MAX = 65_536;
const NAME_BYTES_MAX = 65_535;
const DIMENSIONS_MAX = 4;
const ALIGNMENT_MAX = 2 ** 20;
const WINDOW_BYTES = 256 * 1024;

/** The array of each type of number, by its type number. */
export const GGUF_NUMBERS = {
  0: Uint8Array,
  1: Int8Array,
  2: Uint16Array,
  3: Int16Array,
  4: Uint32Array,
  5: Int32Array,
  6: Float32Array,
  7: Uint8Array,
  10: BigUint64Array,
  11: BigInt64Array,
  12: Float64Array,
} as const;

/**
 * Opens a GGUF file (version 2 or 3, little-endian) of which only the header is held in memory: the
 * tensors must lie one after the other, each at the next aligned offset, up to the end of the file.
 *
 * @param file its name, for error messages
 * @throws ModelError GGUF_TRUNCATED | GGUF_HEADER_INVALID | DTYPE_UNSUPPORTED
 */
export function openGguf(source: ByteSource, file: string): GgufFile {
  const { metadata, table, length } = readGgufHeader(source, file);
  const alignment = alignmentOf(metadata, file);
  const padded = (at: number) => Math.ceil(at / alignment) * alignment;
  const dataAt = padded(length);
  const tensors = new Map<string, GgufTensor>();
  let end = 0;
  for (const { name, sizes, type, offset } of table) {
    const fail = (expected: string, found: unknown) =>
      problem('GGUF_HEADER_INVALID', file, name, expected, `${found}`);
    if (tensors.has(name)) throw fail('a tensor of each name', 'two');
    const { dtype, bytes } = sizeOf(name, sizes, type, file);
    if (offset !== padded(end)) {
      throw fail(`data at ${padded(end)}, where the previous tensor ends`, offset);
    }
    end = offset + bytes;
    if (dataAt + end > source.size) {
      throw problem('GGUF_TRUNCATED', file, name, `${dataAt + end} bytes`, `${source.size}`);
    }
    tensors.set(name, { dtype, shape: [...sizes].reverse(), at: dataAt + offset });
  }
  // The last tensor may be padded or not; a file without tensors may end with its header.
  const ends = tensors.size === 0 ? [length, dataAt] : [dataAt + end, dataAt + padded(end)];
  if (source.size < ends[0]! || source.size > ends[1]!) {
    const expected = `a file of ${ends[0]} to ${ends[1]} bytes`;
    throw problem('GGUF_HEADER_INVALID', file, '(data)', expected, `${source.size}`);
  }
  return { metadata, tensors, ...(source.place === undefined ? {} : { place: source.place }) };
}

/** Format and bytes of a tensor of these sizes. */
function sizeOf(
  name: string,
  sizes: readonly number[],
  type: number,
  file: string,
): { dtype: GgufDtype; bytes: number } {
  const found = Object.entries(GGUF_DTYPES).find(([, { number }]) => number === type);
  if (found === undefined) {
    throw problem('DTYPE_UNSUPPORTED', file, name, 'F32, F16, BF16 or Q8_0', `type ${type}`);
  }
  const [dtype, { block, bytes }] = found as [GgufDtype, { block: number; bytes: number }];
  if (sizes[0]! % block !== 0) {
    const expected = `rows of a multiple of ${block} values for ${dtype}`;
    throw problem('GGUF_HEADER_INVALID', file, name, expected, `${sizes[0]}`);
  }
  // A product beyond 2^53 loses digits but stays far above any file.
  return { dtype, bytes: (sizes.reduce((product, size) => product * size, 1) / block) * bytes };
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, file: string): number {
  const key = 'general.alignment';
  const value = metadata.get(key) ?? GGUF_ALIGNMENT;
  if (typeof value === 'number' && value >= 1 && value <= ALIGNMENT_MAX && isPowerOfTwo(value)) {
    return value;
  }
  const expected = `a power of two up to ${ALIGNMENT_MAX}`;
  throw problem('GGUF_HEADER_INVALID', file, key, expected, String(value).slice(0, 80));
}

const isPowerOfTwo = (value: number) => Number.isInteger(Math.log2(value));

/**
 * Reads the header alone: every key and tensor is taken as it is written.
 *
 * @throws ModelError GGUF_TRUNCATED | GGUF_HEADER_INVALID
 */
export function readGgufHeader(source: ByteSource, file: string): GgufHeader {
  const cursor = new Cursor(source, file);
  const fail = (key: string, expected: string, found: unknown) =>
    problem('GGUF_HEADER_INVALID', file, key, expected, `${found}`);
  const magic = cursor.u32('(magic)');
  if (magic !== GGUF_MAGIC) throw fail('(magic)', '"GGUF"', `0x${magic.toString(16)}`);
  const version = cursor.u32('(version)');
  if (version !== 2 && version !== 3) throw fail('(version)', '2 or 3, little-endian', version);
  const tensorCount = cursor.count('(tensor count)', COUNT_MAX);
  const keyCount = cursor.count('(key count)', COUNT_MAX);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.string(`(key ${i})`, NAME_BYTES_MAX);
    if (metadata.has(key)) throw fail(key, 'a value for each key', 'two');
    metadata.set(key, readValue(cursor, key, cursor.u32(key), fail));
  }
  const table: TableEntry[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const name = cursor.string(`(tensor ${i})`, NAME_BYTES_MAX);
    const dimensions = cursor.u32(name);
    if (dimensions < 1 || dimensions > DIMENSIONS_MAX) {
      throw fail(name, `1 to ${DIMENSIONS_MAX} dimensions`, dimensions);
    }
    const sizes = Array.from({ length: dimensions }, () => cursor.u64(name));
    if (sizes.includes(0)) throw fail(name, 'sizes of 1 or more', sizes.join(' × '));
    table.push({ name, sizes, type: cursor.u32(name), offset: cursor.u64(name) });
  }
  return { version, metadata, table, length: cursor.at };
}

type Fail = (key: string, expected: string, found: unknown) => ModelError;

function readValue(cursor: Cursor, key: string, type: number, fail: Fail): GgufValue {
  if (type === GGUF_TYPES.string) return cursor.string(key, HEADER_BYTES_MAX);
  if (type === GGUF_TYPES.array) return readArray(cursor, key, fail);
  if (!Object.hasOwn(GGUF_NUMBERS, type)) throw fail(key, 'a type from 0 to 12', `type ${type}`);
  const value = cursor.numbers(key, GGUF_NUMBERS[type as keyof typeof GGUF_NUMBERS], 1)[0]!;
  if (type === GGUF_TYPES.bool) return readFlag(key, value as number, fail);
  const isSafe = typeof value === 'bigint' && BigInt(Number.MAX_SAFE_INTEGER) >= absolute(value);
  return isSafe ? Number(value) : value;
}

const absolute = (value: bigint) => (value < 0n ? -value : value);

function readFlag(key: string, byte: number, fail: Fail): boolean {
  if (byte > 1) throw fail(key, '0 or 1', byte);
  return byte === 1;
}

function readArray(cursor: Cursor, key: string, fail: Fail): GgufArray {
  const type = cursor.u32(key);
  if (type === GGUF_TYPES.string) {
    // Every string takes eight bytes or more of the header.
    const count = cursor.count(key, HEADER_BYTES_MAX / 8);
    const texts: string[] = [];
    for (let i = 0; i < count; i++) texts.push(cursor.string(key, HEADER_BYTES_MAX));
    return texts;
  }
  if (!Object.hasOwn(GGUF_NUMBERS, type)) {
    throw fail(key, 'a list of texts or numbers', `a list of type ${type}`);
  }
  const kind = GGUF_NUMBERS[type as keyof typeof GGUF_NUMBERS];
  return cursor.numbers(key, kind, cursor.count(key, HEADER_BYTES_MAX / kind.BYTES_PER_ELEMENT));
}

/** Walks through the header by a window; whoever asks for bytes says for which key. */
class Cursor {
  at = 0;
  readonly #source: ByteSource;
  readonly #file: string;
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #window = Buffer.alloc(0);
  #windowAt = 0;

  constructor(source: ByteSource, file: string) {
    this.#source = source;
    this.#file = file;
  }

  /** The next bytes; valid until the next call. */
  #take(key: string, length: number): Buffer {
    const end = this.at + length;
    if (end > HEADER_BYTES_MAX) {
      const expected = `a header of at most ${HEADER_BYTES_MAX} bytes`;
      throw problem('GGUF_HEADER_INVALID', this.#file, key, expected, `${end}`);
    }
    const { size } = this.#source;
    if (end > size) {
      throw problem('GGUF_TRUNCATED', this.#file, key, `${end} bytes or more`, `${size} bytes`);
    }
    if (end > this.#windowAt + this.#window.length) {
      const wanted = Math.min(Math.max(length, WINDOW_BYTES), size - this.at);
      this.#window = Buffer.alloc(wanted);
      this.#windowAt = this.at;
      this.#source.read(this.#window, this.at);
    }
    const from = this.at - this.#windowAt;
    this.at = end;
    return this.#window.subarray(from, from + length);
  }

  u32(key: string): number {
    return this.#take(key, 4).readUInt32LE(0);
  }

  /** Beyond 2^53 it loses digits, and is refused by whoever knows the limit. */
  u64(key: string): number {
    const bytes = this.#take(key, 8);
    return bytes.readUInt32LE(4) * 2 ** 32 + bytes.readUInt32LE(0);
  }

  count(key: string, limit: number): number {
    const count = this.u64(key);
    if (count <= limit) return count;
    throw problem('GGUF_HEADER_INVALID', this.#file, key, `a count up to ${limit}`, `${count}`);
  }

  string(key: string, limit: number): string {
    const bytes = this.#take(key, this.count(key, limit));
    try {
      return this.#decoder.decode(bytes);
    } catch {
      const found = bytes.subarray(0, 16).toString('hex');
      throw problem('GGUF_HEADER_INVALID', this.#file, key, 'UTF-8', found);
    }
  }

  numbers(
    key: string,
    kind: (typeof GGUF_NUMBERS)[keyof typeof GGUF_NUMBERS],
    count: number,
  ): GgufNumbers {
    const bytes = this.#take(key, count * kind.BYTES_PER_ELEMENT);
    // A copy of their own is aligned.
    return new kind(Uint8Array.from(bytes).buffer);
  }
}

function problem(
  code: ModelErrorCode,
  file: string,
  key: string,
  expected: string,
  found: string,
): ModelError {
  const remedy = code === 'GGUF_TRUNCATED' ? 'fetch the file again' : 'use another file';
  return new ModelError(code, 'not a usable GGUF file', { file, key, expected, found, remedy });
}
