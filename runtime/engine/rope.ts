// Rotary frequencies and their scaling for longer contexts, as Hugging Face's model code has them.
// Every step is rounded to f32 where that code computes in f32, and uses the kernels' own logarithm.
import type { Arena } from './arena.ts';
import { exactLog } from './scalars.ts';

/** How the rotary frequencies differ from the plain ones; absent means not at all. */
export type RopeScaling =
  /** Every frequency divided by factor. */
  | { readonly type: 'linear'; readonly factor: number }
  /** Llama 3: long waves divided by factor, short ones kept, those between interpolated. */
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFactor: number;
      readonly highFactor: number;
      readonly originalContext: number;
    }
  /** YaRN: a ramp between kept and divided frequencies, and cos and sin times attentionFactor. */
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly originalContext: number;
      readonly attentionFactor: number;
      /** Whether the ends of the ramp are whole numbers. */
      readonly truncate: boolean;
    };

/** What the kernels turn into the table of cosines and sines. */
export type RopeTable = { readonly frequencies: Float32Array; readonly scale: number };

const { fround } = Math;

/** The frequencies of headDim / 2 pairs and the factor of the table. */
export function ropeTable(
  arena: Arena,
  headDim: number,
  theta: number,
  scaling: RopeScaling | undefined,
): RopeTable {
  const at = arena.allocate(headDim * 2);
  arena.call('base_frequencies', at, headDim, theta);
  const plain = arena.f32(at, headDim / 2).slice();
  arena.release(at);
  switch (scaling?.type) {
    case undefined:
      return { frequencies: plain, scale: 1 };
    case 'linear':
      return { frequencies: plain.map((one) => one / scaling.factor), scale: 1 };
    case 'llama3':
      return { frequencies: plain.map((one) => llama3(one, scaling)), scale: 1 };
    case 'yarn':
      return { frequencies: yarn(plain, theta, scaling), scale: scaling.attentionFactor };
  }
}

function llama3(frequency: number, scaling: RopeScaling & { type: 'llama3' }): number {
  const { factor, lowFactor, highFactor, originalContext } = scaling;
  const wave = fround(fround(2 * Math.PI) / frequency);
  if (wave > originalContext / lowFactor) return frequency / factor;
  if (wave < originalContext / highFactor) return frequency;
  const above = fround(fround(originalContext / wave) - lowFactor);
  const smooth = fround(above / (highFactor - lowFactor));
  const divided = fround(fround(fround(1 - smooth) * frequency) / factor);
  return divided + fround(smooth * frequency);
}

function yarn(
  plain: Float32Array,
  theta: number,
  scaling: RopeScaling & { type: 'yarn' },
): Float32Array {
  const { factor, betaFast, betaSlow, originalContext, truncate } = scaling;
  const headDim = plain.length * 2;
  /** The pair whose wave turns `turns` times within the original context. */
  const pairOf = (turns: number) =>
    (headDim * exactLog(originalContext / (turns * 2 * Math.PI))) / (2 * exactLog(theta));
  const [fast, slow] = [pairOf(betaFast), pairOf(betaSlow)];
  const low = Math.max(truncate ? Math.floor(fast) : fast, 0);
  const high = Math.min(truncate ? Math.ceil(slow) : slow, headDim - 1);
  // As the reference: a ramp of no width would divide by zero.
  const width = low === high ? 0.001 : high - low;
  return plain.map((frequency, i) => {
    const share = fround(Math.min(1, Math.max(0, fround(fround(i - low) / width))));
    return fround(fround(frequency / factor) * share) + fround(frequency * fround(1 - share));
  });
}

/** What is wrong with a scaling: the field and what it must be; undefined when nothing is. */
export function ropeFault(scaling: RopeScaling): { field: string; expected: string } | undefined {
  if (!(scaling.factor >= 1)) return { field: 'factor', expected: 'a number of 1 or more' };
  if (scaling.type === 'linear') return undefined;
  if (!(scaling.originalContext >= 1)) {
    return { field: 'original_max_position_embeddings', expected: 'a positive number' };
  }
  if (scaling.type === 'llama3') {
    const { lowFactor, highFactor } = scaling;
    if (lowFactor > 0 && highFactor > lowFactor) return undefined;
    return { field: 'high_freq_factor', expected: 'more than low_freq_factor, both positive' };
  }
  const { betaFast, betaSlow, attentionFactor } = scaling;
  if (!(betaSlow > 0 && betaFast >= betaSlow)) {
    return { field: 'beta_fast', expected: 'at least beta_slow, both positive' };
  }
  if (attentionFactor > 0) return undefined;
  return { field: 'attention_factor', expected: 'a positive number' };
}
