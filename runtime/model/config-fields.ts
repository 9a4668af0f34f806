/** Fields of a stranger's `config.json`, read with a typed error for each that cannot be used. */
import { ModelError, type ModelErrorCode } from './errors.ts';

/** The parsed object; values are not believed before they are checked. */
export type ConfigFields = Readonly<Record<string, unknown>>;

/** Largest value of each dimension; far above any model of the family, far below trouble. */
const LIMITS = {
  hidden_size: 32_768,
  num_hidden_layers: 512,
  num_attention_heads: 512,
  intermediate_size: 262_144,
  vocab_size: 1_048_576,
  max_position_embeddings: 16_777_216,
} as const;

/** The error of one field of config.json. */
export function configProblem(
  code: ModelErrorCode,
  key: string,
  expected: string,
  found: unknown,
): ModelError {
  return new ModelError(code, 'this model cannot be run', {
    file: 'config.json',
    key,
    expected,
    found: (JSON.stringify(found) ?? 'nothing').slice(0, 80),
    remedy: 'use a model of the Llama family',
  });
}

/** A required size within its limit. */
export function dimension(fields: ConfigFields, key: keyof typeof LIMITS): number {
  return whole(fields, key, LIMITS[key]);
}

/** A whole number from 1 to `limit`; a field that is absent or null has the fallback. */
export function whole(fields: ConfigFields, key: string, limit: number, fallback?: number): number {
  const value = fields[key] ?? fallback;
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= limit) {
    return value as number;
  }
  throw configProblem('CONFIG_INVALID', key, `a whole number from 1 to ${limit}`, value);
}

/** A positive number; a field that is absent or null has the fallback. */
export function positive(fields: ConfigFields, key: string, fallback?: number): number {
  const value = fields[key] ?? fallback;
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
  throw configProblem('CONFIG_INVALID', key, 'a positive number', value);
}

/** true or false; a field that is absent or null is false. */
export function flag(fields: ConfigFields, key: string): boolean {
  const value = fields[key] ?? false;
  if (typeof value === 'boolean') return value;
  throw configProblem('CONFIG_INVALID', key, 'true or false', value);
}
