// Bundles the program into dist/: one entry for the command, one for the compute worker. Written to a
// fresh folder and renamed, so that a build that is killed or runs twice at once never leaves half a
// bundle.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const SOURCES = ['crypto', 'protocol', 'runtime', 'contracts', 'node', 'scripts/bundle.mjs'];
const ENTRIES = { openledger: 'node/main.ts', worker: 'runtime/train/worker.ts' };

// Packages with native code, and those that look for files beside their own, stay outside. All others
// are bundled: reading helia and libp2p file by file costs every node 1.4 s of processor time at its
// start, and bundled 0.4 s.
const OUTSIDE = [
  '@huggingface/tokenizers',
  '@libp2p/webrtc',
  '@nomicfoundation/edr',
  'classic-level',
  'cli-progress',
  'commander',
  'esbuild',
  'ethers',
  'fastify',
  'pino',
  'prom-client',
  'secp256k1',
  'ws',
  'zod',
];
// Bundled CommonJS packages call require for what is built into Node.
const REQUIRE = `import { createRequire as makeRequire } from 'node:module';
const require = makeRequire(import.meta.url);`;

function newest(path) {
  const info = statSync(path);
  if (!info.isDirectory()) return /\.(ts|mjs|json)$/.test(path) ? info.mtimeMs : 0;
  let latest = 0;
  for (const name of readdirSync(path)) {
    if (name === 'base' || name.endsWith('.test.ts')) continue;
    latest = Math.max(latest, newest(join(path, name)));
  }
  return latest;
}

export async function buildIfStale() {
  const target = join(root, 'dist');
  const marker = join(target, 'openledger.js');
  const sourcesAt = Math.max(...SOURCES.map((source) => newest(join(root, source))));
  if (existsSync(marker) && statSync(marker).mtimeMs > sourcesAt) return;
  const { build } = await import('esbuild');
  const fresh = join(root, `dist.${process.pid}`);
  mkdirSync(fresh, { recursive: true });
  const entryPoints = Object.entries(ENTRIES)
    .map(([out, source]) => ({ out, in: join(root, source) }))
    .filter(({ in: source }) => existsSync(source));
  await build({
    entryPoints,
    outdir: fresh,
    bundle: true,
    splitting: true,
    external: OUTSIDE,
    conditions: ['source'],
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: true,
    sourcesContent: false,
    logLevel: 'warning',
    // The bundle lies one folder below the root, the sources one or two: nothing may find the
    // project by counting folders, so the root is handed in.
    banner: { js: REQUIRE },
  });
  const old = `${target}.old.${process.pid}`;
  try {
    if (existsSync(target)) renameSync(target, old);
    renameSync(fresh, target);
  } catch (error) {
    // Another command built the same at the same moment; one of the two bundles is enough.
    rmSync(fresh, { recursive: true, force: true });
    if (!existsSync(marker)) throw error;
  }
  rmSync(old, { recursive: true, force: true });
}
