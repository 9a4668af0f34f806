/** `adapter_config.json` of PEFT: what an adapter is, and what of it we do not compute. */
import { ModelError, type ModelErrorCode } from './errors.ts';

export const CONFIG_FILE = 'adapter_config.json';
export const WEIGHTS_FILE = 'adapter_model.safetensors';
/** Our own key: which base directory the adapter was trained on. */
export const BASE_HASH_KEY = 'openledger_base_sha256';

/** What the config says about the weights beside it. */
export type AdapterSettings = {
  readonly rank: number;
  /** The scale is alpha / rank. */
  readonly alpha: number;
  /** Whether PEFT would adapt the module of this name. */
  isTarget(module: string): boolean;
};

type Fields = Readonly<Record<string, unknown>>;

/** Settings under which PEFT computes more than scale * B A x. */
const BEYOND_LORA = [
  'alora_invocation_tokens',
  'arrow_config',
  'kasa_config',
  'layer_replication',
  'monteclora_config',
  'target_parameters',
  'trainable_token_indices',
  'use_bdlora',
  'use_qalora',
  'velora_config',
];

/** Starts of A and B that leave the base as it is; others (PiSSA, OLoRA, CorDA) take a part of it. */
const HARMLESS_STARTS = ['gaussian', 'eva', 'orthogonal'];

/**
 * Reads the text of an `adapter_config.json`.
 *
 * @param baseHash of the base at hand; an adapter that names another is refused
 * @throws ModelError ADAPTER_CONFIG_INVALID | ADAPTER_DORA_UNSUPPORTED | ADAPTER_BIAS_UNSUPPORTED |
 *   ADAPTER_MODULES_TO_SAVE_UNSUPPORTED | ADAPTER_OTHER_BASE | ADAPTER_RANK_TOO_LARGE
 */
export function readAdapterConfig(
  text: string,
  baseHash: Uint8Array,
  rankMax: number,
): AdapterSettings {
  const fields = parseConfig(text);
  refuseUnsupported(fields);
  const fail = failureOf(fields);
  const hash = fields[BASE_HASH_KEY];
  const expected = Buffer.from(baseHash).toString('hex');
  if (hash !== undefined && hash !== expected) {
    throw fail(BASE_HASH_KEY, expected, 'ADAPTER_OTHER_BASE');
  }
  const rank = fields['r'];
  if (!Number.isSafeInteger(rank) || (rank as number) < 1)
    throw fail('r', 'a whole number above 0');
  if ((rank as number) > rankMax) throw fail('r', `at most ${rankMax}`, 'ADAPTER_RANK_TOO_LARGE');
  const alpha = fields['lora_alpha'];
  if (typeof alpha !== 'number' || !Number.isFinite(alpha)) throw fail('lora_alpha', 'a number');
  // Rank-stabilised LoRA scales by alpha / sqrt(r) where we scale by alpha / r.
  const isStabilised = fields['use_rslora'] === true;
  return {
    rank: rank as number,
    alpha: isStabilised ? alpha * Math.sqrt(rank as number) : alpha,
    isTarget: readTargets(fields['target_modules'] ?? 'all-linear', () =>
      fail('target_modules', 'names of modules, a pattern or "all-linear"'),
    ),
  };
}

/**
 * Which modules PEFT would adapt: it ignores weights of others. A pattern is not run, because a
 * stranger's regular expression can take for ever; then the weights themselves say what is adapted.
 */
function readTargets(targets: unknown, fail: () => ModelError): (module: string) => boolean {
  if (typeof targets === 'string') return () => true;
  if (!Array.isArray(targets)) throw fail();
  const names = targets.map((name: unknown) => {
    if (typeof name !== 'string') throw fail();
    return name;
  });
  return (module) => names.some((name) => module === name || module.endsWith(`.${name}`));
}

/** Everything that PEFT can do beyond plain LoRA of linears without biases. */
function refuseUnsupported(fields: Fields): void {
  const fail = failureOf(fields);
  const isSet = (key: string) => {
    const value = fields[key] ?? false;
    if (typeof value !== 'object') return value !== false;
    return Object.keys(value ?? {}).length !== 0;
  };
  if (fields['peft_type'] !== 'LORA') throw fail('peft_type', '"LORA"');
  if (fields['use_dora'] === true) throw fail('use_dora', 'false', 'ADAPTER_DORA_UNSUPPORTED');
  if ((fields['bias'] ?? 'none') !== 'none')
    throw fail('bias', '"none"', 'ADAPTER_BIAS_UNSUPPORTED');
  if (isSet('lora_bias')) throw fail('lora_bias', 'false', 'ADAPTER_BIAS_UNSUPPORTED');
  for (const key of BEYOND_LORA) if (isSet(key)) throw fail(key, 'plain LoRA');
  if (isSet('modules_to_save')) {
    throw fail('modules_to_save', 'null', 'ADAPTER_MODULES_TO_SAVE_UNSUPPORTED');
  }
  for (const key of ['rank_pattern', 'alpha_pattern']) {
    if (isSet(key)) throw fail(key, 'one rank and one alpha for all modules');
  }
  if (fields['fan_in_fan_out'] === true) throw fail('fan_in_fan_out', 'false');
  const start = fields['init_lora_weights'] ?? true;
  if (typeof start !== 'boolean' && !HARMLESS_STARTS.includes(String(start))) {
    throw fail('init_lora_weights', 'a start that leaves the base as it is');
  }
}

function failureOf(fields: Fields) {
  return (key: string, expected: string, code: ModelErrorCode = 'ADAPTER_CONFIG_INVALID') =>
    adapterProblem(code, CONFIG_FILE, key, expected, fields[key]);
}

function parseConfig(text: string): Fields {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw adapterProblem('ADAPTER_CONFIG_INVALID', CONFIG_FILE, '(root)', 'JSON', found);
  }
  if (typeof fields === 'object' && fields !== null && !Array.isArray(fields)) {
    return fields as Fields;
  }
  throw adapterProblem('ADAPTER_CONFIG_INVALID', CONFIG_FILE, '(root)', 'a JSON object', fields);
}

/** The error of one key of an adapter's files. */
export function adapterProblem(
  code: ModelErrorCode,
  file: string,
  key: string,
  expected: string,
  found: unknown,
): ModelError {
  const text = (JSON.stringify(found) ?? 'nothing').slice(0, 80);
  return new ModelError(code, 'this adapter cannot be used', { file, key, expected, found: text });
}
