// Dropout on the inputs of an adapter's matrices, the same for every position of a record. A dropped
// input of x A^T is a zeroed column of A, so that the kernels need to know nothing of it.
import type { TensorSlot } from './config.ts';
import { uniform } from './random.ts';

/** Which inputs a record's pass leaves out: a share of them, drawn by the seed. */
export type Dropout = {
  /** From 0 to below 1. */
  readonly rate: number;
  /** Unsigned 32-bit. */
  readonly seed: number;
};

/**
 * Multiplies every column of every `lora_A` by 0 with probability `rate`, else by 1 / (1 - rate), in
 * place. Applied to the parameters before a pass and to the gradient after it, it is dropout and its
 * exact derivative. The n-th column of a layout is decided by (seed, n) alone.
 */
export function dropInputs(
  layout: readonly TensorSlot[],
  { rate, seed }: Dropout,
  flat: Float32Array,
): void {
  const kept = Math.fround(1 / (1 - rate));
  let drawn = 0;
  for (const { name, rows, columns, offset } of layout) {
    if (!name.endsWith('.lora_A')) continue;
    for (let column = 0; column < columns; column++) {
      const factor = uniform(seed, drawn++) < rate ? 0 : kept;
      for (let row = 0; row < rows; row++) {
        const at = offset + row * columns + column;
        flat[at] = flat[at]! * factor;
      }
    }
  }
}
