// The numbers around AdamW that are not kernels: learning-rate schedules, bias corrections and the
// clipping factor. Only exactly rounded operations and the kernels' own cosine.
import { exactCos, exactSqrt } from '../engine/scalars.ts';

export type AdamOptions = {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Global gradient norm above which the gradient is scaled down; 0 never clips. */
  readonly clipNorm: number;
};

export type Schedule = {
  readonly kind: 'cosine' | 'linear' | 'constant';
  readonly learningRate: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
  /** Share of learningRate the schedule ends at. */
  readonly floor: number;
};

/** The gradient was not finite: no update was made. */
export class TrainingDivergedError extends Error {
  readonly code = 'TRAINING_DIVERGED';
  readonly details: { readonly step: number; readonly gradientNorm: number };
  constructor(step: number, gradientNorm: number) {
    super(
      `training step ${step}: expected a finite gradient norm, found ${gradientNorm}; ` +
        'lower the learning rate or look for broken records',
    );
    this.name = 'TrainingDivergedError';
    this.details = { step, gradientNorm };
  }
}

const pi = Math.PI;

/** Learning rate of update `step` (0-based), as f32. */
export function learningRateAt(schedule: Schedule, step: number): number {
  const { kind, learningRate, warmupSteps, totalSteps, floor } = schedule;
  if (step < warmupSteps) return Math.fround((learningRate * (step + 1)) / warmupSteps);
  const span = totalSteps - warmupSteps;
  const done = span <= 0 ? 1 : Math.min(1, (step - warmupSteps) / span);
  let share = 1;
  if (kind === 'linear') share = 1 - done;
  if (kind === 'cosine') share = 0.5 * (1 + exactCos(pi * done));
  return Math.fround(learningRate * (floor + (1 - floor) * share));
}

/** 1 - beta^step in f32, the power by repeated f32 multiplication; step counts from 1. */
export function biasCorrection(beta: number, step: number): number {
  const factor = Math.fround(beta);
  let power = 1;
  for (let i = 0; i < step && power > 0; i++) power = Math.fround(power * factor);
  return Math.fround(1 - power);
}

/** Floats per partial sum of squares; parts are added in ascending order. */
export const normChunk = 4096;

/** Gradient norm from its partial sums of squares, in order. */
export function normOf(partials: Iterable<number>): number {
  let sum = 0;
  for (const part of partials) sum += part;
  return exactSqrt(sum);
}

/** The factor, as f32, that brings the norm down to clipNorm. */
export function clipScale(norm: number, clipNorm: number): number {
  return clipNorm > 0 && norm > clipNorm ? Math.fround(clipNorm / norm) : 1;
}
