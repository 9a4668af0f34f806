// A small serving engine driven by hand, for tests: its clock stands still unless it is told the time.
import { type BackendChoice, openArena } from '../engine/backend.ts';
import { type ModelWeights, weightsOf } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import { chooseToken, GREEDY, type SamplingSettings } from '../model/sampling.ts';
import {
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from '../reference/sample.ts';
import { BatchGraph, type BatchSizes } from './batch-graph.ts';
import type { ServeError } from './errors.ts';
import type { ServeEvent } from './metrics.ts';
import type { Finish, ServeLimits, ServeRequest } from './requests.ts';
import { ServeCore } from './serve-core.ts';

export const config = sampleConfig();
export const weights: ModelWeights = weightsOf(config, sampleParameters(config));
export const adapterOf = (name: string): Adapter => {
  const number = Number(name.slice(1));
  return sampleAdapter(config, [8, 3, 16, 1][number % 4]!, 100 + number);
};

export type Outcome = {
  readonly tokens: number[];
  readonly logprobs: (number | undefined)[];
  end?: { finish: Finish } | { error: ServeError };
};

/** An engine with a fetcher that answers at once unless it is told to hold adapters back. */
export function bench(
  backend: BackendChoice,
  sizes: Partial<BatchSizes> = {},
  limits: Partial<ServeLimits> = {},
) {
  const outcomes = new Map<number, Outcome>();
  const wanted: string[] = [];
  const events: ServeEvent[] = [];
  const state = { nowMs: 0, holdsBack: (_adapter: string): boolean => false };
  const graph = new BatchGraph(openArena(backend), weights, {
    ...{ sequences: 6, rows: 16, pagePositions: 8, poolBytes: 2e6, rankMax: 16 },
    ...sizes,
  });
  const core: ServeCore = new ServeCore(
    graph,
    { waitingMax: 64, clientWaitingMax: 32, prefetch: 4, prefixCache: true, ...limits },
    {
      clock: () => state.nowMs,
      onToken(id, token, logprob) {
        outcomes.get(id)!.tokens.push(token);
        outcomes.get(id)!.logprobs.push(logprob);
      },
      onEnd(id, end) {
        outcomes.get(id)!.end = end;
      },
      want(adapter) {
        wanted.push(adapter);
        if (!state.holdsBack(adapter)) core.provide(adapter, adapterOf(adapter));
      },
      onEvent: (event) => events.push(event),
    },
  );
  let next = 1;
  return {
    core,
    state,
    wanted,
    events,
    outcomes,
    ask(changes: Partial<ServeRequest> = {}): { id: number; outcome: Outcome } {
      const id = next++;
      const outcome: Outcome = { tokens: [], logprobs: [] };
      outcomes.set(id, outcome);
      core.submit({
        ...{ client: 'ann', adapter: null, tokens: textOf(12), maxTokens: 8 },
        ...{ stopTokens: [], sampling: GREEDY },
        ...changes,
        id,
      });
      return { id, outcome };
    },
    drain(): void {
      for (let i = 0; core.step(); i++) if (i > 5000) throw new Error('expected an end');
    },
  };
}

export const textOf = (length: number, seed = 3): Int32Array =>
  sampleRecord(config, length, seed).tokens;

/** The tokens that one session of the plain engine gives, without any batch. */
export function alone(
  adapter: string | null,
  tokens: Int32Array,
  maxTokens: number,
  sampling: SamplingSettings = GREEDY,
): { tokens: number[]; logprobs: number[] } {
  plain ??= createEngine(weights, { backend: 'wasm', training: false });
  const session = plain.session(adapter === null ? null : adapterOf(adapter));
  const answer = { tokens: [] as number[], logprobs: [] as number[] };
  let logits = session.prefill(tokens);
  for (;;) {
    const token = chooseToken(logits, sampling, session.length, [...tokens, ...answer.tokens]);
    answer.tokens.push(token);
    answer.logprobs.push(session.logprob(token));
    if (answer.tokens.length === Math.min(maxTokens, config.contextLength - tokens.length)) break;
    logits = session.decode(token);
  }
  session.close();
  return answer;
}
let plain: ReturnType<typeof createEngine> | undefined;
