/**
 * The training data of the base model: documents as streams of tokens, one stream per kind of text,
 * from which batches of fixed length are drawn in an order that depends on the seed alone.
 */
import {
  type CorpusDocument,
  type DocumentKind,
  END_OF_TEXT,
  paragraphsOf,
  philoxStream,
  type Tokenizer,
} from '#runtime';

/** A kind of text with its own share of every batch. */
export type StreamName = DocumentKind | 'chat';

/** How many of every 1,000 sequences come from each stream. Documentation is what the model is for. */
export const SHARES: Readonly<Record<StreamName, number>> = {
  documentation: 480,
  comments: 240,
  code: 180,
  chat: 100,
};

const STREAMS = Object.keys(SHARES) as StreamName[];
const CHAT_ANSWER_CHARS_MAX = 700;
const CHAT_PARAGRAPH_CHARS_MIN = 160;

/** Where a run stands in each stream; enough to continue it exactly. */
export type Cursors = Record<StreamName, { epoch: number; at: number }>;

/** The encoded corpus. */
export type TrainingData = {
  /** Tokens in one pass over each stream. */
  readonly tokens: Record<StreamName, number>;
  readonly cursors: Cursors;
  /** Draws the sequences of a step, each of `length` + 1 tokens, and moves the cursors. */
  nextBatch(step: number, sequences: number, length: number): Int32Array[];
};

/**
 * Encodes the documents and makes chat samples from their text.
 *
 * @param start cursors of an earlier run to continue, else from the beginning
 */
export function makeTrainingData(
  documents: readonly CorpusDocument[],
  tokenizer: Tokenizer,
  seed: bigint,
  start?: Cursors,
): TrainingData {
  const end = Int32Array.of(tokenizer.specialId(END_OF_TEXT)!);
  const pieces = Object.fromEntries(STREAMS.map((name) => [name, []])) as unknown as Record<
    StreamName,
    Int32Array[]
  >;
  for (const { kind, text } of documents) {
    pieces[kind].push(concatIds([tokenizer.encode(text), end]));
    if (kind === 'code') continue;
    for (const [question, answer] of chatPairs(text)) {
      const turns = [
        { role: 'user', content: question },
        { role: 'assistant', content: answer },
      ] as const;
      pieces.chat.push(tokenizer.encodeChat(turns, false));
    }
  }
  const cursors = start ?? freshCursors();
  const loaded = new Map<StreamName, { epoch: number; ids: Int32Array }>();
  const streamOf = (name: StreamName): Int32Array => {
    const { epoch } = cursors[name];
    const held = loaded.get(name);
    if (held?.epoch === epoch) return held.ids;
    const ids = concatIds(shuffled(pieces[name], seed, STREAMS.indexOf(name) * 1000 + epoch + 1));
    loaded.set(name, { epoch, ids });
    return ids;
  };
  const take = (name: StreamName, length: number): Int32Array => {
    const cursor = cursors[name];
    if (cursor.at + length + 1 > streamOf(name).length) {
      cursor.epoch++;
      cursor.at = 0;
    }
    const window = streamOf(name).subarray(cursor.at, cursor.at + length + 1);
    cursor.at += length;
    return window;
  };
  return {
    tokens: Object.fromEntries(
      STREAMS.map((name) => [name, pieces[name].reduce((sum, ids) => sum + ids.length, 0)]),
    ) as Record<StreamName, number>,
    cursors,
    nextBatch(step, sequences, length) {
      const dice = philoxStream(seed, 1_000_000 + step);
      return Array.from({ length: sequences }, () => take(drawStream(dice.below(1000)), length));
    },
  };
}

function freshCursors(): Cursors {
  return Object.fromEntries(STREAMS.map((name) => [name, { epoch: 0, at: 0 }])) as Cursors;
}

function drawStream(perMille: number): StreamName {
  let left = perMille;
  for (const name of STREAMS) {
    left -= SHARES[name];
    if (left < 0) return name;
  }
  throw new Error('the shares of the streams must add up to 1000');
}

function shuffled<T>(items: readonly T[], seed: bigint, stream: number): T[] {
  const dice = philoxStream(seed, stream);
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = dice.below(i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/**
 * Questions and answers made from a text itself: a heading asks for what stands below it, and the
 * first half of a paragraph for the second.
 */
export function chatPairs(text: string): [question: string, answer: string][] {
  const pairs: [string, string][] = [];
  const paragraphs = paragraphsOf(text);
  for (const [i, paragraph] of paragraphs.entries()) {
    const heading = /^#{1,4} +(.{4,80})$/.exec(paragraph)?.[1];
    if (heading !== undefined) {
      const answer = answerFrom(paragraphs, i + 1);
      if (answer.length >= 40) pairs.push([heading.trim(), answer]);
    } else if (paragraph.length >= CHAT_PARAGRAPH_CHARS_MIN && /^[A-Z`*]/.test(paragraph)) {
      const cut = paragraph.indexOf(' ', Math.floor(paragraph.length / 2));
      if (cut < 0) continue;
      pairs.push([paragraph.slice(0, cut), paragraph.slice(cut + 1, cut + CHAT_ANSWER_CHARS_MAX)]);
    }
  }
  return pairs;
}

function answerFrom(paragraphs: readonly string[], start: number): string {
  let answer = '';
  for (const paragraph of paragraphs.slice(start)) {
    if (paragraph.startsWith('#') || answer.length + paragraph.length > CHAT_ANSWER_CHARS_MAX)
      break;
    answer += answer === '' ? paragraph : `\n\n${paragraph}`;
  }
  return answer;
}

function concatIds(parts: readonly Int32Array[]): Int32Array {
  const total = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    total.set(part, at);
    at += part.length;
  }
  return total;
}
