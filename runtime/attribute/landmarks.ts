/**
 * Directions as mixtures of landmarks. A random projection to 256 numbers drowns cosines of 0.04 in
 * noise of 0.06; told by which landmark records explain it, a gradient keeps them in the same bytes.
 */

/** Added to the diagonal of the landmarks' cosines: what one landmark alone explains counts less. */
const RIDGE = 0.3;

/** From a direction to its weight on each landmark. */
export type LandmarkMap = (direction: Float64Array) => Float64Array;

/**
 * The map w = (K + 0.3·I)⁻¹ · S·x, where the rows of S are the landmarks, each divided by its length,
 * and K = S·Sᵀ. Solved by Cholesky's method in float64; sums run over ascending indices.
 *
 * @param landmarks rows of `width` signed bytes
 */
export function createLandmarkMap(landmarks: Int8Array, width: number): LandmarkMap {
  const count = landmarks.length / width;
  const rows = Array.from({ length: count }, (_, i) =>
    landmarks.subarray(i * width, (i + 1) * width),
  );
  const lengths = rows.map((row) => Math.sqrt(dot(row, row)));
  const lower = cholesky(
    rows.map((row, i) =>
      Float64Array.from({ length: i + 1 }, (_, j) => {
        const cosine = ratio(dot(row, rows[j]!), lengths[i]! * lengths[j]!);
        return i === j ? cosine + RIDGE : cosine;
      }),
    ),
  );
  return (direction) => {
    if (direction.length !== width) {
      throw new RangeError(`landmarks: expected ${width} numbers, got ${direction.length}`);
    }
    const cosines = Float64Array.from(rows, (row, i) => ratio(dot(row, direction), lengths[i]!));
    return solve(lower, cosines);
  };
}

function dot(row: Int8Array, other: Int8Array | Float64Array): number {
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += row[i]! * other[i]!;
  return sum;
}

/** A landmark without a gradient has no direction, so nothing is like it. */
function ratio(value: number, length: number): number {
  return length === 0 ? 0 : value / length;
}

/** L with L·Lᵀ = the matrix of which the rows up to the diagonal are given; overwrites them. */
function cholesky(rows: Float64Array[]): readonly Float64Array[] {
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!;
    for (let j = 0; j <= i; j++) {
      const other = rows[j]!;
      let value = row[j]!;
      for (let k = 0; k < j; k++) value -= row[k]! * other[k]!;
      row[j] = i === j ? Math.sqrt(value) : value / other[j]!;
    }
  }
  return rows;
}

/** The solution of L·Lᵀ·w = values; overwrites the values with it. */
function solve(lower: readonly Float64Array[], values: Float64Array): Float64Array {
  const count = lower.length;
  for (let i = 0; i < count; i++) {
    const row = lower[i]!;
    let value = values[i]!;
    for (let k = 0; k < i; k++) value -= row[k]! * values[k]!;
    values[i] = value / row[i]!;
  }
  for (let i = count - 1; i >= 0; i--) {
    const row = lower[i]!;
    const value = values[i]! / row[i]!;
    values[i] = value;
    for (let k = 0; k < i; k++) values[k]! -= row[k]! * value;
  }
  return values;
}
