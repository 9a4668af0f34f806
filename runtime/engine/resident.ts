// Brings a model's weights into the arena tensor by tensor, in the format in which they stay there,
// straight from where they are stored: nothing lies in memory twice.
import { availableParallelism } from 'node:os';
import type { Arena } from './arena.ts';
import {
  type ModelConfig,
  ModelConfigError,
  type ModelWeights,
  parameterLayout,
  type StoredTensor,
  type TensorSlot,
} from './config.ts';

/** How matrices stay in memory; norms, biases, softmax, scales and everything computed are f32. */
export const WEIGHT_FORMATS = ['f32', 'bf16', 'f16', 'int8'] as const;
/**
 * `bf16` and `f16`: 16 bits per weight, widened exactly where they are used (a checkpoint of that
 * format loses nothing, another is rounded to nearest even). `int8`: one scale per row of weights and
 * one per token of activations, exact integer sums (W8A8).
 */
export type WeightFormat = (typeof WEIGHT_FORMATS)[number];

/** The number of a format in the kernels. */
export const formatNumber = (format: WeightFormat | StoredTensor['format']): number =>
  WEIGHT_FORMATS.indexOf(format);

/** Bytes of one stored number. */
export const STORED_BYTES = { f32: 4, bf16: 2, f16: 2 } as const;

/** Rows come in pieces of about this many bytes, small enough for the processor's cache. */
const pieceBytes = 2 ** 18;
/** More of them would only wait for memory. */
const THREADS_MOST = 4;
const inEmbedding = 7;
const inHead = 8;

/** Where a tensor goes: a matrix of a layer or of none, or a run of norms and biases. */
type Target = { readonly layer: number; readonly which: number } | { readonly vectorAt: number };

function targetsOf(config: ModelConfig): { slot: TensorSlot; target: Target }[] {
  let vectorAt = 0;
  let layer = -1;
  let which = 0;
  return parameterLayout(config).map((slot) => {
    if (slot.name === 'model.embed_tokens.weight') {
      return { slot, target: { layer: 0, which: inEmbedding } };
    }
    if (slot.name === 'lm_head.weight') return { slot, target: { layer: 0, which: inHead } };
    if (slot.name.endsWith('.input_layernorm.weight')) {
      layer++;
      which = 0;
    }
    if (slot.name.endsWith('_proj.weight')) return { slot, target: { layer, which: which++ } };
    const target = { vectorAt };
    vectorAt += slot.columns;
    return { slot, target };
  });
}

/** A tensor of weights that lie in memory. */
function inMemory(weights: ModelWeights, { name, rows, columns }: TensorSlot): StoredTensor {
  const values = weights.tensor(name);
  if (values.length !== rows * columns) {
    throw new ModelConfigError(name, `${rows * columns} values`, values.length);
  }
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return {
    format: 'f32',
    read(into, row) {
      const at = row * columns * 4;
      into.set(bytes.subarray(at, at + into.length));
    },
  };
}

/**
 * Loads every tensor that `wants` names, or all.
 *
 * @param nameOf the stored name of a tensor of this configuration
 * @throws what the tensor's `refuse` says when a value is not finite, or is not once it is rounded
 */
export function loadResident(
  arena: Arena,
  modelAt: number,
  weights: ModelWeights,
  config: ModelConfig = weights.config,
  nameOf: (name: string) => string | undefined = (name) => name,
): void {
  const targets = targetsOf(config);
  const widest = Math.max(...targets.map(({ slot }) => slot.columns * 4));
  const threads = arena.packsFiles ? Math.min(THREADS_MOST, availableParallelism()) : 1;
  const room = Math.max(pieceBytes, widest * 8);
  const staging = arena.allocate(threads * (room + 128));
  try {
    for (const { slot, target } of targets) {
      const name = nameOf(slot.name);
      if (name === undefined) continue;
      const stored = weights.stored?.(name) ?? inMemory(weights, { ...slot, name });
      const from = { modelAt, staging, room, threads };
      const finite =
        'which' in target && arena.packsFiles && stored.file !== undefined
          ? packFile(arena, from, stored, slot, target)
          : packParts(arena, from, stored, slot, target);
      if (!finite && stored.refuse !== undefined) throw stored.refuse();
    }
  } finally {
    arena.release(staging);
  }
}

type Staging = {
  readonly modelAt: number;
  readonly staging: number;
  /** Bytes of staging per thread. */
  readonly room: number;
  readonly threads: number;
};

const stepOf = (room: number, rowBytes: number): number => Math.floor(room / rowBytes / 8) * 8;

/** Several threads read and pack a matrix; returns whether all of it is finite. */
function packFile(
  arena: Arena,
  { modelAt, staging, room, threads }: Staging,
  { format, file }: StoredTensor,
  { rows, columns }: TensorSlot,
  target: { readonly layer: number; readonly which: number },
): boolean {
  const rowBytes = columns * STORED_BYTES[format];
  let outcome = 1;
  file?.((descriptor, position) => {
    const read = { descriptor, position, rowBytes, step: stepOf(room, rowBytes), threads };
    const which = [target.layer, target.which, 0, rows];
    outcome = arena.packFile(read, modelAt, staging, formatNumber(format), ...which);
    return outcome >= 0;
  });
  return outcome === 1;
}

/** Reads and packs a tensor piece by piece; returns whether all of it is finite. */
function packParts(
  arena: Arena,
  { modelAt, staging, room }: Staging,
  { format, read }: StoredTensor,
  slot: TensorSlot,
  target: Target,
): boolean {
  const number = formatNumber(format);
  const rowBytes = slot.columns * STORED_BYTES[format];
  const perPiece = stepOf(room, rowBytes);
  let allFinite = true;
  for (let row = 0; row < slot.rows; row += perPiece) {
    const rows = Math.min(perPiece, slot.rows - row);
    read(arena.u8(staging, rows * rowBytes), row);
    const found =
      'which' in target
        ? arena.call('pack_part', modelAt, staging, number, target.layer, target.which, row, rows)
        : arena.call('place_vector', modelAt, staging, number, target.vectorAt, slot.columns);
    allFinite = found !== 0 && allFinite;
  }
  return allFinite;
}
