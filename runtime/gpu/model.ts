// A model on the GPU: scores of given texts, per-record gradients of an adapter, and steps of many sequences that each have their own adapter.
import type { BackendModel, Decoder, DecoderSequence, DecoderSizes } from '../backend/port.ts';
import type { ModelWeights } from '../engine/config.ts';
import { type Adapter, ModelInputError } from '../engine/graph.ts';
import type { WeightFormat } from '../engine/resident.ts';
import { recordGradients } from './backward.ts';
import * as calls from './calls.ts';
import type { Device } from './device.ts';
import { ForwardPass, type LayerCache, type StepAdapters } from './forward.ts';
import { type ModelParts, passCaches, textRows, withAdapter } from './pass.ts';
import { checkTokens, none, type Row, rowsOf, rowWords } from './rows.ts';
import { AdapterPool, PlacedWeights } from './weights.ts';
import { Workspace } from './workspace.ts';

async function score(parts: ModelParts, adapter: Adapter | null, tokens: Int32Array) {
  const { config, device, work, forward } = parts;
  if (tokens.length < 2)
    throw new ModelInputError('CONTEXT_LENGTH', 'at least 2 tokens', tokens.length);
  const count = tokens.length - 1;
  checkTokens(config, tokens.subarray(0, count), 0);
  checkTokens(config, tokens.subarray(count), 0);
  const found = await withAdapter(parts, adapter, async (adapters) => {
    const rows = await work.take('rows', count * rowWords);
    device.write(rows, rowsOf(textRows(tokens, count, 0)));
    const caches = await passCaches(parts, count, false);
    const { states } = await forward.run({ count, rows, adapters, caches, keeps: false });
    const logits = await forward.logits(states, count);
    const pairs = await work.take('found', count * 2);
    calls.crossEntropy(device, [rows, logits, pairs], count, config.vocabSize, false);
    return device.readFloats(pairs, count * 2);
  });
  const logprobs = new Float32Array(tokens.length);
  const best = new Int32Array(tokens.length).fill(-1, 0, 1);
  for (let t = 0; t < count; t++) {
    logprobs[t + 1] = found[2 * t]!;
    best[t + 1] = found[2 * t + 1]!;
  }
  return { logprobs, best };
}

/** Adapters that may be placed at once. */
const adapterPlaces = 4096;

async function openDecoder(parts: ModelParts, sizes: DecoderSizes): Promise<Decoder> {
  const { device, config, forward } = parts;
  const work = new Workspace(device);
  const { sequences: places, positions } = sizes;
  const floats = places * positions * config.kvHeads * config.headDim;
  const caches: LayerCache[] = [];
  let pool: AdapterPool;
  try {
    for (let layer = 0; layer < config.layers; layer++) {
      caches.push(await work.takeAll({ keys: floats, values: floats }, `${layer}.`));
    }
    pool = await AdapterPool.open(device, config, sizes.adapterFloats, adapterPlaces);
  } catch (error) {
    work.release();
    throw error;
  }

  const rowsOfSequence = ({ place, tokens, start, adapter }: DecoderSequence): Row[] => {
    checkTokens(config, tokens, start);
    if (place < 0 || place >= places || start + tokens.length > positions) {
      const expected = `one of ${places} places and ${positions} positions`;
      throw new ModelInputError('CONTEXT_LENGTH', expected, start + tokens.length);
    }
    if (adapter !== undefined) pool.get(adapter);
    return Array.from(tokens, (token, i) => ({
      ...{ token, position: start + i, keys: place * positions },
      adapter: adapter ?? none,
    }));
  };
  return {
    placeAdapter: (adapter) => pool.place(adapter).index,
    removeAdapter: (placed) => pool.remove(placed),
    async step(sequences) {
      const each = sequences.map(rowsOfSequence);
      const all = each.flat();
      const ranks = all.map(({ adapter }) => (adapter === none ? 0 : pool.get(adapter!).rank));
      const rankMax = Math.max(...ranks);
      const rows = await work.take('rows', all.length * rowWords);
      device.write(rows, rowsOf(all));
      const adapters: StepAdapters =
        rankMax === 0 ? { type: 'none' } : { type: 'own', pool, rankMax };
      const count = all.length;
      const { states } = await forward.run({ count, rows, adapters, caches, keeps: false });
      let at = -1;
      const last = each.map(({ length }) => {
        at += length;
        return { token: at, position: 0, keys: 0 };
      });
      const { hiddenSize, vocabSize } = config;
      const wanted = await work.take('wanted', last.length * rowWords);
      device.write(wanted, rowsOf(last));
      const picked = await work.take('picked', last.length * hiddenSize);
      const table = { block: states, storage: 'f32', columns: hiddenSize } as const;
      calls.embed(device, wanted, table, picked, last.length);
      const logits = await forward.logits(picked, last.length);
      return device.readFloats(logits, last.length * vocabSize);
    },
    close() {
      work.release();
      pool.release();
    },
  };
}

export async function loadGpuModel(
  device: Device,
  weights: ModelWeights,
  storage: WeightFormat,
): Promise<BackendModel> {
  const placed = await PlacedWeights.place(device, weights, storage);
  const work = new Workspace(device);
  const { config } = weights;
  const forward = new ForwardPass(device, placed, work);
  const parts: ModelParts = { device, config, weights: placed, work, forward };
  return {
    config,
    score: (adapter, tokens) => score(parts, adapter, tokens),
    ...(storage === 'int8'
      ? {}
      : { recordGradients: (adapter, records) => recordGradients(parts, adapter, records) }),
    decoder: (sizes) => openDecoder(parts, sizes),
    close() {
      work.release();
      placed.release(device);
    },
  };
}
