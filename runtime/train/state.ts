// The state of a LoRA training run as canonical bytes: the same state always encodes the same, so
// that a checkpoint's hash names it.

/** Everything the next step depends on, besides plan, base and records; m and v are AdamW's moments. */
export type TrainingState = {
  readonly step: number;
  readonly rank: number;
  readonly parameters: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
};

/** Bytes that are not a training state. */
export class TrainingStateError extends Error {
  readonly code = 'TRAINING_STATE';
  constructor(message: string) {
    super(message);
    this.name = 'TrainingStateError';
  }
}

const magic = 0x53544c4f; // "OLTS"
const version = 1;
const headerBytes = 20;
const canonicalNan = 0x7fc00000;

/**
 * Header of five little-endian u32 (magic "OLTS", version 1, step, rank, count), then parameters,
 * m and v as little-endian f32 with the one canonical NaN.
 */
export function encodeState(state: TrainingState): Uint8Array {
  const count = state.parameters.length;
  const bytes = new Uint8Array(headerBytes + count * 12);
  const view = new DataView(bytes.buffer);
  for (const [i, word] of [magic, version, state.step, state.rank, count].entries()) {
    view.setUint32(i * 4, word, true);
  }
  let at = headerBytes;
  for (const part of [state.parameters, state.m, state.v]) {
    if (part.length !== count)
      throw new RangeError(`state: expected ${count} floats, found ${part.length}`);
    for (const value of part) {
      if (Number.isNaN(value)) view.setUint32(at, canonicalNan, true);
      else view.setFloat32(at, value, true);
      at += 4;
    }
  }
  return bytes;
}

/** The inverse; throws TrainingStateError on anything encodeState does not write. */
export function decodeState(bytes: Uint8Array): TrainingState {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < headerBytes) {
    throw new TrainingStateError(
      `training state: expected ${headerBytes} bytes, found ${bytes.length}`,
    );
  }
  if (view.getUint32(0, true) !== magic || view.getUint32(4, true) !== version) {
    throw new TrainingStateError('training state: expected magic OLTS and version 1');
  }
  const count = view.getUint32(16, true);
  if (bytes.length !== headerBytes + count * 12) {
    throw new TrainingStateError(
      `training state: expected ${headerBytes + count * 12} bytes for ${count} parameters, found ${bytes.length}`,
    );
  }
  const part = (index: number) => {
    const values = new Float32Array(count);
    const from = headerBytes + index * count * 4;
    for (let i = 0; i < count; i++) {
      values[i] = view.getFloat32(from + i * 4, true);
      if (Number.isNaN(values[i]) && view.getUint32(from + i * 4, true) !== canonicalNan) {
        throw new TrainingStateError(`training state: expected the canonical NaN at float ${i}`);
      }
    }
    return values;
  };
  return {
    step: view.getUint32(8, true),
    rank: view.getUint32(12, true),
    parameters: part(0),
    m: part(1),
    v: part(2),
  };
}
