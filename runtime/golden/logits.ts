// The logits after every token of a text, decoded one by one through the cache.
import type { Engine } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';

/** Row-major [tokens, vocabulary]. */
export function logitsOf(
  engine: Engine,
  adapter: Adapter | null,
  tokens: Int32Array,
): Float32Array {
  const { vocabSize } = engine.config;
  const logits = new Float32Array(tokens.length * vocabSize);
  const session = engine.session(adapter, tokens.length);
  for (const [i, token] of tokens.entries()) logits.set(session.decode(token), i * vocabSize);
  session.close();
  return logits;
}
