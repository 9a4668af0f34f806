/**
 * One answer as its provider makes it: the order is judged, a place and the client's deposit are
 * set aside, tokens are written, and whose data they rest on is computed and signed as a receipt.
 */
import { type Address, type Bytes32, SKETCH_SIZE, utf8 } from '#crypto';
import {
  type AdapterAnchor,
  type AnswerParts,
  type BuiltReceipt,
  baseAloneAnchor,
  buildReceipt,
  type MeasuredToken,
  NO_ADAPTER,
  type Price,
  priceOf,
  type ReceiptRules,
  scoreRecords,
  spansOf,
} from '#protocol';
import { type AdapterHandle, matchedSpans, samplingSettings } from '#runtime';
import type { Admission } from './admission.ts';
import type { AdapterBundle, Bundles } from './bundle.ts';
import type { Cashier } from './cashier.ts';
import type { Engine } from './engine.ts';
import type { Heard, Order } from './exchange.ts';
import type { LogPort } from './ports.ts';
import { Refusal } from './refusal.ts';
import { anchorOf, type Seal } from './seal.ts';
import { type Tail, writePieces } from './writer.ts';

export type AnswererParts = {
  readonly provider: Address;
  readonly baseHash: Bytes32;
  readonly price: () => Price;
  readonly rules: () => Promise<ReceiptRules>;
  readonly engine: Engine;
  readonly bundles: Bundles;
  /** An adapter that was imported here; undefined: it is to be found on chain. */
  readonly imported: (adapterId: Bytes32) => Imported | undefined;
  readonly admission: Admission;
  readonly cashier: Cashier;
  /** Signs the receipt and closes it, with its evidence, into a file. */
  readonly seal: Seal;
  /** Changes what is signed; only ever set by the story's cheat. */
  readonly distort:
    | ((answer: AnswerParts, bundle: AdapterBundle | null) => BuiltReceipt | null)
    | null;
  /** Keeps the file and tells the network; resolves once it is on disk. */
  readonly issue: (built: BuiltReceipt, file: Uint8Array) => Promise<void>;
  readonly nowMs: () => number;
  readonly log: LogPort;
};

/** An adapter without a history on chain: it is computed with, and names nobody. */
export type Imported = { readonly handle: AdapterHandle; readonly anchor: AdapterAnchor };

/** What an order is computed with; `bundle` null: nobody's records are known to have a part in it. */
type Model = {
  readonly handle: AdapterHandle | null;
  readonly anchor: AdapterAnchor;
  readonly bundle: AdapterBundle | null;
};

/**
 * Answers an order; the last frame is the end with the receipt.
 * @throws Refusal with a code, before the first frame if the order cannot be taken.
 */
export async function* answerOrder(
  parts: AnswererParts,
  order: Order,
  signal: AbortSignal,
): AsyncGenerator<Heard, void, undefined> {
  if (order.baseHash !== parts.baseHash)
    throw new Refusal('BASE_UNKNOWN', `this provider serves base ${parts.baseHash}`);
  judgePrice(parts.price(), order.price);
  const model = await modelOf(parts, order.adapterId);
  const promptTokens = judgeLength(parts.engine, order);
  const most = priceOf(order.price, promptTokens, order.outputTokensMax);
  const mostWei = most.computeWei + most.feeWei;
  const release = await parts.cashier.admit(order.client, order.requestId, mostWei);
  try {
    const leave = await parts.admission.enter(signal);
    try {
      const { tail, output } = yield* write(parts.engine, order, model.handle, signal);
      const file = await account(parts, order, model, promptTokens, output);
      const { text, finish, logprobs } = tail;
      yield { type: 'end', text, finish, logprobs, receiptFile: file };
    } finally {
      leave();
    }
  } finally {
    release();
  }
}

/** @throws Refusal REQUEST_INVALID naming the setting */
function settingsOf({ seed, temperature, topK, topP, minP, repetitionPenalty }: Order) {
  const given = { temperature, topK, topP, minP, repetitionPenalty, seed: BigInt(seed) };
  try {
    return samplingSettings(given);
  } catch (error) {
    const message = error instanceof Error ? error.message : 'a setting is out of range';
    throw new Refusal('REQUEST_INVALID', message, error);
  }
}

function judgePrice(mine: Price, offered: Price): void {
  const tooLow =
    offered.promptWeiPerToken < mine.promptWeiPerToken ||
    offered.outputWeiPerToken < mine.outputWeiPerToken ||
    offered.feeWeiPerToken !== mine.feeWeiPerToken;
  if (tooLow)
    throw new Refusal(
      'PRICE_TOO_LOW',
      `a prompt token costs ${mine.promptWeiPerToken} wei, an output token ${mine.outputWeiPerToken}, the fee is ${mine.feeWeiPerToken}`,
    );
}

async function modelOf(parts: AnswererParts, adapterId: Bytes32 | null): Promise<Model> {
  if (adapterId === null)
    return { handle: null, anchor: baseAloneAnchor(parts.baseHash), bundle: null };
  const imported = parts.imported(adapterId);
  if (imported !== undefined) return { ...imported, bundle: null };
  const bundle = await loadBundle(parts, adapterId);
  // The engine's swarm tier: asked only when neither memory nor disk has the factors.
  const handle = { id: adapterId, fetch: bundle.adapter };
  return { handle, anchor: anchorOf(bundle), bundle };
}

async function loadBundle(parts: AnswererParts, adapterId: Bytes32): Promise<AdapterBundle> {
  try {
    return await parts.bundles.get(adapterId);
  } catch (error) {
    parts.log.warn('adapter could not be loaded', { adapterId, error });
    throw new Refusal('ADAPTER_UNKNOWN', `adapter ${adapterId} could not be loaded here`, error);
  }
}

/** Returns the tokens of the prompt; one place of the context is the mark that opens the text. */
function judgeLength({ contextTokens, tokenizer }: Engine, order: Order): number {
  const promptTokens = tokenizer.encodePrompt(order.prompt).length;
  const needed = 1 + promptTokens + order.outputTokensMax;
  if (needed > contextTokens || promptTokens === 0)
    throw new Refusal(
      'CONTEXT_TOO_LONG',
      `the context holds ${contextTokens} tokens, ${needed} were asked for; the prompt needs one at least`,
    );
  if (order.saidTokens.length > order.outputTokensMax)
    throw new Refusal('REQUEST_INVALID', 'more tokens were said than the whole answer may have');
  return promptTokens;
}

/** The tail with the log-probabilities of its tokens, and the whole answer, the said part included. */
type Written = {
  readonly tail: Tail & { readonly logprobs: readonly MeasuredToken[] };
  readonly output: string;
};

/** Streams what is still to be said; returns how it ended. */
async function* write(
  engine: Engine,
  order: Order,
  adapter: AdapterHandle | null,
  signal: AbortSignal,
): AsyncGenerator<Heard, Written, undefined> {
  const { tokenizer } = engine;
  const tokensMax = order.outputTokensMax - order.saidTokens.length;
  // Ahead of the pieces by what is held back.
  const measured: MeasuredToken[] = [];
  const row = engine.generate(
    {
      client: order.client,
      adapter,
      tokens: Int32Array.from([
        tokenizer.startOfText,
        ...tokenizer.encodePrompt(order.prompt),
        ...order.saidTokens,
      ]),
      tokensMax,
      sampling: settingsOf(order),
      measure:
        order.logprobs === null
          ? null
          : { top: order.logprobs, hear: (one) => void measured.push(one) },
    },
    signal,
  );
  const pieces = writePieces(row, { tokensMax, stops: order.stops, bytesOf: engine.bytesOf });
  let output = engine.textOf(order.saidTokens);
  for (;;) {
    const next = await pieces.next();
    const logprobs = measured.splice(0, next.value.tokens.length);
    output += next.value.text;
    if (next.done) return { tail: { ...next.value, logprobs }, output };
    yield { type: 'tokens', ...next.value, logprobs };
  }
}

/** Computes whose data the answer rests on, signs the receipt, keeps it and books its price. */
async function account(
  parts: AnswererParts,
  order: Order,
  { anchor, bundle }: Model,
  promptTokens: number,
  output: string,
): Promise<Uint8Array> {
  const { engine } = parts;
  const rules = await parts.rules();
  const querySketch =
    bundle === null
      ? new Int8Array(SKETCH_SIZE)
      : await engine.sketch(bundle, order.prompt, output);
  const prompt = utf8(order.prompt);
  const outputBytes = utf8(output);
  const outputTokens = engine.tokenizer.encode(output).length;
  const tokens = promptTokens + outputTokens;
  const answer: AnswerParts = {
    requestId: order.requestId,
    client: order.client,
    provider: parts.provider,
    adapterId: order.adapterId ?? NO_ADAPTER,
    prompt,
    output: outputBytes,
    promptTokens,
    outputTokens,
    querySketch,
    scores: bundle === null ? [] : scoreRecords(querySketch, bundle.sketches, rules),
    spans:
      bundle === null
        ? []
        : spansOf(
            matchedSpans(bundle.text(), bundle.clusters, { prompt, output: outputBytes, tokens }),
            bundle.version.leaves,
          ),
    price: order.price,
    rules,
    issuedAt: Math.floor(parts.nowMs() / 1000),
  };
  const built = parts.distort?.(answer, bundle) ?? buildReceipt(answer);
  const file = parts.seal(answer, built, rules, anchor, bundle);
  const { computeWei, feeWei } = built.receipt;
  await parts.cashier.charge(order.client, order.requestId, computeWei, feeWei);
  await parts.issue(built, file);
  return file;
}
