/**
 * Rows of a tensor as GGUF stores them, turned into the rows that Hugging Face's layout has: blocks of
 * q8_0 are widened to f32 (exactly: 11 bits of scale times 7 of value), and the rows of each head of
 * q and k, which llama.cpp's converter interleaves for its rotary embedding, go back to their halves.
 */
import type { TensorPlace } from '../engine/config.ts';
import { STORED_BYTES } from '../engine/resident.ts';
import { halfToFloat } from '../model/numbers.ts';
import type { ByteSource } from '../model/safetensors.ts';
import { GGUF_DTYPES } from './reader.ts';

/** What reading rows needs to know of where they lie. */
export type RowPlace = Omit<TensorPlace, 'path' | 'mark'>;

/** Fills `into` with whole rows from `row` on: f32, f16 or bf16 as stored, q8_0 as f32. */
export type RowReader = (into: Uint8Array, row: number) => void;

/** Read and widened at a time. */
const PIECE_BYTES = 256 * 1024;
const { block: BLOCK, bytes: BLOCK_BYTES } = GGUF_DTYPES.Q8_0;

/** The rows of one tensor in Hugging Face's order. */
export function rowReader(source: Pick<ByteSource, 'read'>, place: RowPlace): RowReader {
  const { at, format, columns, interleaved } = place;
  if (format === 'q8_0') {
    const widened: RowReader = (into, row) => readBlocks(source, at, row * columns, into);
    return interleaved === undefined ? widened : inHalves(widened, place, interleaved, 4);
  }
  const bytes = STORED_BYTES[format];
  const stored: RowReader = (into, row) => source.read(into, at + row * columns * bytes);
  return interleaved === undefined ? stored : inHalves(stored, place, interleaved, bytes);
}

/** Values from the `first` on, as the bytes of f32. */
function readBlocks(
  source: Pick<ByteSource, 'read'>,
  at: number,
  first: number,
  into: Uint8Array,
): void {
  const count = into.length / 4;
  const isAligned = into.byteOffset % 4 === 0;
  const values = isAligned
    ? new Float32Array(into.buffer, into.byteOffset, count)
    : new Float32Array(count);
  const perPiece = Math.floor(PIECE_BYTES / BLOCK_BYTES) * BLOCK;
  const scratch = Buffer.alloc((Math.min(perPiece, count) / BLOCK) * BLOCK_BYTES);
  for (let from = 0; from < count; from += perPiece) {
    const blocks = Math.min(perPiece, count - from) / BLOCK;
    const bytes = scratch.subarray(0, blocks * BLOCK_BYTES);
    source.read(bytes, at + ((first + from) / BLOCK) * BLOCK_BYTES);
    for (let b = 0; b < blocks; b++) {
      const scale = halfToFloat(bytes.readUInt16LE(b * BLOCK_BYTES));
      for (let k = 0; k < BLOCK; k++) {
        values[from + b * BLOCK + k] = scale * bytes.readInt8(b * BLOCK_BYTES + 2 + k);
      }
    }
  }
  if (!isAligned) into.set(new Uint8Array(values.buffer));
}

/** Row (half, i) of a head lies at (i, half); of a bias, which is one row, it is the values. */
function inHalves(
  stored: RowReader,
  { rows, columns }: RowPlace,
  headRows: number,
  valueBytes: number,
): RowReader {
  const isVector = rows === 1;
  const unit = isVector ? valueBytes : columns * valueBytes;
  const blockUnits = isVector ? columns : headRows;
  let block = new Uint8Array(0);
  let held = -1;
  return (into, row) => {
    for (let k = 0; k * unit < into.length; k++) {
      const wanted = row + k;
      const index = Math.floor(wanted / blockUnits);
      if (index !== held) {
        block = block.length === 0 ? new Uint8Array(blockUnits * unit) : block;
        stored(block, index * (isVector ? 1 : blockUnits));
        held = index;
      }
      const inHead = wanted % headRows;
      const from = storedRow(inHead, headRows) + ((wanted - inHead) % blockUnits);
      into.set(block.subarray(from * unit, (from + 1) * unit), k * unit);
    }
  };
}

/** Where llama.cpp's converter puts a row of a head. */
export function storedRow(row: number, headRows: number): number {
  const half = headRows / 2;
  return 2 * (row % half) + Math.floor(row / half);
}
