/** Loading a bf16 safetensors directory of 150 M parameters: speed and memory, each load in its own process. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { build } from 'esbuild';
import { median, type Row, rowOf, type SuiteOptions } from '../stats.ts';
import { LOADED, modelFolder } from './models.ts';
import { CACHE, ROOT } from './peers.ts';

const MIB = 2 ** 20;
const LIMIT_MS = 300_000;

type Loaded = {
  readonly cacheGBs: number;
  readonly loadGBs: number;
  readonly residentBytes: number;
  readonly addedBytes: number;
  readonly peakBytes: number;
};

function loadOnce(folder: string, backend: string, prepared: string): Loaded {
  // Two folders below the root, where the runtime looks for its kernels.
  const script = join(CACHE, 'load.js');
  const args = [script, folder, backend, 'bf16', prepared];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    ...{ encoding: 'utf8', timeout: LIMIT_MS },
  });
  if (status !== 0) throw new Error(`loading ended with code ${status}: ${stderr}`);
  return JSON.parse(stdout) as Loaded;
}

/** L1 speed, L2 final and L3 peak memory, of the native build. */
export async function loadRows({ pairs, wants, say }: SuiteOptions): Promise<Row[]> {
  await build({
    entryPoints: [{ out: 'load', in: join(ROOT, 'bench/runtime/load.ts') }],
    ...{ outdir: CACHE, bundle: true, external: ['@huggingface/tokenizers'] },
    ...{ conditions: ['source'], platform: 'node', format: 'esm', target: 'node20' },
    logLevel: 'warning',
  });
  const folder = modelFolder(LOADED, 'BF16');
  const times = (backend: string, prepared: string, count: number) =>
    Array.from({ length: count }, () => loadOnce(folder, backend, prepared));
  const native = times('native', 'backed', pairs);
  // What the other build and untouched memory make of it, as figures beside the row.
  const wasm = times('wasm', 'backed', 3);
  const fresh = times('native', 'fresh', pairs);
  const speed = (loads: readonly Loaded[]) => median(loads.map(({ loadGBs }) => loadGBs));
  say(`load GB/s: native ${speed(native)}, wasm ${speed(wasm)}, fresh memory ${speed(fresh)}`);
  const arms = {
    'load GB/s': speed(native),
    'page cache GB/s': median(native.map(({ cacheGBs }) => cacheGBs)),
    'wasm load GB/s': speed(wasm),
    'load into memory the host has to find, GB/s': speed(fresh),
  };
  const model = LOADED.name;
  // The thread that touches memory leaves a little behind, so memory is that of the loads without it.
  const final = fresh.map(({ addedBytes, residentBytes }) => addedBytes / residentBytes);
  const over = fresh.map(({ addedBytes, peakBytes }) => (peakBytes - addedBytes) / MIB);
  return [
    rowOf(
      { id: 'L1', what: 'load / page-cache read', model, target: 0.6, better: 'high' },
      native.map(({ loadGBs, cacheGBs }) => loadGBs / cacheGBs),
      arms,
    ),
    rowOf(
      { id: 'L2', what: 'added RSS / resident-format bytes', model, target: 1.1, better: 'low' },
      final,
      {
        'added MiB': median(fresh.map(({ addedBytes }) => addedBytes / MIB)),
        'resident MiB': fresh[0]!.residentBytes / MIB,
      },
    ),
    rowOf({ id: 'L3', what: 'peak MiB above final', model, target: 64, better: 'low' }, over, {
      'wasm MiB': median(wasm.map(({ addedBytes, peakBytes }) => (peakBytes - addedBytes) / MIB)),
    }),
  ].filter(({ id }) => wants(id));
}
