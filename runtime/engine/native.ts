// The native build of the same kernel source, made on demand with the machine's C compiler and kept
// in the package's cache. Whatever is missing for it means "none": WebAssembly then does the work.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { kernelFolder, packageFolder } from '../kernels/files.ts';
import type { KernelEntry, KernelMemory } from './arena.ts';

type Addon = {
  readonly names: readonly KernelEntry[];
  allocate(bytes: number, longer?: ArrayBuffer): ArrayBuffer;
  call(arena: ArrayBuffer, index: number, argumentsAt: number): number;
  packFile(
    arena: ArrayBuffer,
    descriptor: number,
    position: number,
    argumentsAt: number,
    rowBytes: number,
    step: number,
    threads: number,
  ): number;
};

/** Why there is no native build here; the message says what was tried. */
export class NativeKernelsError extends Error {
  readonly code = 'NATIVE_KERNELS';
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'NativeKernelsError';
  }
}

const require = createRequire(import.meta.url);
let loaded: Addon | undefined;

/** Compiler flags for this processor; undefined when it lacks the vector unit the build needs. */
function machineFlags(): string[] | undefined {
  if (process.arch === 'arm64') return [];
  if (process.arch !== 'x64') return undefined;
  let features = '';
  if (process.platform === 'linux') features = readFileSync('/proc/cpuinfo', 'utf8');
  if (process.platform === 'darwin') {
    features =
      spawnSync('sysctl', ['machdep.cpu.leaf7_features'], { encoding: 'utf8' }).stdout ?? '';
  }
  if (!/\bavx2\b/i.test(features)) return undefined;
  const wide = ['avx512f', 'avx512vl', 'avx512dq', 'avx512bw'];
  if (!wide.every((one) => features.includes(one))) return ['-mavx2', '-mno-fma'];
  // Wide registers for matrix products; -mno-fma would switch them off, and contraction is off anyway.
  return [...wide.map((one) => `-m${one}`), '-mprefer-vector-width=256'];
}

function sources(): string[] {
  const folder = kernelFolder();
  return readdirSync(folder)
    .filter((name) => name.endsWith('.c') || name.endsWith('.h'))
    .sort()
    .map((name) => join(folder, name));
}

/**
 * Path of an addon built from C that may include the kernels' source, by the compiler and with the flags
 * that the kernels are built with; the cache keeps it for this source and machine.
 *
 * @throws NativeKernelsError NATIVE_KERNELS where it cannot be built
 */
export function buildAddon(addon: string): string {
  const machine = machineFlags();
  if (machine === undefined) throw new NativeKernelsError('expected a processor with AVX2 or NEON');
  const flags = ['-O3', ...machine, '-ffp-contract=off', '-fno-strict-aliasing', '-fno-math-errno'];
  const digest = createHash('sha256').update(
    `${process.platform} ${process.arch} ${flags.join(' ')}`,
  );
  for (const file of new Set([...sources(), addon])) digest.update(readFileSync(file));
  const cache = join(packageFolder(), 'node_modules', '.cache', 'openledger');
  const target = join(cache, `kernels-${digest.digest('hex').slice(0, 24)}.node`);
  if (existsSync(target)) return target;
  const headers = join(dirname(require.resolve('node-api-headers/package.json')), 'include');
  mkdirSync(cache, { recursive: true });
  const partial = `${target}.${process.pid}.${Math.trunc(performance.now() * 1000)}`;
  const link = process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : [];
  const built = spawnSync(
    'cc',
    ['-shared', '-fPIC', '-pthread', ...flags, ...link, `-I${headers}`, addon, '-o', partial],
    {
      encoding: 'utf8',
    },
  );
  if (built.status !== 0) {
    rmSync(partial, { force: true });
    throw new NativeKernelsError(`cc could not build the kernels: ${built.stderr ?? built.error}`);
  }
  renameSync(partial, target);
  return target;
}

/** An arena over the native kernels; throws NativeKernelsError when this machine cannot have them. */
export function nativeMemory(): KernelMemory {
  try {
    loaded ??= require(buildAddon(join(kernelFolder(), 'addon.c'))) as Addon;
  } catch (cause) {
    if (cause instanceof NativeKernelsError) throw cause;
    throw new NativeKernelsError('the native kernels could not be built or loaded', cause);
  }
  const addon = loaded;
  const index = new Map(addon.names.map((name, at) => [name, at]));
  let buffer = addon.allocate(1048576);
  return {
    backend: 'native',
    start: 64,
    buffer: () => buffer,
    grow(bytes) {
      buffer = addon.allocate(bytes, buffer);
    },
    run(entry, argumentsAt) {
      const at = index.get(entry);
      if (at === undefined) throw new Error(`expected a kernel entry, found ${entry}`);
      return addon.call(buffer, at, argumentsAt);
    },
    packFile: (argumentsAt, { descriptor, position, rowBytes, step, threads }) =>
      addon.packFile(buffer, descriptor, position, argumentsAt, rowBytes, step, threads),
  };
}
