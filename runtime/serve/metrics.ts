// What the engine counts and tells while it works.
import type { Finish } from './requests.ts';

/** One thing that happened; times are milliseconds of the engine's clock. */
export type ServeEvent =
  | {
      readonly type: 'step';
      readonly rows: number;
      readonly sequences: number;
      readonly adapters: number;
      readonly ms: number;
    }
  | {
      readonly type: 'finished';
      readonly id: number;
      readonly finish: Finish;
      readonly promptTokens: number;
      readonly outputTokens: number;
      readonly queueMs: number;
      readonly firstTokenMs: number;
      readonly totalMs: number;
    }
  | { readonly type: 'refused'; readonly code: string }
  | { readonly type: 'loaded'; readonly adapter: string; readonly pages: number }
  | { readonly type: 'preempted'; readonly id: number };

/** Counters since the start, and how things stand now. */
export type ServeMetrics = {
  readonly requests: { readonly running: number; readonly waiting: number };
  readonly finished: Readonly<Record<Finish, number>>;
  readonly refused: Readonly<Record<string, number>>;
  readonly promptTokens: number;
  /** Prompt tokens that were found in the prefix cache. */
  readonly prefixTokens: number;
  readonly outputTokens: number;
  readonly steps: number;
  readonly rows: number;
  readonly preemptions: number;
  readonly adapters: {
    readonly resident: number;
    readonly loads: number;
    readonly evictions: number;
  };
  readonly pages: {
    readonly total: number;
    readonly free: number;
    readonly adapters: number;
    readonly prefixes: number;
  };
  /** Rows per millisecond lately; 0 before the first step. */
  readonly rate: number;
};

/** The counters; `listen` hears each event after it was counted. */
export class Counters {
  readonly finished: Record<Finish, number> = { stop: 0, length: 0, cancelled: 0, deadline: 0 };
  readonly refused: Record<string, number> = {};
  promptTokens = 0;
  prefixTokens = 0;
  outputTokens = 0;
  steps = 0;
  rows = 0;
  preemptions = 0;
  loads = 0;
  /** Lately, of one step. */
  stepMs = 0;
  #stepRows = 0;
  readonly #listen: ((event: ServeEvent) => void) | undefined;

  constructor(listen?: (event: ServeEvent) => void) {
    this.#listen = listen;
  }

  /** Rows per millisecond; 0 before the first step. */
  get rate(): number {
    return this.#stepRows / Math.max(this.stepMs, 1e-3);
  }

  tell(event: ServeEvent): void {
    if (event.type === 'step') {
      this.steps += 1;
      this.rows += event.rows;
      const weight = this.steps === 1 ? 1 : 0.05;
      this.#stepRows += weight * (event.rows - this.#stepRows);
      this.stepMs += weight * (event.ms - this.stepMs);
    } else if (event.type === 'finished') {
      this.finished[event.finish] += 1;
      this.promptTokens += event.promptTokens;
      this.outputTokens += event.outputTokens;
    } else if (event.type === 'refused') {
      this.refused[event.code] = (this.refused[event.code] ?? 0) + 1;
    } else if (event.type === 'loaded') this.loads += 1;
    else this.preemptions += 1;
    this.#listen?.(event);
  }
}
