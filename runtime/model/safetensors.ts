/**
 * The safetensors file format: u64 length, JSON header, tensor data. Every length, offset, dtype and
 * shape of a file is checked before a byte of data is believed, because files come from strangers.
 */
import type { TensorPlace } from '../engine/config.ts';
import { ModelError, type ModelErrorCode } from './errors.ts';
import { toBfloat16, widen } from './numbers.ts';

/** Number formats that we read. Data is little-endian; all become f32 in memory. */
export type Dtype = 'F32' | 'F16' | 'BF16';

/** Where one tensor lies: `begin` and `end` are offsets into the data section, in bytes. */
export type TensorEntry = {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
};

/** A checked safetensors file, in memory or on disk. */
export type SafetensorsFile = {
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Offset of the data section in the file, in bytes. */
  readonly dataAt: number;
  /** The file on disk, when it is one. */
  readonly place?: ByteSource['place'];
  /** The values of a tensor as f32, row-major. Throws TENSOR_MISSING for an unknown name. */
  tensor(name: string): Float32Array;
  /**
   * The same, into an array of just that length; little more memory than that is used.
   *
   * @returns whether every value is finite
   */
  fill(name: string, into: Float32Array): boolean;
};

/** Bytes that can be read from any place: a file on disk, or an array. */
export type ByteSource = {
  readonly size: number;
  /** Fills `into` with the bytes from `at` on, which lie within `size`. */
  read(into: Uint8Array, at: number): void;
  /** The file, where there is one. */
  readonly place?: Pick<TensorPlace, 'path' | 'mark'>;
};

/** A tensor to be written. */
export type NamedTensor = {
  name: string;
  shape: readonly number[];
  /** Row-major values; their count is the product of the shape. */
  values: Float32Array;
};

const HEADER_BYTES_MAX = 16 * 1024 * 1024;
const DIMENSIONS_MAX = 8;
/** Read and converted at a time: small enough to stay in the processor's cache. */
const PIECE_BYTES = 256 * 1024;
const BYTES_OF: Readonly<Record<Dtype, number>> = { F32: 4, F16: 2, BF16: 2 };

/**
 * Reads a safetensors file: the whole data section must be covered by the tensors, without gaps and
 * without overlaps.
 *
 * @param bytes the whole file
 * @param file its name, for error messages
 * @throws ModelError SAFETENSORS_TRUNCATED | SAFETENSORS_HEADER_INVALID | DTYPE_UNSUPPORTED
 */
export function readSafetensors(bytes: Uint8Array, file: string): SafetensorsFile {
  const read = (into: Uint8Array, at: number) => into.set(bytes.subarray(at, at + into.length));
  return openSafetensors({ size: bytes.length, read }, file);
}

/**
 * Opens a safetensors file of which only the header is held in memory.
 *
 * @throws ModelError as `readSafetensors` does
 */
export function openSafetensors(source: ByteSource, file: string): SafetensorsFile {
  const headerBytes = headerLength(source, file);
  const header = parseHeader(bytesAt(source, 8, headerBytes), file);
  const dataAt = 8 + headerBytes;
  const entries = new Map<string, TensorEntry>();
  let metadata = new Map<string, string>();
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = readMetadata(value, file);
    else entries.set(name, readEntry(name, value, file));
  }
  checkCoverage(entries, source.size - dataAt, file);
  const find = (name: string): TensorEntry => {
    const entry = entries.get(name);
    if (entry !== undefined) return entry;
    throw new ModelError('TENSOR_MISSING', 'the file lacks a tensor', {
      file,
      key: name,
      expected: 'a tensor of this name',
      found: `${entries.size} others`,
    });
  };
  const fill = (name: string, into: Float32Array) => {
    const { dtype, begin, end } = find(name);
    const count = (end - begin) / BYTES_OF[dtype];
    if (into.length !== count) {
      throw new RangeError(`${name}: expected room for ${count} values, found ${into.length}`);
    }
    return readFloats(source, dataAt + begin, dtype, into);
  };
  return {
    entries,
    metadata,
    dataAt,
    ...(source.place === undefined ? {} : { place: source.place }),
    fill,
    tensor(name) {
      const { dtype, begin, end } = find(name);
      const values = new Float32Array((end - begin) / BYTES_OF[dtype]);
      fill(name, values);
      return values;
    },
  };
}

function bytesAt(source: ByteSource, at: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  source.read(bytes, at);
  return bytes;
}

function headerLength(source: ByteSource, file: string): number {
  const { size } = source;
  if (size < 8) {
    throw problem('SAFETENSORS_TRUNCATED', file, 'length', '8 bytes or more', `${size} bytes`);
  }
  const length = new DataView(bytesAt(source, 0, 8).buffer).getBigUint64(0, true);
  if (length < 2n || length > BigInt(HEADER_BYTES_MAX)) {
    const expected = `2 to ${HEADER_BYTES_MAX} bytes of header`;
    throw problem('SAFETENSORS_HEADER_INVALID', file, 'length', expected, `${length}`);
  }
  if (8 + Number(length) > size) {
    const expected = `${8 + Number(length)} bytes or more`;
    throw problem('SAFETENSORS_TRUNCATED', file, 'header', expected, `${size} bytes`);
  }
  return Number(length);
}

function parseHeader(bytes: Uint8Array, file: string): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw problem('SAFETENSORS_HEADER_INVALID', file, 'header', 'UTF-8 JSON', found);
  }
  if (isRecord(header)) return header;
  throw problem('SAFETENSORS_HEADER_INVALID', file, 'header', 'a JSON object', show(header));
}

function readMetadata(value: unknown, file: string): Map<string, string> {
  const metadata = new Map<string, string>();
  if (!isRecord(value)) {
    throw problem('SAFETENSORS_HEADER_INVALID', file, '__metadata__', 'an object', show(value));
  }
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw problem('SAFETENSORS_HEADER_INVALID', file, '__metadata__', 'strings', show(text));
    }
    metadata.set(key, text);
  }
  return metadata;
}

function readEntry(name: string, value: unknown, file: string): TensorEntry {
  const fail = (expected: string, found: unknown) =>
    problem('SAFETENSORS_HEADER_INVALID', file, name, expected, show(found));
  if (!isRecord(value)) throw fail('an object with dtype, shape and data_offsets', value);
  const dtype = value['dtype'];
  if (typeof dtype !== 'string') throw fail('a dtype', dtype);
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
    throw problem('DTYPE_UNSUPPORTED', file, name, 'F32, F16 or BF16', show(dtype));
  }
  const shape: unknown = value['shape'];
  if (!Array.isArray(shape) || shape.length > DIMENSIONS_MAX || !shape.every(isCount)) {
    throw fail(`a shape of at most ${DIMENSIONS_MAX} whole numbers`, shape);
  }
  const offsets: unknown = value['data_offsets'];
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fail('data_offsets of two whole numbers', offsets);
  }
  const [begin, end] = offsets as [number, number];
  // A product beyond 2^53 loses digits but stays far above any file, so the comparison still holds.
  const bytes = shape.reduce((product, size) => product * size, 1) * BYTES_OF[dtype];
  if (end - begin !== bytes) throw fail(`${bytes} bytes for shape ${show(shape)}`, offsets);
  return { dtype, shape, begin, end };
}

/** The tensors must tile the data section: this rules out gaps, overlaps and lies about the end. */
function checkCoverage(
  entries: ReadonlyMap<string, TensorEntry>,
  dataBytes: number,
  file: string,
): void {
  const inOrder = [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const [name, { begin, end }] of inOrder) {
    if (begin !== at) {
      const expected = `data that begins at ${at}, where the previous tensor ends`;
      throw problem('SAFETENSORS_HEADER_INVALID', file, name, expected, `${begin}`);
    }
    if (end > dataBytes) {
      throw problem('SAFETENSORS_TRUNCATED', file, name, `${end} bytes of data`, `${dataBytes}`);
    }
    at = end;
  }
  if (at !== dataBytes) {
    throw problem(
      'SAFETENSORS_HEADER_INVALID',
      file,
      'data',
      `${at} bytes of data`,
      `${dataBytes}`,
    );
  }
}

/** Reads `into.length` numbers from `at` on, a piece at a time; whether all are finite. */
function readFloats(source: ByteSource, at: number, dtype: Dtype, into: Float32Array): boolean {
  const size = BYTES_OF[dtype];
  const perPiece = PIECE_BYTES / size;
  const scratch = new Uint32Array(Math.ceil((Math.min(perPiece, into.length) * size) / 4));
  let allFinite = true;
  for (let from = 0; from < into.length; from += perPiece) {
    const part = into.subarray(from, Math.min(into.length, from + perPiece));
    const bytes = new Uint8Array(scratch.buffer, 0, part.length * size);
    source.read(bytes, at + from * size);
    allFinite = widen(scratch, dtype, part) && allFinite;
  }
  return allFinite;
}

/**
 * Writes a safetensors file. Tensors are laid out in the order given; the header is padded with
 * spaces so that data begins at a multiple of 8. Equal input gives equal bytes.
 */
export function writeSafetensors(
  tensors: readonly NamedTensor[],
  dtype: 'F32' | 'BF16',
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header['__metadata__'] = metadata;
  let at = 0;
  for (const { name, shape, values } of tensors) {
    const count = shape.reduce((product, size) => product * size, 1);
    if (count !== values.length) {
      throw new RangeError(
        `${name}: shape ${show(shape)} has ${count} values, not ${values.length}`,
      );
    }
    const end = at + count * BYTES_OF[dtype];
    header[name] = { dtype, shape, data_offsets: [at, end] };
    at = end;
  }
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + headerBytes + at).fill(0x20, 8, 8 + headerBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.set(json, 8);
  let offset = 8 + headerBytes;
  for (const { values } of tensors) {
    const part = dtype === 'F32' ? values : toBfloat16(values);
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), offset);
    offset += part.byteLength;
  }
  return bytes;
}

function problem(
  code: ModelErrorCode,
  file: string,
  key: string,
  expected: string,
  found: string,
): ModelError {
  const remedy = code === 'SAFETENSORS_TRUNCATED' ? 'fetch the file again' : 'use another file';
  return new ModelError(code, 'not a usable safetensors file', {
    file,
    key,
    expected,
    found,
    remedy,
  });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 80);
}
