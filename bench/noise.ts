/** Reproducible numbers for benches: random weights and adapters, the same in every run. */

/** Numbers in -0.5..0.5 from a linear congruence. */
export function noise(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
}
