// What a Llama layer does besides products of matrices, in WGSL, forward and backward. The maths is
// that of runtime/reference/ops.ts; the backward kernels are its derivatives by hand.
import { kernel, REDUCE, ROW } from './kernel.ts';
import type { Storage } from './matrix-kernels.ts';

const entryOf: Readonly<Record<Storage, string>> = {
  f32: 'bitcast<f32>(table[at])',
  f16: 'unpack2x16float(table[at >> 1u])[at & 1u]',
  bf16: 'bitcast<f32>(select(table[at >> 1u] << 16u, table[at >> 1u] & 0xffff0000u, (at & 1u) == 1u))',
};

const embedding = (storage: Storage | 'int8', entry: string) =>
  kernel({
    name: `embedding of ${storage}`,
    parameters: { rows: 'u32', width: 'u32' },
    buffers: [
      ...['read rows: Row', 'read table: u32', 'write x: f32'],
      ...(storage === 'int8' ? ['read scales: f32'] : []),
    ],
    lanes: 64,
    shared: ROW,
    body: `
  let i = index * 64u + lane;
  if (i >= p.rows * p.width) { return; }
  let row = rows[i / p.width].token;
  let at = row * p.width + i % p.width;
  x[i] = ${entry};`,
  });

/** x[rows, width] = the rows' tokens in the table. */
export const embeddings = {
  f32: embedding('f32', entryOf.f32),
  f16: embedding('f16', entryOf.f16),
  bf16: embedding('bf16', entryOf.bf16),
  int8: embedding(
    'int8',
    'f32(extractBits(bitcast<i32>(table[at >> 2u]), (at & 3u) * 8u, 8u)) * scales[row]',
  ),
};

/** y[rows, width] = x / sqrt(mean(x^2) + epsilon) * weight[width]. */
export const rmsnorm = kernel({
  name: 'rmsnorm',
  parameters: { rows: 'u32', width: 'u32', epsilon: 'f32' },
  buffers: ['read x: f32', 'read weight: f32', 'write y: f32'],
  lanes: 64,
  shared: REDUCE,
  body: `
  if (index >= p.rows) { return; }
  let at = index * p.width;
  var squares = 0.0;
  for (var i = lane; i < p.width; i += 64u) { squares += x[at + i] * x[at + i]; }
  let inverse = 1.0 / sqrt(sumOf(squares, lane) / f32(p.width) + p.epsilon);
  for (var i = lane; i < p.width; i += 64u) { y[at + i] = x[at + i] * inverse * weight[i]; }`,
});

/** dx (+)= the derivative of rmsnorm at x along dy; the weight is frozen. */
export const rmsnormBackward = kernel({
  name: 'rmsnorm backward',
  parameters: { rows: 'u32', width: 'u32', epsilon: 'f32', adds: 'u32' },
  buffers: ['read x: f32', 'read weight: f32', 'read dy: f32', 'write dx: f32'],
  lanes: 64,
  shared: REDUCE,
  body: `
  if (index >= p.rows) { return; }
  let at = index * p.width;
  var squares = 0.0;
  var along = 0.0;
  for (var i = lane; i < p.width; i += 64u) {
    squares += x[at + i] * x[at + i];
    along += x[at + i] * weight[i] * dy[at + i];
  }
  let inverse = 1.0 / sqrt(sumOf(squares, lane) / f32(p.width) + p.epsilon);
  let pull = sumOf(along, lane) * inverse * inverse * inverse / f32(p.width);
  for (var i = lane; i < p.width; i += 64u) {
    let value = inverse * weight[i] * dy[at + i] - pull * x[at + i];
    dx[at + i] = select(value, dx[at + i] + value, p.adds == 1u);
  }`,
});

/**
 * y = x[rows, heads, dim] turned by the rows' positions (turn 1), back (turn -1) or not at all (0);
 * with scatters each row goes to its place among the keys. Table: [position, dim / 2] (cos, sin).
 */
export const rope = kernel({
  name: 'rope',
  parameters: { rows: 'u32', heads: 'u32', dim: 'u32', scatters: 'u32', turn: 'f32' },
  buffers: ['read rows: Row', 'read table: vec2<f32>', 'read x: f32', 'write y: f32'],
  lanes: 64,
  shared: ROW,
  body: `
  let i = index * 64u + lane;
  let pairs = p.dim / 2u;
  let row = i / (p.heads * pairs);
  if (row >= p.rows) { return; }
  let head = i / pairs % p.heads;
  let pair = i % pairs;
  let source = (row * p.heads + head) * p.dim + pair;
  let place = select(row, rows[row].keys + rows[row].position, p.scatters == 1u);
  let goal = (place * p.heads + head) * p.dim + pair;
  let angle = table[rows[row].position * pairs + pair];
  let cosine = select(angle.x, 1.0, p.turn == 0.0);
  let sine = p.turn * angle.y;
  y[goal] = x[source] * cosine - x[source + pairs] * sine;
  y[goal + pairs] = x[source + pairs] * cosine + x[source] * sine;`,
});

const attentionParameters = {
  rows: 'u32',
  heads: 'u32',
  keyHeads: 'u32',
  fours: 'u32',
  window: 'u32',
  scale: 'f32',
} as const;

/** Heads are read in fours of f32, and a lane owns one: heads of at most 256. */
const attentionShared = `${ROW}${REDUCE}
var<workgroup> shares: array<f32, 64>;
fn scoreOf(row: u32, key: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < p.fours; i++) { sum += dot(q[row + i], k[key + i]); }
  return sum * p.scale;
}
fn firstSeen(position: u32) -> u32 {
  return select(0u, position + 1u - min(position + 1u, p.window), p.window > 0u);
}`;

/**
 * out[row, head] = softmax(scale q k^T) v over the keys that the row sees, in one pass over chunks
 * of 64 positions; logs[row, head] is (logarithm of the sum of exponentials, 0).
 */
export const attention = kernel({
  name: 'attention',
  parameters: attentionParameters,
  buffers: [
    ...['read rows: Row', 'read q: vec4<f32>', 'read k: vec4<f32>', 'read v: vec4<f32>'],
    ...['write result: vec4<f32>', 'write logs: vec2<f32>'],
  ],
  lanes: 64,
  shared: attentionShared,
  body: `
  if (index >= p.rows * p.heads) { return; }
  let row = rows[index / p.heads];
  let own = index * p.fours;
  let keyHead = index % p.heads / (p.heads / p.keyHeads);
  var top = -3.0e38;
  var total = 0.0;
  var sum = vec4<f32>();
  for (var base = firstSeen(row.position); base <= row.position; base += 64u) {
    let count = min(64u, row.position + 1u - base);
    var score = -3.0e38;
    if (lane < count) { score = scoreOf(own, ((row.keys + base + lane) * p.keyHeads + keyHead) * p.fours); }
    let above = max(top, maximumOf(score, lane));
    let kept = exp(top - above);
    let share = select(0.0, exp(score - above), lane < count);
    shares[lane] = share;
    total = total * kept + sumOf(share, lane);
    if (lane < p.fours) {
      sum *= kept;
      for (var s = 0u; s < count; s++) {
        sum += shares[s] * v[((row.keys + base + s) * p.keyHeads + keyHead) * p.fours + lane];
      }
    }
    workgroupBarrier();
    top = above;
  }
  if (lane < p.fours) { result[own + lane] = sum / total; }
  if (lane == 0u) { logs[index] = vec2<f32>(top + log(total), 0.0); }`,
});

/** dq of attention; writes out . dout beside each of the logs, for the next kernel. */
export const attentionBackwardQueries = kernel({
  name: 'attention backward, queries',
  parameters: attentionParameters,
  buffers: [
    ...['read rows: Row', 'read q: vec4<f32>', 'read k: vec4<f32>', 'read v: vec4<f32>'],
    ...['read result: vec4<f32>', 'read dout: vec4<f32>', 'write logs: vec2<f32>'],
    'write dq: vec4<f32>',
  ],
  lanes: 64,
  shared: attentionShared,
  body: `
  if (index >= p.rows * p.heads) { return; }
  let row = rows[index / p.heads];
  let own = index * p.fours;
  let keyHead = index % p.heads / (p.heads / p.keyHeads);
  var product = 0.0;
  if (lane < p.fours) { product = dot(result[own + lane], dout[own + lane]); }
  let along = sumOf(product, lane);
  let level = logs[index].x;
  var sum = vec4<f32>();
  for (var base = firstSeen(row.position); base <= row.position; base += 64u) {
    let count = min(64u, row.position + 1u - base);
    var share = 0.0;
    if (lane < count) {
      let key = ((row.keys + base + lane) * p.keyHeads + keyHead) * p.fours;
      var pull = 0.0;
      for (var i = 0u; i < p.fours; i++) { pull += dot(dout[own + i], v[key + i]); }
      share = exp(scoreOf(own, key) - level) * (pull - along) * p.scale;
    }
    shares[lane] = share;
    workgroupBarrier();
    if (lane < p.fours) {
      for (var s = 0u; s < count; s++) {
        sum += shares[s] * k[((row.keys + base + s) * p.keyHeads + keyHead) * p.fours + lane];
      }
    }
    workgroupBarrier();
  }
  if (lane < p.fours) { dq[own + lane] = sum; }
  if (lane == 0u) { logs[index].y = along; }`,
});

/** dk and dv of attention where row i of the keys is row i of the step (training). */
export const attentionBackwardKeys = kernel({
  name: 'attention backward, keys',
  parameters: attentionParameters,
  buffers: [
    ...['read rows: Row', 'read q: vec4<f32>', 'read k: vec4<f32>', 'read v: vec4<f32>'],
    ...[
      'read dout: vec4<f32>',
      'read logs: vec2<f32>',
      'write dk: vec4<f32>',
      'write dv: vec4<f32>',
    ],
  ],
  lanes: 64,
  shared: `${attentionShared}
var<workgroup> pulls: array<f32, 64>;`,
  body: `
  if (index >= p.rows * p.keyHeads) { return; }
  let place = index / p.keyHeads;
  let keyHead = index % p.keyHeads;
  let key = index * p.fours;
  let repeats = p.heads / p.keyHeads;
  let last = min(rows[place].end, select(rows[place].end, place + p.window, p.window > 0u));
  var keySum = vec4<f32>();
  var valueSum = vec4<f32>();
  for (var repeat = 0u; repeat < repeats; repeat++) {
    let head = keyHead * repeats + repeat;
    for (var base = place; base < last; base += 64u) {
      let count = min(64u, last - base);
      var share = 0.0;
      var pull = 0.0;
      if (lane < count) {
        let own = (base + lane) * p.heads + head;
        share = exp(scoreOf(own * p.fours, key) - logs[own].x);
        for (var i = 0u; i < p.fours; i++) { pull += dot(dout[own * p.fours + i], v[key + i]); }
        pull = share * (pull - logs[own].y) * p.scale;
      }
      shares[lane] = share;
      pulls[lane] = pull;
      workgroupBarrier();
      if (lane < p.fours) {
        for (var t = 0u; t < count; t++) {
          let at = ((base + t) * p.heads + head) * p.fours + lane;
          keySum += pulls[t] * q[at];
          valueSum += shares[t] * dout[at];
        }
      }
      workgroupBarrier();
    }
  }
  if (lane < p.fours) {
    dk[key + lane] = keySum;
    dv[key + lane] = valueSum;
  }`,
});

/** product = silu(gate) up, elementwise. */
export const swiglu = kernel({
  name: 'swiglu',
  parameters: { count: 'u32' },
  buffers: ['read gate: f32', 'read up: f32', 'write product: f32'],
  lanes: 64,
  body: `
  let i = index * 64u + lane;
  if (i >= p.count) { return; }
  product[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];`,
});

/** dgate and dup of swiglu along dproduct. */
export const swigluBackward = kernel({
  name: 'swiglu backward',
  parameters: { count: 'u32' },
  buffers: [
    ...['read gate: f32', 'read up: f32', 'read dproduct: f32'],
    ...['write dgate: f32', 'write dup: f32'],
  ],
  lanes: 64,
  body: `
  let i = index * 64u + lane;
  if (i >= p.count) { return; }
  let share = 1.0 / (1.0 + exp(-gate[i]));
  dup[i] = dproduct[i] * gate[i] * share;
  dgate[i] = dproduct[i] * up[i] * share * (1.0 + gate[i] * (1.0 - share));`,
});

/** result = a + b, elementwise. */
export const sum = kernel({
  name: 'sum',
  parameters: { count: 'u32' },
  buffers: ['read a: f32', 'read b: f32', 'write result: f32'],
  lanes: 64,
  body: `
  let i = index * 64u + lane;
  if (i < p.count) { result[i] = a[i] + b[i]; }`,
});

/** y[rows, width] += bias[width]. */
export const addBias = kernel({
  name: 'add bias',
  parameters: { count: 'u32', width: 'u32' },
  buffers: ['read bias: f32', 'write y: f32'],
  lanes: 64,
  body: `
  let i = index * 64u + lane;
  if (i < p.count) { y[i] += bias[i % p.width]; }`,
});

/**
 * found[row] = (log-probability of the row's answer, likeliest token); with derives the logits
 * become weight * (softmax - answer), zero where there is no answer.
 */
export const crossEntropy = kernel({
  name: 'cross entropy',
  parameters: { rows: 'u32', width: 'u32', derives: 'u32' },
  buffers: ['read rows: Row', 'write logits: f32', 'write found: vec2<f32>'],
  lanes: 64,
  shared: `${ROW}${REDUCE}`,
  body: `
  if (index >= p.rows) { return; }
  let row = rows[index];
  let at = index * p.width;
  var top = -3.0e38;
  for (var i = lane; i < p.width; i += 64u) { top = max(top, logits[at + i]); }
  top = maximumOf(top, lane);
  var sum = 0.0;
  var best = -f32(p.width);
  for (var i = lane; i < p.width; i += 64u) {
    sum += exp(logits[at + i] - top);
    if (logits[at + i] == top) { best = max(best, -f32(i)); }
  }
  let level = top + log(sumOf(sum, lane));
  best = -maximumOf(best, lane);
  if (lane == 0u) {
    var own = 0.0;
    if (row.answer != none) { own = logits[at + row.answer] - level; }
    found[index] = vec2<f32>(own, best);
  }
  workgroupBarrier();
  if (p.derives == 0u) { return; }
  for (var i = lane; i < p.width; i += 64u) {
    let share = exp(logits[at + i] - level) - select(0.0, 1.0, i == row.answer);
    logits[at + i] = select(row.weight * share, 0.0, row.answer == none);
  }`,
});
