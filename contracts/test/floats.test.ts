/** SoftFloat against Math.fround, bit by bit, and the judge that uses it. The long run is `npm run test:contracts`. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { Contract, concat, getBytes, hexlify, Interface, id, toBeHex } from 'ethers';
import { buildTree, createRandom, type MerkleTree } from '#crypto';
import { LibraryProbeAbi, LibraryProbeBytecode } from '../bindings/library-probe.ts';
import { StepJudgeOperation as Operation, type StepJudgeStepInput } from '../bindings/structs.ts';
import { startChain } from '../harness.ts';
import { siblings, toReverted } from './fixtures.ts';
import {
  compareFloats,
  corners,
  expected,
  type FloatOperation,
  floatOperations,
  fromBits,
  randomPairs,
  toBits,
  wideCorners,
} from './floats.ts';

const chain = await startChain();
const deployed = await chain.sendData(chain.deployer, null, LibraryProbeBytecode);
const probe = new Contract(
  deployed.contractAddress!,
  new Interface(LibraryProbeAbi),
  chain.provider,
);
const { StepJudge } = chain.contracts;

describe('SoftFloat equals Math.fround', () => {
  const table = corners.flatMap((a) => corners.map((b) => [a, b] as const));
  const pairs = [...table, ...randomPairs(12_000, 'contracts/floats')];
  for (const operation of floatOperations) {
    test(`${operation} on every pair of corners and on 12,000 seeded pairs`, async () => {
      // A root costs five times the rest and has one operand; the corners and a third are enough here.
      const part = operation === 'sqrt' ? pairs.slice(0, table.length + 4_000) : pairs;
      const { differences } = await compareFloats(probe, operation, part);
      assert.deepEqual(differences, []);
    });
  }

  test('the vectors of crypto/vectors/float32.json', async () => {
    const words = (values: readonly number[]) =>
      values.map((word) => word.toString(16).padStart(8, '0')).join('');
    const drawn = [...randomPairs(400, 'crypto/vectors/float32')];
    const made = {
      pairs: drawn.map(words),
      ...Object.fromEntries(
        floatOperations.map((operation) => [
          operation,
          words(drawn.map(([a, b]) => expected(operation, a, b))),
        ]),
      ),
    };
    const path = new URL('../../crypto/vectors/float32.json', import.meta.url);
    const text = `${JSON.stringify(made, null, 1)}\n`;
    if (process.env['OPENLEDGER_WRITE_VECTORS'] === '1') writeFileSync(path, text);
    const committed = JSON.parse(readFileSync(path, 'utf8')) as Record<FloatOperation, string> & {
      pairs: string[];
    };
    assert.deepEqual(committed, made);
    for (const [i, operation] of floatOperations.entries()) {
      const answer = await probe['floats']!(i, `0x${committed.pairs.join('')}`);
      assert.equal(answer, `0x${committed[operation]}`, operation);
    }
  });
});

describe('StepJudge', () => {
  const ONE = 0x3f800000;
  const operandsOf = (...values: readonly number[]) =>
    concat(values.map((word) => toBeHex(word >>> 0, 4)));
  const binary: readonly (readonly [bigint, FloatOperation])[] = [
    [Operation.Add, 'add'],
    [Operation.Subtract, 'sub'],
    [Operation.Multiply, 'mul'],
    [Operation.Divide, 'div'],
  ];

  test('computes every operation as the kernels do', async () => {
    for (const [a, b] of randomPairs(48, 'step judge')) {
      for (const [operation, name] of binary) {
        const truth = BigInt(expected(name, a, b));
        assert.equal(await StepJudge.compute(operation, operandsOf(a, b)), truth, name);
      }
      for (const [operation, name] of [
        [Operation.SquareRoot, 'sqrt'],
        [Operation.FromInteger, 'fromInt'],
        [Operation.ToInteger, 'toInt'],
      ] as const) {
        const truth = BigInt(expected(name, a, 0));
        assert.equal(await StepJudge.compute(operation, operandsOf(a)), truth, name);
      }
      const [left, right] = [fromBits(a), fromBits(b)];
      const bit = async (operation: bigint) =>
        (await StepJudge.compute(operation, operandsOf(a, b))) === 1n;
      assert.equal(await bit(Operation.Less), left < right);
      assert.equal(await bit(Operation.LessOrEqual), left <= right);
      assert.equal(await bit(Operation.Equal), left === right);
    }
  });

  test('a dot slice is one accumulator that takes the products in turn', async () => {
    const random = createRandom(getBytes(id('dot slice')), 'floats');
    for (const length of [1, 2, 17, 256]) {
      const draw = () => Math.fround(random.below(2_001) / 1_000 - 1);
      const left = Float32Array.from({ length }, draw);
      const right = Float32Array.from({ length }, draw);
      let sum = Math.fround(draw());
      const words = (values: Float32Array) => new Uint32Array(values.buffer);
      const operands = operandsOf(words(Float32Array.of(sum))[0]!, ...words(left), ...words(right));
      for (let k = 0; k < length; k += 1)
        sum = Math.fround(sum + Math.fround(left[k]! * right[k]!));
      const truth = BigInt(words(Float32Array.of(sum))[0]!);
      assert.equal(await StepJudge.compute(Operation.Dot, operands), truth);
    }
  });

  test('computes every binary64 operation as the kernels do', async () => {
    const words = new BigUint64Array(1);
    const double = new Float64Array(words.buffer);
    const fromWord = (word: bigint) => {
      words[0] = word;
      return double[0]!;
    };
    const toWord = (value: number) => {
      double[0] = value;
      return Number.isNaN(value) ? 0x7ff8000000000000n : words[0]!;
    };
    const wide = (...values: readonly bigint[]) => concat(values.map((word) => toBeHex(word, 8)));
    const check = async (operation: bigint, operands: string, truth: bigint) =>
      assert.equal(await StepJudge.compute(operation, operands), truth, `${operation} ${operands}`);
    for (const [a, b] of wideCorners()) {
      const [left, right] = [fromWord(a), fromWord(b)];
      const both = wide(a, b);
      await check(Operation.WideAdd, both, toWord(left + right));
      await check(Operation.WideSubtract, both, toWord(left - right));
      await check(Operation.WideMultiply, both, toWord(left * right));
      await check(Operation.WideDivide, both, toWord(left / right));
      await check(Operation.WideLess, both, left < right ? 1n : 0n);
      await check(Operation.WideSquareRoot, wide(a), toWord(Math.sqrt(left)));
      await check(Operation.Narrow, wide(a), BigInt(toBits(left)));
      const word = Number(a >> 32n);
      await check(Operation.Widen, operandsOf(word), toWord(fromBits(word)));
      const field = Number((a >> 52n) & 0x7ffn);
      await check(Operation.WideExponent, wide(a), toWord(field - 1023));
      const significand = (a & 0xfffffffffffffn) | 0x3ff0000000000000n;
      await check(Operation.WideSignificand, wide(a), significand);
      const choice = Number(b & 1n);
      const truth = choice === 1 ? a : b;
      await check(Operation.WideSelect, concat([toBeHex(choice, 4), both]), truth);
    }
    const random = createRandom(getBytes(id('wide dot')), 'floats');
    const draw = () => Float32Array.from({ length: 33 }, () => random.below(2_001) / 1_000 - 1);
    const [left, right] = [draw(), draw()];
    let sum = 1 / 3;
    const slices = [left, right].flatMap((part) => [...new Uint32Array(part.buffer)]);
    const operands = concat([wide(toWord(sum)), operandsOf(...slices)]);
    for (let k = 0; k < left.length; k += 1) sum += left[k]! * right[k]!;
    await check(Operation.WideDot, operands, toWord(sum));
  });

  test('chooses, and makes a power of two', async () => {
    for (const condition of [0, 1, 7]) {
      const operands = operandsOf(condition, ONE, 0);
      const truth = BigInt(condition === 0 ? 0 : ONE);
      assert.equal(await StepJudge.compute(Operation.Select, operands), truth);
    }
    for (let n = -126; n <= 127; n += 11) {
      const operands = operandsOf(toBits(12_582_912 + n));
      const truth = BigInt(toBits(2 ** n));
      assert.equal(await StepJudge.compute(Operation.PowerOfTwo, operands), truth);
    }
  });

  const stepBytes = ({ operation, operands, result }: StepJudgeStepInput) =>
    concat([toBeHex(operation, 1), toBeHex(result, 8), hexlify(operands)]);
  const judge = (tree: MerkleTree, index: number, step: StepJudgeStepInput) =>
    StepJudge.judge(hexlify(tree.root), tree.count, index, step, siblings(tree, index));

  test('tells a wrong step from a right one, and what is true', async () => {
    const right = { operation: Operation.Add, operands: operandsOf(ONE, ONE), result: 0x40000000n };
    const wrong = { ...right, result: 0x40000001n };
    const tree = buildTree([right, wrong, right].map((step) => getBytes(stepBytes(step))));
    assert.deepEqual([...(await judge(tree, 0, right))], [true, 0x40000000n]);
    assert.deepEqual([...(await judge(tree, 1, wrong))], [false, 0x40000000n]);
  });

  test('StepJudgeProofInvalid: a step that does not stand there', async () => {
    const step = { operation: Operation.Add, operands: operandsOf(ONE, ONE), result: 0x40000000n };
    const tree = buildTree([getBytes(stepBytes(step)), getBytes(id('another step'))]);
    const refused = { error: 'StepJudgeProofInvalid' };
    for (const other of [
      { ...step, result: 0n },
      { ...step, operation: Operation.Subtract },
      { ...step, operands: operandsOf(ONE, 0) },
    ]) {
      await assert.rejects(judge(tree, 0, other).catch(toReverted), refused);
    }
    await assert.rejects(judge(tree, 1, step).catch(toReverted), refused);
  });

  test('StepJudgeOperands: too few, too many, uneven', async () => {
    for (const [operation, count] of [
      [Operation.Add, 1],
      [Operation.Add, 3],
      [Operation.SquareRoot, 2],
      [Operation.Less, 0],
      [Operation.Dot, 1],
      [Operation.Dot, 4],
      [Operation.Dot, 2_051],
      [Operation.Select, 2],
      [Operation.PowerOfTwo, 2],
      [Operation.Widen, 2],
      [Operation.Narrow, 1],
      [Operation.WideLess, 3],
      [Operation.WideSquareRoot, 4],
      [Operation.WideSelect, 4],
      [Operation.WideExponent, 0],
      [Operation.WideDot, 2],
      [Operation.WideDot, 5],
      [Operation.WideDot, 2_052],
    ] as const) {
      const call = StepJudge.compute(operation, operandsOf(...Array<number>(count).fill(ONE)));
      await assert.rejects(call.catch(toReverted), { error: 'StepJudgeOperands' });
    }
    const odd = StepJudge.compute(Operation.Dot, `${operandsOf(ONE, ONE, ONE)}00`);
    await assert.rejects(odd.catch(toReverted), { error: 'StepJudgeOperands' });
  });
});
