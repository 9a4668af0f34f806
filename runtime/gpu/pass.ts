// What every pass over texts needs before it starts: rows, caches and the adapter on the device.
import { layoutSize, loraLayout, type ModelConfig } from '../engine/config.ts';
import type { Adapter } from '../engine/graph.ts';
import type { Device } from './device.ts';
import type { ForwardPass, LayerCache, StepAdapters } from './forward.ts';
import { none, type Row } from './rows.ts';
import { AdapterPool, type PlacedWeights } from './weights.ts';
import type { Workspace } from './workspace.ts';

/** A placed model and what its passes share. */
export type ModelParts = {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly weights: PlacedWeights;
  readonly work: Workspace;
  readonly forward: ForwardPass;
};

/** Caches that hold just the rows of a pass. */
export async function passCaches(
  { work, config }: ModelParts,
  count: number,
  prefixes: boolean,
): Promise<LayerCache[]> {
  const floats = count * config.kvHeads * config.headDim;
  const caches: LayerCache[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = prefixes ? `${layer}.` : '';
    caches.push(await work.takeAll({ keys: floats, values: floats }, prefix));
  }
  return caches;
}

/** Runs `use` with the adapter in a pool of its own, or with none. */
export async function withAdapter<T>(
  { device, config }: ModelParts,
  adapter: Adapter | null,
  use: (adapters: StepAdapters) => Promise<T>,
): Promise<T> {
  if (adapter === null) return use({ type: 'none' });
  const floats = layoutSize(loraLayout(config, adapter.rank));
  const pool = await AdapterPool.open(device, config, floats, 1);
  try {
    return await use({ type: 'one', pool, adapter: pool.place(adapter) });
  } finally {
    device.flush();
    pool.release();
  }
}

/** The rows of one text that lies at `first`: each asks for the token after it. */
export function textRows(tokens: Int32Array, count: number, first: number): Row[] {
  return Array.from({ length: count }, (_, t) => ({
    token: tokens[t]!,
    position: t,
    keys: first,
    end: first + count,
    answer: tokens[t + 1] ?? none,
  }));
}
