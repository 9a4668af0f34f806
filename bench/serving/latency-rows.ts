/** Rows about waiting: cold adapters, their effect on others, and what admission is worth. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdapterTiers } from '#runtime';
import { compare, median, quantile, type Row, rowOf } from '../stats.ts';
import {
  adapterBook,
  type BenchModel,
  cpuMs,
  openRig,
  poolFor,
  type RowContext,
  zipf,
} from './rig.ts';

export async function latencyRows({ model, pairs, add }: RowContext): Promise<void> {
  await add(['R5b'], () => coldSwitch(model, pairs));
  await add(['R5c'], () => othersDuringLoads(model, pairs));
  await add(['R10'], () => overload(model, pairs));
  await add(['R11'], () => coldest(model, pairs));
}

/** From disk with its hash checked, into the pool, ready: against a token of the same model. */
async function coldSwitch(model: BenchModel, pairs: number): Promise<Row> {
  const book = adapterBook(model.config, 8);
  const directory = mkdtempSync(join(tmpdir(), 'openledger-bench-'));
  try {
    const tiers = new AdapterTiers({ ramBytes: 0, directory });
    const ids = Array.from({ length: pairs + 1 }, (_, i) => `a${i}`);
    for (const id of ids) await tiers.get(id, async () => book(id));
    const rig = openRig(model, book, { sequences: 1, poolBytes: poolFor(model, 64, 2) });
    const { graph } = rig;
    const loads: number[] = [];
    const tokens: number[] = [];
    for (const id of ids) {
      rig.ask('a0', { tokens: new Int32Array(1) });
      const tokenMs = rig.drain() / (1 + model.outputTokens);
      const before = cpuMs();
      const adapter = await tiers.get(id, () => Promise.reject(new Error('expected it on disk')));
      const pages = Array.from({ length: graph.layoutOf(8).pages }, () => graph.pool.take()!);
      const at = graph.placeHeader(adapter, pages);
      for (let layer = 0; layer < model.config.layers; layer++) graph.pack(at, adapter, layer);
      loads.push(cpuMs() - before);
      tokens.push(tokenMs);
      for (const page of pages) graph.pool.release(page);
    }
    const ratios = loads.slice(1).map((ms, i) => ms / tokens[i + 1]!);
    const what = 'cold switch from disk with its hash / one token at batch 1, rank 8';
    return rowOf({ id: 'R5b', what, model: model.name, better: 'low', target: 0.5 }, ratios, {
      'switch ms': median(loads),
      'token ms': median(tokens),
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * The 95th percentile of step times of eight decoding texts that fill the batch, while adapters of
 * waiting requests come in, or nobody waits.
 */
function othersDuringLoads(model: BenchModel, pairs: number): Row {
  const rig = openRig(model, adapterBook(model.config, 8), {
    ...{ sequences: 8, rows: 16, poolBytes: poolFor(model, 8, 30) },
  });
  let cold = 1000;
  const p95 = (loads: boolean) => {
    for (let i = 0; i < 8; i++) rig.ask('a0', { maxTokens: 80 });
    while (rig.core.metrics().requests.running < 8) rig.core.step();
    for (let i = 0; i < 8; i++) rig.core.step();
    const times: number[] = [];
    let waiting: number | undefined;
    for (let i = 0; i < 64; i++) {
      if (loads && i % model.config.layers === 0) {
        if (waiting !== undefined) rig.core.cancel(waiting);
        waiting = rig.ask(`a${cold++}`);
      }
      const before = cpuMs();
      rig.core.step();
      times.push(cpuMs() - before);
    }
    if (waiting !== undefined) rig.core.cancel(waiting);
    rig.drain();
    rig.ends.clear();
    return quantile(times, 0.95);
  };
  const what = "others' 95th percentile between tokens during loads / without";
  return compare(
    { id: 'R5c', what, model: model.name, better: 'low', target: 1.05 },
    pairs,
    ['loads ms', () => p95(true)],
    ['quiet ms', () => p95(false)],
  );
}

type AdapterBook = ReturnType<typeof adapterBook>;
type Arrival = { readonly adapter: string | null; readonly atMs: number };
type Seen = Arrival & { readonly firstMs: number; readonly endMs: number; readonly finish: string };

/** Tokens of the prompts and answers of the open loop: short, so that hundreds of them end in seconds. */
const SHAPE = { tokens: new Int32Array(8), maxTokens: 4 };

type OpenLoop = (arrivals: readonly Arrival[], sloMs?: number) => Seen[];

/**
 * Requests that come when they come, whatever the engine does. Time is the processor time that the
 * engine used, and jumps to the next arrival when it has nothing to do.
 */
function openLoop(model: BenchModel, adapters: AdapterBook, poolBytes: number): OpenLoop {
  let skipped = 0;
  const clock = () => cpuMs() + skipped;
  const rig = openRig(model, adapters, { sequences: 8, rows: 24, poolBytes }, clock);
  for (let i = 0; i < 8; i++) rig.ask(null, SHAPE);
  rig.drain();
  return (arrivals, sloMs) => {
    const startMs = clock();
    const ids: number[] = [];
    for (let next = 0, busy = false; next < arrivals.length || busy; ) {
      const arrival = arrivals[next];
      const atMs = startMs + (arrival?.atMs ?? 0);
      if (arrival !== undefined && !busy && atMs > clock()) skipped += atMs - clock();
      if (arrival !== undefined && atMs <= clock()) {
        next += 1;
        const deadline = sloMs === undefined ? {} : { deadlineMs: atMs + sloMs };
        ids.push(refusable(() => rig.ask(arrival.adapter, { ...SHAPE, ...deadline })));
        busy = true;
        continue;
      }
      busy = rig.core.step();
    }
    const seen = arrivals.map((arrival, i) => {
      const end = rig.ends.get(ids[i]!);
      return end === undefined || end.tokens.length < SHAPE.maxTokens
        ? { ...arrival, firstMs: Infinity, endMs: Infinity, finish: 'refused' }
        : {
            ...arrival,
            firstMs: end.firstMs - startMs,
            endMs: end.endMs - startMs,
            finish: end.finish,
          };
    });
    rig.ends.clear();
    return seen;
  };
}

function refusable(ask: () => number): number {
  try {
    return ask();
  } catch (error) {
    if ((error as { code?: string }).code === 'DEADLINE_UNREACHABLE') return -1;
    throw error;
  }
}

const even = (count: number, gapMs: number, adapter: (i: number) => string | null): Arrival[] =>
  Array.from({ length: count }, (_, i) => ({ adapter: adapter(i), atMs: i * gapMs }));

/** Milliseconds per request when the engine is never idle. */
function capacityMs(loop: OpenLoop): number {
  const seen = loop(even(96, 0, () => null));
  return Math.max(...seen.map(({ endMs }) => endMs)) / 96;
}

/** Share of requests answered in time at 1.3 times what the engine can do. */
function overload(model: BenchModel, pairs: number): Row {
  const loop = openLoop(model, adapterBook(model.config, 8), poolFor(model, 64, 2));
  const gapMs = capacityMs(loop) / 1.3;
  // Twice what a request takes in a full batch.
  const sloMs = 2 * 8 * 1.3 * gapMs;
  const share = (isAdmitting: boolean) => {
    const arrivals = even(400, gapMs, () => null);
    const seen = isAdmitting ? loop(arrivals, sloMs) : loop(arrivals);
    return seen.filter(({ atMs, endMs }) => endMs - atMs <= sloMs).length / seen.length;
  };
  const what = 'answers in time at 1.3 times the load, with early refusal / without';
  return compare(
    { id: 'R10', what, model: model.name, better: 'high', target: 3 },
    pairs,
    ['with', () => share(true)],
    ['without', () => share(false)],
  );
}

/** Time to the first token at 0.7 of the load: the hundred coldest of 1000 adapters, and the hottest. */
function coldest(model: BenchModel, pairs: number): Row {
  const book = adapterBook(model.config, 8);
  const loop = openLoop(model, book, Math.min(poolFor(model, 8, 200), 2 ** 31));
  const gapMs = capacityMs(loop) / 0.7;
  const draw = zipf(1000, 5);
  const ratios: number[] = [];
  const arms: [number[], number[]] = [[], []];
  for (let round = 0; round < pairs; round++) {
    const adapterAt = (i: number) => {
      if (i % 5 === 0) return `a${900 + ((i / 5 + round * 40) % 100)}`;
      return i % 5 === 1 ? 'a0' : `a${draw()}`;
    };
    const seen = loop(even(200, gapMs, adapterAt));
    const p99 = (wanted: (adapter: string) => boolean) =>
      quantile(
        seen.filter(({ adapter }) => wanted(adapter!)).map(({ firstMs, atMs }) => firstMs - atMs),
        0.99,
      );
    const cold = p99((adapter) => Number(adapter.slice(1)) >= 900);
    const hot = p99((adapter) => adapter === 'a0');
    ratios.push(cold / hot);
    arms[0].push(cold);
    arms[1].push(hot);
  }
  const what = 'time to the first token, 99th percentile: 100 coldest of 1000 adapters / hottest';
  return rowOf({ id: 'R11', what, model: model.name, better: 'low', target: 4 }, ratios, {
    'cold ms': median(arms[0]),
    'hot ms': median(arms[1]),
  });
}
