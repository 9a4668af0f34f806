/**
 * The objects that OpenAI's clients read: completions, chunks and models. Pure shapes; the rules of
 * the stream (what comes when) are in `stream.ts`.
 */

import type { FinishReason } from '../provider/exchange.ts';

export type Endpoint = 'chat' | 'text';
export type Usage = {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
};

/** What the swarm adds to an answer: who gave it, what it cost, which receipt proves it. */
export type SwarmPart = {
  readonly node: string;
  readonly adapter: string | null;
  /** Whether that adapter has a history on chain; else the answer names no contributor. */
  readonly registered: boolean;
  readonly receipt_id: string;
  readonly price_wei: string;
  readonly compute_wei: string;
  readonly fee_wei: string;
  readonly verified: boolean;
  readonly providers_tried: number;
  readonly ttft_ms: number;
  readonly total_ms: number;
  readonly tokens_per_second: number;
};

export type Head = {
  readonly id: string;
  readonly createdSeconds: number;
  readonly model: string;
  readonly fingerprint: string;
};

const OBJECTS = {
  chat: { whole: 'chat.completion', chunk: 'chat.completion.chunk' },
  text: { whole: 'text_completion', chunk: 'text_completion' },
} as const;

export const usage = (promptTokens: number, outputTokens: number): Usage => ({
  prompt_tokens: promptTokens,
  completion_tokens: outputTokens,
  total_tokens: promptTokens + outputTokens,
});

/** The whole answer at once. */
export function completion(
  endpoint: Endpoint,
  head: Head,
  text: string,
  finish: FinishReason,
  logprobs: Record<string, unknown> | null,
  counts: Usage,
  swarm: SwarmPart,
): Record<string, unknown> {
  const common = { index: 0, logprobs, finish_reason: finish };
  const choice =
    endpoint === 'chat'
      ? { ...common, message: { role: 'assistant', content: text, refusal: null } }
      : { ...common, text };
  return {
    ...top(head, OBJECTS[endpoint].whole),
    choices: [choice],
    usage: counts,
    x_swarm: swarm,
  };
}

/** One chunk of the stream; `finish` is null until the last one, whose delta is empty. */
export function chunk(
  endpoint: Endpoint,
  head: Head,
  part: {
    readonly text: string;
    readonly first: boolean;
    readonly finish: FinishReason | null;
    readonly logprobs?: Record<string, unknown> | null;
  },
): Record<string, unknown> {
  const common = { index: 0, logprobs: part.logprobs ?? null, finish_reason: part.finish };
  const delta =
    part.finish !== null
      ? {}
      : { ...(part.first ? { role: 'assistant' } : {}), content: part.text };
  const choice = endpoint === 'chat' ? { ...common, delta } : { ...common, text: part.text };
  return { ...top(head, OBJECTS[endpoint].chunk), choices: [choice] };
}

/** The chunk after the last, asked for with `stream_options.include_usage`. */
export const usageChunk = (
  endpoint: Endpoint,
  head: Head,
  counts: Usage,
): Record<string, unknown> => ({
  ...top(head, OBJECTS[endpoint].chunk),
  choices: [],
  usage: counts,
});

const top = (head: Head, object: string) => ({
  id: head.id,
  object,
  created: head.createdSeconds,
  model: head.model,
  system_fingerprint: head.fingerprint,
});
