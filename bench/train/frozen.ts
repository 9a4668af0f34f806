/**
 * What an int8 base saves in training: memory that the weights add to a process and time per record of
 * 64 tokens, int8 against f32, on the 135 M-shaped model; each arm in a process of its own.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createEngine, type WeightFormat } from '#runtime';
import { adapterBook, benchModel } from '../serving/rig.ts';
import { median, type Row, ratioRow, type SuiteOptions } from '../stats.ts';

type Measured = { readonly bytes: number; readonly ms: number; readonly loss: number };

const TOKENS = 64;

export async function frozenSuite({ pairs, model, say }: SuiteOptions): Promise<Row[]> {
  const measured = { int8: [] as Measured[], f32: [] as Measured[] };
  for (let i = 0; i < pairs; i++) {
    for (const format of ['int8', 'f32'] as const) {
      const one = inProcess(format, model ?? '135 M');
      measured[format].push(one);
      say(
        `${format}: ${(one.bytes / 2 ** 20).toFixed(0)} MiB, ${one.ms.toFixed(0)} ms, loss ${one.loss}`,
      );
    }
  }
  const of = (format: 'int8' | 'f32', value: (one: Measured) => number) =>
    measured[format].map(value);
  const row = ratioRow(
    {
      id: 'FROZEN',
      what: 'memory that training adds, int8 base / f32 base, rank 8',
      model: model ?? '135 M',
      target: 0.25,
      better: 'low',
    },
    {
      'int8 MiB': of('int8', ({ bytes }) => bytes / 2 ** 20),
      'f32 MiB': of('f32', ({ bytes }) => bytes / 2 ** 20),
    },
    ['int8 MiB', 'f32 MiB'],
  );
  const times = {
    'int8 ms/record': median(of('int8', ({ ms }) => ms)),
    'f32 ms/record': median(of('f32', ({ ms }) => ms)),
  };
  return [{ ...row, arms: { ...row.arms, ...times } }];
}

function inProcess(format: WeightFormat, model: string): Measured {
  const flags = ['--expose-gc', ...process.execArgv, fileURLToPath(import.meta.url)];
  const done = spawnSync(process.execPath, [...flags, format, model], { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`arm ${format} exited ${done.status}: ${done.stderr}`);
  return JSON.parse(done.stdout) as Measured;
}

/** Memory is that of the process after weights, one record's gradient and a collection, less before. */
async function measure(format: WeightFormat, name: string): Promise<Measured> {
  const model = await benchModel(name);
  const adapter = adapterBook(model.config, 8, 1)('a0');
  const tokens = Int32Array.from({ length: TOKENS }, (_, i) => (i * 7919) % model.config.vocabSize);
  const record = { tokens, mask: new Uint8Array(TOKENS).fill(1) };
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const engine = createEngine(model, { weights: format });
  const { loss } = engine.recordGradient(adapter, tokens, record.mask);
  globalThis.gc?.();
  const bytes = process.memoryUsage.rss() - before;
  const { user, system } = process.cpuUsage();
  for (let i = 0; i < 3; i++) engine.recordGradients(adapter, [record]);
  const used = process.cpuUsage();
  return { bytes, ms: (used.user + used.system - user - system) / 3000, loss };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , format, model] = process.argv;
  console.log(JSON.stringify(await measure(format as WeightFormat, model ?? '')));
}
