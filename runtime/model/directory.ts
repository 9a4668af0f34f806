/**
 * A model directory in Hugging Face layout: checked whole when it is opened, so that a missing, cut
 * or foreign file is named at once and not in the middle of a task.
 */
import { openFiles } from './files.ts';
import { type GenerationDefaults, readGenerationDefaults } from './generation.ts';
import type { StoredWeights } from './stored.ts';
import { makeTokenizer, type Tokenizer } from './tokenizer.ts';
import { readWeights } from './weights.ts';

/** An opened model directory; weights are read from disk when they are asked for. */
export type ModelDirectory = StoredWeights & {
  readonly tokenizer: Tokenizer;
  readonly generation: GenerationDefaults;
  /** SHA-256 over the names and hashes of the files that decide what the model computes, 32 bytes. */
  readonly hash: Uint8Array;
  /** Sizes of those files, in bytes. */
  readonly bytes: number;
};

const GENERATION_FILE = 'generation_config.json';
const TEMPLATE_FILE = 'chat_template.jinja';

/**
 * Opens a directory with `config.json`, `model.safetensors` (or an index and its shards),
 * `tokenizer.json` and, where there are such, `tokenizer_config.json`, `chat_template.jinja` and
 * `generation_config.json`.
 *
 * @throws ModelError with a code for each way in which it cannot be used
 */
export async function loadModelDirectory(directory: string): Promise<ModelDirectory> {
  // Sampling defaults do not change what the model computes.
  const files = openFiles(directory, [GENERATION_FILE]);
  const weights = await readWeights(files);
  const { vocabSize } = weights.config;
  const tokenizerJson = await files.json('tokenizer.json', 'TOKENIZER_INVALID');
  const tokenizerConfig = (await files.has('tokenizer_config.json'))
    ? await files.json('tokenizer_config.json', 'CONFIG_INVALID')
    : {};
  const template = (await files.has(TEMPLATE_FILE)) ? await files.text(TEMPLATE_FILE) : undefined;
  const tokenizer = makeTokenizer(
    tokenizerJson,
    template === undefined
      ? tokenizerConfig
      : { ...Object(tokenizerConfig), chat_template: template },
    vocabSize,
  );
  const generation = (await files.has(GENERATION_FILE))
    ? await files.json(GENERATION_FILE, 'GENERATION_CONFIG_INVALID')
    : {};
  return {
    ...weights,
    tokenizer,
    generation: readGenerationDefaults(generation, vocabSize, tokenizer.endOfText),
    hash: await files.hash(),
    bytes: files.bytes(),
  };
}
