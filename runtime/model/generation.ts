/** `generation_config.json`: which ids end an answer, and how the model's makers want it sampled. */
import { ModelError } from './errors.ts';
import { type SamplingSettings, samplingSettings } from './sampling.ts';

/** What a model directory says about generation. */
export type GenerationDefaults = {
  /** Ids that end an answer, without duplicates. */
  readonly stopIds: readonly number[];
  /** Settings for requests that do not give their own; empty when the file is silent. */
  readonly sampling: Partial<SamplingSettings>;
};

const FIELDS = {
  temperature: 'temperature',
  topK: 'top_k',
  topP: 'top_p',
  minP: 'min_p',
  repetitionPenalty: 'repetition_penalty',
} as const;

/**
 * Reads the parsed JSON of a `generation_config.json`.
 *
 * @param endOfText the tokenizer's own end of text, which always ends an answer
 * @throws ModelError GENERATION_CONFIG_INVALID
 */
export function readGenerationDefaults(
  json: unknown,
  vocabSize: number,
  endOfText: number,
): GenerationDefaults {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw problem('(root)', 'a JSON object', json);
  }
  const fields = json as Record<string, unknown>;
  const given = fields['eos_token_id'] ?? [];
  const ids: unknown[] = Array.isArray(given) ? given : [given];
  for (const id of ids) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize) {
      throw problem('eos_token_id', `whole numbers below ${vocabSize}`, given);
    }
  }
  const stopIds = [...new Set([endOfText, ...(ids as number[])])];
  const sampling: Partial<SamplingSettings> = {};
  for (const [name, key] of Object.entries(FIELDS) as [keyof typeof FIELDS, string][]) {
    const value = fields[key] ?? null;
    if (value === null) continue;
    if (typeof value !== 'number') throw problem(key, 'a number', value);
    sampling[name] = value;
  }
  if (fields['do_sample'] === false) {
    // What shapes a draw has no say then; a penalty does.
    for (const name of ['topK', 'topP', 'minP'] as const) delete sampling[name];
    sampling.temperature = 0;
  }
  checkSampling(sampling);
  return { stopIds, sampling };
}

function checkSampling(sampling: Partial<SamplingSettings>): void {
  try {
    samplingSettings(sampling);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    const { key, expected, found } = error.details;
    const name = FIELDS[key as keyof typeof FIELDS];
    throw problem(name, expected ?? '', found);
  }
}

function problem(key: string, expected: string, found: unknown): ModelError {
  return new ModelError('GENERATION_CONFIG_INVALID', 'these defaults cannot be used', {
    file: 'generation_config.json',
    key,
    expected,
    found: typeof found === 'string' ? found : (JSON.stringify(found) ?? 'nothing').slice(0, 80),
    remedy: 'correct the field or leave it out',
  });
}
