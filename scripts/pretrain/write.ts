/** Writes the base model as a Hugging Face directory, each file complete or not at all. */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ModelConfig,
  modelConfigJson,
  type NamedTensor,
  PAD,
  type Tokenizer,
  type TokenizerFiles,
  weightShapes,
  writeSafetensors,
} from '#runtime';

/** Everything that the directory holds. */
export type BaseModel = {
  config: ModelConfig;
  /** All weights in one array, in the order of `weightShapes`. */
  weights: Float32Array;
  tokenizer: Tokenizer;
  tokenizerFiles: TokenizerFiles;
  readme: string;
};

/** Writes all files beside their places first and then moves them in one after another. */
export async function writeBaseModel(directory: string, model: BaseModel): Promise<void> {
  const { config, tokenizer, tokenizerFiles } = model;
  const end = tokenizer.endOfText;
  const pad = tokenizer.specialId(PAD)!;
  const files: Record<string, string | Uint8Array> = {
    'config.json': json(modelConfigJson(config, end, pad)),
    'generation_config.json': json({
      bos_token_id: end,
      eos_token_id: end,
      pad_token_id: pad,
      do_sample: true,
      temperature: 0.7,
      top_p: 0.95,
    }),
    'model.safetensors': writeSafetensors(namedTensors(config, model.weights), 'BF16', {
      format: 'pt',
    }),
    'tokenizer.json': `${JSON.stringify(tokenizerFiles.tokenizer)}\n`,
    'tokenizer_config.json': json(tokenizerFiles.config),
    'README.md': model.readme,
  };
  await mkdir(directory, { recursive: true });
  const names = Object.keys(files);
  for (const name of names) await writeFile(join(directory, `${name}.partial`), files[name]!);
  for (const name of names) await rename(join(directory, `${name}.partial`), join(directory, name));
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function namedTensors(config: ModelConfig, weights: Float32Array): NamedTensor[] {
  let at = 0;
  const tensors: NamedTensor[] = [];
  for (const [name, shape] of weightShapes(config)) {
    const count = shape.reduce((product, size) => product * size, 1);
    tensors.push({ name, shape, values: weights.subarray(at, at + count) });
    at += count;
  }
  if (at !== weights.length) throw new RangeError(`${weights.length} weights, expected ${at}`);
  return tensors;
}
