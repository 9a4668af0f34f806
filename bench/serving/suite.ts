/** The rows of the serving suite that need no other program. */
import type { Row, SuiteOptions } from '../stats.ts';
import { heterogeneousRows, poolRows, stepRows } from './batch-rows.ts';
import { latencyRows } from './latency-rows.ts';
import { benchModel, type RowContext } from './rig.ts';

export async function servingSuite({ pairs, wants, model, say }: SuiteOptions): Promise<Row[]> {
  const rows: Row[] = [];
  const started = performance.now();
  const add: RowContext['add'] = async (ids, measure) => {
    if (!ids.some(wants)) return;
    for (const row of [await measure()].flat()) {
      const seconds = ((performance.now() - started) / 1000).toFixed(0);
      const [low, high] = row.interval.map((end) => end.toFixed(3));
      const median = row.median.toFixed(3);
      const arms = Object.entries(row.arms).map(([name, value]) => `${name} ${value.toFixed(1)}`);
      const what = `${row.id} ${row.what}: ${median} [${low} – ${high}] (${row.target})`;
      say(`${what}, ${arms.join(', ')}; ${seconds} s`);
      rows.push(row);
    }
  };
  const context = { model: await benchModel(model), pairs, add };
  for (const part of [stepRows, heterogeneousRows, poolRows, latencyRows]) await part(context);
  return rows;
}
