// The statement that names a worker key: the file that carries it, and each thing that can be wrong with one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressOfPrivateKey, type Hex, toHex } from '#crypto';
import { keyOf } from './fixture.ts';
import {
  decodeWorkerKey,
  encodeWorkerKey,
  findWorkerKeyFault,
  signWorkerKey,
  type WorkerAuthorisation,
  type WorkerKeyExpected,
  type WorkerKeyFaultCode,
  workerKeyDigest,
} from './worker-key.ts';

const statement = {
  chainId: 901_313,
  staking: `0x${'5a'.repeat(20)}`,
  owner: addressOfPrivateKey(keyOf('owner')),
  worker: addressOfPrivateKey(keyOf('worker')),
  nonce: 3,
  deadline: 1_800_000_000,
} as const;
const authorisation: WorkerAuthorisation = {
  ...statement,
  ownerSignature: signWorkerKey(statement, keyOf('owner')),
};
const expected: WorkerKeyExpected = { ...statement, nowSeconds: statement.deadline };

const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((all) => toHex(all));
const anyAuthorisation: fc.Arbitrary<WorkerAuthorisation> = fc.record(
  {
    chainId: fc.maxSafeNat(),
    staking: hex(20),
    owner: hex(20),
    worker: hex(20),
    nonce: fc.maxSafeNat(),
    deadline: fc.maxSafeNat(),
    ownerSignature: hex(65),
  },
  { noNullPrototype: true },
);

test('an authorisation reads back from its file, and has one text', () => {
  fc.assert(
    fc.property(anyAuthorisation, (each) => {
      const text = encodeWorkerKey(each);
      const read = decodeWorkerKey(text);
      assert.deepEqual(read, { ok: true, value: each });
      assert.equal(encodeWorkerKey(each), text);
    }),
    { seed: 1, numRuns: 100 },
  );
  const loud = encodeWorkerKey(authorisation).replace(
    /"0x([0-9a-f]{40})"/g,
    (_all, digits: string) => `"0x${digits.toUpperCase()}"`,
  );
  assert.deepEqual(decodeWorkerKey(loud), { ok: true, value: authorisation });
});

test('any bytes are read as a value: an authorisation or what is wrong with them', () => {
  const whole = encodeWorkerKey(authorisation);
  const bytes = fc.uint8Array({ maxLength: 5_000 }).map((all) => new TextDecoder().decode(all));
  // A true file with some of its characters replaced, left out or doubled.
  const damaged = fc
    .tuple(fc.nat(whole.length), fc.nat(20), fc.string({ maxLength: 20 }))
    .map(([at, gone, put]) => whole.slice(0, at) + put + whole.slice(at + gone));
  const json = fc.json();
  fc.assert(
    fc.property(fc.oneof(bytes, damaged, json), (text) => {
      const read = decodeWorkerKey(text);
      if (read.ok) assert.deepEqual(decodeWorkerKey(encodeWorkerKey(read.value)), read);
      else assert.ok(read.at.length > 0 && read.message.length > 0);
    }),
    { seed: 2, numRuns: 2_000 },
  );
});

test('TOO_LARGE, WRONG_SHAPE: what is no file of an authorisation names the place', () => {
  const read = (changes: Record<string, unknown>) =>
    decodeWorkerKey(JSON.stringify({ ...JSON.parse(encodeWorkerKey(authorisation)), ...changes }));
  const cases: [string, Record<string, unknown>][] = [
    ['value.format', { format: 'openledger/worker-key/2' }],
    ['value.chainId', { chainId: '901313' }],
    ['value.nonce', { nonce: -1 }],
    ['value.deadline', { deadline: 1.5 }],
    ['value.deadline', { deadline: 2 ** 53 }],
    ['value.owner', { owner: '0x12' }],
    ['value.worker', { worker: null }],
    ['value.ownerSignature', { ownerSignature: `${authorisation.ownerSignature}00` }],
    ['value.privateKey', { privateKey: `0x${'11'.repeat(32)}` }],
  ];
  for (const [at, changes] of cases) {
    const refused = read(changes);
    assert.ok(!refused.ok, at);
    assert.deepEqual([refused.code, refused.at], ['WRONG_SHAPE', at]);
  }
  for (const text of ['', '{', '[]', 'null', '7']) {
    const refused = decodeWorkerKey(text);
    assert.ok(!refused.ok && refused.code === 'WRONG_SHAPE', text);
  }
  const long = decodeWorkerKey(`${encodeWorkerKey(authorisation)}${' '.repeat(5_000)}`);
  assert.ok(!long.ok && long.code === 'TOO_LARGE');
});

test('what its owner signed for this worker, chain, contract, nonce and time is fit', () => {
  assert.equal(findWorkerKeyFault(authorisation, expected), null);
  assert.equal(workerKeyDigest(authorisation).length, 32);
});

const STRANGER = addressOfPrivateKey(keyOf('stranger'));
const NOT_A_SIGNATURE: Hex = `0x${'00'.repeat(65)}`;
const signedBy = (name: string, changes: Partial<WorkerAuthorisation> = {}) => {
  const changed = { ...authorisation, ...changes };
  return { ...changed, ownerSignature: signWorkerKey(changed, keyOf(name)) };
};

/** One case of each fault: what was signed, and what the worker expects. */
const FAULTS: [WorkerKeyFaultCode, WorkerAuthorisation, Partial<WorkerKeyExpected>][] = [
  ['WORKER_KEY_WRONG_CHAIN', authorisation, { chainId: 1 }],
  ['WORKER_KEY_WRONG_CONTRACT', authorisation, { staking: `0x${'5b'.repeat(20)}` }],
  ['WORKER_KEY_WRONG_WORKER', authorisation, { worker: STRANGER }],
  ['WORKER_KEY_WRONG_SIGNER', signedBy('stranger'), {}],
  ['WORKER_KEY_WRONG_SIGNER', signedBy('worker'), {}],
  ['WORKER_KEY_WRONG_SIGNER', { ...authorisation, ownerSignature: NOT_A_SIGNATURE }, {}],
  ['WORKER_KEY_WRONG_NONCE', authorisation, { nonce: 4 }],
  ['WORKER_KEY_WRONG_NONCE', signedBy('owner', { nonce: 4 }), {}],
  ['WORKER_KEY_EXPIRED', authorisation, { nowSeconds: statement.deadline + 1 }],
];

for (const [at, [code, given, changes]] of FAULTS.entries()) {
  test(`${code}: refused before anything is sent (${at + 1})`, () => {
    const fault = findWorkerKeyFault(given, { ...expected, ...changes });
    assert.equal(fault?.code, code);
    assert.notEqual(fault?.expected, fault?.came);
  });
}

test('WORKER_KEY_WRONG_SIGNER: no field can be changed after it was signed', () => {
  const changes: Partial<WorkerAuthorisation>[] = [
    { owner: STRANGER },
    { nonce: 4 },
    { deadline: statement.deadline + 1 },
    { worker: STRANGER },
    { chainId: 1 },
    { staking: `0x${'5b'.repeat(20)}` },
  ];
  for (const change of changes) {
    const changed = { ...authorisation, ...change };
    const fault = findWorkerKeyFault(changed, { ...changed, nowSeconds: 0 });
    assert.equal(fault?.code, 'WORKER_KEY_WRONG_SIGNER', Object.keys(change)[0]);
  }
});
