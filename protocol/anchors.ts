/**
 * What a verifier already trusts, read from the chain: roots of adapters, versions and epochs, and
 * the governed numbers. As JSON it travels with an audit or lies beside a receipt file.
 */
import { type Address, type Bytes32, isHexOf } from '#crypto';
import type { FeeRules } from './payouts.ts';
import type { Threshold } from './scores.ts';

export type AdapterAnchor = {
  readonly adapterId: Bytes32;
  readonly baseHash: Bytes32;
  readonly datanetId: Bytes32;
  readonly version: number;
  readonly adapterHash: Bytes32;
  readonly sketchRoot: Bytes32;
  readonly sketchCount: number;
};
export type VersionAnchor = {
  readonly datanetId: Bytes32;
  readonly version: number;
  readonly root: Bytes32;
  readonly recordCount: number;
};
export type EpochAnchor = {
  readonly epoch: number;
  readonly receiptsRoot: Bytes32;
  readonly receiptCount: number;
};
/** The governed numbers that a receipt depends on. */
export type ReceiptRules = FeeRules & Threshold;

export type TrustedAnchors = {
  readonly chainId: number;
  readonly referee: Address;
  readonly adapters: readonly AdapterAnchor[];
  readonly versions: readonly VersionAnchor[];
  readonly epochs: readonly EpochAnchor[];
  readonly parameters: ReceiptRules;
};

export class AnchorsError extends Error {
  override readonly name = 'AnchorsError';
  readonly code = 'ANCHORS_INVALID';
  readonly at: string;
  constructor(at: string, expected: string) {
    super(`anchors: expected ${expected} at ${at}; write the file again with "info --anchors"`);
    this.at = at;
  }
}

/** JSON text, two spaces, keys in the order of the type. */
export function encodeAnchors(anchors: TrustedAnchors): string {
  return `${JSON.stringify(readAnchors(anchors), null, 2)}\n`;
}

/** The anchors in JSON text. @throws AnchorsError naming the place that is not as expected. */
export function decodeAnchors(json: string): TrustedAnchors {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    throw new AnchorsError('the beginning', 'JSON');
  }
  return readAnchors(parsed);
}

function readAnchors(value: unknown): TrustedAnchors {
  const map = mapAt(value, 'anchors');
  const parameters = mapAt(map['parameters'], 'parameters');
  const rule = (name: string) => integerAt(parameters, name, 'parameters');
  return {
    chainId: integerAt(map, 'chainId', 'anchors'),
    referee: hexAt(map, 'referee', 20, 'anchors'),
    adapters: listAt(map, 'adapters', (item, at) => ({
      adapterId: hexAt(item, 'adapterId', 32, at),
      baseHash: hexAt(item, 'baseHash', 32, at),
      datanetId: hexAt(item, 'datanetId', 32, at),
      version: integerAt(item, 'version', at),
      adapterHash: hexAt(item, 'adapterHash', 32, at),
      sketchRoot: hexAt(item, 'sketchRoot', 32, at),
      sketchCount: integerAt(item, 'sketchCount', at),
    })),
    versions: listAt(map, 'versions', (item, at) => ({
      datanetId: hexAt(item, 'datanetId', 32, at),
      version: integerAt(item, 'version', at),
      root: hexAt(item, 'root', 32, at),
      recordCount: integerAt(item, 'recordCount', at),
    })),
    epochs: listAt(map, 'epochs', (item, at) => ({
      epoch: integerAt(item, 'epoch', at),
      receiptsRoot: hexAt(item, 'receiptsRoot', 32, at),
      receiptCount: integerAt(item, 'receiptCount', at),
    })),
    parameters: {
      numerator: rule('numerator'),
      denominator: rule('denominator'),
      platformPpm: rule('platformPpm'),
      modelOwnerPpm: rule('modelOwnerPpm'),
      stakersPpm: rule('stakersPpm'),
      dataPpm: rule('dataPpm'),
      learnedPpm: rule('learnedPpm'),
    },
  };
}

type JsonMap = { readonly [name: string]: unknown };

function mapAt(value: unknown, at: string): JsonMap {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new AnchorsError(at, 'an object');
  }
  return value as JsonMap;
}

function integerAt(map: JsonMap, name: string, at: string): number {
  const value = map[name];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new AnchorsError(`${at}.${name}`, 'an integer from 0 on');
  }
  return value;
}

function hexAt(map: JsonMap, name: string, length: number, at: string): Address & Bytes32 {
  const value = map[name];
  if (!isHexOf(value, length)) {
    throw new AnchorsError(`${at}.${name}`, `0x and ${2 * length} hexadecimal digits`);
  }
  return value.toLowerCase() as Address & Bytes32;
}

function listAt<Item>(
  map: JsonMap,
  name: string,
  read: (item: JsonMap, at: string) => Item,
): readonly Item[] {
  const value = map[name];
  if (!Array.isArray(value)) throw new AnchorsError(name, 'a list');
  return value.map((item: unknown, i) => {
    const at = `${name}[${i}]`;
    return read(mapAt(item, at), at);
  });
}
