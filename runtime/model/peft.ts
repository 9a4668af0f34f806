/**
 * LoRA adapters as PEFT directories (`adapter_config.json`, `adapter_model.safetensors`), the form in
 * which other tools make and use them, to and from the engine's flat layout.
 */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { layoutSize, loraLayout, type ModelConfig, type TensorSlot } from '../engine/config.ts';
import type { Adapter } from '../engine/graph.ts';
import { ModelError } from './errors.ts';
import {
  BASE_HASH_KEY,
  CONFIG_FILE,
  adapterProblem as problem,
  readAdapterConfig,
  WEIGHTS_FILE,
} from './peft-config.ts';
import { type NamedTensor, readSafetensors, writeSafetensors } from './safetensors.ts';

const PREFIX = 'base_model.model.';
const MODULE = /^model\.layers\.\d+\.(?:self_attn|mlp)\.(\w+)\.lora_[AB]$/;
/** Largest rank read unless the caller says otherwise. */
const RANK_MAX = 256;
/** An adapter of that rank for any model that we run is smaller than this. */
const WEIGHTS_BYTES_MAX = 2 ** 31 - 1;

/** The base model that an adapter belongs to. */
export type AdapterBase = {
  config: ModelConfig;
  /** Written as `base_model_name_or_path`; not compared when reading, because paths differ. */
  name: string;
  /** The base directory's hash; an adapter that names another hash is refused. */
  hash: Uint8Array;
};

/** The two files of a PEFT directory. Equal adapters give equal bytes. */
export function encodeAdapter(
  adapter: Adapter,
  base: AdapterBase,
): { config: string; weights: Uint8Array } {
  const layout = loraLayout(base.config, adapter.rank);
  if (layoutSize(layout) !== adapter.parameters.length) {
    throw new RangeError(
      `expected ${layoutSize(layout)} adapter values, found ${adapter.parameters.length}`,
    );
  }
  const tensors = layout.map((slot): NamedTensor => {
    const { rows, columns, offset } = slot;
    const values = adapter.parameters.subarray(offset, offset + rows * columns);
    return { name: keyOf(slot), shape: [rows, columns], values };
  });
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base.name,
    [BASE_HASH_KEY]: Buffer.from(base.hash).toString('hex'),
    r: adapter.rank,
    lora_alpha: adapter.alpha,
    lora_dropout: 0,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    target_modules: modulesOf(layout),
    use_dora: false,
    use_rslora: false,
  };
  const weights = writeSafetensors(tensors, 'F32', { format: 'pt' });
  return { config: `${JSON.stringify(config, null, 2)}\n`, weights };
}

/** Writes an adapter as a PEFT directory. */
export async function writeAdapterDirectory(
  directory: string,
  adapter: Adapter,
  base: AdapterBase,
): Promise<void> {
  const { config, weights } = encodeAdapter(adapter, base);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, WEIGHTS_FILE), weights);
  await writeFile(join(directory, CONFIG_FILE), config);
}

/**
 * Reads a PEFT directory.
 *
 * @param rankMax an adapter of a higher rank is refused
 * @throws ModelError MODEL_FILE_MISSING | ADAPTER_FORMAT_UNSUPPORTED and those of `decodeAdapter`
 */
export async function readAdapterDirectory(
  directory: string,
  base: AdapterBase,
  rankMax = RANK_MAX,
): Promise<Adapter> {
  const sizeOf = (name: string) =>
    stat(join(directory, name)).then(
      (found) => found.size,
      () => undefined,
    );
  const weightsBytes = await sizeOf(WEIGHTS_FILE);
  if (weightsBytes === undefined && (await sizeOf('adapter_model.bin')) !== undefined) {
    throw new ModelError('ADAPTER_FORMAT_UNSUPPORTED', 'pickled weights can run code', {
      file: join(directory, 'adapter_model.bin'),
      expected: WEIGHTS_FILE,
      found: 'adapter_model.bin',
      remedy: 'save the adapter with safe_serialization',
    });
  }
  for (const name of [CONFIG_FILE, WEIGHTS_FILE]) {
    if ((await sizeOf(name)) !== undefined) continue;
    const details = {
      file: join(directory, name),
      expected: 'a file',
      remedy: 'give a PEFT directory',
    };
    throw new ModelError('MODEL_FILE_MISSING', 'the adapter lacks a file', details);
  }
  if ((weightsBytes ?? 0) > WEIGHTS_BYTES_MAX) {
    const expected = `at most ${WEIGHTS_BYTES_MAX} bytes`;
    const details = { file: join(directory, WEIGHTS_FILE), expected, found: `${weightsBytes}` };
    throw new ModelError('MODEL_FILE_TOO_LARGE', 'the adapter is too large', details);
  }
  const config = await readFile(join(directory, CONFIG_FILE), 'utf8');
  return decodeAdapter(config, await readFile(join(directory, WEIGHTS_FILE)), base, rankMax);
}

/**
 * The adapter in the two files of a PEFT directory. Modules that it does not adapt become zeros,
 * which change nothing.
 *
 * @throws ModelError ADAPTER_CONFIG_INVALID | ADAPTER_DORA_UNSUPPORTED | ADAPTER_BIAS_UNSUPPORTED |
 *   ADAPTER_MODULES_TO_SAVE_UNSUPPORTED | ADAPTER_OTHER_BASE | ADAPTER_RANK_TOO_LARGE |
 *   ADAPTER_MODULE_UNKNOWN | TENSOR_MISSING | TENSOR_SHAPE | TENSOR_NOT_FINITE and those of
 *   `readSafetensors`
 */
export function decodeAdapter(
  configJson: string,
  weights: Uint8Array,
  base: AdapterBase,
  rankMax = RANK_MAX,
): Adapter {
  const { rank, alpha, isTarget } = readAdapterConfig(configJson, base.hash, rankMax);
  const file = readSafetensors(weights, WEIGHTS_FILE);
  const layout = loraLayout(base.config, rank);
  const slots = new Map(layout.map((slot) => [keyOf(slot), slot]));
  const parameters = new Float32Array(layoutSize(layout));
  for (const [key, { shape }] of file.entries) {
    const slot = slots.get(key);
    if (slot === undefined) throw unknownTensor(key);
    if (!isTarget(key.slice(PREFIX.length).replace(/\.lora_[AB]\.weight$/, ''))) {
      throw problem('ADAPTER_CONFIG_INVALID', CONFIG_FILE, 'target_modules', `one for ${key}`, '');
    }
    if (shape.length !== 2 || shape[0] !== slot.rows || shape[1] !== slot.columns) {
      const expected = `shape [${slot.rows}, ${slot.columns}]`;
      throw problem('TENSOR_SHAPE', WEIGHTS_FILE, key, expected, shape);
    }
    const partner = key.replace(/lora_[AB]/, (side) => (side === 'lora_A' ? 'lora_B' : 'lora_A'));
    if (!file.entries.has(partner)) {
      throw problem('TENSOR_MISSING', WEIGHTS_FILE, partner, `the partner of ${key}`, 'none');
    }
    const values = file.tensor(key);
    if (!values.every(Number.isFinite)) {
      throw problem('TENSOR_NOT_FINITE', WEIGHTS_FILE, key, 'finite values', 'NaN or infinity');
    }
    parameters.set(values, slot.offset);
  }
  if (file.entries.size === 0) {
    throw problem('TENSOR_MISSING', WEIGHTS_FILE, 'lora_A', 'at least one adapted module', 'none');
  }
  return { rank, alpha, parameters };
}

function unknownTensor(key: string): ModelError {
  if (key.includes('lora_magnitude_vector')) {
    return problem('ADAPTER_DORA_UNSUPPORTED', WEIGHTS_FILE, key, 'lora_A and lora_B only', 'DoRA');
  }
  if (key.endsWith('.bias')) {
    return problem('ADAPTER_BIAS_UNSUPPORTED', WEIGHTS_FILE, key, 'no bias', 'one');
  }
  const expected = 'the attention and feed-forward linears of a layer of the base';
  return problem('ADAPTER_MODULE_UNKNOWN', WEIGHTS_FILE, key, expected, key);
}

/** PEFT's name of a tensor: the base's module below its two wrappers. */
function keyOf(slot: TensorSlot): string {
  return `${PREFIX}${slot.name}.weight`;
}

function modulesOf(layout: readonly TensorSlot[]): string[] {
  const modules = layout.map(({ name }) => MODULE.exec(name)?.[1] ?? name);
  return [...new Set(modules)].sort();
}
