/** Adapters both ways: one trained here loads in PEFT with the same logits, one trained by PEFT loads here. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Adapter,
  adapterOf,
  createEngine,
  createPool,
  initialState,
  openWeights,
  readAdapterDirectory,
  readSafetensors,
  runSteps,
  trainingPlan,
  writeAdapterDirectory,
} from '#runtime';
import { noise } from '../noise.ts';
import type { Row, SuiteOptions } from '../stats.ts';
import { modelFolder, SMALL } from './models.ts';
import { PeerAbsentError, ROOT } from './peers.ts';

const STEPS = 4;
const RECORDS = 4;
const TOKENS = 48;
const DIFFERENCE_MOST = 1e-4;
const BASE = { config: SMALL.config, name: SMALL.name, hash: new Uint8Array(32) };

function peft(python: string, ...args: readonly string[]): void {
  const script = join(ROOT, 'bench', 'runtime', 'peft_peer.py');
  const { status, stderr, error } = spawnSync(python, [script, ...args], { encoding: 'utf8' });
  if (status !== 0) throw new PeerAbsentError('PEFT', error?.message ?? stderr);
}

const recordsOf = () => {
  const next = noise(23);
  const draw = () => Math.floor((next() + 0.5) * SMALL.config.vocabSize);
  return Array.from({ length: RECORDS }, () => Int32Array.from({ length: TOKENS }, draw));
};

/** An adapter after some steps of our training. */
async function trained(folder: string, records: readonly Int32Array[]): Promise<Adapter> {
  const pool = createPool({ weights: await openWeights(folder), threads: 2 });
  try {
    const plan = trainingPlan({ steps: STEPS, batchSize: RECORDS, learningRate: 1e-2 });
    const masked = records.map((tokens) => ({ tokens, mask: new Uint8Array(TOKENS).fill(1) }));
    const state = await runSteps(pool, plan, masked, initialState(pool.config, plan), STEPS);
    return adapterOf(plan, state);
  } finally {
    await pool.close();
  }
}

/** Logits after every token of the text, row-major [tokens, vocabulary]. */
async function ourLogits(
  folder: string,
  adapter: Adapter | null,
  tokens: Int32Array,
): Promise<Float32Array> {
  const engine = createEngine(await openWeights(folder), { training: false });
  const session = engine.session(adapter, tokens.length);
  const { vocabSize } = SMALL.config;
  const logits = new Float32Array(tokens.length * vocabSize);
  for (const [i, token] of tokens.entries()) logits.set(session.decode(token), i * vocabSize);
  return logits;
}

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN;
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const one = Math.abs(a[i]! - b[i]!);
    most = Number.isNaN(one) ? Number.POSITIVE_INFINITY : Math.max(most, one);
  }
  return most;
}

/** P1 and P2, exact rows: the largest difference of a logit. */
export async function peftRows({ wants }: SuiteOptions, python: string): Promise<Row[]> {
  const work = mkdtempSync(join(tmpdir(), 'openledger-bench-'));
  const folder = modelFolder(SMALL, 'F32');
  const records = recordsOf();
  const tokensFile = join(work, 'tokens.json');
  writeFileSync(tokensFile, JSON.stringify(records.map((tokens) => [...tokens])));
  const rows: Row[] = [];
  const measure = async (id: string, what: string, adapter: Adapter, out: string) => {
    const theirs = readSafetensors(readFileSync(out), out).tensor('logits');
    const ours = await ourLogits(folder, adapter, records[0]!);
    const base = await ourLogits(folder, null, records[0]!);
    const median = distance(ours, theirs);
    // An adapter that did nothing would show nothing.
    const moved = distance(ours, base);
    rows.push({
      ...{ id, what, model: SMALL.name, target: `≤ ${DIFFERENCE_MOST}` },
      ...{ isMet: median <= DIFFERENCE_MOST && moved > 0.1, isExact: true },
      ...{ median, interval: [median, median], pairs: [median] },
      arms: { 'largest difference': median, 'what the adapter moves a logit by': moved },
    });
  };
  try {
    if (wants('P1')) {
      const adapter = await trained(folder, records);
      await writeAdapterDirectory(join(work, 'ours'), adapter, BASE);
      peft(python, 'logits', folder, join(work, 'ours'), tokensFile, join(work, 'ours.out'));
      const what = 'logits with an adapter trained here: PEFT / ours, largest difference';
      await measure('P1', what, adapter, join(work, 'ours.out'));
    }
    if (wants('P2')) {
      peft(python, 'train', folder, join(work, 'theirs'), tokensFile, join(work, 'theirs.out'));
      const adapter = await readAdapterDirectory(join(work, 'theirs'), BASE);
      const what = 'logits with an adapter trained by PEFT: ours / PEFT, largest difference';
      await measure('P2', what, adapter, join(work, 'theirs.out'));
    }
    return rows;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
