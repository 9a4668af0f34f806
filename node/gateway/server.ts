/**
 * The HTTP face of the swarm: OpenAI's endpoints for clients, `/swarm/v1` for receipts and status,
 * `/health`, `/ready` and `/metrics` for operators. It translates; `answer.ts` does the work.
 */
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import type { Bytes32 } from '#crypto';
import type { MeasuredToken } from '#protocol';
import type { ChatMessage } from '#runtime';
import type { LogPort } from '../provider/ports.ts';
import type { AnswerPart } from './answer.ts';
import { ApiError, asApiError } from './errors.ts';
import { logprobsFor, type WriteLogprobs } from './logprobs.ts';
import type { Metrics } from './metrics.ts';
import type { ModelEntry } from './models.ts';
import { chunk, completion, type Endpoint, type Head, usage, usageChunk } from './replies.ts';
import { parseChat, parseCompletion, type Question } from './requests.ts';
import { openEventStream } from './stream.ts';

/** What the server asks of the rest of the gateway. */
export type ServerParts = {
  readonly answer: (
    question: Question,
    questionId: string,
    signal: AbortSignal,
  ) => AsyncGenerator<AnswerPart, void, undefined>;
  readonly models: () => Promise<readonly ModelEntry[]>;
  readonly receipt: (requestId: Bytes32) => Promise<{
    readonly view: Record<string, unknown>;
    readonly file: Uint8Array;
  } | null>;
  readonly status: () => Promise<Record<string, unknown>>;
  /** Names of the checks that fail; empty when ready. */
  readonly notReady: () => Promise<readonly string[]>;
  readonly metrics: Metrics;
  readonly renderChat: (messages: readonly ChatMessage[]) => string;
  readonly bytesOf: (tokens: readonly number[]) => Uint8Array;
  readonly newQuestionId: () => string;
  readonly nowMs: () => number;
  readonly log: LogPort;
};

export type ServerOptions = {
  readonly bodyBytesMax: number;
  readonly pingMs: number;
  /** What `system_fingerprint` says: the base in use. */
  readonly fingerprint: string;
};

export const SERVER_DEFAULTS = { bodyBytesMax: 256 * 1024, pingMs: 15_000 } as const;

/** Builds the server; the caller calls `listen` and, at the end, `close`. */
export function buildServer(parts: ServerParts, options: ServerOptions): FastifyInstance {
  const server = fastify({
    bodyLimit: options.bodyBytesMax,
    logger: false,
    forceCloseConnections: true,
    genReqId: () => parts.newQuestionId(),
  });
  server.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  server.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    parts.metrics.requestDone(route, reply.statusCode, reply.elapsedTime / 1000);
  });
  server.setNotFoundHandler((request, reply) =>
    refuse(reply, new ApiError('unknown_route', `no ${request.method} ${request.url} here`)),
  );
  server.setErrorHandler((error, request, reply) => {
    const told = asApiError(error);
    if (told.code === 'internal_error')
      parts.log.error('request failed', { requestId: request.id, error });
    return refuse(reply, told);
  });
  addModels(server, parts);
  addAnswers(server, parts, options);
  addSwarm(server, parts);
  addOperations(server, parts);
  return server;
}

const refuse = (reply: FastifyReply, error: ApiError) => {
  if (error.status === 429 || error.status === 503) reply.header('retry-after', '1');
  return reply.code(error.status).send(error.body());
};

function addModels(server: FastifyInstance, parts: ServerParts): void {
  const shape = (model: ModelEntry) => ({
    id: model.id,
    object: 'model',
    created: model.createdSeconds,
    owned_by: model.ownedBy,
    ...(model.adapterId === null
      ? {}
      : { x_swarm: { adapter_id: model.adapterId, registered: model.isRegistered } }),
  });
  server.get('/v1/models', async () => ({
    object: 'list',
    data: (await parts.models()).map(shape),
  }));
  server.get<{ Params: { '*': string } }>('/v1/models/*', async (request) => {
    const id = request.params['*'];
    const model = (await parts.models()).find((entry) => entry.id === id);
    if (model === undefined) throw modelNotFound(id);
    return shape(model);
  });
}

export const modelNotFound = (id: string): ApiError =>
  new ApiError(
    'model_not_found',
    `the model '${id}' does not exist; GET /v1/models lists all`,
    'model',
  );

function addAnswers(server: FastifyInstance, parts: ServerParts, options: ServerOptions): void {
  const routes = [
    {
      path: '/v1/chat/completions',
      endpoint: 'chat',
      prefix: 'chatcmpl-',
      parse: (body: unknown) => parseChat(body, parts.renderChat),
    },
    { path: '/v1/completions', endpoint: 'text', parse: parseCompletion, prefix: 'cmpl-' },
  ] as const;
  for (const route of routes)
    server.post(route.path, async (request, reply) => {
      const question = route.parse(request.body);
      const head: Head = {
        id: `${route.prefix}${request.id.slice(2, 34)}`,
        createdSeconds: Math.floor(parts.nowMs() / 1000),
        model: question.model,
        fingerprint: options.fingerprint,
      };
      const signal = whenClientLeaves(reply);
      const answer = parts.answer(question, request.id, signal);
      if (question.stream) {
        await streamed(parts, options, reply, answer, { head, question, endpoint: route.endpoint });
        return reply;
      }
      const write = question.logprobs === null ? null : logprobsFor(route.endpoint, parts.bytesOf);
      return whole(route.endpoint, head, answer, write);
    });
}

function whenClientLeaves(reply: FastifyReply): AbortSignal {
  const leaving = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableEnded) leaving.abort();
  });
  return leaving.signal;
}

async function whole(
  endpoint: Endpoint,
  head: Head,
  answer: AsyncIterable<AnswerPart>,
  write: WriteLogprobs | null,
) {
  let text = '';
  const measured: MeasuredToken[] = [];
  for await (const part of answer) {
    measured.push(...part.logprobs);
    if (part.type === 'text') text += part.text;
    else
      return completion(
        endpoint,
        head,
        text,
        part.finish,
        write?.(measured) ?? null,
        usage(part.promptTokens, part.outputTokens),
        part.swarm,
      );
  }
  throw new ApiError('internal_error', 'the answer ended without its end');
}

type Streamed = {
  readonly head: Head;
  readonly question: Question;
  readonly endpoint: Endpoint;
};

/**
 * The first part is awaited before the status line goes out, so that early refusals have theirs;
 * after `pingMs` of silence the stream is opened all the same, to keep the connection alive.
 */
async function streamed(
  parts: ServerParts,
  options: ServerOptions,
  reply: FastifyReply,
  answer: AsyncGenerator<AnswerPart, void, undefined>,
  { head, question, endpoint }: Streamed,
): Promise<void> {
  const write = question.logprobs === null ? null : logprobsFor(endpoint, parts.bytesOf);
  const first = answer.next();
  await Promise.race([first, elapsed(options.pingMs)]);
  reply.hijack();
  const stream = openEventStream(reply.raw, {
    pingMs: options.pingMs,
    headers: { 'x-request-id': String(reply.getHeader('x-request-id')) },
  });
  try {
    if (endpoint === 'chat')
      await stream.send(chunk(endpoint, head, { text: '', first: true, finish: null }));
    for (let next = await first; !next.done; next = await answer.next()) {
      const part = next.value;
      const logprobs = part.logprobs.length === 0 ? null : (write?.(part.logprobs) ?? null);
      if (part.type === 'text') {
        const { text } = part;
        await stream.send(chunk(endpoint, head, { text, first: false, finish: null, logprobs }));
        continue;
      }
      const { finish } = part;
      const last = chunk(endpoint, head, { text: '', first: false, finish, logprobs });
      await stream.send({ ...last, x_swarm: part.swarm });
      if (question.includeUsage)
        await stream.send(usageChunk(endpoint, head, usage(part.promptTokens, part.outputTokens)));
    }
    stream.end();
  } catch (error) {
    const told = asApiError(error);
    if (told.code === 'internal_error') parts.log.error('stream failed', { head, error });
    stream.fail(told);
  } finally {
    await answer.return();
  }
}

function elapsed(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

function addSwarm(server: FastifyInstance, parts: ServerParts): void {
  server.get('/swarm/v1/status', async () => parts.status());
  type Params = { Params: { id: string } };
  const find = async (id: string) => {
    const receipt = /^0x[0-9a-f]{64}$/.test(id) ? await parts.receipt(id as Bytes32) : null;
    if (receipt === null) throw new ApiError('receipt_not_found', `no receipt ${id} here`, 'id');
    return receipt;
  };
  server.get<Params>('/swarm/v1/receipts/:id', async (request) => {
    return (await find(request.params.id)).view;
  });
  server.get<Params>('/swarm/v1/receipts/:id/file', async (request, reply) => {
    const { file } = await find(request.params.id);
    return reply.type('application/vnd.ipld.dag-cbor').send(Buffer.from(file));
  });
}

function addOperations(server: FastifyInstance, parts: ServerParts): void {
  server.get('/health', async () => ({ ok: true }));
  server.get('/ready', async (_request, reply) => {
    const failing = await parts.notReady();
    return reply
      .code(failing.length === 0 ? 200 : 503)
      .send({ ready: failing.length === 0, failing });
  });
  const { registry } = parts.metrics;
  server.get('/metrics', async (_request, reply) =>
    reply.type(registry.contentType).send(await registry.metrics()),
  );
}
