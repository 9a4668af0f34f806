// exp, log, sin, cos and sqrt of the kernels for plain numbers. Training and sampling use these and
// never the JavaScript engine's own, whose last bits differ between versions.
import { Arena } from './arena.ts';
import { wasmMemory } from './wasm.ts';

let arena: Arena | undefined;

function run(entry: 'scalar_exp' | 'scalar_log' | 'scalar_cos' | 'scalar_sqrt', x: number): number {
  arena ??= new Arena(wasmMemory());
  return arena.call(entry, x);
}

/** e^x, |x| < 700. */
export function exactExp(x: number): number {
  return run('scalar_exp', x);
}

/** Natural logarithm of x > 0. */
export function exactLog(x: number): number {
  return run('scalar_log', x);
}

/** Cosine, x in radians, |x| up to 1e6. */
export function exactCos(x: number): number {
  return run('scalar_cos', x);
}

/** Square root, correctly rounded. */
export function exactSqrt(x: number): number {
  return run('scalar_sqrt', x);
}
