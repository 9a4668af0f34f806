// The forms in which frozen weights are kept besides f32, and what they then stand for.
import type { WeightFormat } from '../engine/resident.ts';
import { halfToFloat, int8Rows, toBfloat16, toHalf } from '../model/numbers.ts';

/** Bit patterns of the values rounded to this format. */
export function toHalves(
  values: Float32Array<ArrayBuffer>,
  format: 'f16' | 'bf16',
): Uint16Array<ArrayBuffer> {
  if (format === 'bf16') return new Uint16Array(toBfloat16(values));
  return Uint16Array.from(values, toHalf);
}

/** The values that a matrix of so many columns stands for once it is stored. */
export function storedValues(
  values: Float32Array<ArrayBuffer>,
  columns: number,
  storage: WeightFormat,
): Float32Array {
  if (storage === 'f32') return values;
  if (storage === 'int8') {
    const { values: steps, scales } = int8Rows(values, values.length / columns, columns);
    return Float32Array.from(steps, (step, i) => step * scales[Math.floor(i / columns)]!);
  }
  const halves = toHalves(values, storage);
  if (storage === 'f16') return Float32Array.from(halves, halfToFloat);
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}
