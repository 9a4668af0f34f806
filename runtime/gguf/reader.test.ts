/** The GGUF container: what is written is read, and every lie has its code. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ModelError, type ModelErrorCode, type ModelErrorDetails } from '../model/errors.ts';
import { toBfloat16, toHalf } from '../model/numbers.ts';
import type { ByteSource } from '../model/safetensors.ts';
import { openGguf, readGgufHeader } from './reader.ts';
import { rowReader } from './rows.ts';
import { type GgufEntry, type GgufInput, writeGguf } from './writer.ts';

/** Bytes as a source that notes how far it was read. */
function sourceOf(bytes: Uint8Array): ByteSource & { most: number } {
  const source = {
    size: bytes.length,
    most: 0,
    read(into: Uint8Array, at: number) {
      assert.ok(at + into.length <= bytes.length, 'a read beyond the end');
      source.most = Math.max(source.most, at + into.length);
      into.set(bytes.subarray(at, at + into.length));
    },
  };
  return source;
}

function refuses(code: ModelErrorCode, bytes: Uint8Array, details: ModelErrorDetails = {}): void {
  assert.throws(
    () => openGguf(sourceOf(bytes), 'x.gguf'),
    (error) => {
      assert.ok(error instanceof ModelError, String(error));
      assert.equal(error.code, code);
      assert.deepEqual({ ...error.details, file: 'x.gguf', ...details }, { ...error.details });
      for (const part of ['key', 'expected', 'found'] as const) assert.ok(error.details[part]);
      return true;
    },
  );
}

const tensor = (name: string, changes: Partial<GgufInput> = {}): GgufInput => ({
  ...{ name, shape: [2, 32], dtype: 'F32', values: new Float32Array(64).fill(0.5) },
  ...changes,
});
const METADATA: Record<string, GgufEntry> = {
  'general.architecture': ['string', 'llama'],
  'a.u8': ['u8', 255],
  'a.i8': ['i8', -128],
  'a.u16': ['u16', 65_535],
  'a.i16': ['i16', -32_768],
  'a.u32': ['u32', 4_294_967_295],
  'a.i32': ['i32', -7],
  'a.f32': ['f32', 0.5],
  'a.bool': ['bool', true],
  'a.u64': ['u64', 2 ** 53 - 1],
  'a.large': ['u64', 2n ** 64n - 1n],
  'a.i64': ['i64', -(2 ** 53 - 1)],
  'a.f64': ['f64', 0.1],
  'a.texts': ['string[]', ['', 'ä', '日本']],
  'a.numbers': ['i32[]', [1, -2, 3]],
  'a.none': ['f32[]', []],
};

test('what is written is read: every type, names, shapes, data', () => {
  const inputs = [tensor('one'), tensor('two', { shape: [64], dtype: 'F16' }), tensor('three')];
  const bytes = writeGguf(METADATA, inputs);
  const source = sourceOf(bytes);
  const file = openGguf(source, 'x.gguf');
  for (const [key, [type, value]] of Object.entries(METADATA)) {
    const found = file.metadata.get(key);
    const plain = ArrayBuffer.isView(found) ? Array.from(found as Int32Array) : found;
    assert.deepEqual(plain, value, `${key} ${type}`);
  }
  const shapes = [...file.tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]);
  assert.deepEqual(
    shapes,
    inputs.map(({ name, dtype, shape }) => [name, dtype, shape]),
  );
  assert.deepEqual(writeGguf(METADATA, inputs), bytes);
});

test('a header of many windows is read by windows, and the data not at all', () => {
  const texts = Array.from({ length: 40_000 }, (_, i) => `token ${i} ${'x'.repeat(i % 37)}`);
  const large = 'y'.repeat(700_000);
  const metadata: Record<string, GgufEntry> = {
    'a.texts': ['string[]', texts],
    'a.large': ['string', large],
  };
  const values = new Float32Array(2 ** 20);
  const bytes = writeGguf(metadata, [tensor('w', { shape: [2 ** 20], values })]);
  const source = sourceOf(bytes);
  const header = readGgufHeader(source, 'x.gguf');
  assert.deepEqual(header.metadata.get('a.texts'), texts);
  assert.equal(header.metadata.get('a.large'), large);
  assert.ok(source.most < header.length + 300_000, `${source.most} of ${bytes.length}`);
});

test('GGUF_TRUNCATED: a file cut anywhere', () => {
  const bytes = writeGguf(METADATA, [tensor('one'), tensor('two')]);
  const { length } = readGgufHeader(sourceOf(bytes), 'x.gguf');
  for (let cut = 0; cut < length; cut += 5) refuses('GGUF_TRUNCATED', bytes.subarray(0, cut));
  refuses('GGUF_TRUNCATED', bytes.subarray(0, bytes.length - 1), { key: 'two' });
});

/** The file with one field of it overwritten. */
function patched(at: number, value: bigint, size: 4 | 8 = 8): Uint8Array {
  const bytes = writeGguf({ key: ['string', 'text'] }, [tensor('t')]);
  const view = new DataView(bytes.buffer);
  if (size === 8) view.setBigUint64(at, value, true);
  else view.setUint32(at, Number(value), true);
  return bytes;
}

test('GGUF_HEADER_INVALID: magic, version, counts and lengths that lie', () => {
  refuses('GGUF_HEADER_INVALID', patched(0, 7n, 4), { key: '(magic)', expected: '"GGUF"' });
  refuses('GGUF_HEADER_INVALID', patched(4, 1n, 4), { key: '(version)', found: '1' });
  refuses('GGUF_HEADER_INVALID', patched(4, 0x03000000n, 4), { key: '(version)' });
  refuses('GGUF_HEADER_INVALID', patched(8, 2n ** 60n), { key: '(tensor count)' });
  refuses('GGUF_HEADER_INVALID', patched(16, 2n ** 64n - 1n), { key: '(key count)' });
  refuses('GGUF_HEADER_INVALID', patched(24, 2n ** 40n), { key: '(key 0)' });
  refuses('GGUF_TRUNCATED', patched(24, 60_000n), { key: '(key 0)' });
  // 24: length of the key, 'key', type, length of the text.
  refuses('GGUF_HEADER_INVALID', patched(35, 99n, 4), { key: 'key', found: 'type 99' });
  refuses('GGUF_HEADER_INVALID', patched(39, 2n ** 62n), { key: 'key' });
  refuses('GGUF_TRUNCATED', patched(39, 2n ** 26n), { key: 'key' });
  // The table: length and name of the tensor, dimensions, sizes.
  refuses('GGUF_HEADER_INVALID', patched(60, 5n, 4), { key: 't', found: '5' });
  refuses('GGUF_HEADER_INVALID', patched(60, 0n, 4), { key: 't' });
  refuses('GGUF_HEADER_INVALID', patched(64, 0n), { key: 't' });
  refuses('GGUF_TRUNCATED', patched(64, 2n ** 63n), { key: 't' });
  refuses('GGUF_HEADER_INVALID', patched(84, 32n), { key: 't', found: '32' });
  refuses('GGUF_HEADER_INVALID', patched(84, 2n ** 64n - 32n), { key: 't' });
});

test('GGUF_HEADER_INVALID: what does not fit together', () => {
  const bytes = writeGguf(METADATA, [tensor('one')]);
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  refuses('GGUF_HEADER_INVALID', longer, { key: '(data)' });
  refuses('GGUF_HEADER_INVALID', writeGguf({}, [tensor('a'), tensor('a')]), { key: 'a' });
  const aligned = (value: GgufEntry) => writeGguf({ 'general.alignment': value }, []);
  for (const value of [0, 3, 2 ** 31]) {
    refuses('GGUF_HEADER_INVALID', aligned(['u32', value]), { key: 'general.alignment' });
  }
  refuses('GGUF_HEADER_INVALID', aligned(['string', '32']), { key: 'general.alignment' });
  const odd = tensor('odd', { dtype: 'Q8_0', shape: [4, 16] });
  refuses('GGUF_HEADER_INVALID', writeGguf({}, [odd]), { key: 'odd', found: '16' });
  const flag = writeGguf({ flag: ['bool', true] }, []);
  flag[40] = 2;
  refuses('GGUF_HEADER_INVALID', flag, { key: 'flag', found: '2' });
  const text = writeGguf({ text: ['string', 'aa'] }, []);
  text[text.lastIndexOf(0x61)] = 0xff;
  refuses('GGUF_HEADER_INVALID', text, { key: 'text', expected: 'UTF-8' });
});

test('DTYPE_UNSUPPORTED', () => {
  refuses('DTYPE_UNSUPPORTED', patched(80, 12n, 4), {
    key: 't',
    expected: 'F32, F16, BF16 or Q8_0',
    found: 'type 12',
  });
});

const MATRIX = fc
  .record({ heads: fc.integer({ min: 1, max: 3 }), half: fc.integer({ min: 1, max: 4 }) })
  .chain(({ heads, half }) => {
    const rows = heads * half * 2;
    return fc.record({
      rows: fc.constant(rows),
      headRows: fc.constant(half * 2),
      values: fc.array(fc.float({ min: -4, max: 4, noNaN: true }), {
        ...{ minLength: rows * 32, maxLength: rows * 32 },
      }),
    });
  });

test('rows come back as written: f32, f16 and bf16 bit for bit, q8_0 within half a step', () => {
  const run = fc.property(MATRIX, fc.nat(), ({ rows, values }, pick) => {
    const given = Float32Array.from(values);
    for (const dtype of ['F32', 'F16', 'BF16', 'Q8_0'] as const) {
      const bytes = writeGguf({}, [tensor('w', { shape: [rows, 32], dtype, values: given })]);
      const source = sourceOf(bytes);
      const { at } = openGguf(source, 'x').tensors.get('w')!;
      const format = dtype.toLowerCase() as 'f32' | 'f16' | 'bf16' | 'q8_0';
      const read = rowReader(source, { at, format, rows, columns: 32 });
      const row = pick % rows;
      const size = format === 'f16' || format === 'bf16' ? 2 : 4;
      const into = new Uint8Array((rows - row) * 32 * size);
      read(into, row);
      const wanted = given.subarray(row * 32);
      if (dtype === 'F32') assert.deepEqual(new Float32Array(into.buffer), wanted);
      const halves = new Uint16Array(into.buffer);
      if (dtype === 'F16') assert.deepEqual(halves, Uint16Array.from(wanted, toHalf));
      if (dtype === 'BF16') assert.deepEqual(halves, toBfloat16(wanted));
      if (dtype !== 'Q8_0') continue;
      const near = new Float32Array(into.buffer);
      for (let b = 0; b < wanted.length; b += 32) {
        const block = wanted.subarray(b, b + 32);
        const step = Math.max(...block.map(Math.abs)) / 127;
        for (const [k, value] of block.entries()) {
          // Half a step of rounding, and what binary16 rounds off the scale, 127 times.
          const most = step * 0.51 + Math.abs(value) / 1000 + 127 * 2 ** -25;
          assert.ok(Math.abs(near[b + k]! - value) <= most);
        }
      }
    }
  });
  fc.assert(run, { seed: 3, numRuns: 60 });
});
