/** Weights by their names in GGUF and in Hugging Face's layout. */

const OUTER: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
};
const INNER: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

/** The GGUF name of a weight of our layout. */
export function ggufName(name: string): string {
  const [, body = '', kind] = /^(.*)\.(weight|bias)$/.exec(name) ?? [];
  const [, layer, inner = ''] = /^model\.layers\.(\d+)\.(.*)$/.exec(body) ?? [];
  const found = layer === undefined ? OUTER[body] : INNER[inner];
  if (found === undefined) throw new RangeError(`expected a weight of the layout, found ${name}`);
  return layer === undefined ? `${found}.${kind}` : `blk.${layer}.${found}.${kind}`;
}

/** Whether the converter of llama.cpp interleaves the rows of this weight when the model is a llama. */
export const isInterleaved = (name: string): boolean => /\.(q_proj|k_proj)\./.test(name);

/** What the converter writes of Llama 3's scaling: a divisor for each rotary frequency. */
export const ROPE_FACTORS = 'rope_freqs.weight';
