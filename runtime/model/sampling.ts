/**
 * Logits in, token out. Each choice is a pure function of logits, settings, seed and position, and
 * uses only exactly rounded arithmetic, so that anyone can check a single choice on any machine.
 */
import { exactExp, exactLog } from '../engine/scalars.ts';
import { ModelError } from './errors.ts';
import { philox, philoxKey } from './philox.ts';

/** How tokens are chosen. */
export type SamplingSettings = {
  /** 0 chooses the most likely token; above, logits are divided by it. At most 100. */
  temperature: number;
  /** Only this many most likely tokens are eligible; 0 = all. */
  topK: number;
  /** Only the most likely tokens that together hold this probability are eligible; 1 = all. */
  topP: number;
  /** Only tokens at least this many times as likely as the likeliest are eligible; 0 = all. */
  minP: number;
  /** Divides the positive logits of tokens that came before, multiplies the negative ones; 1 = none. */
  repetitionPenalty: number;
  /** 64 bits; equal seeds give equal choices. */
  seed: bigint;
};

/** Always the most likely token. */
export const GREEDY: SamplingSettings = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 0n,
};

/**
 * Settings with the missing ones filled in (temperature 1, all tokens, no penalty, seed 0).
 *
 * @throws ModelError SAMPLING_INVALID naming the setting
 */
export function samplingSettings(given: Partial<SamplingSettings>): SamplingSettings {
  const settings: SamplingSettings = { ...GREEDY, temperature: 1, ...given };
  const check = (key: keyof SamplingSettings, valid: boolean, expected: string) => {
    if (valid) return;
    const found = String(settings[key]);
    throw new ModelError('SAMPLING_INVALID', 'a setting is out of range', { key, expected, found });
  };
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = settings;
  check('temperature', temperature >= 0 && temperature <= 100, 'a number from 0 to 100');
  check('topK', Number.isSafeInteger(topK) && topK >= 0, 'a whole number of 0 or more');
  check('topP', topP > 0 && topP <= 1, 'a number above 0 and at most 1');
  check('minP', minP >= 0 && minP <= 1, 'a number from 0 to 1');
  const isPenalty = repetitionPenalty >= 0.01 && repetitionPenalty <= 100;
  check('repetitionPenalty', isPenalty, 'a number from 0.01 to 100');
  check('seed', seed >= 0n && seed < 1n << 64n, 'a whole number below 2^64');
  return settings;
}

/**
 * Chooses the next token: greedy at temperature 0, else the Gumbel-max rule (the largest of logit /
 * temperature + Gumbel noise is a draw from the softmax) over the tokens that top-k, top-p and min-p
 * leave. The penalty comes first, then the temperature. Of equal values the lower id wins; NaN never
 * does.
 *
 * @param given logits, one per token of the vocabulary
 * @param position how many tokens came before; together with the seed it fixes the noise
 * @param before the tokens that came before; needed where there is a penalty
 * @returns the id of the token
 */
export function chooseToken(
  given: Float32Array,
  settings: SamplingSettings,
  position: number,
  before?: ArrayLike<number>,
): number {
  const logits = penalised(given, settings.repetitionPenalty, before);
  if (settings.temperature === 0) return largest(logits);
  const { eligible, isAll } = eligibleTokens(logits, settings);
  const noise = gumbelNoise(settings.seed, position);
  let best = -1;
  let bestValue = Number.NEGATIVE_INFINITY;
  const count = isAll ? logits.length : eligible.length;
  for (let i = 0; i < count; i++) {
    const id = isAll ? i : eligible[i]!;
    const value = logits[id]! / settings.temperature + noise(id);
    if (value > bestValue || (value === bestValue && id < best)) {
      best = id;
      bestValue = value;
    }
  }
  return best < 0 ? largest(logits) : best;
}

/** Logits after the penalty: float32 again, each rounded once. */
function penalised(
  logits: Float32Array,
  penalty: number,
  before: ArrayLike<number> | undefined,
): Float32Array {
  if (penalty === 1) return logits;
  if (before === undefined) throw new Error('expected the tokens before, for the penalty');
  const result = logits.slice();
  for (const id of new Set(Array.from(before))) {
    const value = logits[id]!;
    result[id] = value > 0 ? value / penalty : value * penalty;
  }
  return result;
}

/**
 * The most likely tokens, most likely first (ties: lower id first; NaN never).
 *
 * @param logits one per token of the vocabulary
 */
export function likeliestTokens(logits: Float32Array, count: number): number[] {
  const best: number[] = [];
  if (count === 0) return best;
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id]!;
    if (Number.isNaN(value) || (best.length === count && value <= logits[best.at(-1)!]!)) continue;
    if (best.length === count) best.pop();
    let at = best.length;
    while (at > 0 && logits[best[at - 1]!]! < value) at--;
    best.splice(at, 0, id);
  }
  return best;
}

function largest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) {
    if (logits[id]! > logits[best]! || Number.isNaN(logits[best]!)) best = id;
  }
  return best;
}

/** The tokens that may be chosen, most likely first (ties: lower id first). */
function eligibleTokens(
  logits: Float32Array,
  { temperature, topK, topP, minP }: SamplingSettings,
): { eligible: readonly number[]; isAll: boolean } {
  if (topK === 0 && topP === 1 && minP === 0) return { eligible: [], isAll: true };
  const order = [...logits.keys()].filter((id) => !Number.isNaN(logits[id]!));
  order.sort((a, b) => logits[b]! - logits[a]! || a - b);
  const kept = topK === 0 ? order : order.slice(0, topK);
  if (topP === 1 && minP === 0) return { eligible: kept, isAll: false };
  const top = logits[kept[0] ?? 0]!;
  const weights = kept.map((id) => exactExp(Math.max(-600, (logits[id]! - top) / temperature)));
  const wanted = topP * weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  let count = 0;
  // Weights are relative to the likeliest token's, and fall along the order.
  const isLeft = () => (topP === 1 || sum < wanted) && weights[count]! >= minP;
  while (count < kept.length && (count === 0 || isLeft())) sum += weights[count++]!;
  return { eligible: kept.slice(0, count), isAll: false };
}

/** Standard Gumbel noise of each token at a position: -ln(-ln u), u from Philox. */
export function gumbelNoise(seed: bigint, position: number): (id: number) => number {
  const key = philoxKey(seed);
  const block = new Uint32Array(4);
  let held = -1;
  return (id) => {
    const group = id >>> 2;
    if (group !== held) {
      philox([group, position >>> 0, Math.floor(position / 2 ** 32), 0], key, block);
      held = group;
    }
    const uniform = (block[id & 3]! + 0.5) / 2 ** 32;
    return -exactLog(-exactLog(uniform));
  };
}
