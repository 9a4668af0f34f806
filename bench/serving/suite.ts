/** The rows of the serving suite that need no other program, on the shipped model and a larger one. */
import type { Row, SuiteOptions } from '../stats.ts';
import { heterogeneousRows, poolRows, stepRows } from './batch-rows.ts';
import { latencyRows } from './latency-rows.ts';
import { benchModels, type RowContext } from './rig.ts';

export async function servingSuite({ pairs, wants, model, say }: SuiteOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const one of await benchModels()) {
    if (model !== undefined && !one.name.includes(model)) continue;
    const add: RowContext['add'] = async (id, row) => {
      if (!wants(id)) return;
      const made = await row();
      say(`${made.id} ${made.model}: ${made.median.toFixed(3)} (${made.target})`);
      rows.push(made);
    };
    const context = { model: one, pairs, add };
    for (const part of [stepRows, heterogeneousRows, poolRows, latencyRows]) await part(context);
  }
  return rows;
}
