/**
 * One question from start to paid: providers are asked one after the other until one has given the
 * rest of the answer and a receipt for the whole of it that holds. What an earlier provider has
 * already said is handed to the next as tokens, so the client sees one text; only the provider
 * whose receipt covers the complete answer is paid.
 */
import { type Bytes32, fromHex, parseBytes32, taggedHash, toHex, uint256 } from '#crypto';
import { type InferTokens, type MeasuredToken, priceOf } from '#protocol';
import type { Ask, FinishReason } from '../provider/exchange.ts';
import type { LogPort } from '../provider/ports.ts';
import { AskFailure, type AskProvider } from './asking.ts';
import { ApiError } from './errors.ts';
import type { Ledger } from './ledger.ts';
import { checkLogprobs } from './logprobs.ts';
import type { Metrics } from './metrics.ts';
import type { Models } from './models.ts';
import type { SwarmPart } from './replies.ts';
import type { AskedSampling, Question } from './requests.ts';
import { type Faults, type Offer, rank } from './routing.ts';
import type { Wording } from './wording.ts';

export type AnswerPart =
  | {
      readonly type: 'text';
      readonly text: string;
      readonly logprobs: readonly MeasuredToken[];
    }
  | {
      readonly type: 'end';
      readonly finish: FinishReason;
      /** Of tokens that were held back to the end. */
      readonly logprobs: readonly MeasuredToken[];
      readonly promptTokens: number;
      readonly outputTokens: number;
      readonly swarm: SwarmPart;
    };

/** A receipt that holds for this client, and what it says. */
export type CheckedReceipt = {
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly computeWei: bigint;
  readonly feeWei: bigint;
  /** Whether the scores were recomputed too, or only what the client pays for. */
  readonly verified: boolean;
};

export type AnswerParts = {
  readonly offers: () => readonly Offer[];
  /** The adapter of a model name (null: the base alone); undefined when there is no such model. */
  readonly resolve: Models['resolve'];
  readonly wording: Wording;
  readonly ask: AskProvider;
  /** @throws AskFailure of kind `lied` with the code of what does not hold. */
  readonly check: (
    offer: Offer,
    ask: Ask,
    output: string,
    receiptFile: Uint8Array,
    verify: Question['route']['verify'],
  ) => Promise<CheckedReceipt>;
  readonly ledger: Ledger;
  /** Keeps the receipt; resolves once it is on disk. */
  readonly keep: (receiptFile: Uint8Array) => Promise<void>;
  /** Hands over the newest voucher of a provider, now or later; never throws. */
  readonly settle: (offer: Offer) => void;
  readonly faults: Faults;
  readonly metrics: Metrics;
  readonly nowMs: () => number;
  readonly log: LogPort;
};

export type AnswerOptions = {
  readonly outputTokensDefault: number;
  readonly attemptsMax: number;
  readonly priceMaxWei: bigint | null;
  readonly staleMs: number;
};

/** Fault weights: a dead provider is asked last for a while, a liar for much longer. */
const FAULT = { busy: 0, dead: 4, lied: 64, asker: 0 } as const;

/** The id of one attempt at a question; ids of a question's attempts are known from its own. */
export const attemptId = (questionId: string, attempt: number): Bytes32 =>
  toHex(taggedHash('openledger/attempt/1', fromHex(parseBytes32(questionId)), uint256(attempt)));

/** What has been said so far, whoever said it. */
type Said = { readonly tokens: number[]; text: string; firstAtMs: number | null };

/**
 * Answers a question; the last part is the end.
 * @throws ApiError when the question cannot be asked, or no provider could finish the answer.
 */
export async function* answer(
  parts: AnswerParts,
  options: AnswerOptions,
  question: Question,
  questionId: string,
  signal: AbortSignal,
): AsyncGenerator<AnswerPart, void, undefined> {
  const startedMs = parts.nowMs();
  const wanted = await prepare(parts, options, question, questionId);
  const { provider } = question.route;
  const offers = candidates(parts, options, wanted)
    .filter((offer) => provider === null || offer.provider === provider)
    .slice(0, options.attemptsMax);
  if (offers.length === 0)
    throw new ApiError('no_provider', 'no provider offers this model now; try again shortly');
  const said: Said = { tokens: [], text: '', firstAtMs: null };
  const failures: AskFailure[] = [];
  for (const [attempt, offer] of offers.entries()) {
    const requestId = attemptId(questionId, attempt);
    const ask: Ask = { ...wanted.ask, requestId, saidTokens: [...said.tokens] };
    try {
      const end = yield* attemptOne(
        parts,
        { ...wanted, said, startedMs, questionId, verify: question.route.verify },
        offer,
        ask,
        signal,
      );
      const swarm = swarmPart(parts, {
        offer,
        ask,
        said,
        startedMs,
        attempt,
        checked: end.checked,
        isRegistered: wanted.isRegistered,
      });
      const { promptTokens, outputTokens, computeWei, feeWei } = end.checked;
      parts.metrics.tokens(promptTokens, outputTokens);
      parts.metrics.paid(computeWei + feeWei);
      const { finish, logprobs } = end;
      yield { type: 'end', finish, logprobs, promptTokens, outputTokens, swarm };
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof AskFailure)) throw error;
      failures.push(error);
      parts.faults.add(offer.provider, FAULT[error.kind]);
      if (error.kind === 'lied') parts.metrics.receiptRefused(error.code);
      else parts.metrics.attemptFailed(error.code);
      const { code, kind, message } = error;
      parts.log.warn('attempt failed', {
        requestId,
        provider: offer.provider,
        code,
        kind,
        message,
      });
      if (code === 'DEPOSIT_TOO_LOW') widen(parts, offer);
      if (kind === 'asker') throw new ApiError('invalid_request', message, null, error);
    }
  }
  throw lastWord(failures);
}

/** For the next question: the transaction takes longer than asking another provider now. */
function widen({ ledger, log }: AnswerParts, { provider }: Offer): void {
  ledger
    .widen(provider)
    .catch((error: unknown) => log.warn('deposit not widened', { provider, error }));
}

type Wanted = {
  readonly ask: Omit<Ask, 'requestId' | 'saidTokens'>;
  readonly promptTokens: number;
  readonly isRegistered: boolean;
};

async function prepare(
  parts: AnswerParts,
  options: AnswerOptions,
  question: Question,
  questionId: string,
): Promise<Wanted> {
  const target = await parts.resolve(question.model);
  if (target === undefined)
    throw new ApiError(
      'model_not_found',
      `the model '${question.model}' does not exist; GET /v1/models lists all`,
      'model',
    );
  const { contextTokens, countPrompt } = parts.wording;
  const promptTokens = countPrompt(question.prompt);
  const room = contextTokens - promptTokens;
  if (room < 1 || (question.maxTokens ?? 1) > room)
    throw new ApiError(
      'context_length_exceeded',
      `the context holds ${contextTokens} tokens; the prompt has ${promptTokens}` +
        (question.maxTokens === null ? '' : ` and ${question.maxTokens} were asked for`),
      room < 1 ? 'prompt' : 'max_tokens',
    );
  const ask = {
    adapterId: target.adapterId,
    prompt: question.prompt,
    outputTokensMax: Math.min(question.maxTokens ?? options.outputTokensDefault, room),
    ...settingsOf(question.sampling, parts.wording.sampling),
    logprobs: question.logprobs,
    // Fixed here, so that another provider makes the same choices when it has to go on.
    seed: question.seed ?? Number.parseInt(questionId.slice(2, 10), 16),
    stops: [...question.stop],
  };
  return { ask, promptTokens, isRegistered: target.isRegistered };
}

/** The client's settings, else the model's, else none of any effect; the temperature is 1 then. */
function settingsOf(asked: AskedSampling, usual: Wording['sampling']) {
  return {
    temperature: asked.temperature ?? usual.temperature ?? 1,
    topP: asked.topP ?? usual.topP ?? 1,
    topK: asked.topK ?? usual.topK ?? 0,
    minP: asked.minP ?? usual.minP ?? 0,
    repetitionPenalty: asked.repetitionPenalty ?? usual.repetitionPenalty ?? 1,
  };
}

function candidates(
  parts: AnswerParts,
  options: AnswerOptions,
  { ask, promptTokens }: Wanted,
): readonly Offer[] {
  const adapterWord = fromHex(ask.adapterId ?? `0x${'00'.repeat(32)}`);
  return rank(
    parts.offers(),
    {
      adapterId: ask.adapterId,
      promptTokens,
      outputTokens: ask.outputTokensMax,
      priceMaxWei: options.priceMaxWei,
      nowMs: parts.nowMs(),
      staleMs: options.staleMs,
      tie: (provider) =>
        BigInt(toHex(taggedHash('openledger/route/1', adapterWord, uint256(BigInt(provider))))),
    },
    { faults: parts.faults.of, underWay: parts.ledger.underWay },
  );
}

type Ended = {
  readonly finish: FinishReason;
  readonly logprobs: readonly MeasuredToken[];
  readonly checked: CheckedReceipt;
};

/** One provider's part. Returns when its receipt is checked, booked and kept. */
async function* attemptOne(
  parts: AnswerParts,
  asked: Wanted & {
    readonly said: Said;
    readonly startedMs: number;
    readonly questionId: string;
    readonly verify: Question['route']['verify'];
  },
  offer: Offer,
  ask: Ask,
  signal: AbortSignal,
): AsyncGenerator<AnswerPart, Ended, undefined> {
  const { ledger } = parts;
  const { promptTokens, said, startedMs, questionId } = asked;
  const most = priceOf(offer.price, promptTokens, ask.outputTokensMax);
  const mostWei = most.computeWei + most.feeWei;
  const release = await ledger.reserve(offer.provider, mostWei).catch((error: unknown) => {
    throw new AskFailure('busy', 'DEPOSIT_FAILED', 'the deposit could not be topped up', error);
  });
  try {
    let text = parts.wording.textOf(ask.saidTokens);
    for await (const heard of parts.ask(offer, ask, signal)) {
      if (heard.type === 'tokens') checkTokens(parts, said, ask, heard);
      else checkHeldBack(ask, heard.logprobs);
      text += heard.text;
      const fresh = freshText(said.text, text);
      // Those of a tail are told with the end: what it says may yet be refused.
      const logprobs = heard.type === 'tokens' ? heard.logprobs : [];
      if (fresh !== '' || logprobs.length > 0) {
        if (said.firstAtMs === null) {
          said.firstAtMs = parts.nowMs();
          parts.metrics.firstToken((said.firstAtMs - startedMs) / 1000);
        }
        said.text = text;
        yield { type: 'text', text: fresh, logprobs };
      }
      if (heard.type === 'tokens') continue;
      if (text !== said.text)
        throw new AskFailure('lied', 'TEXT_DIFFERS', 'the answer ends before what was shown of it');
      const checked = await parts.check(offer, ask, said.text, heard.receiptFile, asked.verify);
      await parts.keep(heard.receiptFile);
      const { requestId } = ask;
      const { computeWei, feeWei } = checked;
      await ledger.pay({ questionId, requestId, provider: offer.provider, computeWei, feeWei });
      parts.settle(offer);
      return { finish: heard.finish, logprobs: heard.logprobs, checked };
    }
    throw new AskFailure('dead', 'STREAM_CUT', 'the stream ended before the receipt came');
  } finally {
    release();
  }
}

/**
 * What of an attempt's text the client has not seen. More than the tokens' text can have been shown:
 * the end of an answer whose receipt then did not hold.
 */
function freshText(shown: string, text: string): string {
  if (text.startsWith(shown)) return text.slice(shown.length);
  if (shown.startsWith(text)) return '';
  throw new AskFailure('lied', 'TEXT_DIFFERS', 'the answer goes on otherwise than it began');
}

/** Tokens are what the next provider goes on from, so their text must be what the client is shown. */
function checkTokens(
  parts: AnswerParts,
  said: Said,
  ask: Ask,
  { tokens, text, logprobs }: Pick<InferTokens, 'tokens' | 'text' | 'logprobs'>,
): void {
  if (said.tokens.length + tokens.length > ask.outputTokensMax)
    throw new AskFailure('lied', 'TOO_MANY_TOKENS', `more than ${ask.outputTokensMax} tokens came`);
  if (parts.wording.textOf(tokens) !== text)
    throw new AskFailure('lied', 'TEXT_NOT_OF_TOKENS', 'the text is not that of the tokens');
  checkLogprobs(ask.logprobs, tokens, logprobs);
  said.tokens.push(...tokens);
}

/** What comes with the end belongs to tokens that were held back, and names them itself. */
function checkHeldBack(ask: Ask, logprobs: readonly MeasuredToken[]): void {
  const tokens = logprobs.map(({ token }) => token);
  checkLogprobs(ask.logprobs, tokens, logprobs);
}

function swarmPart(
  parts: AnswerParts,
  done: {
    readonly offer: Offer;
    readonly ask: Ask;
    readonly said: Said;
    readonly startedMs: number;
    readonly attempt: number;
    readonly checked: CheckedReceipt;
    readonly isRegistered: boolean;
  },
): SwarmPart {
  const { offer, ask, said, startedMs, attempt, checked } = done;
  const totalMs = parts.nowMs() - startedMs;
  return {
    node: offer.provider,
    adapter: ask.adapterId,
    registered: done.isRegistered,
    receipt_id: ask.requestId,
    price_wei: `${checked.computeWei + checked.feeWei}`,
    compute_wei: `${checked.computeWei}`,
    fee_wei: `${checked.feeWei}`,
    verified: checked.verified,
    providers_tried: attempt + 1,
    ttft_ms: (said.firstAtMs ?? parts.nowMs()) - startedMs,
    total_ms: totalMs,
    tokens_per_second: Math.round((checked.outputTokens * 1e4) / Math.max(1, totalMs)) / 10,
  };
}

function lastWord(failures: readonly AskFailure[]): ApiError {
  const codes = [...new Set(failures.map(({ code }) => code))].join(', ');
  if (failures.every(({ kind }) => kind === 'busy')) {
    if (failures.every(({ code }) => code === 'DEPOSIT_FAILED'))
      return new ApiError(
        'deposit_exhausted',
        'the deposits with the providers could not be topped up',
      );
    return new ApiError('queue_full', 'every provider is busy; try again shortly');
  }
  if (failures.every(({ kind }) => kind === 'lied'))
    return new ApiError('receipt_refused', `no provider gave an answer that checks out (${codes})`);
  return new ApiError('providers_failed', `no provider could finish the answer (${codes})`);
}
