/**
 * The learned voice: gradients of records and of exchanges become sketches of 256 signed bytes, from
 * which all scores are integer arithmetic. Up to the last rounding only sums, products, quotients
 * and square roots of float64 in a stated order: equal gradient bits give equal sketch bytes.
 */
import { createProjection, createRandom, type Projection, quantise, uint256 } from '#crypto';
import { createLandmarkMap, type LandmarkMap } from './landmarks.ts';

/** How gradients become sketches. Part of a training task's specification. */
export type SketchSettings = {
  /** u32; draws the projection and the landmarks. */
  readonly seed: number;
  /** Numbers in a sketch, and landmarks where there are enough records. */
  readonly size: number;
  /** Buckets that each number of a gradient is added to. */
  readonly nonZeros: number;
};

/** The settings of every adapter so far, except for the seed, which is the task's. */
export const SKETCH_SETTINGS: Omit<SketchSettings, 'seed'> = { size: 256, nonZeros: 1 };

/** Buckets that a gradient is projected to before it is compared with the landmarks. */
export const PROJECTED_SIZE = 2_048;
/** Landmarks whose gradients also fix the scales; few, because a verifier recomputes them all. */
export const SCALE_SAMPLE = 16;
/** The part of a matrix's mean square that counts as its damping λ; its scale is 1/√λ. */
const DAMPING = 0.1;

/** The lengths of the matrices that lie one after another in a flat gradient. */
export type GradientLayout = readonly number[];

/**
 * What is fixed once per adapter before anything is sketched, from records that the seed draws. It
 * is published with the sketches, and a verifier recomputes what it likes of it.
 */
export type Calibration = {
  /** One factor per matrix, which brings all matrices to the same mean square. */
  readonly scales: Float32Array;
  /** Projected gradients of the landmarks, `PROJECTED_SIZE` bytes each; none in a small version. */
  readonly landmarks: Int8Array;
};

/**
 * The records that the calibration is computed from, distinct, in drawn order. The first ones give
 * the scales; all are landmarks. In a version with fewer records than a sketch has numbers there are
 * no landmarks, and a sketch is the projected gradient itself.
 */
export function calibrationSample(recordCount: number, settings: SketchSettings): number[] {
  const random = createRandom(uint256(settings.seed), 'openledger/calibration/1');
  const drawn = random.shuffle(Array.from({ length: recordCount }, (_, i) => i));
  return drawn.slice(0, recordCount < settings.size ? SCALE_SAMPLE : settings.size);
}

/** c = 1/√(0.1 · mean g²) of each matrix; 0 for a matrix whose gradients are all 0. */
export function layerScales(
  gradients: readonly Float32Array[],
  layout: GradientLayout,
): Float32Array {
  const squares = new Float64Array(layout.length);
  for (const gradient of gradients) {
    checkLength(gradient, layout);
    let at = 0;
    for (let matrix = 0; matrix < layout.length; matrix++) {
      const end = at + layout[matrix]!;
      let sum = 0;
      for (; at < end; at++) sum += gradient[at]! * gradient[at]!;
      squares[matrix]! += sum;
    }
  }
  return Float32Array.from(squares, (sum, matrix) => {
    const mean = sum / (gradients.length * layout[matrix]!);
    return sum === 0 ? 0 : 1 / Math.sqrt(DAMPING * mean);
  });
}

/** A scaled and projected gradient of length 1; all zeros where the gradient is. */
export type Direction = Float64Array;

/** Turns gradients into directions of `PROJECTED_SIZE` numbers, or of a sketch's size. */
export function createProjector(
  layout: GradientLayout,
  scales: Float32Array,
  settings: SketchSettings,
  size: number,
): (gradient: Float32Array) => Direction {
  if (scales.length !== layout.length) {
    throw new RangeError(`calibration: expected ${layout.length} scales, got ${scales.length}`);
  }
  const projection = createProjection(settings.seed, size, settings.nonZeros);
  return (gradient) => directionOf(gradient, layout, scales, projection);
}

function directionOf(
  gradient: Float32Array,
  layout: GradientLayout,
  scales: Float32Array,
  projection: Projection,
): Direction {
  checkLength(gradient, layout);
  const buckets = new Float64Array(projection.size);
  let at = 0;
  for (let matrix = 0; matrix < layout.length; matrix++) {
    const end = at + layout[matrix]!;
    projection.add(buckets, at, gradient.subarray(at, end), scales[matrix]!);
    at = end;
  }
  let square = 0;
  for (const bucket of buckets) square += bucket * bucket;
  if (square === 0) return buckets;
  const length = Math.sqrt(square);
  return buckets.map((bucket) => bucket / length);
}

/** Gradients and directions to sketches, for one adapter. */
export type Sketcher = {
  readonly directionOf: (gradient: Float32Array) => Direction;
  /** The sketch of a direction; what it cost to get there does not matter. */
  readonly sketch: (direction: Direction) => Int8Array;
};

/** Maps are costly to make and asked for with every answer, so each calibration keeps its own. */
const maps = new WeakMap<Calibration, LandmarkMap>();

/** A sketcher for one adapter. */
export function createSketcher(
  layout: GradientLayout,
  calibration: Calibration,
  settings: SketchSettings,
): Sketcher {
  const { scales, landmarks } = calibration;
  const hasLandmarks = landmarks.length > 0;
  const size = hasLandmarks ? PROJECTED_SIZE : settings.size;
  const projector = createProjector(layout, scales, settings, size);
  if (!hasLandmarks) return { directionOf: projector, sketch: quantise };
  if (landmarks.length !== settings.size * PROJECTED_SIZE) {
    throw new RangeError(
      `calibration: expected ${settings.size} landmarks of ${PROJECTED_SIZE} bytes, got ${landmarks.length} bytes`,
    );
  }
  const map = maps.get(calibration) ?? createLandmarkMap(landmarks, PROJECTED_SIZE);
  maps.set(calibration, map);
  return { directionOf: projector, sketch: (direction) => quantise(map(direction)) };
}

function checkLength(gradient: Float32Array, layout: GradientLayout): void {
  const expected = layout.reduce((sum, length) => sum + length, 0);
  if (gradient.length !== expected) {
    throw new RangeError(`gradient: expected ${expected} numbers, got ${gradient.length}`);
  }
}

/** The bytes of a calibration: the scales as float32, big-endian, then the landmarks. */
export function calibrationBytes({ scales, landmarks }: Calibration): Uint8Array {
  const bytes = new Uint8Array(scales.length * 4 + landmarks.length);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < scales.length; i++) view.setFloat32(i * 4, scales[i]!);
  bytes.set(
    new Uint8Array(landmarks.buffer, landmarks.byteOffset, landmarks.length),
    scales.length * 4,
  );
  return bytes;
}

/**
 * Reads `calibrationBytes` back.
 *
 * @param matrices of the adapter
 * @param size numbers in a sketch
 * @throws RangeError if the length is not that of the scales and of no or `size` landmarks, or a
 *   scale is negative or not finite
 */
export function calibrationFromBytes(
  bytes: Uint8Array,
  matrices: number,
  size: number,
): Calibration {
  const plain = matrices * 4;
  const full = plain + size * PROJECTED_SIZE;
  if (bytes.length !== plain && bytes.length !== full) {
    throw new RangeError(`calibration: expected ${plain} or ${full} bytes, got ${bytes.length}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const scales = Float32Array.from({ length: matrices }, (_, i) => view.getFloat32(i * 4));
  if (!scales.every((scale) => Number.isFinite(scale) && scale >= 0)) {
    throw new RangeError('calibration: expected finite scales that are not negative');
  }
  return { scales, landmarks: new Int8Array(bytes.slice(plain).buffer) };
}
