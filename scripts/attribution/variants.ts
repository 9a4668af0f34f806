/** Compares ways to turn projected gradients into sketches, scores and payments. */
import { cosineQ16, dotProduct, quantise, squaredNorm } from '#crypto';
import { SPAN_SETTINGS } from '../../runtime/text/spans.ts';
import type { Lab, Projected } from './lab.ts';
import { type Pool, rate, spanAmounts } from './text.ts';

export type Variant = {
  readonly reading: string;
  /** 'layer': one scale per matrix, from all records; 'own': each matrix of each example to length 1. */
  readonly scaling: 'layer' | 'own' | 'none';
  readonly matrices: RegExp;
  readonly centring: 'none' | 'mean';
  /** Directions of the sample, after the centre, that are taken out. */
  readonly components: number;
};

export const PLAIN: Variant = {
  reading: 'whole',
  scaling: 'layer',
  matrices: /./,
  centring: 'none',
  components: 0,
};

/** Cosines (Q16) of every question with every record. */
export function cosines(lab: Lab, variant: Variant): Int32Array[] {
  const records = directions(lab, lab.records, variant);
  const questions = queryDirections(lab, variant);
  if (variant.centring === 'mean') {
    const centre = meanOf(records.slice(0, 1e9));
    for (const direction of [...records, ...questions]) subtract(direction, centre, 1);
  }
  for (const component of mainComponents(records, variant.components)) {
    for (const direction of [...records, ...questions])
      subtract(direction, component, dot(direction, component));
  }
  const sketches = records.map(quantise);
  const norms = sketches.map(squaredNorm);
  return questions.map((direction) => {
    const sketch = quantise(direction);
    const norm = squaredNorm(sketch);
    return Int32Array.from(sketches, (other, i) =>
      cosineQ16(dotProduct(sketch, other), norm, norms[i]!),
    );
  });
}

/** 'a+b' reads an exchange twice and adds the two directions, each of length 1. */
function queryDirections(lab: Lab, variant: Variant): Float64Array[] {
  const parts = variant.reading
    .split('+')
    .map((reading) => directions(lab, lab.exchanges.get(reading)!, variant));
  return parts[0]!.map((first, i) => {
    const sum = first.slice();
    for (const part of parts.slice(1)) subtract(sum, part[i]!, -1);
    return unit(sum);
  });
}

function directions(lab: Lab, projected: Projected, variant: Variant): Float64Array[] {
  const matrices = lab.matrices.length;
  const scales = lab.matrices.map((name, matrix) => {
    if (!variant.matrices.test(name)) return 0;
    if (variant.scaling === 'none') return 1;
    let sum = 0;
    for (let i = matrix; i < lab.records.squares.length; i += matrices)
      sum += lab.records.squares[i]!;
    return 1 / Math.sqrt(sum / lab.lengths[matrix]!);
  });
  const count = projected.squares.length / matrices;
  return Array.from({ length: count }, (_, i) => {
    const direction = new Float64Array(lab.size);
    for (let matrix = 0; matrix < matrices; matrix++) {
      const square = projected.squares[i * matrices + matrix]!;
      const own = square === 0 ? 0 : 1 / Math.sqrt(square);
      const scale = variant.scaling === 'own' ? (scales[matrix] === 0 ? 0 : own) : scales[matrix]!;
      const at = (i * matrices + matrix) * lab.size;
      for (let j = 0; j < lab.size; j++) direction[j]! += projected.values[at + j]! * scale;
    }
    return unit(direction);
  });
}

function unit(vector: Float64Array): Float64Array {
  const length = Math.sqrt(dot(vector, vector));
  return vector.map((value) => (length === 0 ? 0 : value / length));
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function subtract(from: Float64Array, what: Float64Array, times: number): void {
  for (let i = 0; i < from.length; i++) from[i]! -= what[i]! * times;
}

function meanOf(vectors: readonly Float64Array[]): Float64Array {
  const mean = new Float64Array(vectors[0]!.length);
  for (const vector of vectors) subtract(mean, vector, -1 / vectors.length);
  return mean;
}

/** The strongest directions, by power iteration with deflation. */
function mainComponents(vectors: readonly Float64Array[], count: number): Float64Array[] {
  const found: Float64Array[] = [];
  for (let component = 0; component < count; component++) {
    let current = unit(vectors[component]!.map((value, i) => value + 1 / (i + 2)));
    for (let round = 0; round < 30; round++) {
      const next = new Float64Array(current.length);
      for (const vector of vectors) subtract(next, vector, -dot(vector, current));
      for (const earlier of found) subtract(next, earlier, dot(next, earlier));
      current = unit(next);
    }
    found.push(current);
  }
  return found;
}

/** What the scores of one question pay each contributor: only the best record of each cluster. */
export function learnedAmounts(pool: Pool, scores: Int32Array, rule: Rule): Float64Array {
  const order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]!);
  const amounts = new Float64Array(pool.names.length);
  const seen = new Set<number>();
  for (const record of order) {
    const cluster = pool.clusters[record]!;
    if (seen.size >= rule.count || scores[record]! < rule.tau * 65_536) break;
    if (seen.has(cluster)) continue;
    seen.add(cluster);
    amounts[pool.owners[cluster]!]! += Math.max(0, scores[record]! - rule.floor * 65_536);
  }
  return amounts;
}

function share(amounts: Float64Array): Float64Array {
  const sum = amounts.reduce((total, amount) => total + amount, 0);
  return amounts.map((amount) => (sum === 0 ? 0 : amount / sum));
}

/** How scores become weights: the `count` best clusters from `tau` on, weighed from `floor` on. */
type Rule = { readonly count: number; readonly tau: number; readonly floor: number };

const RULES: readonly Rule[] = [
  { count: 1, tau: 0, floor: 0 },
  { count: 3, tau: 0, floor: 0 },
  { count: 5, tau: 0, floor: 0 },
  { count: 8, tau: 0, floor: 0 },
  { count: 16, tau: 0, floor: 0 },
  { count: 64, tau: 0, floor: 0 },
  { count: 64, tau: 0.18, floor: 0 },
  { count: 64, tau: 0.233, floor: 0 },
  { count: 64, tau: 0.2, floor: 0 },
  { count: 64, tau: 0.18, floor: 0.18 },
  { count: 64, tau: 0.233, floor: 0.233 },
];

export function compareVoices(pool: Pool, lab: Lab): void {
  const centred: Variant = { ...PLAIN, centring: 'mean' };
  const variants: [string, Variant][] = [];
  for (const reading of [...lab.exchanges.keys(), 'prompt+output']) {
    variants.push([reading, { ...PLAIN, reading }]);
    variants.push([`${reading}, centred`, { ...centred, reading }]);
  }
  for (const reading of ['whole', 'prompt']) {
    const base = { ...centred, reading };
    variants.push([`${reading}, centred, no scales`, { ...base, scaling: 'none' }]);
    variants.push([`${reading}, centred, own scales`, { ...base, scaling: 'own' }]);
    variants.push([`${reading}, centred, A only`, { ...base, matrices: /lora_A/ }]);
    variants.push([`${reading}, centred, B only`, { ...base, matrices: /lora_B/ }]);
    variants.push([`${reading}, centred, mlp only`, { ...base, matrices: /mlp/ }]);
    variants.push([`${reading}, centred, attention only`, { ...base, matrices: /attn/ }]);
    variants.push([`${reading}, centred, less 8`, { ...base, components: 8 }]);
  }
  const heads = RULES.map(
    ({ count, tau, floor }) => `${count}${tau ? `>${tau}` : ''}${floor ? '-' : ''}`,
  );
  console.log(`${''.padEnd(34)} ${heads.map((head) => head.padStart(8)).join('')}`);
  const rows: [string, Int32Array[]][] = variants.map(([name, variant]) => [
    name,
    cosines(lab, variant),
  ]);
  for (const [reading, scores] of lab.product) rows.push([`${reading}, 256 landmarks`, scores]);
  for (const [name, scores] of rows) {
    const line = RULES.map((rule) => {
      const { hits, unpaid } = rate(pool, (i) => learnedAmounts(pool, scores[i]!, rule));
      return `${hits}${unpaid > 0 ? `/${unpaid}` : ''}`.padStart(8);
    });
    console.log(`${name.padEnd(34)} ${line.join('')}  ${spread(scores)}`);
  }
  console.log(
    `hits/unpaid of ${pool.questions.length}; columns: best clusters, >threshold, - less it`,
  );
  combine(pool, lab, 'whole, projected', cosines(lab, PLAIN));
  for (const [reading, scores] of lab.product) combine(pool, lab, `${reading}, landmarks`, scores);
}

/** Mean and deviation of the cosines, and the effective dimensions that the deviation speaks of. */
function spread(scores: readonly Int32Array[]): string {
  let [sum, squares, count] = [0, 0, 0];
  for (const row of scores) {
    for (const score of row) {
      [sum, squares, count] = [sum + score / 65_536, squares + (score / 65_536) ** 2, count + 1];
    }
  }
  const mean = sum / count;
  const deviation = Math.sqrt(squares / count - mean * mean);
  return `cos ${mean.toFixed(3)} ± ${deviation.toFixed(3)}, k_eff ${(1 / deviation ** 2).toFixed(0)}`;
}

function combine(pool: Pool, lab: Lab, name: string, scores: readonly Int32Array[]): void {
  const rules: Rule[] = [0.15, 0.18, 0.2, 0.233].map((tau) => ({ count: 64, tau, floor: 0 }));
  console.log(`voices together (learned share 0.25, 0.4, 0.5, 0.75), exchange read as ${name}`);
  for (const lengthMin of [8, 12]) {
    for (const promptPpm of [1_000_000, 250_000, 0]) {
      const settings = { ...SPAN_SETTINGS, lengthMin };
      const spans = pool.questions.map(({ prompt }, i) =>
        spanAmounts(pool, prompt, lab.answers[i]!, settings, promptPpm),
      );
      const alone = rate(pool, (i) => spans[i]!);
      const line = rules.map((rule) => {
        const parts = [0.25, 0.4, 0.5, 0.75].map((learned) => {
          const { hits, unpaid } = rate(pool, (i) => {
            const a = share(learnedAmounts(pool, scores[i]!, rule));
            const b = share(spans[i]!);
            const weight = a.some(Boolean) && b.some(Boolean) ? learned : 0.5;
            return a.map((amount, c) => weight * amount + (1 - weight) * b[c]!);
          });
          return `${hits}${unpaid > 0 ? `/${unpaid}` : ''}`;
        });
        return `${rule.count}>${rule.tau}${rule.floor ? '-' : ''}: ${parts.join(' ')}`;
      });
      console.log(
        `  spans >= ${lengthMin}, prompt x${promptPpm / 1e6}: alone ${alone.hits}/${alone.unpaid} | ${line.join(' | ')}`,
      );
    }
  }
}
