/**
 * The tolerance of each numeric class by the conformal rule: of N honest texts the largest deviation
 * from the canonical engine, so that an honest one exceeds it with a chance of 1 / (N + 1); `--pairs`
 * is N. A class is usable while its tolerance is at most 0.3 of the median of its nearest cheat.
 * Writes bench/results/tolerance.json with device and date.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Adapter, type BackendModel, engineBackend, openWebgpu } from '#runtime';
import { adapterBook, benchModel } from '../serving/rig.ts';
import { median, type Row, rowOf, type SuiteOptions } from '../stats.ts';

const positions = 33;
const path = fileURLToPath(new URL('../results/tolerance.json', import.meta.url));

/** Root mean square difference of two texts' log-probabilities, nats. */
function deviation(a: Float32Array, b: Float32Array): number {
  let squares = 0;
  for (let i = 1; i < a.length; i++) squares += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(squares / (a.length - 1));
}

type Arm = { readonly model: BackendModel; readonly adapter: Adapter | null };

async function deviations(
  honest: Arm,
  other: Arm,
  texts: readonly Int32Array[],
): Promise<number[]> {
  const found: number[] = [];
  for (const text of texts) {
    const expected = await honest.model.score(honest.adapter, text);
    const given = await other.model.score(other.adapter, text);
    found.push(deviation(expected.logprobs, given.logprobs));
  }
  return found;
}

/** Throws GpuError where there is no GPU. */
export async function toleranceSuite({ pairs, wants, say }: SuiteOptions): Promise<Row[]> {
  const model = await benchModel('shipped');
  const gpu = await openWebgpu();
  const engine = engineBackend('wasm');
  const adapter = adapterBook(model.config, 8)('a0');
  const weak = { ...adapter, alpha: adapter.alpha * 0.9 };
  const texts = Array.from({ length: pairs }, (_, n) =>
    Int32Array.from({ length: positions }, (_, i) => 3 + ((i * (2 * n + 7) + n * n) % 1000)),
  );
  const rows: Row[] = [];
  const stored: Record<string, unknown> = {};
  for (const storage of ['f32', 'f16', 'bf16', 'int8'] as const) {
    if (!wants(storage)) continue;
    // Who claims f16 weights is compared with the canonical engine on f16 weights, and so on.
    const honest = { model: await engine.loadModel!(model, storage), adapter };
    const placed = await gpu.loadModel!(model, storage);
    const tolerance = Math.max(...(await deviations(honest, { model: placed, adapter }, texts)));
    const eight = await engine.loadModel!(model, 'int8');
    const cheats: Record<string, number> = {};
    const cheat = async (name: string, other: Arm) => {
      cheats[name] = median(await deviations(honest, other, texts));
    };
    await cheat('no adapter', { ...honest, adapter: null });
    await cheat('adapter at 0.9', { ...honest, adapter: weak });
    if (storage !== 'int8') await cheat('int8 weights', { model: eight, adapter });
    for (const one of [honest.model, placed, eight]) one.close();
    const ratio = tolerance / Math.min(...Object.values(cheats));
    stored[storage] = { tolerance, cheats, texts: pairs, usable: ratio <= 0.3 };
    const what = 'largest honest deviation / median of the nearest cheat';
    const about = { id: storage, what, model: gpu.device, target: 0.3, better: 'low' } as const;
    rows.push(rowOf(about, [ratio], { 'tolerance (nats)': tolerance, ...cheats }));
    say(`${storage}: tolerance ${tolerance.toExponential(2)}`);
  }
  const date = new Date().toISOString().slice(0, 10);
  const about = { date, device: gpu.device, model: model.name, statistic: 'rms nats', positions };
  writeFileSync(path, `${JSON.stringify({ ...about, classes: stored }, null, 2)}\n`);
  await gpu.close();
  return rows;
}
