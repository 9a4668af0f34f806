/**
 * A LoRA step with the gradient of every record (forward, backward, their mean, AdamW) on batches of 8 x 128
 * tokens, all linear layers, rank 8: ours with two threads against PyTorch's best arm with two.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Adapter,
  adapterOf,
  createPool,
  initialState,
  layoutSize,
  loraLayout,
  type ModelConfig,
  type Pool,
  runSteps,
  type TrainingRecord,
  trainingPlan,
  writeAdapterDirectory,
} from '#runtime';
import { noise } from '../noise.ts';
import { median, type Row, rowOf, type SuiteOptions } from '../stats.ts';
import { MEDIUM, modelFolder, randomWeights, SMALL } from './models.ts';
import { type PythonChild, ROOT, startPython } from './peers.ts';

const THREADS = 2;
const RECORDS = 8;
const TOKENS = 128;
const RANK = 8;
const TORCH_ARMS = ['eager', 'compiled', 'func', 'peft'] as const;
const EXPLORED_STEPS = 2;
/** Both sides compute the same: losses and gradient norms of every record agree to this share. */
const AGREEMENT = 1e-3;

const TARGETS = [
  { shape: SMALL, native: 0.75, wasm: 1.6 },
  { shape: MEDIUM, native: 0.95, wasm: 2.4 },
] as const;

function recordsOf({ vocabSize }: ModelConfig): TrainingRecord[] {
  const next = noise(11);
  return Array.from({ length: RECORDS }, () => {
    const tokens = Int32Array.from({ length: TOKENS + 1 }, () =>
      Math.floor((next() + 0.5) * vocabSize),
    );
    return { tokens, mask: new Uint8Array(TOKENS + 1).fill(1) };
  });
}

/** Both matrices are filled, so that every gradient counts. */
function adapterFor(config: ModelConfig): Adapter {
  const next = noise(5);
  const parameters = new Float32Array(layoutSize(loraLayout(config, RANK)));
  for (let i = 0; i < parameters.length; i++) parameters[i] = next() * 0.1;
  return { rank: RANK, alpha: 2 * RANK, parameters };
}

/** One of our arms: a pool and the state that its steps go on from. */
function ourArm(pool: Pool, adapter: Adapter, records: readonly TrainingRecord[]) {
  const plan = trainingPlan({
    ...{ steps: 1e6, rank: RANK, alpha: 2 * RANK, batchSize: RECORDS, learningRate: 1e-3 },
    ...{ schedule: 'constant', warmupSteps: 0, clipNorm: 0 },
  });
  let state = { ...initialState(pool.config, plan), parameters: adapter.parameters };
  return async (): Promise<number> => {
    const startedAtMs = performance.now();
    state = await runSteps(pool, plan, records, state, state.step + 1);
    const ms = performance.now() - startedAtMs;
    if (!adapterOf(plan, state).parameters.every(Number.isFinite)) throw new Error('diverged');
    return ms;
  };
}

type Checked = { readonly losses: readonly number[]; readonly norms: readonly number[] };

/** Throws unless the torch arm finds what we find, record by record. */
function mustAgree(arm: string, theirs: Checked, ours: Checked): void {
  for (const what of ['losses', 'norms'] as const) {
    for (const [i, value] of ours[what].entries()) {
      const other = theirs[what][i] ?? Number.NaN;
      if (Math.abs(other - value) <= AGREEMENT * Math.abs(value)) continue;
      throw new Error(`${arm}: ${what} of record ${i}: expected ${value}, found ${other}`);
    }
  }
}

async function ourGradients(
  pool: Pool,
  adapter: Adapter,
  records: readonly TrainingRecord[],
): Promise<Checked> {
  const found = await pool.recordGradients(adapter, records);
  return {
    losses: found.map(({ loss }) => loss),
    norms: found.map(({ gradient }) => Math.sqrt(gradient.reduce((sum, x) => sum + x * x, 0))),
  };
}

const torchStep = async (torch: PythonChild, arm: string): Promise<number> =>
  (await torch.ask<{ ms: number }>({ arm })).ms;

/** Least milliseconds of every torch arm, each checked against ours. */
async function explore(torch: PythonChild, ours: Checked): Promise<Record<string, number>> {
  const best: Record<string, number> = {};
  for (const arm of TORCH_ARMS) {
    mustAgree(arm, await torch.ask<Checked>({ arm, check: true }), ours);
    const steps: number[] = [];
    for (let i = 0; i < EXPLORED_STEPS; i++) steps.push(await torchStep(torch, arm));
    best[arm] = Math.min(...steps);
  }
  return best;
}

/** Rounds of all arms, the order turning; the first round does not count. */
async function rounds<Name extends string>(
  count: number,
  arms: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(arms) as Name[];
  const seen = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<
    Name,
    number[]
  >;
  for (let i = 0; i <= count; i++) {
    for (let j = 0; j < names.length; j++) {
      const name = names[(i + j) % names.length]!;
      const value = await arms[name]();
      if (i > 0) seen[name].push(value);
    }
  }
  return seen;
}

async function shapeRows(
  { shape, native, wasm }: (typeof TARGETS)[number],
  python: string,
  { pairs, say }: SuiteOptions,
): Promise<Row[]> {
  const { config } = shape;
  const work = mkdtempSync(join(tmpdir(), 'openledger-bench-'));
  const weights = randomWeights(shape.config);
  const pools = {
    native: createPool({ weights, threads: THREADS, backend: 'native' }),
    wasm: createPool({ weights, threads: THREADS, backend: 'wasm' }),
  };
  const records = recordsOf(config);
  const adapter = adapterFor(config);
  await writeAdapterDirectory(join(work, 'adapter'), adapter, {
    ...{ config, name: shape.name, hash: new Uint8Array(32) },
  });
  writeFileSync(
    join(work, 'records.json'),
    JSON.stringify(records.map(({ tokens }) => [...tokens])),
  );
  const files = [modelFolder(shape, 'F32'), join(work, 'adapter'), join(work, 'records.json')];
  const script = join(ROOT, 'bench', 'runtime', 'torch_peer.py');
  const torch = startPython(python, script, [...files, `${THREADS}`], THREADS);
  try {
    const ours = await ourGradients(pools.native, adapter, records);
    const explored = await explore(torch, ours);
    const [best] = Object.entries(explored).sort(([, a], [, b]) => a - b)[0]!;
    const { torch: version } = await torch.ask<{ torch: string }>({ arm: 'versions' });
    say(`${shape.name}: PyTorch ${version} ms ${JSON.stringify(explored)}; best: ${best}`);
    const ms = await rounds(pairs, {
      native: ourArm(pools.native, adapter, records),
      torch: () => torchStep(torch, best),
      wasm: ourArm(pools.wasm, adapter, records),
    });
    return (['native', 'wasm'] as const).map((which) =>
      rowOf(
        {
          id: which === 'native' ? 'T1' : 'T2',
          what: `LoRA step with per-record gradients, ${which} / PyTorch ${version} (${best})`,
          model: shape.name,
          target: which === 'native' ? native : wasm,
          better: 'low',
        },
        ms[which].map((one, i) => one / ms.torch[i]!),
        {
          [`${which} ms`]: median(ms[which]),
          'torch ms': median(ms.torch),
          ...Object.fromEntries(
            Object.entries(explored).map(([arm, one]) => [`${arm}, least ms`, one]),
          ),
        },
      ),
    );
  } finally {
    torch.close();
    await Promise.all(Object.values(pools).map((pool) => pool.close()));
    rmSync(work, { recursive: true, force: true });
  }
}

/** T1 native and T2 WebAssembly, on the small and the medium model. */
export async function trainRows(options: SuiteOptions, python: () => string): Promise<Row[]> {
  const rows: Row[] = [];
  for (const one of TARGETS) {
    if (options.model !== undefined && !one.shape.name.includes(options.model)) continue;
    const made = await shapeRows(one, python(), options);
    rows.push(...made.filter(({ id }) => options.wants(id)));
  }
  return rows;
}
