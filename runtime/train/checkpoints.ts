/**
 * Checkpoints of a training run on disk. The small file `run.json` names the states that belong to
 * it and is replaced in one go, so that after a crash either the old or the new checkpoint stands.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeState, encodeState, type TrainingState } from './state.ts';

/** How far a run has come, and its best state by validation loss. */
export type RunProgress = {
  readonly state: TrainingState;
  readonly best: { readonly state: TrainingState; readonly loss: number } | null;
  /** Evaluations since the best one. */
  readonly withoutBetter: number;
  readonly isStopped: boolean;
};

type Named = { readonly file: string; readonly sha256: string };
type RunFile = {
  readonly format: 'openledger/training-run/1';
  readonly run: string;
  readonly step: number;
  readonly state: Named;
  readonly best: (Named & { readonly loss: number }) | null;
  readonly withoutBetter: number;
  readonly isStopped: boolean;
};

const RUN_FILE = 'run.json';
const FORMAT = 'openledger/training-run/1';

/** A checkpoint that cannot be gone on from. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
  readonly code: 'CHECKPOINT_OTHER_RUN' | 'CHECKPOINT_DAMAGED';
  readonly details: { readonly file: string; readonly expected: string; readonly found: string };
  readonly fix: string;
  constructor(code: CheckpointError['code'], file: string, expected: string, found: string) {
    super(`${file}: expected ${expected}, found ${found}`);
    this.code = code;
    this.details = { file, expected, found };
    this.fix =
      code === 'CHECKPOINT_OTHER_RUN'
        ? 'use the options, data and base of the first run, or another output folder'
        : 'delete the folder and start again';
  }
}

/** Writes a checkpoint and deletes the one before it. */
export async function saveCheckpoint(
  folder: string,
  run: string,
  progress: RunProgress,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { state, best, withoutBetter, isStopped } = progress;
  const named = await writeState(folder, state);
  const bestNamed = best === null ? null : await writeState(folder, best.state);
  const file: RunFile = {
    format: FORMAT,
    run,
    step: state.step,
    state: named,
    best: bestNamed === null || best === null ? null : { ...bestNamed, loss: best.loss },
    withoutBetter,
    isStopped,
  };
  await replace(join(folder, RUN_FILE), Buffer.from(`${JSON.stringify(file, null, 2)}\n`));
  const kept = new Set([named.file, bestNamed?.file]);
  for (const name of await readdir(folder)) {
    if (/^[0-9a-f]{64}\.state$/.test(name) && !kept.has(name)) await rm(join(folder, name));
  }
}

/**
 * The last checkpoint of this run, or null where there is none.
 *
 * @param run what the run depends on, as a digest
 * @throws CheckpointError
 */
export async function loadCheckpoint(folder: string, run: string): Promise<RunProgress | null> {
  const path = join(folder, RUN_FILE);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return null;
  const file = parseRunFile(path, text);
  if (file.run !== run) {
    throw new CheckpointError('CHECKPOINT_OTHER_RUN', path, `run ${run}`, `run ${file.run}`);
  }
  const { best, withoutBetter, isStopped } = file;
  return {
    state: await readState(folder, file.state),
    best: best === null ? null : { state: await readState(folder, best), loss: best.loss },
    withoutBetter,
    isStopped,
  };
}

function parseRunFile(path: string, text: string): RunFile {
  try {
    const file = JSON.parse(text) as RunFile;
    if (file.format === FORMAT && typeof file.state.file === 'string') return file;
  } catch {
    // The same as a file of another shape.
  }
  throw new CheckpointError('CHECKPOINT_DAMAGED', path, FORMAT, text.slice(0, 40));
}

async function writeState(folder: string, state: TrainingState): Promise<Named> {
  const bytes = encodeState(state);
  const sha256 = sha256Of(bytes);
  const file = `${sha256}.state`;
  await replace(join(folder, file), bytes);
  return { file, sha256 };
}

async function readState(folder: string, { sha256 }: Named): Promise<TrainingState> {
  const path = join(folder, `${sha256}.state`);
  const bytes = await readFile(path).catch(() => null);
  const found = bytes === null ? 'no file' : `SHA-256 ${sha256Of(bytes)}`;
  if (bytes !== null && sha256Of(bytes) === sha256) return decodeState(bytes);
  throw new CheckpointError('CHECKPOINT_DAMAGED', path, `SHA-256 ${sha256}`, found);
}

async function replace(path: string, bytes: Uint8Array): Promise<void> {
  const fresh = `${path}.new`;
  const handle = await open(fresh, 'w');
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(fresh, path);
}

const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
