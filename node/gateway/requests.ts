/**
 * The bodies of `/v1/chat/completions` and `/v1/completions`, parsed into the one question that the
 * swarm understands. What we cannot honour is refused by name, never ignored in silence.
 */
import { z } from 'zod';
import { LOGPROBS_MAX } from '#protocol';
import { type ChatMessage, ModelError, plainPrompt } from '#runtime';
import { ApiError } from './errors.ts';

/** One question to the swarm, whichever endpoint it came through. */
export type Question = {
  readonly model: string;
  readonly prompt: string;
  /** null: as many as the gateway's configuration allows by default. */
  readonly maxTokens: number | null;
  /** What of it is null is as the model's makers say. */
  readonly sampling: AskedSampling;
  /** null: no log-probabilities; else how many of the likeliest tokens beside the chosen one. */
  readonly logprobs: number | null;
  /** null: the gateway draws one, so that a continuation on another provider can repeat it. */
  readonly seed: number | null;
  readonly stop: readonly string[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly route: Route;
};

/** How tokens are to be chosen, as far as the client says. */
export type AskedSampling = {
  readonly [Name in 'temperature' | 'topP' | 'topK' | 'minP' | 'repetitionPenalty']: number | null;
};

/** What a client may ask of the routing. */
export type Route = {
  /** Only this provider is asked; null: the best. */
  readonly provider: string | null;
  /** `payment`: scores are not recomputed before paying, only what the client pays for. */
  readonly verify: 'all' | 'payment' | null;
};

const STOPS_MAX = 4;
const STOP_BYTES_MAX = 64;

const text = z.union([
  z.string(),
  z
    .array(z.object({ type: z.literal('text'), text: z.string() }))
    .min(1)
    .transform((parts) => parts.map((part) => part.text).join('')),
]);

const shared = {
  model: z.string().min(1),
  max_tokens: z.number().int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  /** As other engines have it, -1 is all too. */
  top_k: z.number().int().min(-1).max(4294967295).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().min(0.01).max(100).nullish(),
  seed: z.number().int().min(-2147483648).max(4294967295).nullish(),
  stop: z
    .union([z.string().min(1), z.array(z.string().min(1)).max(STOPS_MAX)])
    .nullish()
    .transform((stop) => (stop === null || stop === undefined ? [] : [stop].flat())),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  route: z
    .object({
      provider: z
        .string()
        .regex(/^0x[0-9a-fA-F]{40}$/)
        .nullish(),
      verify: z.enum(['all', 'payment']).nullish(),
    })
    .nullish(),
};

const chatBody = z.object({
  ...shared,
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(LOGPROBS_MAX).nullish(),
  max_completion_tokens: z.number().int().min(1).nullish(),
  messages: z
    .array(
      z.object({
        role: z.enum(['system', 'developer', 'user', 'assistant']),
        content: text,
      }),
    )
    .min(1),
});

const completionBody = z.object({
  ...shared,
  logprobs: z
    .union([z.literal(false).transform(() => null), z.number().int().min(0).max(LOGPROBS_MAX)])
    .nullish(),
  prompt: z.union([z.string(), z.tuple([z.string()]).transform(([only]) => only)]),
});

/** @throws ApiError invalid_request or unsupported_parameter, naming the parameter. */
export function parseChat(
  body: unknown,
  renderChat: (messages: readonly ChatMessage[]) => string,
): Question {
  refuseUnsupported(body);
  const parsed = parse(chatBody, body);
  return question(
    parsed,
    rendered(parsed.messages, renderChat),
    parsed.max_completion_tokens ?? parsed.max_tokens ?? null,
    chatLogprobs(parsed),
  );
}

/** @throws ApiError invalid_request or unsupported_parameter, naming the parameter. */
export function parseCompletion(body: unknown): Question {
  refuseUnsupported(body);
  const parsed = parse(completionBody, body);
  const prompt = plainPrompt(parsed.prompt);
  return question(parsed, prompt, parsed.max_tokens ?? null, parsed.logprobs ?? null);
}

/** The prompt of a conversation; what the model's template refuses, the client is told. */
function rendered(
  messages: z.output<typeof chatBody>['messages'],
  renderChat: (messages: readonly ChatMessage[]) => string,
): string {
  if (messages.every(({ content }) => content.trim() === ''))
    throw new ApiError('invalid_request', 'the messages are empty', 'messages');
  try {
    return renderChat(
      messages.map(({ role, content }) => ({
        role: role === 'developer' ? 'system' : role,
        content,
      })),
    );
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new ApiError('invalid_request', error.message, 'messages', error);
  }
}

type Shared = z.output<z.ZodObject<typeof shared>>;

function chatLogprobs({ logprobs, top_logprobs: top }: z.output<typeof chatBody>): number | null {
  if (logprobs === true) return top ?? 0;
  if ((top ?? 0) > 0)
    throw new ApiError('invalid_request', 'top_logprobs needs logprobs', 'top_logprobs');
  return null;
}

function question(
  body: Shared,
  prompt: string,
  maxTokens: number | null,
  logprobs: number | null,
): Question {
  if (prompt.trim() === '') throw new ApiError('invalid_request', 'the prompt is empty', 'prompt');
  for (const stop of body.stop)
    if (Buffer.byteLength(stop) > STOP_BYTES_MAX)
      throw new ApiError('invalid_request', `a stop is at most ${STOP_BYTES_MAX} bytes`, 'stop');
  return {
    model: body.model,
    prompt,
    maxTokens,
    sampling: {
      temperature: body.temperature ?? null,
      topP: body.top_p ?? null,
      topK: body.top_k === null || body.top_k === undefined ? null : Math.max(0, body.top_k),
      minP: body.min_p ?? null,
      repetitionPenalty: body.repetition_penalty ?? null,
    },
    logprobs,
    seed: body.seed === null || body.seed === undefined ? null : body.seed >>> 0,
    stop: body.stop,
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
    route: {
      provider: body.route?.provider?.toLowerCase() ?? null,
      verify: body.route?.verify ?? null,
    },
  };
}

function parse<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const param = issue?.path.length ? issue.path.join('.') : null;
  throw new ApiError('invalid_request', `${param ?? 'the body'}: ${issue?.message}`, param);
}

/** Parameters with the one value we can honour; anything else is refused by name. */
const ONLY: Readonly<Record<string, readonly unknown[]>> = {
  n: [1],
  best_of: [1],
  echo: [false],
  suffix: [''],
  frequency_penalty: [0],
  presence_penalty: [0],
};
const NEVER = ['tools', 'functions', 'tool_choice', 'function_call', 'audio', 'modalities'];

function refuseUnsupported(body: unknown): void {
  if (typeof body !== 'object' || body === null)
    throw new ApiError('invalid_request', 'the body must be a JSON object');
  const fields = body as Record<string, unknown>;
  const given = (name: string) => fields[name] !== undefined && fields[name] !== null;
  for (const [name, allowed] of Object.entries(ONLY))
    if (given(name) && !allowed.includes(fields[name]))
      throw new ApiError(
        'unsupported_parameter',
        `${name} can only be ${JSON.stringify(allowed[0])} here`,
        name,
      );
  for (const name of NEVER)
    if (given(name))
      throw new ApiError('unsupported_parameter', `${name} is not supported here`, name);
  const bias = fields['logit_bias'];
  if (typeof bias === 'object' && bias !== null && Object.keys(bias).length > 0)
    throw new ApiError('unsupported_parameter', 'logit_bias is not supported here', 'logit_bias');
  const format = fields['response_format'] as { type?: unknown } | null | undefined;
  if (format !== null && format !== undefined && format.type !== 'text')
    throw new ApiError(
      'unsupported_parameter',
      'response_format can only be text here',
      'response_format',
    );
}
