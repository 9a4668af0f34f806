/**
 * The statement by which an owner of stake names the key that works with it: what both sign, the file in
 * which the owner's half travels from where the cold key is to the node, and what is wrong with one.
 */
import {
  type Address,
  fromHex,
  type Hex,
  isHexOf,
  recoverAddress,
  type SigningDomain,
  type StructType,
  signDigest,
  structHash,
  toHex,
  typedDigest,
  utf8,
} from '#crypto';
import {
  type Codec,
  type DecodeFailure,
  literal,
  object,
  readWith,
  ShapeError,
  uint,
} from './codec.ts';

/** Where it counts: the chain and its Staking contract, the owner's nonce, and until which second (Unix). */
export type WorkerStatement = {
  readonly chainId: number;
  readonly staking: Address;
  readonly owner: Address;
  readonly worker: Address;
  readonly nonce: number;
  readonly deadline: number;
};

/** A statement with its owner's signature; it does nothing until the worker has signed too. */
export type WorkerAuthorisation = WorkerStatement & { readonly ownerSignature: Hex };

const WORKER_KEY_TYPE: StructType = {
  name: 'WorkerKey',
  fields: [
    ['owner', 'address'],
    ['worker', 'address'],
    ['nonce', 'uint256'],
    ['deadline', 'uint64'],
  ],
};

/** The EIP-712 digest that owner and worker sign; that of `Staking.workerDigest`. */
export function workerKeyDigest(statement: WorkerStatement): Uint8Array {
  const { chainId, staking, owner, worker, nonce, deadline } = statement;
  const domain: SigningDomain = { chainId, verifyingContract: staking };
  return typedDigest(domain, structHash(WORKER_KEY_TYPE, { owner, worker, nonce, deadline }));
}

/** One of the two signatures, 65 bytes as text. */
export const signWorkerKey = (statement: WorkerStatement, privateKey: Uint8Array): Hex =>
  toHex(signDigest(workerKeyDigest(statement), privateKey));

// ------------------------------------------------------------------ the file

const FORMAT = 'openledger/worker-key/1';
const FILE_BYTES_MAX = 4_096;

/** Hexadecimal text of `length` bytes, in lower case in memory. */
const hexText = (length: number): Codec<Hex> => ({
  read: (value, path) => {
    if (!isHexOf(value, length))
      throw new ShapeError(path, `0x and ${2 * length} hexadecimal digits`);
    return value.toLowerCase() as Hex;
  },
  write: (value) => value,
});

const file = object({
  format: literal(FORMAT),
  chainId: uint(),
  staking: hexText(20),
  owner: hexText(20),
  worker: hexText(20),
  nonce: uint(),
  deadline: uint(),
  ownerSignature: hexText(65),
});

/** The file's text: JSON, one field a line, so that a person can read what is signed. */
export function encodeWorkerKey(authorisation: WorkerAuthorisation): string {
  return `${JSON.stringify(file.write({ format: FORMAT, ...authorisation }), null, 2)}\n`;
}

/** Reads a file's text, at most 4 kB. Never throws: the file may be anybody's. */
export function decodeWorkerKey(
  text: string,
): { readonly ok: true; readonly value: WorkerAuthorisation } | DecodeFailure {
  const { length } = utf8(text);
  if (length > FILE_BYTES_MAX) {
    const message = `expected at most ${FILE_BYTES_MAX} bytes, got ${length}`;
    return { ok: false, code: 'TOO_LARGE', at: 'value', message };
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { ok: false, code: 'WRONG_SHAPE', at: 'value', message: 'value: expected JSON' };
  }
  const read = readWith(file, parsed);
  if (!read.ok) return read;
  const { format: _format, ...value } = read.value;
  return { ok: true, value };
}

// ------------------------------------------------------------------ the judgement

export type WorkerKeyFaultCode =
  | 'WORKER_KEY_WRONG_CHAIN'
  | 'WORKER_KEY_WRONG_CONTRACT'
  | 'WORKER_KEY_WRONG_WORKER'
  | 'WORKER_KEY_WRONG_SIGNER'
  | 'WORKER_KEY_WRONG_NONCE'
  | 'WORKER_KEY_EXPIRED';

/** What was expected there and what stands in the file, as text for its reader. */
export type WorkerKeyFault = {
  readonly code: WorkerKeyFaultCode;
  readonly expected: string;
  readonly came: string;
};

/** What the worker knows: its own address, its chain, and the owner's present nonce there. */
export type WorkerKeyExpected = {
  readonly chainId: number;
  readonly staking: Address;
  readonly worker: Address;
  readonly nonce: number;
  /** The chain's time, Unix seconds. */
  readonly nowSeconds: number;
};

/** The first thing for which the contract would refuse it, or for which it is not meant; null when it is fit. */
export function findWorkerKeyFault(
  authorisation: WorkerAuthorisation,
  expected: WorkerKeyExpected,
): WorkerKeyFault | null {
  const { chainId, staking, worker, nonce, deadline, owner, ownerSignature } = authorisation;
  const fault = (code: WorkerKeyFaultCode, wanted: number | string, came: number | string) => ({
    code,
    expected: String(wanted),
    came: String(came),
  });
  if (chainId !== expected.chainId)
    return fault('WORKER_KEY_WRONG_CHAIN', expected.chainId, chainId);
  if (staking !== expected.staking)
    return fault('WORKER_KEY_WRONG_CONTRACT', expected.staking, staking);
  if (worker !== expected.worker) return fault('WORKER_KEY_WRONG_WORKER', expected.worker, worker);
  const signer = recoverAddress(workerKeyDigest(authorisation), fromHex(ownerSignature));
  if (signer !== owner)
    return fault('WORKER_KEY_WRONG_SIGNER', owner, signer ?? 'no signature in canonical form');
  if (nonce !== expected.nonce) return fault('WORKER_KEY_WRONG_NONCE', expected.nonce, nonce);
  if (deadline < expected.nowSeconds)
    return fault('WORKER_KEY_EXPIRED', `${expected.nowSeconds} or later`, deadline);
  return null;
}
