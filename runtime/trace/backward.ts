// The hand-derived backward pass of the kernels (runtime/kernels/backward.h) as a program: gradients
// of an adapter with the base frozen, or of every parameter.
import {
  ATTENTION_BLOCK,
  attentionShape,
  blockEnd,
  hasBias,
  headWeight,
  type LayerActs,
  type Linear,
  linearShape,
  type Model,
  type outputHead,
} from './forward.ts';
import { copy, total } from './maths.ts';
import { type Builder, columnsOf, rowsOf, type Tensor } from './program.ts';
import {
  crossEntropy,
  normWeightGradient,
  rmsnormBackward,
  rope,
  softmaxBackward,
  sumRows,
  swigluBackward,
} from './rows.ts';

/** A model whose pass is differentiated; `start` holds the gradients it adds to, by name. */
type Differentiated = Model & {
  readonly start?: ReadonlyMap<string, Tensor>;
  /** Gradients by the name of what they belong to. */
  readonly gradients: Map<string, Tensor>;
};

const ZERO = new Float32Array(1);

/** Adds W's (or the adapter's) gradient; gives dx = start + dy W (+ LoRA) when asked. */
function linearBackward(
  model: Differentiated,
  layer: number,
  which: Linear,
  of: { dy: Tensor; x: Tensor; low: Tensor | undefined },
  dx: { readonly wanted: boolean; readonly start?: Tensor },
): Tensor | undefined {
  const { builder: b, adapter, gradients, start } = model;
  const { dy, x, low } = of;
  const { in: width, out } = linearShape(model.config, which);
  const rows = dy.length / out;
  const name = `model.layers.${layer}.${which}`;
  if (start !== undefined) {
    const shape = { rows: out, columns: width, depth: rows };
    const before = start.get(`${name}.weight`)!;
    const left = columnsOf(dy, out);
    const found = b.product(`${name}.dweight`, shape, left, columnsOf(x, width), before);
    gradients.set(`${name}.weight`, found);
    if (hasBias(model, which)) {
      const bias = `${name}.bias`;
      gradients.set(bias, sumRows(b, `${name}.dbias`, dy, start.get(bias)!, { rows, width: out }));
    }
  }
  let found: Tensor | undefined;
  if (dx.wanted) {
    const shape = { rows, columns: width, depth: out };
    const weight = columnsOf(model.parameter(`${name}.weight`), width);
    found = b.product(`${name}.dx`, shape, rowsOf(dy, out), weight, dx.start);
  }
  if (adapter === undefined || low === undefined) return found;
  const { rank, scale } = adapter;
  const [a, up] = [`${name}.lora_A`, `${name}.lora_B`];
  const byPosition = { rows: out, columns: rank, depth: rows };
  const dUp = b.product(`${up}.gradient`, byPosition, columnsOf(dy, out), columnsOf(low, rank));
  gradients.set(up, dUp);
  const narrow = { rows, columns: rank, depth: out };
  const right = columnsOf(model.parameter(up), rank);
  const plain = b.product(`${name}.dlow`, narrow, rowsOf(dy, out), right);
  const dlow = b.each(`${name}.dlow_scaled`, plain.length, [plain], (m, [values], i) =>
    m.multiply(values![i]!, scale),
  );
  const shape = { rows: rank, columns: width, depth: rows };
  const dA = b.product(`${a}.gradient`, shape, columnsOf(dlow, rank), columnsOf(x, width));
  gradients.set(a, dA);
  if (found === undefined) return undefined;
  const wide = { rows, columns: width, depth: rank };
  const down = columnsOf(model.parameter(a), width);
  return b.product(`${name}.dx_adapted`, wide, rowsOf(dlow, rank), down, found);
}

/** dq, dk and dv of the turned q and k. */
function attentionBackward(model: Model, layer: number, acts: LayerActs, dattended: Tensor) {
  const { builder: b, config } = model;
  const { q, k, v, probs } = acts;
  const name = `model.layers.${layer}.self_attn`;
  const { queryWidth, keyWidth, dim, group, n, wide, scale } = attentionShape(
    config,
    k.length / (config.kvHeads * config.headDim),
  );
  const keyAt = (seen: number, head: number) => seen * keyWidth + Math.floor(head / group) * dim;
  const dprobs = b.each(`${name}.dprobs`, probs.length, [dattended, v], (m, [d, values], i) => {
    const seen = i % wide;
    const position = Math.floor(i / wide) % n;
    if (seen >= Math.ceil((position + 1) / 8) * 8) return 0;
    const head = Math.floor(i / (wide * n));
    const left = { of: d!, at: position * queryWidth + head * dim, step: 1 };
    // Past the end the kernels have zeros.
    const right =
      seen < n ? { of: values!, at: keyAt(seen, head), step: 1 } : { of: ZERO, at: 0, step: 0 };
    return m.dot(0, left, right, dim);
  });
  const size = { length: probs.length, tile: wide };
  const dscores = b.operation(`${name}.dscores`, size, [probs, dprobs], (m, read, from, out) => {
    const length = ((from / wide) % n) + 1;
    const row = (of: Tensor) => ({ of: read(of), at: from, step: 1 });
    softmaxBackward(m, row(probs), row(dprobs), out, length, scale);
  });
  const dq = b.each(`${name}.dq`, n * queryWidth, [dscores, k], (m, [d, keys], i) => {
    const position = Math.floor(i / queryWidth);
    const head = Math.floor((i % queryWidth) / dim);
    const left = { of: d!, at: (head * n + position) * wide, step: 1 };
    const right = { of: keys!, at: keyAt(0, head) + (i % dim), step: keyWidth };
    return m.dot(0, left, right, blockEnd(position, n));
  });
  // One sum over the heads of a group in turn, each over the positions that can see this one.
  const turned = (what: string, of: Tensor, by: Tensor) =>
    b.each(`${name}.${what}`, n * keyWidth, [of, by], (m, [d, values], i) => {
      const seen = Math.floor(i / keyWidth);
      const first = Math.floor((i % keyWidth) / dim) * group;
      const start = seen - (seen % ATTENTION_BLOCK);
      let sum = 0;
      for (let head = first; head < first + group; head++) {
        const left = { of: d!, at: (head * n + start) * wide + seen, step: wide };
        const at = start * queryWidth + head * dim + (i % dim);
        sum = m.dot(sum, left, { of: values!, at, step: queryWidth }, n - start);
      }
      return sum;
    });
  return { dq, dk: turned('dk', dscores, q), dv: turned('dv', probs, dattended) };
}

/** The gradient of q or k after RoPE becomes that of the projection. */
function headsBackward(
  model: Differentiated,
  layer: number,
  which: 'q' | 'k',
  acts: LayerActs,
  d: Tensor,
) {
  const { builder: b, config, gradients, start } = model;
  const name = `model.layers.${layer}.self_attn.${which}`;
  const [raw, inverse] = which === 'q' ? [acts.rawQ, acts.inverseQ] : [acts.rawK, acts.inverseK];
  const dim = config.headDim;
  const rows = acts.norm1.length / config.hiddenSize;
  const shape = { rows, width: d.length / rows };
  const straight = rope(b, `${name}_unrope`, d, model.table, shape, dim, -1);
  if (inverse === undefined) return straight;
  const heads = { rows: d.length / dim, width: dim };
  const weight = `${name}_norm.weight`;
  const of = { dy: straight, x: raw, inverse };
  if (start !== undefined) {
    const before = start.get(weight)!;
    gradients.set(
      weight,
      normWeightGradient(b, `${weight}.gradient`, { ...of, start: before }, heads),
    );
  }
  return rmsnormBackward(b, `${name}_norm.dx`, { ...of, weight: model.parameter(weight) }, heads);
}

/** A norm of the residual: its weight's gradient, and residual + what flows through it. */
function normBackward(
  model: Differentiated,
  name: string,
  of: { dy: Tensor; x: Tensor; inverse: Tensor; residual?: Tensor },
): Tensor {
  const { builder: b, config, gradients, start } = model;
  const shape = { rows: of.inverse.length, width: config.hiddenSize };
  const weight = `${name}.weight`;
  if (start !== undefined) {
    const before = start.get(weight)!;
    gradients.set(
      weight,
      normWeightGradient(b, `${weight}.gradient`, { ...of, start: before }, shape),
    );
  }
  return rmsnormBackward(b, `${name}.dx`, { ...of, weight: model.parameter(weight) }, shape);
}

/** The gradient of the layer's input; undefined below the first layer of a frozen base. */
function layerBackward(
  model: Differentiated,
  layer: number,
  acts: LayerActs,
  dx: Tensor,
): Tensor | undefined {
  const { builder: b } = model;
  const at = `model.layers.${layer}`;
  const back = (which: Linear, dy: Tensor, x: Tensor, start?: Tensor, wanted = true) => {
    const of = { dy, x, low: acts.low[which] };
    return linearBackward(model, layer, which, of, {
      wanted,
      ...(start === undefined ? {} : { start }),
    });
  };
  const dproduct = back('mlp.down_proj', dx, acts.product)!;
  const { dgate, dup } = swigluBackward(b, `${at}.mlp`, dproduct, acts.gate, acts.up);
  const throughGate = back('mlp.gate_proj', dgate, acts.norm2)!;
  const dnorm2 = back('mlp.up_proj', dup, acts.norm2, throughGate)!;
  const dmiddle = normBackward(model, `${at}.post_attention_layernorm`, {
    ...{ dy: dnorm2, x: acts.middle, inverse: acts.inverse2, residual: dx },
  });
  const dattended = back('self_attn.o_proj', dmiddle, acts.attended)!;
  const turned = attentionBackward(model, layer, acts, dattended);
  const dq = headsBackward(model, layer, 'q', acts, turned.dq);
  const dk = headsBackward(model, layer, 'k', acts, turned.dk);
  const wanted = layer > 0 || model.start !== undefined;
  const throughQ = back('self_attn.q_proj', dq, acts.norm1, undefined, wanted);
  const throughK = back('self_attn.k_proj', dk, acts.norm1, throughQ, wanted);
  const dnorm1 = back('self_attn.v_proj', turned.dv, acts.norm1, throughK, wanted);
  if (dnorm1 === undefined) return undefined;
  return normBackward(model, `${at}.input_layernorm`, {
    ...{ dy: dnorm1, x: acts.in, inverse: acts.inverse1, residual: dmiddle },
  });
}

/** Rows of d at these places of a [rows, width] tensor, zeros elsewhere. */
function scatter(b: Builder, name: string, d: Tensor, places: readonly number[], size: number) {
  const width = d.length / places.length;
  const from = new Map(places.map((place, i) => [place, i]));
  return b.each(name, size, [d], (m, [of], i) => {
    const row = from.get(Math.floor(i / width));
    return row === undefined ? 0 : copy(m, of![row * width + (i % width)]!);
  });
}

/** Of the output head: the loss (binary64), and the gradient of the last residual rows. */
function headBackward(
  model: Differentiated,
  head: ReturnType<typeof outputHead>,
  of: { out: Tensor; places: readonly number[]; targets: readonly number[]; weight: number },
): { loss: Tensor; dx: Tensor } {
  const { builder: b, config, gradients, start } = model;
  const { hiddenSize: hidden, vocabSize: vocab } = config;
  const { places, targets, weight } = of;
  const rows = places.length;
  const { logprobs, gradient } = crossEntropy(b, 'dlogits', head.logits, targets, weight);
  const loss = b.each(
    'loss',
    1,
    [logprobs],
    (m, [each]) => {
      let sum = 0;
      for (const logprob of each!) sum = m.wideSubtract(sum, logprob);
      return sum;
    },
    { wide: true },
  );
  const dlogits = gradient!;
  if (start !== undefined) {
    const name = config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight';
    const shape = { rows: vocab, columns: hidden, depth: rows };
    const [left, right] = [columnsOf(dlogits, vocab), columnsOf(head.y, hidden)];
    gradients.set(name, b.product('dhead', shape, left, right, start.get(name)!));
  }
  const shape = { rows, columns: hidden, depth: vocab };
  const right = columnsOf(headWeight(model), hidden);
  const dnorm = b.product('head.dnorm', shape, rowsOf(dlogits, vocab), right);
  const d = normBackward(model, 'model.norm', { dy: dnorm, x: head.x, inverse: head.inverse });
  return { loss, dx: scatter(b, 'head.dx', d, places, of.out.length) };
}

/** The rows of the embedding that the tokens used, each plus its tokens' gradients in turn. */
function embeddingGradient(
  b: Builder,
  before: Tensor,
  dx: Tensor,
  tokens: readonly number[],
): Tensor {
  const width = dx.length / tokens.length;
  const users = new Map<number, number[]>();
  for (const [t, token] of tokens.entries()) users.set(token, [...(users.get(token) ?? []), t]);
  return b.each('embedding.gradient', before.length, [before, dx], (m, [start, d], i) => {
    let sum = start![i]!;
    const used = users.get(Math.floor(i / width));
    if (used === undefined) return copy(m, sum);
    for (const t of used) {
      sum = total(m, sum, { of: d!, at: t * width + (i % width), step: 1 }, 1);
    }
    return sum;
  });
}

/** The loss over masked targets, and the gradients by name: of the adapter, or of everything. */
export function backward(
  model: Model,
  passed: { layers: readonly LayerActs[]; out: Tensor; head: ReturnType<typeof outputHead> },
  of: {
    tokens: readonly number[];
    places: readonly number[];
    targets: readonly number[];
    weight: number;
  },
  start?: ReadonlyMap<string, Tensor>,
): { loss: Tensor; gradients: ReadonlyMap<string, Tensor> } {
  const gradients = new Map<string, Tensor>();
  const differentiated = { ...model, gradients, ...(start === undefined ? {} : { start }) };
  const { loss, dx: top } = headBackward(differentiated, passed.head, { ...of, out: passed.out });
  let dx: Tensor | undefined = top;
  for (const [layer, acts] of [...passed.layers.entries()].reverse()) {
    dx = layerBackward(differentiated, layer, acts, dx!);
  }
  if (start !== undefined) {
    const name = 'model.embed_tokens.weight';
    const before = gradients.get(name) ?? start.get(name)!;
    gradients.set(name, embeddingGradient(model.builder, before, dx!, of.tokens));
  }
  return { loss, gradients };
}
