/**
 * The rotary part of a `config.json`: older files hold it as `rope_theta` and `rope_scaling` at the
 * root, newer ones whole in `rope_parameters`.
 */
import type { RopeScaling } from '../engine/rope.ts';
import { exactLog } from '../engine/scalars.ts';
import { type ConfigFields, configProblem, positive } from './config-fields.ts';

const TYPES = 'default, linear, dynamic, llama3 or yarn';

/** The base of the rotary angles and, where there is one, how they are scaled. */
export type Rope = { readonly theta: number; readonly scaling?: RopeScaling };

/**
 * Reads the rotary fields of a config.
 *
 * @throws ModelError ROPE_UNSUPPORTED | CONFIG_INVALID
 */
export function readRope(fields: ConfigFields, contextLength: number): Rope {
  const key = (fields['rope_parameters'] ?? null) === null ? 'rope_scaling' : 'rope_parameters';
  const rope = fields[key] ?? {};
  if (typeof rope !== 'object' || rope === null || Array.isArray(rope)) {
    throw configProblem('ROPE_UNSUPPORTED', key, 'an object', rope);
  }
  const parameters = rope as ConfigFields;
  const partial = parameters['partial_rotary_factor'] ?? fields['partial_rotary_factor'] ?? 1;
  if (partial !== 1) {
    throw configProblem('ROPE_UNSUPPORTED', 'partial_rotary_factor', '1', partial);
  }
  const theta = positive(
    parameters['rope_theta'] === undefined ? fields : parameters,
    'rope_theta',
    10_000,
  );
  const scaling = readScaling(key, parameters, contextLength);
  return scaling === undefined ? { theta } : { theta, scaling };
}

function readScaling(
  key: string,
  parameters: ConfigFields,
  contextLength: number,
): RopeScaling | undefined {
  const number = (name: string, fallback?: number) => positive(parameters, name, fallback);
  const type: unknown = parameters['rope_type'] ?? parameters['type'] ?? 'default';
  switch (type) {
    // Dynamic scaling sets in beyond max_position_embeddings, which is where our context ends.
    case 'default':
    case 'dynamic':
      return undefined;
    case 'linear':
      return { type: 'linear', factor: number('factor') };
    case 'llama3':
      return {
        type: 'llama3',
        factor: number('factor'),
        lowFactor: number('low_freq_factor'),
        highFactor: number('high_freq_factor'),
        originalContext: number('original_max_position_embeddings'),
      };
    case 'yarn':
      return {
        type: 'yarn',
        factor: number('factor'),
        betaFast: number('beta_fast', 32),
        betaSlow: number('beta_slow', 1),
        originalContext: number('original_max_position_embeddings', contextLength),
        attentionFactor: attentionFactor(parameters),
        truncate: parameters['truncate'] !== false,
      };
    default:
      throw configProblem('ROPE_UNSUPPORTED', `${key}.rope_type`, TYPES, type);
  }
}

/** YaRN's factor of cosines and sines, given or from the paper's formula. */
function attentionFactor(parameters: ConfigFields): number {
  const factor = positive(parameters, 'factor');
  const stretch = (by: number) => (factor <= 1 ? 1 : 0.1 * by * exactLog(factor) + 1);
  if ((parameters['attention_factor'] ?? null) !== null) {
    return positive(parameters, 'attention_factor');
  }
  if (!parameters['mscale'] || !parameters['mscale_all_dim']) return stretch(1);
  const [one, all] = ['mscale', 'mscale_all_dim'].map((name) => positive(parameters, name));
  return stretch(one!) / stretch(all!);
}
