/**
 * An adapter merged into its base: W + scale · B A, written as a model directory that any tool reads.
 */
import { constants } from 'node:fs';
import { access, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loraLayout, parameterLayout, type TensorSlot } from '../engine/config.ts';
import type { Adapter } from '../engine/graph.ts';
import { type ModelDirectory, modelFiles } from '../model/directory.ts';
import { ModelError } from '../model/errors.ts';
import { type NamedTensor, writeSafetensors } from '../model/safetensors.ts';

/** Files beside the weights that a model directory may have; they are taken over as they are. */
const OTHER_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];
/** Weights are written as one file; this is what Node can hold in one buffer. */
const BYTES_MAX = 2 ** 31 - 1;

/** A base's weight with the adapter's change, each value summed in float64 and rounded once. */
export function mergedWeight(
  weight: Float32Array,
  [a, b]: readonly [TensorSlot, TensorSlot],
  { alpha, rank, parameters }: Adapter,
): Float32Array {
  const scale = Math.fround(alpha / rank);
  const merged = new Float32Array(weight.length);
  for (let row = 0; row < b.rows; row++) {
    for (let column = 0; column < a.columns; column++) {
      let change = 0;
      for (let k = 0; k < rank; k++) {
        change +=
          parameters[b.offset + row * rank + k]! * parameters[a.offset + k * a.columns + column]!;
      }
      const at = row * a.columns + column;
      merged[at] = weight[at]! + scale * change;
    }
  }
  return merged;
}

/**
 * Writes the merged model in f32 into `directory`.
 *
 * @param from the base's directory, whose other files are copied, or its GGUF file
 * @throws ModelError MODEL_FILE_TOO_LARGE, and those of the base's tensors
 */
export async function writeMergedModel(
  directory: string,
  base: ModelDirectory,
  from: string,
  adapter: Adapter,
): Promise<void> {
  const layout = parameterLayout(base.config);
  const bytes = layout.reduce((sum, { rows, columns }) => sum + rows * columns * 4, 0);
  if (bytes > BYTES_MAX) {
    throw new ModelError('MODEL_FILE_TOO_LARGE', 'the merged model does not fit one file', {
      file: join(directory, 'model.safetensors'),
      expected: `at most ${BYTES_MAX} bytes`,
      found: `${bytes}`,
      remedy: 'keep base and adapter apart, or merge with PEFT',
    });
  }
  const lora = loraLayout(base.config, adapter.rank);
  const tensors = layout.map(({ name, rows, columns }): NamedTensor => {
    const pair = lora.findIndex((slot) => slot.name === name.replace(/\.weight$/, '.lora_A'));
    const weight = base.tensor(name);
    const isVector = /(norm\.weight|\.bias)$/.test(name);
    return {
      name,
      shape: isVector ? [columns] : [rows, columns],
      values: pair === -1 ? weight : mergedWeight(weight, [lora[pair]!, lora[pair + 1]!], adapter),
    };
  });
  await mkdir(directory, { recursive: true });
  const { folder } = await modelFiles(from);
  for (const name of OTHER_FILES) {
    const to = join(directory, name);
    if (name in base.derived) {
      await writeFile(to, JSON.stringify(base.derived[name]), { flag: 'wx' });
      continue;
    }
    const isThere = await access(join(folder, name)).then(
      () => true,
      () => false,
    );
    if (isThere) await copyFile(join(folder, name), to, constants.COPYFILE_EXCL);
  }
  await writeFile(
    join(directory, 'model.safetensors'),
    writeSafetensors(tensors, 'F32', { format: 'pt' }),
    { flag: 'wx' },
  );
}
