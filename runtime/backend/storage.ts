// The forms in which frozen weights are kept besides f32, and what they then stand for.
import { halfToFloat, toBfloat16 } from '../model/numbers.ts';
import type { WeightStorage } from './port.ts';

/** The binary16 bit pattern nearest to a number, ties to even; beyond the range, infinity. */
function toHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(size)) return 0x7e00;
  // Below 2^-14 steps are 2^-24; above, 2^-10 of the power of two below.
  const exponent = Math.max(-14, Math.floor(Math.log2(size)));
  const step = 2 ** (exponent - 10);
  const steps = size / step;
  const low = Math.floor(steps);
  const rest = steps - low;
  const rounded = low + (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? 1 : 0);
  // A carry into the next power of two is a carry into the exponent field.
  const bits = exponent === -14 ? rounded : rounded + (exponent + 14) * 1024;
  return sign | Math.min(bits, 0x7c00);
}

/** Bit patterns of the values rounded to this format. */
export function toHalves(
  values: Float32Array<ArrayBuffer>,
  format: 'f16' | 'bf16',
): Uint16Array<ArrayBuffer> {
  if (format === 'bf16') return new Uint16Array(toBfloat16(values));
  return Uint16Array.from(values, toHalf);
}

/** Rows of a matrix as int8 in steps of their largest magnitude / 127. */
export function quantizeRows(values: Float32Array, columns: number) {
  const rows = values.length / columns;
  const packed = new Int8Array(values.length);
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let top = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++)
      top = Math.max(top, Math.abs(values[i]!));
    const step = Math.fround(top / 127);
    scales[row] = step;
    if (step === 0) continue;
    for (let i = row * columns; i < (row + 1) * columns; i++)
      packed[i] = Math.round(values[i]! / step);
  }
  return { packed, scales };
}

/** The values that a matrix of so many columns stands for once it is stored. */
export function storedValues(
  values: Float32Array<ArrayBuffer>,
  columns: number,
  storage: WeightStorage,
): Float32Array {
  if (storage === 'f32') return values;
  if (storage === 'int8') {
    const { packed, scales } = quantizeRows(values, columns);
    return Float32Array.from(packed, (step, i) => step * scales[Math.floor(i / columns)]!);
  }
  const halves = toHalves(values, storage);
  if (storage === 'f16') return Float32Array.from(halves, halfToFloat);
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}
