/**
 * Decoding against llama.cpp at equal precision: f32 weights, keys and values, greedy, the same GGUF
 * file. One text with the base, and eight texts at once with an adapter each; llama.cpp has an adapter
 * by context, so eight contexts. llama.cpp runs as it was fastest: with one thread or all, its contexts
 * together or in turn.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Adapter,
  adapterGguf,
  createServing,
  ggufTokenizer,
  layoutSize,
  loadModelDirectory,
  loraLayout,
  type ModelConfig,
  modelGguf,
} from '#runtime';
import { noise } from '../noise.ts';
import { median, type Row, rowOf, type SuiteOptions } from '../stats.ts';
import { type LlamaCpp, openLlamaCpp } from './llama-cpp.ts';
import { MEDIUM, randomWeights, type Shape, SMALL } from './models.ts';

const THREADS = 2;
const RANK = 8;
const ADAPTERS = 8;
const PROMPT = [5, 9, 14, 23];

type Aim = {
  readonly shape: Shape;
  readonly target: number;
  /** Tokens of each answer. */
  readonly tokens: number;
};

const ROWS: readonly Aim[] = [
  { shape: SMALL, target: 1.5, tokens: 16 },
  { shape: MEDIUM, target: 1, tokens: 8 },
];

/** An arm: tokens per second of one round. */
type Arm = () => Promise<number>;
type Arms = { readonly one: Arm; readonly eight: Arm; readonly close: () => Promise<void> };

export async function decodeRows({ pairs, wants, model, say }: SuiteOptions): Promise<Row[]> {
  const rows: Row[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'openledger-decode-'));
  try {
    for (const aim of ROWS) {
      const { shape, tokens } = aim;
      if (model !== undefined && !shape.name.includes(model)) continue;
      const file = join(folder, 'model.gguf');
      writeFileSync(file, modelGguf(randomWeights(shape.config), 'F32', vocabulary(shape)));
      const adapters = Array.from({ length: ADAPTERS }, (_, i) => adapterOf(shape.config, i));
      const files = adapters.map((adapter, i) => {
        const path = join(folder, `${i}.gguf`);
        writeFileSync(path, adapterGguf(shape.config, adapter));
        return path;
      });
      say(`${shape.name}: opening`);
      const ours = await openOurs(file, adapters, tokens);
      const theirs = await openTheirs(file, files, tokens);
      for (const id of ['one', 'eight'] as const) {
        if (!wants(`decode-${id}`)) continue;
        const row = await alternate(aim, id, pairs, ours[id], theirs[id]);
        say(`${row.id} ${row.model}: ${row.median.toFixed(3)} (${row.target})`);
        rows.push(row);
      }
      await Promise.all([ours.close(), theirs.close()]);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return rows;
}

async function alternate(
  { shape, target }: Aim,
  id: 'one' | 'eight',
  pairs: number,
  ours: Arm,
  theirs: Arm,
): Promise<Row> {
  const [mine, others]: [number[], number[]] = [[], []];
  for (let i = -1; i < pairs; i++) {
    // Who goes first changes, so that neither always finds the warmer cache.
    const first = i % 2 === 0 ? await ours() : await theirs();
    const second = i % 2 === 0 ? await theirs() : await ours();
    if (i < 0) continue;
    mine.push(i % 2 === 0 ? first : second);
    others.push(i % 2 === 0 ? second : first);
  }
  const texts = id === 'one' ? 'one text, base' : `8 texts, an adapter of rank ${RANK} each`;
  const about = {
    ...{ id: `decode-${id}`, what: `ours / llama.cpp, f32, up to ${THREADS} threads: ${texts}` },
    ...{ model: shape.name, better: 'high' as const, target },
  };
  const ratios = mine.map((speed, i) => speed / others[i]!);
  return rowOf(about, ratios, { 'ours tok/s': median(mine), 'llama.cpp tok/s': median(others) });
}

/** Names for all ids: llama.cpp takes no file without a vocabulary. */
function vocabulary({ config: { vocabSize } }: Shape) {
  const contents = Array.from(
    { length: vocabSize - 1 },
    (_, id) => ['a', '1', 'a1'][id] ?? `a${id}`,
  );
  const vocab = Object.fromEntries(contents.map((content, id) => [content, id]));
  const added_tokens = [{ id: vocabSize - 1, content: '</s>' }];
  const json = { added_tokens, model: { vocab, merges: ['a 1'] } };
  return ggufTokenizer({ json, config: { eos_token: '</s>' } }, 'gpt-2', vocabSize);
}

function adapterOf(config: ModelConfig, seed: number): Adapter {
  const next = noise(seed + 7);
  const length = layoutSize(loraLayout(config, RANK));
  const parameters = Float32Array.from({ length }, () => next() * 0.02);
  return { rank: RANK, alpha: RANK, parameters };
}

async function openOurs(file: string, adapters: Adapter[], tokens: number): Promise<Arms> {
  const serving = createServing({
    weights: await loadModelDirectory(file),
    ...{ threads: THREADS, limits: { prefixCache: false } },
  });
  const round = async (handles: readonly (number | null)[]): Promise<number> => {
    const before = performance.now();
    const answers = await Promise.all(
      handles.map((index) =>
        serving.generate({
          ...{ client: 'bench', tokens: Int32Array.from(PROMPT), maxTokens: tokens },
          adapter: index === null ? null : { id: `a${index}`, fetch: async () => adapters[index]! },
        }),
      ),
    );
    const said = answers.reduce((sum, answer) => sum + answer.tokens.length, 0);
    return (1000 * said) / (performance.now() - before);
  };
  const all = adapters.map((_, index) => index);
  return { one: () => round([null]), eight: () => round(all), close: () => serving.close() };
}

/**
 * With one thread and with all, eight contexts together and in turn: an arm is what was fastest in a
 * round of each. llama.cpp's threads spin for one another, which costs most where they share a core.
 */
async function openTheirs(file: string, files: string[], tokens: number): Promise<Arms> {
  const opened = await Promise.all(
    [1, THREADS].map((threads) => openLlama(file, files, tokens, threads)),
  );
  return {
    one: fastest(opened.map(({ one }) => one)),
    eight: fastest(opened.flatMap(({ together, inTurn }) => [together, inTurn])),
    close: async () => {
      for (const { close } of opened) await close();
    },
  };
}

function fastest(arms: readonly Arm[]): Arm {
  let chosen: Arm | undefined;
  return async () => {
    if (chosen === undefined) {
      const speeds: number[] = [];
      for (const arm of arms) speeds.push(await arm());
      chosen = arms[speeds.indexOf(Math.max(...speeds))]!;
    }
    return chosen();
  };
}

async function openLlama(file: string, files: string[], tokens: number, threads: number) {
  const llama: LlamaCpp = await openLlamaCpp(file, threads);
  const base = await llama.open(256);
  const adapted = await Promise.all(files.map((path) => llama.open(256, path)));
  const answer = async (text: typeof base): Promise<void> => {
    await text.reset();
    const next = text.start(PROMPT);
    for (let i = 0; i < tokens; i++) await next();
  };
  const timed = async (count: number, run: () => Promise<unknown>): Promise<number> => {
    const before = performance.now();
    await run();
    return (1000 * count * tokens) / (performance.now() - before);
  };
  return {
    one: () => timed(1, () => answer(base)),
    together: () => timed(adapted.length, () => Promise.all(adapted.map(answer))),
    inTurn: () =>
      timed(adapted.length, async () => {
        for (const text of adapted) await answer(text);
      }),
    close: () => llama.close(),
  };
}
