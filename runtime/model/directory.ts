/**
 * A base model on disk: a directory in Hugging Face layout, or one GGUF file. It is checked whole when
 * it is opened, so that a missing, cut or foreign file is named at once and not in the middle of a task.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readGgufTokenizer, readGgufTokenizerConfig } from '../gguf/tokenizer.ts';
import { ggufWeights, openGgufModel } from '../gguf/weights.ts';
import { ModelError } from './errors.ts';
import { type ModelFiles, openFiles } from './files.ts';
import { type GenerationDefaults, readGenerationDefaults } from './generation.ts';
import type { StoredWeights } from './stored.ts';
import { makeTokenizer, type Tokenizer } from './tokenizer.ts';
import { readWeights } from './weights.ts';

/** An opened model; weights are read from disk when they are asked for. */
export type ModelDirectory = StoredWeights & {
  readonly tokenizer: Tokenizer;
  readonly generation: GenerationDefaults;
  /** SHA-256 over the names and hashes of the files that decide what the model computes, 32 bytes. */
  readonly hash: Uint8Array;
  /** Sizes of those files, in bytes. */
  readonly bytes: number;
  /** The JSON files of Hugging Face's layout that say what a GGUF file's metadata says, by name. */
  readonly derived: Readonly<Record<string, unknown>>;
};

const CONFIG_FILE = 'config.json';
const TOKENIZER_FILE = 'tokenizer.json';
const TOKENIZER_CONFIG_FILE = 'tokenizer_config.json';
const GENERATION_FILE = 'generation_config.json';
const TEMPLATE_FILE = 'chat_template.jinja';
/** What may lie beside a GGUF file and then wins over its metadata. */
const COMPANIONS = [TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, GENERATION_FILE, TEMPLATE_FILE];

/**
 * Opens a directory with `config.json`, `model.safetensors` (or an index and its shards),
 * `tokenizer.json` and, where there are such, `tokenizer_config.json`, `chat_template.jinja` and
 * `generation_config.json`; or a GGUF file, given itself or as the only one of a directory without a
 * `config.json`. Beside it, the files of the tokenizer may lie.
 *
 * @throws ModelError with a code for each way in which it cannot be used
 */
export async function loadModelDirectory(path: string): Promise<ModelDirectory> {
  const { folder, gguf } = await locate(path);
  // Sampling defaults do not change what the model computes.
  const files = openFiles(folder, [GENERATION_FILE]);
  const parts = gguf === undefined ? await huggingFaceParts(files) : await ggufParts(files, gguf);
  const { weights, tokenizerJson, tokenizerConfig, stopIds, derived } = parts;
  const { vocabSize } = weights.config;
  const template = (await files.has(TEMPLATE_FILE)) ? await files.text(TEMPLATE_FILE) : undefined;
  const tokenizer = makeTokenizer(
    tokenizerJson,
    template === undefined
      ? tokenizerConfig
      : { ...Object(tokenizerConfig), chat_template: template },
    vocabSize,
    derived[TOKENIZER_FILE] === undefined ? TOKENIZER_FILE : gguf,
  );
  const generation = (await files.has(GENERATION_FILE))
    ? await files.json(GENERATION_FILE, 'GENERATION_CONFIG_INVALID')
    : { eos_token_id: stopIds };
  return {
    ...weights,
    tokenizer,
    generation: readGenerationDefaults(generation, vocabSize, tokenizer.endOfText),
    hash: await files.hash(),
    bytes: files.bytes(),
    derived,
  };
}

/**
 * The files that belong to a model: those of its directory, or a GGUF file and what lies beside it.
 *
 * @throws ModelError as `loadModelDirectory` when there is no such model
 */
export async function modelFiles(path: string): Promise<{ folder: string; names: string[] }> {
  const { folder, gguf } = await locate(path);
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  if (gguf === undefined || folder === path) return { folder, names };
  return { folder, names: names.filter((name) => name === gguf || COMPANIONS.includes(name)) };
}

type Parts = {
  readonly weights: StoredWeights;
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig: unknown;
  readonly stopIds: readonly number[];
  readonly derived: ModelDirectory['derived'];
};

async function huggingFaceParts(files: ModelFiles): Promise<Parts> {
  return {
    weights: await readWeights(files),
    tokenizerJson: await files.json(TOKENIZER_FILE, 'TOKENIZER_INVALID'),
    tokenizerConfig: await tokenizerConfigOf(files, {}),
    stopIds: [],
    derived: {},
  };
}

async function tokenizerConfigOf(files: ModelFiles, fallback: unknown): Promise<unknown> {
  return (await files.has(TOKENIZER_CONFIG_FILE))
    ? await files.json(TOKENIZER_CONFIG_FILE, 'CONFIG_INVALID')
    : fallback;
}

async function ggufParts(files: ModelFiles, name: string): Promise<Parts> {
  const model = openGgufModel(await files.source(name), name);
  const { file, fields, config } = model;
  const derived: Record<string, unknown> = { [CONFIG_FILE]: fields };
  const said = readGgufTokenizerConfig(file, config.vocabSize, name);
  const tokenizerConfig = await tokenizerConfigOf(files, said.config);
  if (tokenizerConfig === said.config) derived[TOKENIZER_CONFIG_FILE] = said.config;
  let tokenizerJson: unknown;
  if (await files.has(TOKENIZER_FILE)) {
    tokenizerJson = await files.json(TOKENIZER_FILE, 'TOKENIZER_INVALID');
  } else {
    tokenizerJson = readGgufTokenizer(file, config.vocabSize, name);
    derived[TOKENIZER_FILE] = tokenizerJson;
  }
  const weights = ggufWeights(model);
  return { weights, tokenizerJson, tokenizerConfig, stopIds: said.stopIds, derived };
}

/** The directory of a model and, where it is one, the name of its GGUF file. */
async function locate(path: string): Promise<{ folder: string; gguf?: string }> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile()) return { folder: dirname(path), gguf: basename(path) };
  if (!found?.isDirectory()) return { folder: path };
  const names = await readdir(path);
  const ggufs = names.filter((name) => name.endsWith('.gguf'));
  if (names.includes(CONFIG_FILE) || ggufs.length === 0) return { folder: path };
  const [gguf] = ggufs;
  if (gguf !== undefined && ggufs.length === 1) return { folder: path, gguf };
  throw new ModelError('MODEL_FILE_MISSING', 'it is not clear which file is the model', {
    file: join(path, CONFIG_FILE),
    expected: 'this file, or one GGUF file',
    found: `${ggufs.length} GGUF files`,
    remedy: 'give the path of one of them',
  });
}
