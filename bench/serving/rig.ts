/** Models, adapters and a hand-driven serving engine for the rows of the serving suite. */
import { fileURLToPath } from 'node:url';
import {
  type Adapter,
  BATCH_SIZES,
  BatchGraph,
  type BatchSizes,
  GREEDY,
  layoutSize,
  loadModelDirectory,
  loraLayout,
  type ModelConfig,
  openArena,
  SERVE_LIMITS,
  ServeCore,
  type ServeRequest,
  weightShapes,
} from '#runtime';
import { noise } from '../noise.ts';
import type { Row } from '../stats.ts';

export type BenchModel = {
  readonly name: string;
  readonly config: ModelConfig;
  readonly tensor: (name: string) => Float32Array;
  /** Tokens of a prompt and of an answer. */
  readonly promptTokens: number;
  readonly outputTokens: number;
};

export type RowContext = {
  readonly model: BenchModel;
  readonly pairs: number;
  /** Measures rows when one of them is wanted, and says what came out. */
  readonly add: (
    ids: readonly string[],
    measure: () => Row | readonly Row[] | Promise<Row | readonly Row[]>,
  ) => Promise<void>;
};

/** The model whose name has `asked` in it; by default the 135 M-shaped one. */
export async function benchModel(asked = '135 M'): Promise<BenchModel> {
  const makers = { '135 M': () => random('135 M', shaped135, 8), ...smallModels };
  const found = Object.entries(makers).find(([name]) => name.includes(asked));
  if (found === undefined) {
    throw new Error(`expected a model of ${Object.keys(makers).join(', ')}, found ${asked}`);
  }
  return found[1]();
}

async function shipped(): Promise<BenchModel> {
  const folder = fileURLToPath(new URL('../../runtime/base', import.meta.url));
  const model = await loadModelDirectory(folder);
  return {
    name: 'shipped 2.75 M',
    config: model.config,
    tensor: (name) => model.tensor(name),
    promptTokens: 64,
    outputTokens: 64,
  };
}

/** The shape of SmolLM2-135M. */
const shaped135: ModelConfig = {
  hiddenSize: 576,
  layers: 30,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  ffnSize: 1536,
  vocabSize: 49_152,
  contextLength: 512,
  rmsEps: 1e-5,
  ropeTheta: 10_000,
  tiedEmbeddings: true,
};
const shaped25: ModelConfig = {
  ...shaped135,
  ...{ hiddenSize: 512, layers: 8, heads: 8, kvHeads: 4, ffnSize: 1408, vocabSize: 4096 },
};

/** Models small enough for software GPUs too. */
export const smallModels: Readonly<Record<string, () => Promise<BenchModel>>> = {
  'shipped 2.75 M': shipped,
  'random 25.7 M': async () => random('random 25.7 M', shaped25, 32),
};

/** Random f32 weights; prompts and answers are as long as `tokens`: short, so that all rows end in minutes. */
function random(name: string, config: ModelConfig, tokens: number): BenchModel {
  const next = noise(1);
  const block = Float32Array.from({ length: 1_048_573 }, () => next() * 0.08);
  const shapes = new Map(weightShapes(config));
  return {
    name,
    config,
    // Made when it is asked for: the arena's copy is the only one that stays.
    tensor(slot) {
      const length = shapes.get(slot)!.reduce((product, size) => product * size, 1);
      const values = new Float32Array(length);
      if (slot.endsWith('norm.weight')) return values.fill(1);
      const first = (slot.length * 7919 + length) % block.length;
      for (let at = 0; at < length; ) {
        const part = block.subarray(at === 0 ? first : 0).subarray(0, length - at);
        values.set(part, at);
        at += part.length;
      }
      return values;
    },
    promptTokens: tokens,
    outputTokens: tokens,
  };
}

/** Room for so many adapters of a rank, and for a full batch of texts. */
export function poolFor(
  { config, promptTokens, outputTokens }: BenchModel,
  rank: number,
  adapters: number,
): number {
  const linear = 2 * config.heads * config.headDim + 2 * config.kvHeads * config.headDim;
  const perLayer = linear + 4 * config.hiddenSize + 2 * config.hiddenSize + 3 * config.ffnSize;
  const adapterBytes = 4 * rank * config.layers * perLayer;
  const position = 8 * config.layers * config.kvHeads * config.headDim;
  const texts = 32 * (promptTokens + outputTokens + 16) * position;
  return Math.ceil(adapters * adapterBytes * 1.15 + texts);
}

/** Adapters of one rank: as many ids as wanted over a few sets of numbers. */
export function adapterBook(config: ModelConfig, rank: number, sets = 16): (id: string) => Adapter {
  const length = layoutSize(loraLayout(config, rank));
  const books = Array.from({ length: sets }, (_, i) => {
    const next = noise(i + 7);
    return Float32Array.from({ length }, () => next() * 0.05);
  });
  return (id) => ({ rank, alpha: 2 * rank, parameters: books[Number(id.slice(1)) % sets]! });
}

/** Milliseconds of processor time that this process has used: what a shared machine leaves unmoved. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

export type Rig = {
  readonly core: ServeCore;
  readonly graph: BatchGraph;
  /** Where first tokens and ends are put down, by request. */
  readonly ends: Map<number, { firstMs: number; endMs: number; tokens: number[]; finish: string }>;
  /** Adds a request; returns its id. */
  readonly ask: (adapter: string | null, changes?: Partial<ServeRequest>) => number;
  /** Steps until all is done; returns the processor time. */
  readonly drain: () => number;
};

/** An engine whose adapters are in memory when they are wanted. */
export function openRig(
  model: BenchModel,
  adapters: (id: string) => Adapter,
  sizes: Partial<BatchSizes> = {},
  clock: () => number = cpuMs,
): Rig {
  const graph = new BatchGraph(openArena(), model, { ...BATCH_SIZES, ...sizes });
  const ends: Rig['ends'] = new Map();
  const core: ServeCore = new ServeCore(
    graph,
    { ...SERVE_LIMITS, waitingMax: 1e6, clientWaitingMax: 1e6 },
    {
      clock,
      onToken(id, token) {
        const end = ends.get(id)!;
        if (end.tokens.length === 0) end.firstMs = clock();
        end.tokens.push(token);
      },
      onEnd(id, outcome) {
        const end = ends.get(id)!;
        end.endMs = clock();
        end.finish = 'finish' in outcome ? outcome.finish : outcome.error.code;
      },
      want: (adapter) => core.provide(adapter, adapters(adapter)),
    },
  );
  let next = 1;
  return {
    core,
    graph,
    ends,
    ask(adapter, changes = {}) {
      const id = next++;
      const random = noise(id * 7919);
      const length = changes.tokens?.length ?? model.promptTokens;
      const tokens = Int32Array.from({ length }, () =>
        Math.floor((random() + 0.5) * model.config.vocabSize),
      );
      ends.set(id, { firstMs: 0, endMs: 0, tokens: [], finish: '' });
      core.submit({
        ...{ id, client: 'bench', adapter, tokens, maxTokens: model.outputTokens },
        ...{ stopTokens: [], sampling: GREEDY },
        ...changes,
      });
      return id;
    },
    drain() {
      const before = cpuMs();
      while (core.step());
      return cpuMs() - before;
    },
  };
}

/** An index in 0..count-1 with chance proportional to 1 / (index + 1). */
export function zipf(count: number, seed: number): () => number {
  const sums: number[] = [];
  let sum = 0;
  for (let i = 1; i <= count; i++) {
    sum += 1 / i;
    sums.push(sum);
  }
  const next = noise(seed);
  return () => {
    const at = (next() + 0.5) * sum;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! < at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
}
