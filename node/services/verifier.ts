/**
 * What a drawn verifier does: checks that the manifest is what was committed to, that training began
 * where the spec says and ended in the adapter that is shown, re-executes its own segments and
 * sketches, and says VALID only if every byte is equal.
 */
import { type Address, type Bytes32, toHex } from '#crypto';
import {
  adapterHashOf,
  assignedSamples,
  assignedSegments,
  type Check,
  cidOfDigest,
  decodeResultManifest,
  type ResultManifest,
  sketchLeaves,
  sketchTree,
  type TaskSpec,
  traceOfManifest,
  traceTree,
  type Verdict,
  verdictOf,
  verificationHash,
} from '#protocol';
import {
  type Calibration,
  calibrationFromBytes,
  decodeState,
  encodeState,
  initialState,
  isCalibrationOf,
  loraLayout,
  type Pool,
  runSteps,
  sketchRecords,
  type Tokenizer,
  type TrainingRecord,
  type TrainingState,
} from '#runtime';
import type { Log } from '../log.ts';
import type { ContractTask } from './contract-types.ts';
import type { BlockPort, Datanets, LoadedVersion } from './datanets.ts';
import { loadSpec } from './trainer.ts';
import { examplesOf, floatBytes, hashOf, planOf, sketchSource } from './training-work.ts';

export type VerifierOptions = {
  readonly self: Address;
  readonly blocks: BlockPort;
  readonly datanets: Datanets;
  readonly pool: () => Promise<Pool>;
  readonly tokenizer: Tokenizer;
  readonly log: Log;
};

export type Verification = {
  readonly verdict: Verdict;
  readonly verificationHash: Bytes32;
  /** What was found unequal, for the log; empty when VALID. */
  readonly findings: readonly string[];
};

/** Something that should have been the same and was not. */
class Unequal extends Error {}

/** Re-executes what the seed assigned to this node. Throws only when bytes cannot be had. */
export async function verifyTask(
  options: VerifierOptions,
  taskId: number,
  task: ContractTask,
  signal: AbortSignal,
): Promise<Verification> {
  const checks: Check[] = [];
  const findings: string[] = [];
  try {
    const work = await openWork(options, task, signal);
    await checkEnds(work, signal);
    for (const segment of assignedSegments(
      task.seed,
      options.self,
      task.rules.segmentsPerVerifier,
      task.segments,
    ))
      checks.push(await checkSegment(work, segment, signal));
    const samples = assignedSamples(
      task.seed,
      options.self,
      task.rules.samplesPerVerifier,
      task.result.sketchCount,
    );
    checks.push(...(await checkSamples(work, samples, signal)));
    findings.push(
      ...checks.filter(({ isEqual }) => !isEqual).map(({ kind, index }) => `${kind} ${index}`),
    );
  } catch (error) {
    if (!(error instanceof Unequal)) throw error;
    findings.push(error.message);
    checks.push({ kind: 'segment', index: 0, foundHash: hashOf(new Uint8Array()), isEqual: false });
  }
  const verdict = verdictOf(checks);
  options.log.info('task verified', { taskId, verdict, findings });
  return { verdict, verificationHash: verificationHash(taskId, options.self, checks), findings };
}

/** Landmarks that each verifier recomputes. */
const LANDMARKS_CHECKED = 8;

type Work = {
  readonly self: Address;
  readonly seed: Bytes32;
  readonly spec: TaskSpec;
  readonly manifest: ResultManifest;
  readonly version: LoadedVersion;
  readonly examples: readonly TrainingRecord[];
  readonly sketches: Uint8Array;
  readonly adapter: Uint8Array;
  readonly pool: Pool;
  readonly state: (checkpoint: number) => Promise<TrainingState>;
};

async function openWork(
  options: VerifierOptions,
  task: ContractTask,
  signal: AbortSignal,
): Promise<Work> {
  const { blocks } = options;
  const fetching = { timeoutMs: 20_000, signal };
  const spec = await loadSpec(blocks, task.specDigest);
  const bytes = await blocks.get(cidOfDigest(task.result.manifest).toString(), fetching);
  const manifest = decodeResultManifest(bytes);
  if (!manifest.ok) throw new Unequal(`manifest: ${manifest.message}`);
  if (toHex(traceTree(traceOfManifest(manifest.value)).root) !== task.result.traceRoot)
    throw new Unequal('the manifest has another trace root');
  if (manifest.value.checkpoints.length !== task.segments + 1)
    throw new Unequal('the manifest has another number of checkpoints');
  const adapter = await blocks.getLarge(manifest.value.adapter.toString(), fetching);
  if (adapterHashOf(adapter) !== task.result.adapterHash)
    throw new Unequal('the adapter has another hash');
  const version = await options.datanets.load(spec.datanetId, spec.version);
  const sketches = await blocks.getLarge(manifest.value.sketches.toString(), fetching);
  checkSketchRoot(task, version, sketches, spec.sketchSize);
  return {
    self: options.self,
    seed: task.seed,
    spec,
    manifest: manifest.value,
    version,
    sketches,
    adapter,
    examples: examplesOf(options.tokenizer, version.records, spec.contextLength),
    pool: await options.pool(),
    state: async (checkpoint) => {
      const entry = manifest.value.checkpoints[checkpoint];
      if (entry === undefined) throw new Unequal(`checkpoint ${checkpoint} is missing`);
      const stored = await blocks.getLarge(entry.state.toString(), fetching);
      if (hashOf(stored) !== entry.stateHash)
        throw new Unequal(`checkpoint ${checkpoint} has other bytes than committed`);
      return decodeOr(stored, checkpoint);
    },
  };
}

function decodeOr(stored: Uint8Array, checkpoint: number): TrainingState {
  try {
    return decodeState(stored);
  } catch (error) {
    throw new Unequal(`checkpoint ${checkpoint}: ${error instanceof Error ? error.message : ''}`);
  }
}

function checkSketchRoot(
  task: ContractTask,
  version: LoadedVersion,
  sketches: Uint8Array,
  size: number,
): void {
  if (
    sketches.length !== version.records.length * size ||
    task.result.sketchCount !== version.records.length
  )
    throw new Unequal('there is not one sketch per record');
  const parts = version.records.map((_, i) => sketchAt(sketches, i, size));
  const { root } = sketchTree(sketchLeaves(version.tree.leaves, parts));
  if (toHex(root) !== task.result.sketchRoot) throw new Unequal('the sketches have another root');
}

const sketchAt = (sketches: Uint8Array, index: number, size: number): Int8Array =>
  new Int8Array(sketches.slice(index * size, (index + 1) * size).buffer);

/** The first checkpoint is what the spec's seed gives, the last one holds the adapter. */
async function checkEnds(work: Work, signal: AbortSignal): Promise<void> {
  const { spec, pool, manifest } = work;
  const plan = planOf(spec);
  const first = hashOf(encodeState(initialState(pool.config, plan)));
  if (manifest.checkpoints[0]?.stateHash !== first)
    throw new Unequal('checkpoint 0 is not the state that the seed gives');
  const last = await work.state(manifest.checkpoints.length - 1);
  if (
    hashOf(floatBytes(last.parameters)) !== adapterHashOf(work.adapter) ||
    last.step !== spec.steps
  )
    throw new Unequal('the last checkpoint does not hold the adapter');
  const from = sketchSource(spec, pool, last, work.examples, signal);
  // All scales, and of the landmarks those that the seed draws for this verifier.
  const drawn = assignedSamples(work.seed, work.self, LANDMARKS_CHECKED, spec.sketchSize);
  const calibration = calibrationOrUnequal(work, plan.rank);
  if (!(await isCalibrationOf(from, calibration, [...new Set(drawn)])))
    throw new Unequal('the calibration is another');
}

async function checkSegment(work: Work, segment: number, signal: AbortSignal): Promise<Check> {
  const { spec, manifest, pool, examples } = work;
  const start = await work.state(segment);
  if (start.step !== segment * spec.checkpointEvery)
    throw new Unequal(`checkpoint ${segment} is of another step`);
  const losses: number[] = [];
  const end = await runSteps(
    pool,
    planOf(spec),
    examples,
    start,
    start.step + spec.checkpointEvery,
    {
      signal,
      onStep: ({ loss }) => {
        losses.push(loss);
      },
    },
  );
  const foundHash = hashOf(encodeState(end));
  const claimed = manifest.checkpoints[segment + 1];
  const isEqual =
    claimed !== undefined &&
    claimed.stateHash === foundHash &&
    hashOf(claimed.losses) === hashOf(floatBytes(losses));
  return { kind: 'segment', index: segment, foundHash, isEqual };
}

function calibrationOrUnequal({ manifest, pool, spec }: Work, rank: number): Calibration {
  try {
    return calibrationFromBytes(
      manifest.calibration,
      loraLayout(pool.config, rank).length,
      spec.sketchSize,
    );
  } catch (error) {
    throw new Unequal(error instanceof Error ? error.message : 'the calibration cannot be read');
  }
}

async function checkSamples(
  work: Work,
  samples: readonly number[],
  signal: AbortSignal,
): Promise<Check[]> {
  const { spec, manifest, pool, examples } = work;
  const plan = planOf(spec);
  const last = await work.state(manifest.checkpoints.length - 1);
  const calibration = calibrationOrUnequal(work, plan.rank);
  const from = sketchSource(spec, pool, last, examples, signal);
  const sketches = await sketchRecords(from, calibration, samples);
  return sketches.map((sketch, at) => {
    const index = samples[at] ?? 0;
    const foundHash = hashOf(new Uint8Array(sketch.buffer, sketch.byteOffset, sketch.length));
    const claimed = sketchAt(work.sketches, index, spec.sketchSize);
    return {
      kind: 'sample',
      index,
      foundHash,
      isEqual: hashOf(new Uint8Array(claimed.buffer)) === foundHash,
    };
  });
}
