// The WebAssembly build of the kernels: the canonical one, whose bits every other build must match.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { kernelFolder } from '../kernels/files.ts';
import type { KernelEntry, KernelMemory } from './arena.ts';

const pageBytes = 65536;
let compiled: WebAssembly.Module | undefined;

/** A new instance with its own linear memory. */
export function wasmMemory(): KernelMemory {
  compiled ??= new WebAssembly.Module(readFileSync(join(kernelFolder(), 'kernels.wasm')));
  const { exports } = new WebAssembly.Instance(compiled, {});
  const memory = exports['memory'] as WebAssembly.Memory;
  const heap = exports['__heap_base'] as WebAssembly.Global;
  const entries = exports as Record<KernelEntry, (arena: number, argumentsAt: number) => number>;
  return {
    backend: 'wasm',
    start: heap.value as number,
    buffer: () => memory.buffer,
    grow(bytes) {
      const pages = Math.ceil((bytes - memory.buffer.byteLength) / pageBytes);
      if (pages > 0) memory.grow(pages);
    },
    run: (entry, argumentsAt) => entries[entry](0, argumentsAt),
  };
}
