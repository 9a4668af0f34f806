// Builds kernels.wasm from kernels.c with Debian's clang 19 and wasm-ld 19, byte for byte:
// `build.ts` writes it, `build.ts --check` compares it and fails when it differs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));
const clang = 'clang-19';
const linker = 'wasm-ld-19';

function run(program: string, parameters: string[]): void {
  const done = spawnSync(program, parameters, { cwd: folder, encoding: 'utf8' });
  if (done.error !== undefined) throw done.error;
  if (done.status !== 0) throw new Error(`${program} exited ${done.status}:\n${done.stderr}`);
}

/** The WebAssembly build of the kernels, as bytes. */
function buildWasm(): Uint8Array {
  const work = mkdtempSync(join(tmpdir(), 'openledger-kernels-'));
  try {
    const object = join(work, 'kernels.o');
    const linked = join(work, 'kernels.wasm');
    run(clang, [
      ...['--target=wasm32', '-O3', '-msimd128', '-ffp-contract=off', '-fno-strict-aliasing'],
      ...[
        '-nostdlib',
        '-ffreestanding',
        '-Wall',
        '-Wextra',
        '-Werror',
        '-c',
        'kernels.c',
        '-o',
        object,
      ],
    ]);
    run(linker, [
      ...[
        '--no-entry',
        '--export=__heap_base',
        '--initial-memory=1048576',
        '--max-memory=4294967296',
      ],
      ...['-z', 'stack-size=65536', '--strip-all', object, '-o', linked],
    ]);
    return readFileSync(linked);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const target = join(folder, 'kernels.wasm');
const built = buildWasm();
if (!process.argv.includes('--check')) {
  writeFileSync(target, built);
  process.stdout.write(`kernels.wasm: ${built.length} bytes\n`);
} else if (!existsSync(target) || Buffer.compare(readFileSync(target), built) !== 0) {
  process.stderr.write('kernels.wasm differs from what kernels.c builds to; run build.ts\n');
  process.exitCode = 1;
} else {
  process.stdout.write('kernels.wasm is what kernels.c builds to\n');
}
