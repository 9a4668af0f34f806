/** Models of random weights, by seed: what a bench measures does not depend on what they say. */
import { type GgufSource, type ModelConfig, weightShapes } from '#runtime';

/** Numbers that are not worth compressing or predicting, quickly: -0.5 to 0.5. */
export function noise(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296 - 0.5;
  };
}

/** Norms are 1, matrices and biases noise of this width; every weight from a fixed seed. */
export function randomWeights(config: ModelConfig, width: number): GgufSource {
  const next = noise(1);
  const tensors = new Map<string, Float32Array>();
  for (const [name, shape] of weightShapes(config)) {
    const length = shape.reduce((product, size) => product * size, 1);
    const isNorm = name.endsWith('norm.weight');
    const values = new Float32Array(length);
    if (isNorm) values.fill(1);
    else for (let i = 0; i < length; i++) values[i] = next() * width;
    tensors.set(name, values);
  }
  return { config, tensor: (name) => tensors.get(name)! };
}
