/**
 * Weights that stay on disk until they are asked for, out of plain descriptions of where each tensor
 * lies, so that every thread can read for itself what it keeps.
 */
import {
  flattenWeights,
  layoutSize,
  type ModelConfig,
  type ModelWeights,
  parameterLayout,
  type StoredTensor,
  type TensorPlace,
  weightsOf,
} from '../engine/config.ts';
import { STORED_BYTES } from '../engine/resident.ts';
import { rowReader } from '../gguf/rows.ts';
import { ModelError } from './errors.ts';
import { fileSource } from './files.ts';
import { widen } from './numbers.ts';

/** Weights that are read from disk when they are asked for. */
export type StoredWeights = Required<ModelWeights>;

/** Read and converted at a time: small enough to stay in the processor's cache. */
const PIECE_BYTES = 256 * 1024;

/**
 * The weights at these places. Nothing is read before it is asked for; then a file that changed is
 * MODEL_FILE_CHANGED and a value that is not finite TENSOR_NOT_FINITE.
 */
export function weightsAt(
  config: ModelConfig,
  places: ReadonlyMap<string, TensorPlace>,
): StoredWeights {
  const placeOf = (name: string): TensorPlace => {
    const place = places.get(name);
    if (place !== undefined) return place;
    const details = { key: name, expected: 'a tensor of this name', found: 'none' };
    throw new ModelError('TENSOR_MISSING', 'the model lacks a weight', details);
  };
  const stored = (name: string) => openTensor(name, placeOf(name));
  const fill = (name: string, into: Float32Array) => {
    const { rows, columns } = placeOf(name);
    if (into.length !== rows * columns) {
      const expected = `room for ${rows * columns} values`;
      throw new RangeError(`${name}: expected ${expected}, found ${into.length}`);
    }
    const { read, format, refuse } = stored(name);
    const rowBytes = columns * STORED_BYTES[format];
    const perPiece = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
    const scratch = new Uint32Array(Math.ceil((Math.min(perPiece, rows) * rowBytes) / 4));
    for (let row = 0; row < rows; row += perPiece) {
      const count = Math.min(perPiece, rows - row);
      read(new Uint8Array(scratch.buffer, 0, count * rowBytes), row);
      const part = into.subarray(row * columns, (row + count) * columns);
      if (!widen(scratch, DTYPES[format], part)) throw refuse();
    }
  };
  return {
    config,
    places,
    stored,
    fill,
    tensor(name) {
      const { rows, columns } = placeOf(name);
      const values = new Float32Array(rows * columns);
      fill(name, values);
      return values;
    },
  };
}

const DTYPES = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;

type OpenTensor = StoredTensor & { refuse(): Error };

function openTensor(name: string, place: TensorPlace): OpenTensor {
  const { path, mark, at, format, interleaved } = place;
  const source = fileSource(path, mark);
  const read = rowReader(source, place);
  const refuse = () =>
    new ModelError('TENSOR_NOT_FINITE', 'a weight is not a number', {
      key: name,
      expected: 'finite values',
      found: 'NaN or infinity',
      remedy: 'use another model',
    });
  // Rows that are not the tensor's as they lie can only be read.
  if (format === 'q8_0') return { format: 'f32', refuse, read };
  if (interleaved !== undefined) return { format, refuse, read };
  return { format, refuse, read, file: (take) => source.use((descriptor) => take(descriptor, at)) };
}

/** Weights on their way to another thread: where they lie on disk, or in memory that both see. */
export type SharedWeights = {
  readonly config: ModelConfig;
  readonly source: ReadonlyMap<string, TensorPlace> | SharedArrayBuffer;
};

export function shareWeights(weights: ModelWeights): SharedWeights {
  const { config, places } = weights;
  if (places !== undefined) return { config, source: places };
  const source = new SharedArrayBuffer(layoutSize(parameterLayout(config)) * 4);
  flattenWeights(weights, new Float32Array(source));
  return { config, source };
}

export function sharedWeights({ config, source }: SharedWeights): ModelWeights {
  return source instanceof SharedArrayBuffer
    ? weightsOf(config, new Float32Array(source))
    : weightsAt(config, source);
}
