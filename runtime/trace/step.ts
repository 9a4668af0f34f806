// One step of a trace: an exactly rounded operation, its operands and its result, and the bytes under
// which StepJudge (contracts/src/StepJudge.sol) finds it as a leaf and recomputes it.

/** In the order of IStepJudge.Operation; "Wide" is binary64, everything else binary32 or int32. */
export const OPERATION = {
  Add: 0,
  Subtract: 1,
  Multiply: 2,
  Divide: 3,
  SquareRoot: 4,
  Less: 5,
  LessOrEqual: 6,
  Equal: 7,
  FromInteger: 8,
  ToInteger: 9,
  Dot: 10,
  Select: 11,
  PowerOfTwo: 12,
  WideAdd: 13,
  WideSubtract: 14,
  WideMultiply: 15,
  WideDivide: 16,
  WideSquareRoot: 17,
  WideLess: 18,
  Widen: 19,
  Narrow: 20,
  WideSelect: 21,
  WideExponent: 22,
  WideSignificand: 23,
  WideDot: 24,
} as const;
export type StepOperation = (typeof OPERATION)[keyof typeof OPERATION];

/** Numbers are what they mean: floats and doubles exactly, integers and truths as integers. */
export type Step = {
  readonly operation: StepOperation;
  readonly operands: readonly number[];
  readonly result: number;
};

/**
 * Products of one dot slice: each is a multiplication and an addition, so that a step has at most
 * 1,024 float operations.
 */
export const SLICE_MAX = 512;

type Kind = 'integer' | 'float' | 'double';
type Signature = {
  readonly operands: readonly Kind[];
  readonly rest?: Kind;
  readonly result: Kind;
};

const one = (from: Kind, result: Kind): Signature => ({ operands: [from], result });
const two = (from: Kind, result: Kind): Signature => ({ operands: [from, from], result });

/** By operation. `rest` is the kind of every operand after those named. */
const signatures: readonly Signature[] = [
  ...[0, 1, 2, 3].map(() => two('float', 'float')),
  one('float', 'float'),
  ...[5, 6, 7].map(() => two('float', 'integer')),
  one('integer', 'float'),
  one('float', 'integer'),
  { operands: ['float'], rest: 'float', result: 'float' },
  { operands: ['integer', 'float', 'float'], result: 'float' },
  one('float', 'float'),
  ...[13, 14, 15, 16].map(() => two('double', 'double')),
  one('double', 'double'),
  two('double', 'integer'),
  one('float', 'double'),
  one('double', 'float'),
  { operands: ['integer', 'double', 'double'], result: 'double' },
  one('double', 'double'),
  one('double', 'double'),
  { operands: ['double'], rest: 'float', result: 'double' },
];

const canonicalFloat = 0x7fc00000;
const canonicalDouble = 0x7ff8000000000000n;

function put(view: DataView, at: number, kind: Kind, value: number): number {
  if (kind === 'double') {
    if (Number.isNaN(value)) view.setBigUint64(at, canonicalDouble);
    else view.setFloat64(at, value);
    return at + 8;
  }
  if (kind === 'integer') view.setInt32(at, value);
  else if (Number.isNaN(value)) view.setUint32(at, canonicalFloat);
  else view.setFloat32(at, value);
  return at + 4;
}

/** The operands as StepJudge takes them: big-endian, 8 bytes a double, 4 bytes anything else. */
export function operandBytes({ operation, operands }: Step): Uint8Array {
  const { operands: named, rest } = signatures[operation]!;
  const kindOf = (i: number) => named[i] ?? rest!;
  const sizes = operands.map((_, i) => (kindOf(i) === 'double' ? 8 : 4));
  const bytes = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [i, value] of operands.entries()) at = put(view, at, kindOf(i), value);
  return bytes;
}

/** The result as StepJudge takes it: the 64 bits of a double, else 32 bits above which are zeros. */
export function resultBits({ operation, result }: Step): bigint {
  const view = new DataView(new ArrayBuffer(8));
  const kind = signatures[operation]!.result;
  put(view, kind === 'double' ? 0 : 4, kind, result);
  return view.getBigUint64(0);
}

/** The leaf's bytes: operation (1) ‖ result (8) ‖ operands. */
export function stepBytes(step: Step): Uint8Array {
  const operands = operandBytes(step);
  const bytes = new Uint8Array(9 + operands.length);
  bytes[0] = step.operation;
  new DataView(bytes.buffer).setBigUint64(1, resultBits(step));
  bytes.set(operands, 9);
  return bytes;
}
