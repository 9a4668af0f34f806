/** Rows about waiting: cold adapters, their effect on others, and what admission is worth. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AdapterTiers } from '#runtime';
import { compare, median, quantile, type Row, rowOf } from '../stats.ts';
import { adapterBook, type BenchModel, cpuMs, openRig, type RowContext, zipf } from './rig.ts';

export async function latencyRows({ model, pairs, add }: RowContext): Promise<void> {
  await add('R5b', () => coldSwitch(model, pairs));
  await add('R5c', () => othersDuringLoads(model, pairs));
  await add('R10', () => overload(model, pairs));
  await add('R11', () => coldest(model, pairs));
}

/** From disk with its hash checked, into the pool, ready: against a token of the same model. */
async function coldSwitch(model: BenchModel, pairs: number): Promise<Row> {
  const book = adapterBook(model.config, 8);
  const directory = mkdtempSync(join(tmpdir(), 'openledger-bench-'));
  try {
    const tiers = new AdapterTiers({ ramBytes: 0, directory });
    const ids = Array.from({ length: pairs + 1 }, (_, i) => `a${i}`);
    for (const id of ids) await tiers.get(id, async () => book(id));
    const rig = openRig(model, book, { sequences: 1 });
    const { graph } = rig;
    const loads: number[] = [];
    const tokens: number[] = [];
    for (const id of ids) {
      rig.ask('a0');
      const tokenMs = rig.drain() / (model.promptTokens / 8 + model.outputTokens);
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
  const rig = openRig(model, adapterBook(model.config, 8), { sequences: 8, rows: 16 });
  let cold = 1000;
  const p95 = (loads: boolean) => {
    for (let i = 0; i < 8; i++) rig.ask('a0', { maxTokens: 128 });
    while (rig.core.metrics().requests.running < 8) rig.core.step();
    for (let i = 0; i < 48; i++) rig.core.step();
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

type Arrival = { readonly adapter: string | null; readonly atMs: number };
type Seen = Arrival & { readonly firstMs: number; readonly endMs: number; readonly finish: string };

/**
 * Requests that come when they come, whatever the engine does. Time is the processor time that the
 * engine used, and jumps to the next arrival when it has nothing to do.
 */
function openLoop(
  model: BenchModel,
  adapters: Parameters<typeof openRig>[1],
  arrivals: readonly Arrival[],
  settings: { readonly sloMs?: number; readonly poolBytes: number },
): Seen[] {
  let skipped = -cpuMs();
  const clock = () => cpuMs() + skipped;
  const sizes = { sequences: 8, rows: 24, poolBytes: settings.poolBytes };
  const rig = openRig(model, adapters, sizes, clock);
  const { sloMs } = settings;
  const shape = { maxTokens: 8, tokens: new Int32Array(16) };
  for (let i = 0; i < 8; i++) rig.ask(null, shape);
  rig.drain();
  skipped = -cpuMs();
  const ids: number[] = [];
  for (let next = 0, busy = false; next < arrivals.length || busy; ) {
    const arrival = arrivals[next];
    if (arrival !== undefined && !busy && arrival.atMs > clock()) skipped += arrival.atMs - clock();
    if (arrival !== undefined && arrival.atMs <= clock()) {
      next += 1;
      const deadline = sloMs === undefined ? {} : { deadlineMs: arrival.atMs + sloMs };
      ids.push(refusable(() => rig.ask(arrival.adapter, { ...shape, ...deadline })));
      busy = true;
      continue;
    }
    busy = rig.core.step();
  }
  return arrivals.map((arrival, i) => {
    const end = rig.ends.get(ids[i]!);
    return end === undefined || end.tokens.length < 8
      ? { ...arrival, firstMs: Infinity, endMs: Infinity, finish: 'refused' }
      : { ...arrival, firstMs: end.firstMs, endMs: end.endMs, finish: end.finish };
  });
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
function capacityMs(
  model: BenchModel,
  book: Parameters<typeof openRig>[1],
  poolBytes: number,
): number {
  const seen = openLoop(
    model,
    book,
    even(96, 0, () => null),
    { poolBytes },
  );
  return Math.max(...seen.map(({ endMs }) => endMs)) / 96;
}

/** Share of requests answered in time at 1.3 times what the engine can do. */
function overload(model: BenchModel, pairs: number): Row {
  const book = adapterBook(model.config, 8);
  const poolBytes = 2 ** 26;
  const gapMs = capacityMs(model, book, poolBytes) / 1.3;
  // Twice what a request takes in a full batch.
  const sloMs = 2 * 8 * 1.3 * gapMs;
  const share = (isAdmitting: boolean) => {
    const settings = isAdmitting ? { poolBytes, sloMs } : { poolBytes };
    const seen = openLoop(
      model,
      book,
      even(400, gapMs, () => null),
      settings,
    );
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
  const poolBytes = 2 ** 28;
  const gapMs = capacityMs(model, book, poolBytes) / 0.7;
  const draw = zipf(1000, 5);
  const ratios: number[] = [];
  const arms: [number[], number[]] = [[], []];
  for (let round = 0; round < pairs; round++) {
    const adapterAt = (i: number) => {
      if (i % 5 === 0) return `a${900 + ((i / 5 + round * 60) % 100)}`;
      return i % 5 === 1 ? 'a0' : `a${draw()}`;
    };
    const seen = openLoop(model, book, even(300, gapMs, adapterAt), { poolBytes });
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
