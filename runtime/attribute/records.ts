/** The learned voice over an engine or a pool: sketches of a whole datanet version, or of a few. */
import { quantise } from '#crypto';
import { loraLayout } from '../engine/config.ts';
import type { TrainingRecord } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import type { GradientSource } from '../train/lora.ts';
import {
  type Calibration,
  calibrationSample,
  createProjector,
  createSketcher,
  type Direction,
  type GradientLayout,
  layerScales,
  PROJECTED_SIZE,
  SCALE_SAMPLE,
  type SketchSettings,
} from './sketch.ts';

/** Gradients asked for at once; bounds the memory to some tens of megabytes. */
const BATCH = 16;

/** A trained adapter, the records of its datanet version in version order, and who computes. */
export type SketchSource = {
  readonly source: GradientSource;
  readonly adapter: Adapter;
  readonly records: readonly TrainingRecord[];
  readonly settings: SketchSettings;
  readonly signal?: AbortSignal | undefined;
};

/** The directions of the landmarks that this process computed, so that none is computed twice. */
const directionsOf = new WeakMap<
  Calibration,
  { readonly adapter: Adapter; readonly directions: ReadonlyMap<number, Direction> }
>();

/** The calibration of an adapter, from the records that the settings draw. */
export async function calibrateAdapter(from: SketchSource): Promise<Calibration> {
  const { adapter, settings } = from;
  const sample = calibrationSample(from.records.length, settings);
  const scales = await scalesOf(from, sample);
  if (sample.length < settings.size) return { scales, landmarks: new Int8Array(0) };
  const landmarks = new Int8Array(sample.length * PROJECTED_SIZE);
  const directions = new Map<number, Direction>();
  const direction = createProjector(gradientLayout(from), scales, settings, PROJECTED_SIZE);
  await eachGradient(from, sample, (gradient, at) => {
    directions.set(sample[at]!, direction(gradient));
    landmarks.set(quantise(directions.get(sample[at]!)!), at * PROJECTED_SIZE);
  });
  const calibration = { scales, landmarks };
  directionsOf.set(calibration, { adapter, directions });
  return calibration;
}

/**
 * Whether a published calibration is right, as far as it is looked at: its scales, and the landmarks
 * at these positions (0 … size − 1; those that do not exist are passed over).
 */
export async function isCalibrationOf(
  from: SketchSource,
  calibration: Calibration,
  positions: readonly number[],
): Promise<boolean> {
  const { settings } = from;
  const sample = calibrationSample(from.records.length, settings);
  const scales = await scalesOf(from, sample);
  if (!scales.every((scale, i) => scale === calibration.scales[i])) return false;
  const count = sample.length < settings.size ? 0 : sample.length;
  if (scales.length !== calibration.scales.length) return false;
  if (calibration.landmarks.length !== count * PROJECTED_SIZE) return false;
  const checked = positions.filter((position) => position < count);
  const direction = createProjector(gradientLayout(from), scales, settings, PROJECTED_SIZE);
  let isRight = true;
  await eachGradient(
    from,
    checked.map((position) => sample[position]!),
    (gradient, at) => {
      const start = checked[at]! * PROJECTED_SIZE;
      const claimed = calibration.landmarks.subarray(start, start + PROJECTED_SIZE);
      isRight &&= quantise(direction(gradient)).every((value, i) => value === claimed[i]);
    },
  );
  return isRight;
}

/**
 * The sketches of the records with these indices, in their order: what a trainer does for all
 * records and a verifier for the few that it drew.
 *
 * @param onProgress told how many are done
 */
export async function sketchRecords(
  from: SketchSource,
  calibration: Calibration,
  indices: readonly number[],
  onProgress?: (done: number) => void,
): Promise<Int8Array[]> {
  const sketcher = createSketcher(gradientLayout(from), calibration, from.settings);
  const known = directionsOf.get(calibration);
  const directions = known?.adapter === from.adapter ? known.directions : undefined;
  const sketches = new Map<number, Int8Array>();
  for (const index of indices) {
    const direction = directions?.get(index);
    if (direction !== undefined) sketches.set(index, sketcher.sketch(direction));
  }
  const rest = indices.filter((index) => !sketches.has(index));
  await eachGradient(from, rest, (gradient, at) => {
    sketches.set(rest[at]!, sketcher.sketch(sketcher.directionOf(gradient)));
    onProgress?.(sketches.size);
  });
  return indices.map((index) => sketches.get(index)!);
}

/** The sketch of one exchange (see `exchangeExample`) with respect to an adapter. */
export async function sketchExchange(
  from: Omit<SketchSource, 'records'>,
  calibration: Calibration,
  exchange: TrainingRecord,
): Promise<Int8Array> {
  const { directionOf, sketch } = createSketcher(gradientLayout(from), calibration, from.settings);
  const { source, adapter, signal } = from;
  const [found] = await source.recordGradients(adapter, [exchange], signal);
  return sketch(directionOf(found!.gradient));
}

/** The lengths of the matrices of an adapter's gradient, in flat order. */
function gradientLayout({ source, adapter }: Omit<SketchSource, 'records'>): GradientLayout {
  return loraLayout(source.config, adapter.rank).map(({ rows, columns }) => rows * columns);
}

async function scalesOf(from: SketchSource, sample: readonly number[]): Promise<Float32Array> {
  const gradients: Float32Array[] = [];
  await eachGradient(from, sample.slice(0, SCALE_SAMPLE), (gradient) => gradients.push(gradient));
  return layerScales(gradients, gradientLayout(from));
}

/** Asks for the next batch before it hands out the last one, so that the threads never wait. */
async function eachGradient(
  { source, adapter, records, signal }: SketchSource,
  indices: readonly number[],
  use: (gradient: Float32Array, at: number) => void,
): Promise<void> {
  const ask = (from: number) =>
    source.recordGradients(
      adapter,
      indices.slice(from, from + BATCH).map((index) => records[index]!),
      signal,
    );
  let next = indices.length > 0 ? ask(0) : undefined;
  for (let from = 0; next !== undefined; from += BATCH) {
    const gradients = await next;
    next = from + BATCH < indices.length ? ask(from + BATCH) : undefined;
    for (const [i, { gradient }] of gradients.entries()) use(gradient, from + i);
  }
}
