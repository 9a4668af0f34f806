/** Rows about throughput: what adapters cost a batch, what batching gains, what a full pool loses. */
import { byTurns, compare, type Row, ratioRow, rowOf } from '../stats.ts';
import {
  adapterBook,
  type BenchModel,
  cpuMs,
  openRig,
  poolFor,
  type Rig,
  type RowContext,
  zipf,
} from './rig.ts';

/** Output tokens per second of processor time when these requests run together. */
function speedOf(rig: Rig, adapters: readonly (string | null)[]): number {
  const asked = adapters.map((adapter) => rig.ask(adapter));
  const ms = rig.drain();
  let tokens = 0;
  for (const id of asked) {
    tokens += rig.ends.get(id)!.tokens.length;
    rig.ends.delete(id);
  }
  return (1000 * tokens) / ms;
}

const repeat = <T>(count: number, value: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => value(i));

/** R2, R3, R9: one full batch, arms differ in its adapters. */
export async function stepRows({ model, pairs, add }: RowContext): Promise<void> {
  const base = repeat(32, () => null);
  for (const rank of [8, 16]) {
    const about = { model: model.name, better: 'high' as const };
    const open = () => {
      const rig = openRig(model, adapterBook(model.config, rank), {
        poolBytes: poolFor(model, rank, 34),
      });
      const arm = (adapters: readonly (string | null)[]) => () => speedOf(rig, adapters);
      const distinct = repeat(32, (i) => `a${i}`);
      speedOf(rig, distinct);
      return { distinct: arm(distinct), one: arm(repeat(32, () => 'a0')), base: arm(base) };
    };
    await add(['R2', 'R3'], () => {
      const { distinct, one, base } = open();
      const seen = byTurns(pairs, {
        'distinct tok/s': distinct,
        'one tok/s': one,
        'base tok/s': base,
      });
      const what = `rank ${rank}, batch 32`;
      const target = rank === 8 ? 0.9 : 0.82;
      return [
        ratioRow(
          { ...about, id: 'R2', what: `32 distinct adapters / one, ${what}`, target },
          seen,
          ['distinct tok/s', 'one tok/s'],
        ),
        ratioRow({ ...about, id: 'R3', what: `one adapter / base, ${what}`, target: 0.95 }, seen, [
          'one tok/s',
          'base tok/s',
        ]),
      ];
    });
    if (rank === 16) continue;
    await add(['R9'], () => {
      const without = openRig(model, adapterBook(model.config, rank), {
        poolBytes: poolFor(model, rank, 2),
      });
      const what = 'base requests beside 32 resident adapters / without any';
      return compare(
        { ...about, id: 'R9', what, target: 0.98 },
        pairs,
        ['with tok/s', open().base],
        ['without tok/s', () => speedOf(without, base)],
      );
    });
  }
}

/** R4 and R12: different adapters together, and one after the other. */
export async function heterogeneousRows({ model, pairs, add }: RowContext): Promise<void> {
  const book = adapterBook(model.config, 8);
  await add(['R4'], () => {
    const rig = openRig(model, book, { poolBytes: poolFor(model, 8, 34) });
    const adapters = (count: number) => repeat(count, (i) => `a${i}`);
    // A text alone has the same speed whichever of the 32 it is: eight are measured.
    const seen = byTurns(pairs, {
      'serial tok/s': () => serialSpeed(rig, adapters(8)),
      '8 tok/s': () => speedOf(rig, adapters(8)),
      '32 tok/s': () => speedOf(rig, adapters(32)),
    });
    const rows = [
      { batch: 8, target: 3, arm: '8 tok/s' },
      { batch: 32, target: 5, arm: '32 tok/s' },
    ] as const;
    return rows.map(({ batch, target, arm }) => {
      const what = `different adapters together / one after the other, batch ${batch}, rank 8`;
      const about = { id: 'R4', what, model: model.name, better: 'high', target } as const;
      return ratioRow(about, seen, [arm, 'serial tok/s']);
    });
  });
  await add(['R12'], () => exactRow(model));
}

function serialSpeed(rig: Rig, adapters: readonly string[]): number {
  let ms = 0;
  let tokens = 0;
  for (const adapter of adapters) {
    const id = rig.ask(adapter);
    ms += rig.drain();
    tokens += rig.ends.get(id)!.tokens.length;
    rig.ends.delete(id);
  }
  return (1000 * tokens) / ms;
}

/** The same requests in one batch and alone, without shared prefixes: share of equal answers. */
function exactRow(model: BenchModel): Row {
  const book = adapterBook(model.config, 8);
  const poolBytes = poolFor(model, 8, 40);
  const batched = openRig(model, book, { poolBytes });
  const single = openRig(model, book, { poolBytes, sequences: 1 });
  const adapters = repeat(32, (i) => (i % 8 === 7 ? null : `a${i}`));
  const together = adapters.map((adapter) => batched.ask(adapter));
  batched.drain();
  const alone = adapters.map((adapter) => {
    const id = single.ask(adapter);
    single.drain();
    return id;
  });
  const equal = together.filter(
    (id, i) => batched.ends.get(id)!.tokens.join() === single.ends.get(alone[i]!)!.tokens.join(),
  ).length;
  const about = {
    id: 'R12',
    what: 'answers with the same greedy tokens batched as alone',
    model: model.name,
  };
  const row = rowOf({ ...about, better: 'high', target: 1 }, [equal / 32], { equal, of: 32 });
  return { ...row, isExact: true };
}

/** R1, R6, R7, R8: many adapters, more than there is room for, and many that nobody asks for. */
export async function poolRows({ model, pairs, add }: RowContext): Promise<void> {
  const book = adapterBook(model.config, 8);
  // Two batches, one of them waiting.
  const requests = 64;
  const about = { model: model.name, better: 'high' as const };
  await add(['R1'], () => {
    const rig = openRig(model, book, { poolBytes: Math.min(poolFor(model, 8, 400), 2 ** 31) });
    const draw = zipf(1000, 11);
    const many = () =>
      speedOf(
        rig,
        repeat(requests, () => `a${draw()}`),
      );
    for (let i = 0; i < 2; i++) many();
    return compare(
      { ...about, id: 'R1', what: '1000 adapters, Zipf 1 / one adapter, rank 8', target: 0.92 },
      pairs,
      ['1000 tok/s', many],
      [
        '1 tok/s',
        () =>
          speedOf(
            rig,
            repeat(requests, () => 'a0'),
          ),
      ],
    );
  });
  await add(['R6'], () => {
    const slots = 40;
    const rig = openRig(model, book, { poolBytes: poolFor(model, 8, slots) });
    let next = 0;
    const round = (count: number) => repeat(requests, () => `a${next++ % count}`);
    return compare(
      { ...about, id: 'R6', what: 'working set of 80 adapters / 40, room for 40', target: 0.8 },
      pairs,
      ['80 tok/s', () => speedOf(rig, round(2 * slots))],
      ['40 tok/s', () => speedOf(rig, round(slots))],
    );
  });
  await add(['R7'], () => {
    const rig = openRig(model, book, { poolBytes: poolFor(model, 8, 2) });
    const adapter = book('a0');
    const layout = rig.graph.layoutOf(adapter.rank);
    const bytes = layout.pages * rig.graph.pool.pageBytes;
    const ratio = bytes / adapter.parameters.byteLength;
    return rowOf(
      {
        ...about,
        id: 'R7',
        what: 'pool bytes of a resident adapter / its weights',
        better: 'low',
        target: 1.1,
      },
      [ratio],
      { 'pool KiB': bytes / 1024, 'weights KiB': adapter.parameters.byteLength / 1024 },
    );
  });
  await add(['R8'], () => {
    const calls = 40_000;
    const ids = repeat(10_000, (i) => `a${i}`);
    const rigs = [10_000, 10].map((count) => {
      const rig = openRig(model, book, { poolBytes: poolFor(model, 64, 2) });
      // Registered is whatever the engine has ever been told of: asked for once, and gone.
      for (const id of ids.slice(0, count)) rig.core.cancel(rig.ask(id));
      return { rig, count };
    });
    const dispatch = ({ rig, count }: (typeof rigs)[number]) => {
      const tokens = new Int32Array(1);
      const before = cpuMs();
      for (let i = 0; i < calls; i++) {
        rig.core.cancel(rig.ask(ids[i % count]!, { tokens, maxTokens: 1 }));
      }
      const ms = cpuMs() - before;
      rig.ends.clear();
      return (1000 * ms) / calls;
    };
    return compare(
      {
        ...about,
        id: 'R8',
        what: 'dispatch with 10,000 adapters / with 10',
        better: 'low',
        target: 1.1,
      },
      pairs,
      ['10,000 µs', () => dispatch(rigs[0]!)],
      ['10 µs', () => dispatch(rigs[1]!)],
    );
  });
}
