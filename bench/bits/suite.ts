/**
 * The bits suite: logits, gradients and updated parameters of two small models, by digest, on every build and
 * number of threads, under the baseline compiler and on arm64. An arm that cannot be had is a failure.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Row, SuiteOptions } from '../stats.ts';
import { arm64Node } from './arm64.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CACHE = join(ROOT, '.cache', 'bits');
/** No arm takes this long; one that does is stuck. */
const LIMIT_MS = 900_000;

type Arm = {
  readonly id: string;
  readonly backend: 'wasm' | 'native';
  readonly threads: number;
  readonly node?: () => readonly string[];
  readonly flags?: readonly string[];
};

const ARMS: readonly Arm[] = [
  { id: 'wasm-1', backend: 'wasm', threads: 1 },
  { id: 'wasm-2', backend: 'wasm', threads: 2 },
  { id: 'native-1', backend: 'native', threads: 1 },
  { id: 'native-2', backend: 'native', threads: 2 },
  { id: 'liftoff', backend: 'wasm', threads: 2, flags: ['--liftoff-only'] },
  { id: 'arm64', backend: 'wasm', threads: 2, node: () => arm64Node(CACHE) },
];

type Digests = Readonly<Record<string, string>>;

/** Digests of one arm, or why it could not be had. */
function digestsOf({ backend, threads, node, flags = [] }: Arm): Digests | Error {
  try {
    const [program, ...before] = node?.() ?? [process.execPath];
    const script = join(CACHE, 'digest.js');
    const args = [...before, ...flags, script, backend, String(threads), join(CACHE, 'worker.js')];
    const ended = spawnSync(program!, args, { encoding: 'utf8', timeout: LIMIT_MS });
    if (ended.error !== undefined) throw ended.error;
    if (ended.status !== 0) throw new Error(ended.stderr.trim().split('\n').slice(0, 6).join(' '));
    return JSON.parse(ended.stdout) as Digests;
  } catch (reason) {
    return reason as Error;
  }
}

export async function bitsSuite(options: SuiteOptions): Promise<Row[]> {
  await build({
    entryPoints: [
      { out: 'digest', in: join(ROOT, 'bench/bits/digest.ts') },
      { out: 'worker', in: join(ROOT, 'runtime/train/worker.ts') },
    ],
    // Two folders below the root, where the runtime looks for its kernels.
    outdir: CACHE,
    bundle: true,
    external: ['@huggingface/tokenizers'],
    conditions: ['source'],
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'warning',
  });
  const wanted = ARMS.filter(({ id }) => id === 'wasm-1' || options.wants(id));
  const found = wanted.map((arm) => {
    const digests = digestsOf(arm);
    const said = digests instanceof Error ? `absent: ${digests.message}` : JSON.stringify(digests);
    options.say(`${arm.id}: ${said}`);
    return { id: arm.id, digests };
  });
  const [first] = found;
  const reference = first!.digests instanceof Error ? undefined : JSON.stringify(first!.digests);
  return found.map(({ id, digests }) => {
    const isMet = reference !== undefined && JSON.stringify(digests) === reference;
    const value = isMet ? 1 : digests instanceof Error ? Number.NaN : 0;
    return {
      id,
      what: 'logits, gradients and updated parameters as on WebAssembly with one thread',
      model: 'plain, featured',
      target: '= 1',
      isMet,
      isExact: true,
      median: value,
      interval: [value, value],
      pairs: [value],
      arms: {},
      ...(digests instanceof Error ? { absent: digests.message } : { digests }),
    };
  });
}
