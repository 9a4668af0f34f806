/** The sizes of a local swarm and of what it does: the story as told, and the small one for tests. */
import type { TaskSpec } from '#protocol';
import { type EvaluationSettings, STORY_EVALUATION } from '#runtime';

export type Scenario = {
  readonly name: 'story' | 'reduced';
  readonly nodes: number;
  readonly evaluation: EvaluationSettings;
  /** Records that the near-copier takes from another contributor. */
  readonly copiedRecords: number;
  readonly training: Pick<TaskSpec, 'steps' | 'checkpointEvery' | 'batch' | 'contextLength'> & {
    readonly rank: number;
    readonly alpha: number;
    readonly learningRate: number;
    readonly warmupSteps: number;
  };
  readonly outputTokens: number;
  /** Questions asked at the same time. */
  readonly concurrency: number;
};

export const STORY: Scenario = {
  name: 'story',
  nodes: 6,
  evaluation: STORY_EVALUATION,
  copiedRecords: 24,
  training: {
    steps: 130,
    checkpointEvery: 10,
    batch: 8,
    contextLength: 128,
    rank: 8,
    alpha: 16,
    learningRate: 5e-3,
    warmupSteps: 10,
  },
  outputTokens: 24,
  concurrency: 3,
};

/** The same code on a tenth of the data, for the fault tests. */
export const REDUCED: Scenario = {
  ...STORY,
  name: 'reduced',
  nodes: 5,
  evaluation: { ...STORY_EVALUATION, contributors: 5, recordsMin: 100, questionsPerContributor: 1 },
  copiedRecords: 10,
  training: { ...STORY.training, steps: 12, checkpointEvery: 3, warmupSteps: 2 },
  outputTokens: 12,
};

/** The spec of a training task on a datanet version, with a scenario's settings. */
export function specFor(
  training: Scenario['training'],
  of: Pick<TaskSpec, 'base' | 'datanetId' | 'version' | 'seed'>,
): TaskSpec {
  return {
    ...of,
    batch: training.batch,
    steps: training.steps,
    checkpointEvery: training.checkpointEvery,
    contextLength: training.contextLength,
    lanes: 1,
    lora: { alpha: training.alpha, rank: training.rank },
    optimiser: { beta1: 0.9, beta2: 0.999, clipNorm: 1, epsilon: 1e-8, weightDecay: 0 },
    schedule: {
      floor: 0,
      kind: 'cosine',
      learningRate: training.learningRate,
      warmupSteps: training.warmupSteps,
    },
    sketchSeed: of.seed ^ 0x5eed,
    sketchSize: 256,
  };
}
