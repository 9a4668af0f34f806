/** The weights of a GGUF file under Hugging Face's names, checked against its metadata. */
import type { TensorPlace } from '../engine/config.ts';
import { weightShapes } from '../model/config.ts';
import { ModelError } from '../model/errors.ts';
import type { ByteSource } from '../model/safetensors.ts';
import { type StoredWeights, weightsAt } from '../model/stored.ts';
import { checkWeights } from '../model/weights.ts';
import { type GgufConfig, readGgufConfig } from './config.ts';
import { ggufName, isInterleaved, ROPE_FACTORS } from './names.ts';
import { type GgufDtype, type GgufFile, openGguf } from './reader.ts';
import { type RowPlace, rowReader } from './rows.ts';

/** A GGUF model without its tokenizer. */
export type GgufModel = GgufConfig & {
  readonly file: GgufFile;
  /** Every weight of the configuration, by Hugging Face's name. */
  readonly rows: ReadonlyMap<string, RowPlace>;
};

const FORMATS: Readonly<Record<GgufDtype, TensorPlace['format']>> = {
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
  Q8_0: 'q8_0',
};
const ROPE_FACTORS_MAX = 16_384;

/**
 * Opens a file: header, configuration and the shape of every weight are checked, no data is read.
 *
 * @param name of the file, for error messages
 * @throws ModelError naming file, key, what was expected and what was found
 */
export function openGgufModel(source: ByteSource, name: string): GgufModel {
  const file = openGguf(source, name);
  const factors = (key: string): Float32Array => {
    const { dtype, shape, at } = file.tensors.get(key)!;
    const [length = 0] = shape;
    if (dtype !== 'F32' || shape.length !== 1 || length > ROPE_FACTORS_MAX) {
      const found = `${dtype} [${shape.join(', ')}]`;
      const details = { key, expected: 'F32 [half of a head]', found };
      throw new ModelError('ROPE_UNSUPPORTED', 'this rotary embedding cannot be run', details);
    }
    const values = new Float32Array(length);
    source.read(new Uint8Array(values.buffer), at);
    return values;
  };
  const read = readGgufConfig(file, name, factors);
  const { config } = read;
  const shapes = weightShapes(config);
  const named = new Map([...shapes.keys()].map((weight) => [ggufName(weight), weight]));
  const found = new Map<string, readonly number[]>();
  for (const [key, { shape }] of file.tensors) {
    if (key !== ROPE_FACTORS) found.set(named.get(key) ?? key, shape);
  }
  checkWeights(config, found, { file: name, named: ggufName });
  const rows = new Map<string, RowPlace>();
  for (const [weight, shape] of shapes) {
    const { dtype, at } = file.tensors.get(ggufName(weight))!;
    const [outputs, columns] = shape.length === 1 ? [1, shape[0]!] : (shape as [number, number]);
    const isHalved = read.isInterleaved && isInterleaved(weight);
    rows.set(weight, {
      ...{ at, format: FORMATS[dtype], rows: outputs, columns },
      ...(isHalved ? { interleaved: config.headDim } : {}),
    });
  }
  return { ...read, file, rows };
}

/** The weights of an opened file on disk; nothing is read before it is asked for. */
export function ggufWeights({ config, file: { place }, rows }: GgufModel): StoredWeights {
  const places = [...rows].map(([name, one]): [string, TensorPlace] => [
    name,
    { ...place!, ...one },
  ]);
  return weightsAt(config, new Map(places));
}

/** The bytes of a weight as f32, f16 or bf16 rows in Hugging Face's order, from wherever they lie. */
export function ggufRows(source: ByteSource, { rows }: GgufModel, name: string): Uint8Array {
  const place = rows.get(name)!;
  const bytes = place.format === 'f32' || place.format === 'q8_0' ? 4 : 2;
  const into = new Uint8Array(place.rows * place.columns * bytes);
  rowReader(source, place)(into, 0);
  return into;
}
