// The canonical engine, WebAssembly or native, as a backend: what the others are measured against in
// speed, and one more that the conformance suite holds to the reference.
import { type BackendChoice, openArena } from '../engine/backend.ts';
import { createEngine, type Session, type TrainingRecord } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import { WEIGHT_FORMATS } from '../engine/resident.ts';
import type { Backend, BackendModel, Decoder, ProductShape } from './port.ts';

/** The kernels take widths that are multiples of eight. */
const widthStep = 8;
const padded = (width: number) => Math.ceil(width / widthStep) * widthStep;

function inPadded(values: Float32Array, rows: number, depth: number, rowsTo: number): Float32Array {
  const wide = new Float32Array(rowsTo * padded(depth));
  for (let row = 0; row < rows; row++) {
    wide.set(values.subarray(row * depth, (row + 1) * depth), row * padded(depth));
  }
  return wide;
}

function product(
  choice: BackendChoice,
  a: Float32Array,
  b: Float32Array,
  { rows, columns, depth }: ProductShape,
): Float32Array {
  const arena = openArena(choice);
  const [wide, deep] = [padded(columns), padded(depth)];
  const place = (values: Float32Array) => {
    const at = arena.allocate(values.byteLength);
    arena.f32(at, values.length).set(values);
    return at;
  };
  const x = place(inPadded(a, rows, depth, rows));
  const y = place(inPadded(b, columns, depth, wide));
  const [c, scratch] = [arena.allocate(rows * wide * 4), arena.allocate(wide * deep * 4)];
  arena.call('op_matmul', c, x, y, rows, wide, deep, 1, scratch);
  const found = arena.f32(c, rows * wide);
  const narrow = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    narrow.set(found.subarray(row * wide, row * wide + columns), row * columns);
  }
  return narrow;
}

/** A session per place; a sequence that begins at 0 is a new one. */
function openDecoder(
  open: (adapter: Adapter | null) => Session,
  places: number,
  vocabSize: number,
): Decoder {
  const adapters: (Adapter | undefined)[] = [];
  const sessions = new Map<number, Session>();
  return {
    placeAdapter: (adapter) => adapters.push(adapter) - 1,
    removeAdapter(placed) {
      adapters[placed] = undefined;
    },
    async step(sequences) {
      const logits = new Float32Array(sequences.length * vocabSize);
      for (const [i, { place, tokens, start, adapter }] of sequences.entries()) {
        if (place < 0 || place >= places) {
          throw new RangeError(`expected one of ${places} places, found ${place}`);
        }
        if (start === 0) {
          sessions.get(place)?.close();
          sessions.set(place, open(adapter === undefined ? null : adapters[adapter]!));
        }
        const session = sessions.get(place);
        if (session?.length !== start) {
          throw new RangeError(`expected position ${session?.length ?? 0}, found ${start}`);
        }
        logits.set(session.prefill(tokens), i * vocabSize);
      }
      return logits;
    },
    close() {
      for (const session of sessions.values()) session.close();
      sessions.clear();
    },
  };
}

/** The engine's build of this choice; native throws NativeKernelsError where it cannot be had. */
export function engineBackend(choice: 'wasm' | 'native'): Backend {
  const { backend: name } = openArena(choice);
  return {
    name,
    device: `${process.arch} CPU, one thread`,
    storages: WEIGHT_FORMATS.slice(1),
    product: async (a, b, shape) => product(choice, a, b, shape),
    async loadModel(weights, storage = 'f32') {
      const training = storage === 'f32' || storage === 'int8';
      const engine = createEngine(weights, { backend: choice, weights: storage, training });
      const { config } = weights;
      const model: BackendModel = {
        config,
        score: async (adapter, tokens) => engine.score(adapter, tokens),
        ...(training && {
          recordGradients: async (adapter: Adapter, records: readonly TrainingRecord[]) =>
            engine.recordGradients(adapter, records),
        }),
        decoder: async ({ sequences, positions }) =>
          openDecoder((adapter) => engine.session(adapter, positions), sequences, config.vocabSize),
        close: () => engine.dispose(),
      };
      return model;
    },
    close: async () => undefined,
  };
}
