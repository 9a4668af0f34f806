/**
 * The WebGPU backend beside the fastest canonical engine of this machine: tokens a second, a training
 * step, and the share of the memory bandwidth that decoding one text reaches. Says which device it is.
 */
import {
  type Backend,
  type BackendModel,
  engineBackend,
  openArena,
  openTfjs,
  openWebgpu,
  type TrainingRecord,
} from '#runtime';
import { adapterBook, type BenchModel, smallModels } from '../serving/rig.ts';
import { type Row, rowOf, type SuiteOptions } from '../stats.ts';

const rank = 8;

async function secondsOf(action: () => Promise<unknown>): Promise<number> {
  const startedAtMs = performance.now();
  await action();
  return (performance.now() - startedAtMs) / 1000;
}

/** Tokens per second of a batch, each text with its own adapter, after 16 tokens that are not counted. */
async function decodeRate(model: BackendModel, bench: BenchModel, batch: number): Promise<number> {
  const { outputTokens: count, config } = bench;
  const book = adapterBook(config, rank);
  const adapterFloats = book('a0').parameters.length * batch;
  const decoder = await model.decoder!({ sequences: batch, positions: 16 + count, adapterFloats });
  const adapters = Array.from({ length: batch }, (_, i) => decoder.placeAdapter(book(`a${i}`)));
  const step = (tokens: Int32Array, start: number) =>
    decoder.step(adapters.map((adapter, place) => ({ place, tokens, start, adapter })));
  await step(new Int32Array(16).fill(3), 0);
  const seconds = await secondsOf(async () => {
    for (let i = 0; i < count; i++) await step(Int32Array.of(3 + (i % 50)), 16 + i);
  });
  decoder.close();
  return (batch * count) / seconds;
}

/** Seconds for the gradients of eight records of so many tokens, all linears at rank 8. */
async function gradientSeconds(model: BackendModel, bench: BenchModel): Promise<number> {
  const adapter = adapterBook(bench.config, rank)('a0');
  const length = bench.promptTokens + 1;
  const records: TrainingRecord[] = Array.from({ length: 8 }, (_, r) => ({
    tokens: Int32Array.from({ length }, (_, i) => 3 + ((i * 7 + r) % 50)),
    mask: new Uint8Array(length).fill(1, 1),
  }));
  return secondsOf(() => model.recordGradients!(adapter, records));
}

async function ratioRow(
  about: Pick<Row, 'id' | 'what' | 'model'>,
  better: { readonly unit: string; readonly target: number; readonly better: 'high' | 'low' },
  pairs: number,
  arms: readonly [string, () => Promise<number>, string, () => Promise<number>],
): Promise<Row> {
  const [first, measureFirst, second, measureSecond] = arms;
  const seen: [number, number][] = [];
  for (let i = -1; i < pairs; i++) {
    const pair: [number, number] = [await measureFirst(), await measureSecond()];
    if (i >= 0) seen.push(pair);
  }
  const middle = (at: 0 | 1) =>
    seen.map((pair) => pair[at]).sort((a, b) => a - b)[seen.length >> 1]!;
  const { unit, ...aim } = better;
  const ratios = seen.map(([a, b]) => a / b);
  return rowOf({ ...about, ...aim }, ratios, {
    [`${first} ${unit}`]: middle(0),
    [`${second} ${unit}`]: middle(1),
  });
}

async function modelRows(gpu: Backend, bench: BenchModel, options: SuiteOptions, rows: Row[]) {
  const engine = engineBackend(openArena().backend);
  const [placed, peer] = [await gpu.loadModel!(bench), await engine.loadModel!(bench)];
  const { pairs, wants, say } = options;
  const model = bench.name;
  const add = async (id: string, row: () => Promise<Row>) => {
    if (!wants(id)) return;
    rows.push(await row());
    say(`${id} ${model}: ${rows.at(-1)!.median.toFixed(3)}`);
  };
  const speed = { unit: 'tok/s', target: 1, better: 'high' } as const;
  for (const [id, batch] of [
    ['G1', 1],
    ['G2', 8],
  ] as const) {
    const about = { id, what: `decode, batch ${batch}, an adapter each: webgpu / engine`, model };
    await add(id, () =>
      ratioRow(about, speed, pairs, [
        ...(['webgpu', () => decodeRate(placed, bench, batch)] as const),
        ...([engine.name, () => decodeRate(peer, bench, batch)] as const),
      ]),
    );
  }
  const step = { unit: 's', target: 1, better: 'low' } as const;
  const training = { id: 'G3', what: 'gradients of 8 records: webgpu / engine', model };
  await add('G3', () =>
    ratioRow(training, step, pairs, [
      ...(['webgpu', () => gradientSeconds(placed, bench)] as const),
      ...([engine.name, () => gradientSeconds(peer, bench)] as const),
    ]),
  );
  const weightBytes = 4 * weightCount(bench);
  const share = { unit: 'GB/s', target: 0.6, better: 'high' } as const;
  const about = { id: 'G4', what: 'weights read in decode / bandwidth of long sums', model };
  await add('G4', () =>
    ratioRow(about, share, pairs, [
      'decode',
      async () => ((await decodeRate(placed, bench, 1)) * weightBytes) / 1e9,
      'sums',
      async () => (await gpu.bandwidth!(16 << 20)) / 1e9,
    ]),
  );
  placed.close();
  peer.close();
}

/** Numbers that a step reads once: every matrix, the embedding as the head. */
function weightCount({ config }: BenchModel): number {
  const { hiddenSize, layers, heads, kvHeads, headDim, ffnSize, vocabSize } = config;
  const attention = 2 * hiddenSize * (heads + kvHeads) * headDim;
  return layers * (attention + 3 * hiddenSize * ffnSize) + vocabSize * hiddenSize;
}

/** Seconds of a product of square matrices of this size. */
const productSize = 256;

async function productRow(gpu: Backend, { pairs, wants, say }: SuiteOptions, rows: Row[]) {
  if (!wants('G5')) return;
  let tfjs: Backend;
  try {
    tfjs = await openTfjs();
  } catch (error) {
    say(`G5 skipped: ${(error as Error).message}`);
    return;
  }
  const shape = { rows: productSize, columns: productSize, depth: productSize };
  const a = new Float32Array(productSize ** 2).fill(0.5);
  const time = (backend: Backend) => () => secondsOf(() => backend.product(a, a, shape));
  const about = { id: 'G5', what: `product of ${productSize}: webgpu / tfjs`, model: tfjs.device };
  const aim = { unit: 's', target: 1, better: 'low' } as const;
  rows.push(await ratioRow(about, aim, pairs, ['webgpu', time(gpu), 'tfjs', time(tfjs)]));
}

/** Throws GpuError where there is no GPU: this suite is nothing without one. */
export async function gpuSuite(options: SuiteOptions): Promise<Row[]> {
  const gpu = await openWebgpu();
  options.say(`${new Date().toISOString().slice(0, 10)}, ${gpu.device}`);
  const rows: Row[] = [];
  for (const [name, make] of Object.entries(smallModels)) {
    if (options.model !== undefined && !name.includes(options.model)) continue;
    const bench = await make();
    await modelRows(gpu, { ...bench, name: `${bench.name}, ${gpu.device}` }, options, rows);
  }
  await productRow(gpu, options, rows);
  await gpu.close();
  return rows;
}
