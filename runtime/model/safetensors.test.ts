/** safetensors: exact round trips, and no file, however mangled, gets more than a typed refusal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ModelError, type ModelErrorCode } from './errors.ts';
import { halfToFloat, toBfloat16 } from './numbers.ts';
import { philoxStream } from './philox.ts';
import { readSafetensors, writeSafetensors } from './safetensors.ts';

const TENSORS = [
  { name: 'a.weight', shape: [3, 4], values: Float32Array.from({ length: 12 }, (_, i) => i / 7) },
  { name: 'b.weight', shape: [5], values: Float32Array.of(1, -2, 3.5, 1e-30, 65504) },
  { name: 'scalar', shape: [], values: Float32Array.of(42) },
];

/** A file from a header (any JSON) and a number of data bytes. */
function fileOf(header: unknown, dataBytes: number): Uint8Array {
  const json = typeof header === 'string' ? header : JSON.stringify(header);
  const text = Buffer.from(json);
  const bytes = Buffer.alloc(8 + text.length + dataBytes);
  bytes.writeBigUInt64LE(BigInt(text.length));
  text.copy(bytes, 8);
  return bytes;
}

function refuses(code: ModelErrorCode, bytes: Uint8Array, key?: string): void {
  assert.throws(
    () => readSafetensors(bytes, 'x.safetensors'),
    (error) =>
      error instanceof ModelError &&
      error.code === code &&
      error.details.file === 'x.safetensors' &&
      error.details.expected !== undefined &&
      error.details.found !== undefined &&
      (key === undefined || error.details.key === key),
    `${code} ${key ?? ''}`,
  );
}

test('f32 round trip is exact, with metadata', () => {
  const file = readSafetensors(writeSafetensors(TENSORS, 'F32', { format: 'pt' }), 'f');
  for (const { name, shape, values } of TENSORS) {
    assert.deepEqual(file.tensor(name), values);
    assert.deepEqual(file.entries.get(name)?.shape, shape);
  }
  assert.equal(file.metadata.get('format'), 'pt');
});

test('bf16 rounds to nearest, ties to even, and is then stable', () => {
  const once = readSafetensors(writeSafetensors(TENSORS, 'BF16'), 'f');
  const again = TENSORS.map((tensor) => ({ ...tensor, values: once.tensor(tensor.name) }));
  assert.deepEqual(writeSafetensors(again, 'BF16'), writeSafetensors(TENSORS, 'BF16'));
  const bits = (value: number) => toBfloat16(Float32Array.of(value))[0]!;
  assert.equal(bits(1), 0x3f80);
  assert.equal(bits(1 + 2 ** -8), 0x3f80); // halfway: the even one
  assert.equal(bits(1 + 3 * 2 ** -8), 0x3f82);
  assert.equal(bits(Number.POSITIVE_INFINITY), 0x7f80);
  assert.equal(bits(Number.NaN) & 0x7fc0, 0x7fc0);
});

test('f16 values are read, subnormals and infinities included', () => {
  const known: [number, number][] = [
    [0x3c00, 1],
    [0xc000, -2],
    [0x7bff, 65504],
    [0x0001, 2 ** -24],
    [0x0400, 2 ** -14],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0x7e00, Number.NaN],
  ];
  for (const [bits, value] of known) assert.equal(halfToFloat(bits), value);
  const header = { h: { dtype: 'F16', shape: [2], data_offsets: [0, 4] } };
  const bytes = fileOf(header, 4);
  bytes.set([0x00, 0x3c, 0x00, 0xc0], bytes.length - 4);
  assert.deepEqual(readSafetensors(bytes, 'f').tensor('h'), Float32Array.of(1, -2));
});

test('any tensors survive the round trip', () => {
  const tensor = fc.record({ rows: fc.nat(4), columns: fc.nat(4), name: fc.string() });
  fc.assert(
    fc.property(
      fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 6 }),
      (shapes) => {
        const tensors = shapes
          .filter(({ name }) => name !== '__metadata__' && name !== '__proto__')
          .map(({ rows, columns, name }, i) => ({
            name,
            shape: [rows, columns],
            values: new Float32Array(rows * columns).fill(i + 0.5),
          }));
        const file = readSafetensors(writeSafetensors(tensors, 'F32'), 'f');
        assert.equal(file.entries.size, tensors.length);
        for (const { name, values } of tensors) assert.deepEqual(file.tensor(name), values);
      },
    ),
    { numRuns: 200, seed: 3 },
  );
});

test('SAFETENSORS_TRUNCATED', () => {
  const whole = writeSafetensors(TENSORS, 'F32');
  refuses('SAFETENSORS_TRUNCATED', whole.subarray(0, 5), 'length');
  refuses('SAFETENSORS_TRUNCATED', whole.subarray(0, 40), 'header');
  refuses('SAFETENSORS_TRUNCATED', whole.subarray(0, whole.length - 1), 'scalar');
});

test('SAFETENSORS_HEADER_INVALID', () => {
  const entry = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  const code = 'SAFETENSORS_HEADER_INVALID';
  refuses(code, new Uint8Array(8), 'length');
  refuses(code, new Uint8Array(16).fill(0xff), 'length');
  for (const header of ['{ ', '[1]', 'null', '"x"', '{"a":1} trailing']) {
    refuses(code, fileOf(header, 0), 'header');
  }
  refuses(code, fileOf({ a: 5 }, 0), 'a');
  refuses(code, fileOf({ a: { ...entry, dtype: 7 } }, 8), 'a');
  for (const shape of ['2', [-2], [2.5], [2, '1'], [3], new Array(9).fill(1), [2 ** 53, 2 ** 53]]) {
    refuses(code, fileOf({ a: { ...entry, shape } }, 8), 'a');
  }
  for (const data_offsets of [[0], [8, 0], [0, 8, 9], [-8, 0], [0, 7], null, [0, '8']]) {
    refuses(code, fileOf({ a: { ...entry, data_offsets } }, 8), 'a');
  }
  refuses(code, fileOf({ __metadata__: { x: 1 } }, 0), '__metadata__');
  refuses(code, fileOf({ __metadata__: [] }, 0), '__metadata__');
  refuses(code, fileOf({ a: entry, b: entry }, 16), 'b'); // overlap
  refuses(code, fileOf({ a: { ...entry, data_offsets: [8, 16] } }, 16), 'a'); // gap
  refuses(code, fileOf({ a: entry }, 12), 'data'); // bytes that no tensor owns
});

test('DTYPE_UNSUPPORTED', () => {
  const header = { a: { dtype: 'I64', shape: [1], data_offsets: [0, 8] } };
  refuses('DTYPE_UNSUPPORTED', fileOf(header, 8), 'a');
});

test('TENSOR_MISSING', () => {
  const file = readSafetensors(writeSafetensors(TENSORS, 'F32'), 'f');
  const isMissing = (error: unknown) =>
    error instanceof ModelError && error.code === 'TENSOR_MISSING' && error.details.key === 'c';
  assert.throws(() => file.tensor('c'), isMissing);
});

test('20,000 mutated files: a typed refusal or finite-sized tensors, never anything else', () => {
  const original = writeSafetensors(TENSORS, 'BF16', { format: 'pt' });
  const headerEnd = 8 + Number(new DataView(original.buffer).getBigUint64(0, true));
  const dice = philoxStream(2026n);
  const refused = new Map<string, number>();
  let accepted = 0;
  let pastHeader = 0;
  for (let run = 0; run < 20_000; run++) {
    const bytes = mutate(original, headerEnd, dice.below);
    try {
      const file = readSafetensors(bytes, 'f');
      pastHeader++;
      accepted++;
      for (const [name, entry] of file.entries) {
        assert.equal(
          file.tensor(name).length,
          entry.shape.reduce((a, b) => a * b, 1),
        );
      }
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      refused.set(error.code, (refused.get(error.code) ?? 0) + 1);
      if (error.details.key !== 'length' && error.details.key !== 'header') pastHeader++;
    }
  }
  assert.ok(pastHeader >= 6_000, `${pastHeader} of 20,000 got past the header`);
  assert.ok(accepted > 100 && refused.size >= 2, `${accepted} accepted, ${[...refused.keys()]}`);
});

const FRAGMENTS = ['9', '-1', '1e9', '0', 'null', '"F32"', '[0,8]', '{}', '"a.weight"', '99999999'];

/** Changes numbers and words inside the header, single bytes anywhere, or the length of the file. */
function mutate(original: Uint8Array, headerEnd: number, below: (limit: number) => number) {
  const kind = below(10);
  if (kind === 0) return original.slice(0, below(original.length));
  if (kind <= 3) {
    const bytes = original.slice();
    for (let i = below(3); i >= 0; i--) bytes[below(bytes.length)] = below(256);
    return bytes;
  }
  const header = Buffer.from(original.subarray(8, headerEnd)).toString();
  const tokens = [...header.matchAll(/-?\d+|"[^"]*"|\[[^[\]]*\]/g)];
  const token = tokens[below(tokens.length)]!;
  const fragment = FRAGMENTS[below(FRAGMENTS.length)]!;
  const changed =
    header.slice(0, token.index) + fragment + header.slice(token.index + token[0].length);
  const bytes = fileOf(changed, original.length - headerEnd);
  bytes.set(original.subarray(headerEnd), bytes.length - (original.length - headerEnd));
  return bytes;
}
