// Chooses the build of the kernels: the native one when this machine can make it and it computes
// the very bits of the WebAssembly one, else WebAssembly. OPENLEDGER_BACKEND forces a choice.
import { Arena } from './arena.ts';
import { NativeKernelsError, nativeMemory } from './native.ts';
import { kernelDigest } from './self-test.ts';
import { wasmMemory } from './wasm.ts';

export type BackendChoice = 'auto' | 'wasm' | 'native';

let verdict: { usable: true } | { usable: false; reason: Error } | undefined;

function checkNative(): { usable: true } | { usable: false; reason: Error } {
  try {
    const expected = kernelDigest(wasmMemory());
    const found = kernelDigest(nativeMemory());
    if (found === expected) return { usable: true };
    const reason = new NativeKernelsError(
      `native kernels: expected digest ${expected}, found ${found}`,
    );
    return { usable: false, reason };
  } catch (reason) {
    return { usable: false, reason: reason as Error };
  }
}

/** What OPENLEDGER_BACKEND says, or auto. */
function preferred(): BackendChoice {
  const value = process.env['OPENLEDGER_BACKEND'];
  if (value === undefined || value === '') return 'auto';
  if (value === 'wasm' || value === 'native' || value === 'auto') return value;
  throw new RangeError(`OPENLEDGER_BACKEND: expected wasm, native or auto, found ${value}`);
}

/**
 * A fresh arena of at most so many bytes (default 4 GiB). `native` throws NativeKernelsError where it
 * cannot be had; `auto` never does.
 */
export function openArena(choice?: BackendChoice, mostBytes?: number): Arena {
  const wanted = choice === undefined || choice === 'auto' ? preferred() : choice;
  if (wanted === 'wasm') return new Arena(wasmMemory(), mostBytes);
  verdict ??= checkNative();
  if (verdict.usable) return new Arena(nativeMemory(), mostBytes);
  if (wanted === 'native') throw verdict.reason;
  return new Arena(wasmMemory(), mostBytes);
}

/** Whether the native build is in use here, and if not, why. Runs the self-test once. */
export function nativeStatus(): { usable: boolean; reason?: string } {
  verdict ??= checkNative();
  return verdict.usable ? { usable: true } : { usable: false, reason: verdict.reason.message };
}
