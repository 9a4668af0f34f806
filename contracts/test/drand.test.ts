/** DrandBeacon: a published round of quicknet, rounds of a key of ours, and signatures that are none. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { bls12_381 } from '@noble/curves/bls12-381.js';
import { Contract, getBytes, hexlify, toBeHex, type Wallet } from 'ethers';
import { contractBytecodes } from '../bindings/contracts.ts';
import { contractInterfaces } from '../connect.ts';
import { DRAND_LAG_SECONDS, quicknet } from '../drand.ts';
import { startChain } from '../harness.ts';
import { isolate, refuses, toReverted } from './fixtures.ts';

const chain = await startChain('testnet', 1);
const [anybody] = chain.wallets as [Wallet];
const { DrandBeacon } = chain.contracts;
isolate(chain);

const { shortSignatures, G2 } = bls12_381;
const DST = 'BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_';
type Point1 = ReturnType<typeof shortSignatures.sign>;

/** A point of G1 as EIP-2537 writes it. */
function point(value: Point1): string {
  const { x, y } = value.toAffine();
  return toBeHex(x, 64) + toBeHex(y, 64).slice(2);
}

const roundMessage = (round: bigint) =>
  shortSignatures.hash(
    Uint8Array.from(
      createHash('sha256')
        .update(getBytes(toBeHex(round, 8)))
        .digest(),
    ),
    DST,
  );

/** A round that drand published, and the randomness that it gave for it. */
const published = {
  round: 1_000n,
  signature:
    'b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39',
  randomness: '0xfe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd',
};
const publishedPoint = point(
  shortSignatures.Signature.fromBytes(getBytes(`0x${published.signature}`)),
);

describe('DrandBeacon with the key of quicknet', () => {
  test('accepts a published round, once, from anybody, says so (RoundSubmitted), and gives the randomness that drand gives', async () => {
    const { round } = published;
    await refuses(DrandBeacon.seedOf(round).catch(toReverted), 'BeaconNotReady');
    const receipt = await chain.send(anybody, 'DrandBeacon', 'submit', [round, publishedPoint]);
    assert.ok(receipt.gasUsed < 300_000n, `${receipt.gasUsed}`);
    const said = receipt.logs.map((log) => contractInterfaces.DrandBeacon.parseLog(log));
    assert.deepEqual(
      said.map((event) => [event?.name, ...(event?.args ?? [])]),
      [['RoundSubmitted', round, published.randomness]],
    );
    assert.equal(await DrandBeacon.randomnessOf(round), published.randomness);
    const seed = await DrandBeacon.seedOf(round);
    const known = await chain.send(anybody, 'DrandBeacon', 'submit', [round, '0x']);
    assert.deepEqual(known.logs, []);
    assert.equal(await DrandBeacon.seedOf(round), seed);
    assert.equal(await DrandBeacon.isInsecure(), false);
    assert.equal(await DrandBeacon.publicKey(), quicknet.publicKey);
  });

  test('DrandBeaconSignatureInvalid: another round, another key, another length, no point', async () => {
    const submit = (round: bigint, signature: string) =>
      refuses(
        chain.send(anybody, 'DrandBeacon', 'submit', [round, signature]),
        'DrandBeaconSignatureInvalid',
        [round],
      );
    const { round } = published;
    await submit(round + 1n, publishedPoint);
    await submit(round, point(shortSignatures.sign(roundMessage(round), SECRET)));
    await submit(round, publishedPoint.slice(0, -2));
    await submit(round, `${publishedPoint.slice(0, -2)}00`);
    await submit(round, hexlify(new Uint8Array(128)));
    const negated = shortSignatures.Signature.fromBytes(getBytes(`0x${published.signature}`));
    await submit(round, point(negated.negate()));
  });

  test('committees of testnet and mainnet are drawn by it, in rounds that do not exist yet', async () => {
    assert.equal(await chain.contracts.TaskEscrow.beacon(), chain.deployment.contracts.DrandBeacon);
    const mark = await DrandBeacon.mark();
    const madeAt = quicknet.genesisSeconds + (mark - 1n) * quicknet.periodSeconds;
    const earliest = BigInt(await chain.now()) + DRAND_LAG_SECONDS;
    assert.ok(madeAt >= earliest && madeAt < earliest + 2n * quicknet.periodSeconds);
    const next = BigInt(await chain.provider.getBlockNumber()) + 1n;
    assert.ok((await DrandBeacon.readyAt(mark)) >= next);
  });
});

const SECRET = shortSignatures.keygen(getBytes(toBeHex(7n, 48))).secretKey;

async function deployWith(publicKey: string, periodSeconds = 3n, lagSeconds = 30n) {
  const args = contractInterfaces.DrandBeacon.encodeDeploy([
    publicKey,
    BigInt(await chain.now()) - 100n,
    periodSeconds,
    lagSeconds,
  ]);
  return chain.sendData(anybody, null, contractBytecodes.DrandBeacon + args.slice(2));
}

describe('DrandBeacon with a key of ours', () => {
  test('gives the SHA-256 of the compressed signature, whichever y it has', async () => {
    const { x, y } = G2.Point.fromBytes(shortSignatures.getPublicKey(SECRET).toBytes()).toAffine();
    const key = `0x${[x.c0, x.c1, y.c0, y.c1].map((part) => toBeHex(part, 64).slice(2)).join('')}`;
    const { contractAddress } = await deployWith(key);
    const beacon = new Contract(contractAddress!, contractInterfaces.DrandBeacon, chain.provider);
    const first = (await beacon['mark']!()) as bigint;
    assert.ok(first > 33n && first <= 48n, `${first}`);
    const signs = new Set<number>();
    for (let round = first; round < first + 8n; round++) {
      const signature = shortSignatures.sign(roundMessage(round), SECRET);
      const bytes = shortSignatures.Signature.toBytes(signature);
      signs.add(bytes[0]! & 0x20);
      const data = contractInterfaces.DrandBeacon.encodeFunctionData('submit', [
        round,
        point(signature),
      ]);
      await chain.sendData(anybody, contractAddress!, data);
      const expected = `0x${createHash('sha256').update(bytes).digest('hex')}`;
      assert.equal(await beacon['randomnessOf']!(round), expected);
    }
    assert.equal(signs.size, 2);
  });

  test('DrandBeaconSettingsInvalid: a key of another length, no period, a lag shorter than it', async () => {
    await refuses(deployWith('0x00'), 'DrandBeaconSettingsInvalid');
    await refuses(deployWith(quicknet.publicKey, 0n), 'DrandBeaconSettingsInvalid');
    await refuses(deployWith(quicknet.publicKey, 31n, 30n), 'DrandBeaconSettingsInvalid');
  });
});
