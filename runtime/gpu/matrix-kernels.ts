// Products of matrices in WGSL: tiled for many rows, a reduction per column for few, exact integers
// by dot4I8Packed, and low-rank products where every row has its own adapter.
import { type Kernel, kernel, REDUCE, ROW } from './kernel.ts';

/** How a matrix lies in memory; f16 and bf16 two to a word, int8 four, with a scale per row. */
export type Storage = 'f32' | 'f16' | 'bf16';

/** f32 value number i of the words b. */
const fetchOne: Readonly<Record<Storage, string>> = {
  f32: 'bitcast<f32>(b[i])',
  f16: 'unpack2x16float(b[i >> 1u])[i & 1u]',
  bf16: 'bitcast<f32>(select(b[i >> 1u] << 16u, b[i >> 1u] & 0xffff0000u, (i & 1u) == 1u))',
};

/** The four f32 values from number 4 i. */
const fetchFour: Readonly<Record<Storage, string>> = {
  f32: 'bitcast<vec4<f32>>(vec4<u32>(b[4u * i], b[4u * i + 1u], b[4u * i + 2u], b[4u * i + 3u]))',
  f16: 'vec4<f32>(unpack2x16float(b[2u * i]), unpack2x16float(b[2u * i + 1u]))',
  bf16: `bitcast<vec4<f32>>(vec4<u32>(
    b[2u * i] << 16u, b[2u * i] & 0xffff0000u, b[2u * i + 1u] << 16u, b[2u * i + 1u] & 0xffff0000u))`,
};

const product = {
  rows: 'u32',
  columns: 'u32',
  depth: 'u32',
  aAt: 'u32',
  aRow: 'u32',
  aDepth: 'u32',
  bAt: 'u32',
  bColumn: 'u32',
  bDepth: 'u32',
  cAt: 'u32',
  cRow: 'u32',
  /** 1: c += scale a b^T; 0: c = scale a b^T. */
  adds: 'u32',
  scale: 'f32',
} as const;

/** Rows and columns of the tile that a workgroup of 256 computes, each lane four by four. */
export const tile = 64;

/** Walks the tile along what lies together in memory, then puts it down by depth. */
const tileOf = (matrix: 'a' | 'b', rowStep: string, limit: string, origin: string) => `
    for (var step = 0u; step < 4u; step++) {
      let n = lane + step * 256u;
      let deepFirst = p.${matrix}Depth == 1u;
      let d = select(n >> 6u, n & 15u, deepFirst);
      let r = select(n & 63u, n >> 4u, deepFirst);
      var value = 0.0;
      if (${origin} + r < p.${limit} && base + d < p.depth) {
        value = ${matrix}Value(p.${matrix}At + (${origin} + r) * p.${rowStep} + (base + d) * p.${matrix}Depth);
      }
      ${matrix}Tile[d * 64u + r] = ELEMENT(value);
    }`;

function tiledProduct(storage: Storage, compute: 'f32' | 'f16') {
  const shared = `
var<workgroup> aTile: array<ELEMENT, 1024>;
var<workgroup> bTile: array<ELEMENT, 1024>;
fn aValue(i: u32) -> f32 { return a[i]; }
fn bValue(i: u32) -> f32 { return ${fetchOne[storage]}; }`;
  const body = `
  let left = group.y * 64u;
  let top = group.x * 64u;
  let x = (lane & 15u) * 4u;
  let y = (lane >> 4u) * 4u;
  var sums: array<vec4<f32>, 4>;
  for (var base = 0u; base < p.depth; base += 16u) {
    ${tileOf('a', 'aRow', 'rows', 'left')}
    ${tileOf('b', 'bColumn', 'columns', 'top')}
    workgroupBarrier();
    for (var d = 0u; d < 16u; d++) {
      let at = d * 64u;
      let right = vec4<ELEMENT>(bTile[at + x], bTile[at + x + 1u], bTile[at + x + 2u], bTile[at + x + 3u]);
      for (var i = 0u; i < 4u; i++) {
        sums[i] += vec4<f32>(aTile[at + y + i] * right);
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    for (var j = 0u; j < 4u; j++) {
      if (left + y + i >= p.rows || top + x + j >= p.columns) { continue; }
      let at = p.cAt + (left + y + i) * p.cRow + top + x + j;
      let value = p.scale * sums[i][j];
      c[at] = select(value, c[at] + value, p.adds == 1u);
    }
  }`;
  return kernel({
    name: `product of ${storage} in ${compute}`,
    parameters: product,
    buffers: ['read a: f32', 'read b: u32', 'write c: f32'],
    lanes: 256,
    needsF16: compute === 'f16',
    shared: shared.replaceAll('ELEMENT', compute),
    body: body.replaceAll('ELEMENT', compute),
  });
}

/** c[rows, columns] = a b^T for any strides, 64 by 64 a workgroup. */
export const products: Readonly<Record<Storage, Kernel<typeof product>>> = {
  f32: tiledProduct('f32', 'f32'),
  f16: tiledProduct('f16', 'f32'),
  bf16: tiledProduct('bf16', 'f32'),
};

/** The same with both operands rounded to f16 and their products too; sums are f32. */
export const halfProduct = tiledProduct('f32', 'f16');

const columnsAtOnce = 8;

type Narrow = {
  readonly name: string;
  /** What one load of a row and of a column gives, and how two of them add to a sum. */
  readonly a: string;
  readonly sum: 'f32' | 'i32';
  readonly bLoad: string;
  readonly step: (a: string) => string;
  readonly scales: boolean;
};

/** c (+)= a b^T for few rows: 32 lanes share a column of c; depth counts loads of four values. */
function narrowProduct(kind: Narrow, rowsAtOnce: number) {
  const rows = `for (var r = 0u; r < ${rowsAtOnce}u; r++)`;
  const scaled = kind.scales ? ['read aScales: f32', 'read bScales: f32'] : [];
  const total = `f32(sums[part * 256u + (lane & 224u)])`;
  return kernel({
    name: `product of ${rowsAtOnce} rows with ${kind.name}`,
    parameters: { rows: 'u32', columns: 'u32', depth: 'u32', adds: 'u32' },
    buffers: [`read a: ${kind.a}`, 'read b: u32', ...scaled, 'write c: f32'],
    lanes: 256,
    shared: `var<workgroup> sums: array<${kind.sum}, ${rowsAtOnce * 256}>;`,
    body: `
  let column = group.x * ${columnsAtOnce}u + (lane >> 5u);
  let first = group.y * ${rowsAtOnce}u;
  let part = lane & 31u;
  var own: array<${kind.sum}, ${rowsAtOnce}>;
  if (column < p.columns) {
    for (var d = part; d < p.depth; d += 32u) {
      let i = column * p.depth + d;
      let weight = ${kind.bLoad};
      ${rows} { own[r] += ${kind.step('a[min(first + r, p.rows - 1u) * p.depth + d]')}; }
    }
  }
  ${rows} { sums[r * 256u + lane] = own[r]; }
  workgroupBarrier();
  for (var half = 16u; half > 0u; half >>= 1u) {
    if (part < half) { ${rows} { sums[r * 256u + lane] += sums[r * 256u + lane + half]; } }
    workgroupBarrier();
  }
  if (part < ${rowsAtOnce}u && first + part < p.rows && column < p.columns) {
    let at = (first + part) * p.columns + column;
    let value = ${kind.scales ? `${total} * aScales[first + part] * bScales[column]` : total};
    c[at] = select(value, c[at] + value, p.adds == 1u);
  }`,
  });
}

const narrowFloats = (storage: Storage): Narrow => ({
  ...{ name: storage, a: 'vec4<f32>', sum: 'f32', bLoad: fetchFour[storage], scales: false },
  step: (a) => `dot(${a}, weight)`,
});
const narrowKinds: Readonly<Record<Storage | 'int8', Narrow>> = {
  f32: narrowFloats('f32'),
  f16: narrowFloats('f16'),
  bf16: narrowFloats('bf16'),
  int8: {
    ...{ name: 'int8', a: 'u32', sum: 'i32', bLoad: 'b[i]', scales: true },
    step: (a) => `dot4I8Packed(${a}, weight)`,
  },
};

/** By how many rows one reading of b serves, fewest first. */
const narrowProducts = [1, 2, 4, 8].map((rowsAtOnce) => ({
  rowsAtOnce,
  f32: narrowProduct(narrowKinds.f32, rowsAtOnce),
  f16: narrowProduct(narrowKinds.f16, rowsAtOnce),
  bf16: narrowProduct(narrowKinds.bf16, rowsAtOnce),
  int8: narrowProduct(narrowKinds.int8, rowsAtOnce),
}));

/** The kernel for few rows, and its workgroups. */
export function narrowProductFor(storage: Storage | 'int8', rows: number, columns: number) {
  const found =
    narrowProducts.find(({ rowsAtOnce }) => rowsAtOnce >= rows) ?? narrowProducts.at(-1)!;
  const grid = [Math.ceil(columns / columnsAtOnce), Math.ceil(rows / found.rowsAtOnce)] as const;
  return { kernel: found[storage], grid };
}

/**
 * c[rows, columns] = a b^T of words of four int8, exactly, as int32; with scaled, (+)= that times the
 * scales of both rows, as f32. c is bits. depth counts words.
 */
export const integerProduct = kernel({
  name: 'integer product',
  parameters: { rows: 'u32', columns: 'u32', depth: 'u32', scaled: 'u32', adds: 'u32' },
  buffers: ['read a: u32', 'read b: u32', 'read aScales: f32', 'read bScales: f32', 'write c: u32'],
  lanes: 256,
  shared: `
var<workgroup> aTile: array<u32, 1024>;
var<workgroup> bTile: array<u32, 1024>;`,
  body: `
  let left = group.y * 64u;
  let top = group.x * 64u;
  let x = (lane & 15u) * 4u;
  let y = (lane >> 4u) * 4u;
  var sums: array<vec4<i32>, 4>;
  for (var base = 0u; base < p.depth; base += 16u) {
    for (var step = 0u; step < 4u; step++) {
      let n = lane + step * 256u;
      let d = n & 15u;
      let r = n >> 4u;
      let inside = base + d < p.depth;
      aTile[d * 64u + r] = select(0u, a[(left + r) * p.depth + base + d], inside && left + r < p.rows);
      bTile[d * 64u + r] = select(0u, b[(top + r) * p.depth + base + d], inside && top + r < p.columns);
    }
    workgroupBarrier();
    for (var d = 0u; d < 16u; d++) {
      for (var i = 0u; i < 4u; i++) {
        let own = aTile[d * 64u + y + i];
        for (var j = 0u; j < 4u; j++) { sums[i][j] += dot4I8Packed(own, bTile[d * 64u + x + j]); }
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    for (var j = 0u; j < 4u; j++) {
      let row = left + y + i;
      let column = top + x + j;
      if (row >= p.rows || column >= p.columns) { continue; }
      let at = row * p.columns + column;
      if (p.scaled == 0u) { c[at] = bitcast<u32>(sums[i][j]); continue; }
      let value = f32(sums[i][j]) * aScales[row] * bScales[column];
      c[at] = bitcast<u32>(select(value, bitcast<f32>(c[at]) + value, p.adds == 1u));
    }
  }`,
});

/** Each row of x[rows, width] as int8 by the rule of `int8Rows`; width in fours. */
export const quantize = kernel({
  name: 'quantize rows',
  parameters: { rows: 'u32', width: 'u32' },
  buffers: ['read x: f32', 'write packed: u32', 'write scales: f32'],
  lanes: 64,
  shared: REDUCE,
  body: `
  if (index >= p.rows) { return; }
  let at = index * p.width;
  var top = 0.0;
  for (var i = lane; i < p.width; i += 64u) { top = max(top, abs(x[at + i])); }
  let most = maximumOf(top, lane);
  let counts = most > 1e-30;
  let inverse = select(0.0, 127.0 / most, counts);
  for (var i = lane; i < p.width / 4u; i += 64u) {
    let four = vec4<f32>(x[at + 4u * i], x[at + 4u * i + 1u], x[at + 4u * i + 2u], x[at + 4u * i + 3u]);
    packed[index * (p.width / 4u) + i] = pack4xI8(vec4<i32>(round(four * inverse)));
  }
  if (lane == 0u) { scales[index] = select(0.0, most / 127.0, counts); }`,
});

// An adapter's entry: where its parameters begin, its rank, its scale. Factor offsets grow with the
// rank alone: `before` counts the widths of all linears that lie before this one.
const adapterTable = `${ROW}
struct Entry { at: u32, rank: u32, scale: f32, spare: u32 }`;

/** low[row, rankMax] = A x, each row with its own adapter at its own rank. */
export const gatherDown = kernel({
  name: 'gather down',
  parameters: { rows: 'u32', rankMax: 'u32', depth: 'u32', before: 'u32' },
  buffers: [
    ...['read rows: Row', 'read entries: Entry', 'read factors: f32', 'read x: f32'],
    'write low: f32',
  ],
  lanes: 64,
  shared: adapterTable + REDUCE,
  body: `
  let row = index / p.rankMax;
  let r = index % p.rankMax;
  if (row >= p.rows || rows[row].adapter == none) { return; }
  let entry = entries[rows[row].adapter];
  if (r >= entry.rank) { return; }
  let at = entry.at + entry.rank * p.before + r * p.depth;
  var sum = 0.0;
  for (var i = lane; i < p.depth; i += 64u) { sum += factors[at + i] * x[row * p.depth + i]; }
  let total = sumOf(sum, lane);
  if (lane == 0u) { low[index] = total; }`,
});

/** y[row, columns] += scale B low, each row with its own adapter at its own rank. */
export const gatherUp = kernel({
  name: 'gather up',
  parameters: { rows: 'u32', rankMax: 'u32', columns: 'u32', before: 'u32' },
  buffers: [
    ...['read rows: Row', 'read entries: Entry', 'read factors: f32', 'read low: f32'],
    'write y: f32',
  ],
  lanes: 64,
  shared: adapterTable,
  body: `
  let i = index * 64u + lane;
  let row = i / p.columns;
  if (row >= p.rows || rows[row].adapter == none) { return; }
  let entry = entries[rows[row].adapter];
  let at = entry.at + entry.rank * p.before + (i % p.columns) * entry.rank;
  var sum = 0.0;
  for (var r = 0u; r < entry.rank; r++) { sum += factors[at + r] * low[row * p.rankMax + r]; }
  y[i] += entry.scale * sum;`,
});
