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
  /** Runs a row when it is wanted, and says what came out. */
  readonly add: (id: string, row: () => Row | Promise<Row>) => Promise<void>;
};

/** Numbers that are not worth compressing or predicting, quickly. */
function noise(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296 - 0.5;
  };
}

export async function benchModels(): Promise<BenchModel[]> {
  const folder = fileURLToPath(new URL('../../runtime/base', import.meta.url));
  const shipped = await loadModelDirectory(folder);
  return [
    {
      name: 'shipped 2.75 M',
      config: shipped.config,
      tensor: (name) => shipped.tensor(name),
      promptTokens: 64,
      outputTokens: 64,
    },
    randomModel(),
  ];
}

function randomModel(): BenchModel {
  const config: ModelConfig = {
    hiddenSize: 512,
    layers: 8,
    heads: 8,
    kvHeads: 4,
    headDim: 64,
    ffnSize: 1408,
    vocabSize: 4096,
    contextLength: 512,
    rmsEps: 1e-5,
    ropeTheta: 10_000,
    tiedEmbeddings: true,
  };
  const tensors = new Map<string, Float32Array>();
  const next = noise(1);
  for (const [name, shape] of weightShapes(config)) {
    const length = shape.reduce((product, size) => product * size, 1);
    const isNorm = name.endsWith('norm.weight');
    tensors.set(
      name,
      isNorm
        ? new Float32Array(length).fill(1)
        : Float32Array.from({ length }, () => next() * 0.08),
    );
  }
  return {
    name: 'random 25.7 M',
    config,
    tensor: (name) => tensors.get(name)!,
    promptTokens: 32,
    outputTokens: 32,
  };
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
