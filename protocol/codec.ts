/**
 * The shapes of objects on the wire and on disk: each codec reads a decoded value strictly (exact
 * keys, exact types, stated limits) and writes it back. In memory hashes and addresses are text,
 * amounts are bigint; in CBOR they are byte strings of fixed length.
 */
import { type Address, type Bytes32, fromHex, type Hex, toHex, toUint, uint256 } from '#crypto';
import { type CID, DAG_CBOR, decodeCanonical, encodeCanonical, isCidOf } from './cbor.ts';

/** Methods, not properties, so that a codec of a part is accepted where any codec is. */
export type Codec<Value> = {
  /** @throws ShapeError naming `path` if the value has another shape. */
  read(value: unknown, path: string): Value;
  write(value: Value): unknown;
};
export type ValueOf<Some> = Some extends Codec<infer Value> ? Value : never;

/** What is wrong with a value and where; turned into a result by `decodeWith`. */
export class ShapeError extends Error {
  override readonly name = 'ShapeError';
  readonly path: string;
  constructor(path: string, expected: string) {
    super(`${path}: expected ${expected}`);
    this.path = path;
  }
}

/** `at` names the place, `message` says what was expected there. */
export type DecodeFailure = {
  readonly ok: false;
  readonly code: 'TOO_LARGE' | 'NON_CANONICAL' | 'WRONG_SHAPE';
  readonly at: string;
  readonly message: string;
};
export type Decoded<Value> = { readonly ok: true; readonly value: Value } | DecodeFailure;

/** An unsigned integer up to `max`, at most 2^53 − 1. */
export function uint(max: number = Number.MAX_SAFE_INTEGER): Codec<number> {
  return {
    read: (value, path) => {
      if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max) {
        throw new ShapeError(path, `an integer of 0 to ${max}`);
      }
      return value;
    },
    write: (value) => value,
  };
}

/** An integer between −max and max. */
export function int(max: number): Codec<number> {
  return {
    read: (value, path) => {
      if (typeof value !== 'number' || !Number.isSafeInteger(value) || Math.abs(value) > max) {
        throw new ShapeError(path, `an integer of ${-max} to ${max}`);
      }
      return value;
    },
    write: (value) => value,
  };
}

/** A finite number from 0 on, as float64: settings of training, never amounts. */
export const fraction: Codec<number> = {
  read: (value, path) => {
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0 || Object.is(value, -0)) {
      throw new ShapeError(path, 'a finite number from 0 on');
    }
    return value;
  },
  write: (value) => value,
};

export const uint32: Codec<number> = uint(0xffff_ffff);

/** Exactly `length` bytes, or 0 to `max` bytes. */
export function bytes(
  limits: { readonly length: number } | { readonly max: number },
): Codec<Uint8Array> {
  return {
    read: (value, path) => {
      if (!(value instanceof Uint8Array)) throw new ShapeError(path, 'bytes');
      if ('length' in limits ? value.length !== limits.length : value.length > limits.max) {
        throw new ShapeError(path, `bytes of ${JSON.stringify(limits)}, got ${value.length}`);
      }
      return value;
    },
    write: (value) => value,
  };
}

function hexOf(length: number): Codec<Hex> {
  const inner = bytes({ length });
  return {
    read: (value, path) => toHex(inner.read(value, path)),
    write: (value) => fromHex(value),
  };
}

/** 20 bytes, text in memory. */
export const address: Codec<Address> = hexOf(20);
/** 32 bytes, text in memory. */
export const hash32: Codec<Bytes32> = hexOf(32);
/** A signature `r ‖ s ‖ v`. */
export const signature: Codec<Uint8Array> = bytes({ length: 65 });

/** An amount: 32 bytes, big-endian; CBOR has integers of 64 bits only. */
export const wei: Codec<bigint> = {
  read: (value, path) => toUint(bytes({ length: 32 }).read(value, path)),
  write: (value) => uint256(value),
};

/** Text of at most `maxBytes` in UTF-8. */
export function text(maxBytes: number): Codec<string> {
  return {
    read: (value, path) => {
      if (typeof value !== 'string' || new TextEncoder().encode(value).length > maxBytes) {
        throw new ShapeError(path, `text of at most ${maxBytes} bytes`);
      }
      return value;
    },
    write: (value) => value,
  };
}

export const bool: Codec<boolean> = {
  read: (value, path) => {
    if (typeof value !== 'boolean') throw new ShapeError(path, 'true or false');
    return value;
  },
  write: (value) => value,
};

/** One of the given values and nothing else. */
export function literal<const Value extends string | number>(
  ...allowed: readonly Value[]
): Codec<Value> {
  return {
    read: (value, path) => {
      const found = allowed.find((each) => each === value);
      if (found === undefined) throw new ShapeError(path, allowed.join(' or '));
      return found;
    },
    write: (value) => value,
  };
}

/** A link: CIDv1, sha2-256. @param codec DAG_CBOR or RAW */
export function link(codec: number = DAG_CBOR): Codec<CID> {
  return {
    read: (value, path) => {
      if (!isCidOf(value, codec)) throw new ShapeError(path, `a CIDv1 of codec ${codec}, sha2-256`);
      return value;
    },
    write: (value) => value,
  };
}

/** A list of at most `max` of one kind. */
export function list<Item>(item: Codec<Item>, max: number): Codec<readonly Item[]> {
  return {
    read: (value, path) => {
      if (!Array.isArray(value) || value.length > max) {
        throw new ShapeError(path, `a list of at most ${max}`);
      }
      return value.map((each: unknown, i) => item.read(each, `${path}[${i}]`));
    },
    write: (value) => value.map((each) => item.write(each)),
  };
}

/** null, or what the inner codec takes. */
export function nullable<Value>(inner: Codec<Value>): Codec<Value | null> {
  return {
    read: (value, path) => (value === null ? null : inner.read(value, path)),
    write: (value) => (value === null ? null : inner.write(value)),
  };
}

type Fields = { readonly [name: string]: Codec<unknown> };

/** A map with exactly these keys. */
export function object<Shape extends Fields>(
  shape: Shape,
): Codec<{ readonly [Name in keyof Shape]: ValueOf<Shape[Name]> }> {
  type Value = { readonly [Name in keyof Shape]: ValueOf<Shape[Name]> };
  const names = Object.keys(shape);
  return {
    read: (value, path) => {
      const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
      if (!isMap || value instanceof Uint8Array) throw new ShapeError(path, 'a map');
      const given = value as { readonly [name: string]: unknown };
      for (const name of Object.keys(given)) {
        if (!Object.hasOwn(shape, name)) throw new ShapeError(`${path}.${name}`, 'no such key');
      }
      const read: { [name: string]: unknown } = {};
      for (const name of names) {
        if (!Object.hasOwn(given, name)) throw new ShapeError(`${path}.${name}`, 'a value');
        read[name] = (shape[name] as Codec<unknown>).read(given[name], `${path}.${name}`);
      }
      return read as Value;
    },
    write: (value) => {
      const written: { [name: string]: unknown } = {};
      for (const name of names) {
        written[name] = (shape[name] as Codec<unknown>).write(value[name as keyof Value]);
      }
      return written;
    },
  };
}

/** The canonical bytes of a value. @throws if the value does not fit its codec. */
export function encodeWith<Value>(codec: Codec<Value>, value: Value): Uint8Array {
  const written = codec.write(value);
  codec.read(written, 'value');
  return encodeCanonical(written);
}

/** The value that the bytes stand for, or why they stand for none. Never throws. */
export function decodeWith<Value>(
  codec: Codec<Value>,
  encoded: Uint8Array,
  lengthMax: number,
): Decoded<Value> {
  if (encoded.length > lengthMax) {
    const message = `expected at most ${lengthMax} bytes, got ${encoded.length}`;
    return { ok: false, code: 'TOO_LARGE', at: 'value', message };
  }
  const decoded = decodeCanonical(encoded);
  if (decoded === null) {
    return { ok: false, code: 'NON_CANONICAL', at: 'value', message: 'not canonical dag-cbor' };
  }
  return readWith(codec, decoded.value);
}

/** Reads an already decoded value. Never throws. */
export function readWith<Value>(codec: Codec<Value>, value: unknown): Decoded<Value> {
  try {
    return { ok: true, value: codec.read(value, 'value') };
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    return { ok: false, code: 'WRONG_SHAPE', at: error.path, message: error.message };
  }
}
