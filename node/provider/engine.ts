/**
 * What serving needs of the runtime: tokens one after another, and sketches, both computed outside
 * the event loop.
 */
import type { MeasuredToken } from '#protocol';
import {
  type AdapterHandle,
  exchangeExample,
  type Pool,
  type SamplingSettings,
  type ServeOptions,
  type Serving,
  SKETCH_SETTINGS,
  sketchExchange,
  type Tokenizer,
  type TokenLogprob,
} from '#runtime';
import type { AdapterBundle } from './bundle.ts';
import { Refusal } from './refusal.ts';
import { textOfBytes } from './writer.ts';

export type Generation = {
  /** Whose request it is: one client's many do not hold up another's one. */
  readonly client: string;
  /** null: the base alone. */
  readonly adapter: AdapterHandle | null;
  /** Everything read so far, from the mark that opens the text on. */
  readonly tokens: Int32Array;
  readonly tokensMax: number;
  readonly sampling: SamplingSettings;
  /** How likely each token was, called before it comes out of the row; null: not asked for. */
  readonly measure: {
    readonly top: number;
    readonly hear: (measured: MeasuredToken) => void;
  } | null;
};

export type Engine = {
  /** Positions in all: opening mark, prompt and output. */
  readonly contextTokens: number;
  readonly tokenizer: {
    /** The mark that opens a text. */
    readonly startOfText: number;
    readonly encode: (text: string) => Int32Array;
    /** Of a prompt: with the special tokens of a chat. */
    readonly encodePrompt: (prompt: string) => Int32Array;
  };
  readonly bytesOf: (tokens: readonly number[]) => Uint8Array;
  readonly textOf: (tokens: readonly number[]) => string;
  /**
   * The next tokens, up to `tokensMax`, without the one that ends the text. The choice at a place
   * depends on tokens, settings and place alone, so that another engine goes on the same way.
   */
  readonly generate: (generation: Generation, signal: AbortSignal) => AsyncIterable<number>;
  /** The query sketch of an exchange. */
  readonly sketch: (adapter: AdapterBundle, prompt: string, output: string) => Promise<Int8Array>;
};

export type EngineParts = {
  /** Answers are written by this, all that run at once in one batch. */
  readonly serving: Pick<Serving, 'config' | 'generate'>;
  /** Sketches are computed by this. */
  readonly pool: Pool;
  readonly tokenizer: Tokenizer;
  /** Tokens that end an answer. */
  readonly stopIds: readonly number[];
};

/** The runtime's batches, pool and tokenizer as an engine for serving. */
export function openEngine({ serving, pool, tokenizer, stopIds }: EngineParts): Engine {
  const bytesOf = (tokens: readonly number[]): Uint8Array => tokenizer.decodeBytes(tokens);
  const { contextLength } = serving.config;
  return {
    contextTokens: contextLength,
    tokenizer,
    bytesOf,
    textOf: (tokens) => textOfBytes(bytesOf(tokens)),
    generate: ({ adapter, client, tokens, tokensMax, sampling, measure }, signal) =>
      tokenRow(stopIds, signal, measure, (onToken, stopping) =>
        serving.generate({
          client,
          adapter,
          tokens,
          maxTokens: tokensMax,
          stopTokens: stopIds,
          sampling,
          ...(measure === null ? {} : { logprobs: true, topLogprobs: measure.top }),
          onToken,
          signal: stopping,
        }),
      ),
    sketch: async ({ adapter: factorsOf, calibration, spec }, prompt, output) => {
      const adapter = await factorsOf();
      const exchange = exchangeExample(tokenizer, prompt, output, contextLength);
      const settings = { ...SKETCH_SETTINGS, seed: spec.sketchSeed };
      return sketchExchange({ source: pool, adapter, settings }, calibration, exchange);
    },
  };
}

/** What the batch refuses, too much being under way or the adapter not to be had, as the provider's own no. */
function refusalOf(error: unknown): unknown {
  const { code, message } = error as { code?: string; message?: string };
  if (code === 'ADAPTER_UNAVAILABLE')
    return new Refusal('ADAPTER_UNKNOWN', 'the adapter could not be loaded here', error);
  return code === 'QUEUE_FULL' || code === 'CLIENT_QUEUE_FULL'
    ? new Refusal('QUEUE_FULL', message ?? code, error)
    : error;
}

/** As frames carry it: a certain token has 0, an impossible one a number that is finite. */
const told = ({ token, logprob }: TokenLogprob): TokenLogprob => ({
  token,
  logprob: logprob >= 0 ? 0 : Math.max(logprob, -(2 ** 53)),
});

/** Tokens as they are called out, as a row that ends, fails or is abandoned with its reader. */
async function* tokenRow(
  stopIds: readonly number[],
  signal: AbortSignal,
  measure: Generation['measure'],
  start: (onToken: NonNullable<ServeOptions['onToken']>, stopping: AbortSignal) => Promise<unknown>,
): AsyncGenerator<number, void, undefined> {
  const queue: number[] = [];
  let wake = (): void => {};
  let ended: { readonly error?: unknown } | undefined;
  const stopping = new AbortController();
  const onToken = (
    token: number,
    logprob: number | undefined,
    top: readonly TokenLogprob[],
  ): void => {
    if (!stopIds.includes(token)) {
      measure?.hear({ ...told({ token, logprob: logprob ?? 0 }), top: top.map(told) });
      queue.push(token);
    }
    wake();
  };
  const end = (outcome: { readonly error?: unknown }): void => {
    ended = outcome;
    wake();
  };
  start(onToken, AbortSignal.any([signal, stopping.signal])).then(
    () => end({}),
    (error: unknown) => end({ error: refusalOf(error) }),
  );
  try {
    for (;;) {
      signal.throwIfAborted();
      const token = queue.shift();
      if (token !== undefined) yield token;
      else if (ended?.error !== undefined) throw ended.error;
      else if (ended !== undefined) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    stopping.abort();
  }
}
