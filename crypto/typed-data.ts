/**
 * EIP-712 for structs of static fields and of such structs, which is all the protocol signs. A
 * struct's hash is what Solidity computes with `keccak256(abi.encode(TYPEHASH, fields…))`, where a
 * struct within it stands as its own hash.
 */
import {
  type Address,
  addressWord,
  type Bytes32,
  bytes32,
  concat,
  type Hex,
  uint256,
  utf8,
} from './bytes.ts';
import { keccak256 } from './hash.ts';

/** Types of the fields that we sign. */
export type StaticType = 'address' | 'bytes32' | 'uint32' | 'uint64' | 'uint256';
/** A struct: its name and its fields in the order in which they are hashed. */
export type StructType = {
  readonly name: string;
  readonly fields: readonly (readonly [name: string, type: StaticType | StructType])[];
};
/** Values by field name: text for addresses and hashes, numbers or bigints for integers, objects for structs. */
export type StructValues = { readonly [field: string]: Hex | number | bigint | StructValues };

/** Which contract on which chain will judge the signature. */
export type SigningDomain = {
  readonly chainId: number | bigint;
  readonly verifyingContract: Address;
};

const DOMAIN_NAME = 'OpenLedger';
const DOMAIN_VERSION = '1';
const DOMAIN_TYPE =
  'EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)';
const INTEGER_BITS = { uint32: 32n, uint64: 64n, uint256: 256n } as const;

/** `Name(type field,type field…)`, the structs in it after it by name; its hash opens the struct's. */
export function encodeType(type: StructType): string {
  const inner = [...structsIn(type)].filter((each) => each !== type);
  const inOrder = [type, ...inner.sort((a, b) => (a.name < b.name ? -1 : 1))];
  return inOrder
    .map(({ name, fields }) => {
      const list = fields.map(([field, kind]) => `${kindName(kind)} ${field}`);
      return `${name}(${list.join(',')})`;
    })
    .join('');
}

const kindName = (kind: StaticType | StructType): string =>
  typeof kind === 'string' ? kind : kind.name;

function structsIn(type: StructType, found = new Set<StructType>()): Set<StructType> {
  found.add(type);
  for (const [, kind] of type.fields) if (typeof kind !== 'string') structsIn(kind, found);
  return found;
}

function encodeField(
  name: string,
  type: StaticType | StructType,
  value: StructValues[string],
): Uint8Array {
  if (typeof type !== 'string') {
    if (typeof value !== 'object') throw new TypeError(`${name}: expected ${type.name}`);
    return structHash(type, value);
  }
  if (typeof value === 'object') throw new TypeError(`${name}: expected ${type}, got a struct`);
  if (type === 'address' || type === 'bytes32') {
    if (typeof value !== 'string') throw new TypeError(`${name}: expected ${type}, got a number`);
    return type === 'address' ? addressWord(value as Address) : bytes32(value as Bytes32);
  }
  if (typeof value === 'string') throw new TypeError(`${name}: expected ${type}, got text`);
  const word = uint256(value);
  if (BigInt(value) >> INTEGER_BITS[type] !== 0n) {
    throw new RangeError(`${name}: expected ${type}, got ${value}`);
  }
  return word;
}

/** The struct's hash. @throws TypeError or RangeError if a value does not fit its field. */
export function structHash(type: StructType, values: StructValues): Uint8Array {
  const words = type.fields.map(([name, kind]) => {
    const value = values[name];
    if (value === undefined) throw new TypeError(`${type.name}: expected a value for ${name}`);
    return encodeField(name, kind, value);
  });
  return keccak256(concat(keccak256(utf8(encodeType(type))), ...words));
}

/** The hash of the domain `OpenLedger`, version `1`, on this chain, for this contract. */
export function domainSeparator(domain: SigningDomain): Uint8Array {
  return keccak256(
    concat(
      keccak256(utf8(DOMAIN_TYPE)),
      keccak256(utf8(DOMAIN_NAME)),
      keccak256(utf8(DOMAIN_VERSION)),
      uint256(domain.chainId),
      addressWord(domain.verifyingContract),
    ),
  );
}

/** The digest that is signed: `keccak256(0x19 0x01 ‖ domain ‖ struct)`. */
export function typedDigest(domain: SigningDomain, hashedStruct: Uint8Array): Uint8Array {
  return keccak256(concat(Uint8Array.of(0x19, 0x01), domainSeparator(domain), hashedStruct));
}
