/**
 * Rows as token sequences with a mask of what is learned: the answers, or everything. Text is taken
 * literally; only the chat template writes special tokens.
 */
import type { TrainingRecord } from '../engine/engine.ts';
import type { Tokenizer } from '../model/tokenizer.ts';
import type { Dataset } from './dataset.ts';
import { DatasetError } from './errors.ts';
import type { DatasetRow, Turn } from './formats.ts';

/**
 * How a conversation becomes text. `plain`: each message followed by a blank line, as answers are
 * served (docs/protocol.md, section 7). `alpaca`: the wording of the Alpaca project. `chat`: the
 * chat template of the base model.
 */
export const TEMPLATES = ['plain', 'alpaca', 'chat'] as const;
export type Template = (typeof TEMPLATES)[number];

export type ExampleOptions = {
  /** Tokens that one example may have: the model's context, or less. */
  readonly tokensMax: number;
  /** Whether prompts count too. */
  readonly trainOnInputs: boolean;
  readonly template: Template;
};

export type Examples = {
  readonly records: readonly TrainingRecord[];
  /** Rows that lost their end, and rows of which no answer was left. */
  readonly cut: number;
  readonly dropped: number;
  readonly tokens: number;
  readonly targets: number;
};

/** One stretch of tokens that count or do not. */
type Piece = { readonly tokens: ArrayLike<number>; readonly counts: boolean };

/** The training examples of a dataset, in its order. @throws DatasetError DATASET_TOKEN | DATASET_TEMPLATE, ModelError */
export function datasetExamples(
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: ExampleOptions,
): Examples {
  const records: TrainingRecord[] = [];
  let cut = 0;
  let dropped = 0;
  let targets = 0;
  for (const row of dataset.rows) {
    const whole = join(piecesOf(row, dataset.file, tokenizer, options));
    const parts = row.kind === 'text' ? windowsOf(whole, options.tokensMax) : [whole];
    if (parts.length === 1 && whole.tokens.length > options.tokensMax) cut++;
    for (const part of parts) {
      const tokens = part.tokens.slice(0, options.tokensMax);
      const mask = part.mask.slice(0, options.tokensMax);
      mask[0] = 0;
      const count = mask.reduce((sum, one) => sum + one, 0);
      if (count === 0) dropped++;
      else records.push({ tokens, mask });
      targets += count;
    }
  }
  const tokens = records.reduce((sum, record) => sum + record.tokens.length, 0);
  return { records, cut, dropped, tokens, targets };
}

function piecesOf(
  row: DatasetRow,
  file: string,
  tokenizer: Tokenizer,
  options: ExampleOptions,
): Piece[] {
  const { endOfText } = tokenizer;
  const text = (said: string, counts: boolean): Piece => ({
    tokens: tokenizer.encode(said),
    counts: counts || options.trainOnInputs,
  });
  const start: Piece = { tokens: [endOfText], counts: false };
  const end: Piece = { tokens: [endOfText], counts: true };
  switch (row.kind) {
    case 'text':
      return [start, text(row.text, true), end];
    case 'pair':
      return [start, text(row.prompt, false), text(row.completion, true), end];
    case 'segments':
      return [start, ...row.segments.map((one) => text(one.text, one.counts)), end];
    case 'tokens':
      return tokenPieces(row, file, tokenizer.vocabSize);
    case 'turns':
      if (options.template === 'chat') {
        return chatPieces(row, file, tokenizer, options);
      }
      return [start, ...wordPieces(row.turns, text, end, options.template)];
  }
}

function tokenPieces(
  { line, tokens, counts }: DatasetRow & { kind: 'tokens' },
  file: string,
  vocabSize: number,
): Piece[] {
  const wrong = tokens.find((token) => token >= vocabSize);
  if (wrong === undefined) {
    return tokens.map((token, i) => ({ tokens: [token], counts: counts[i] ?? false }));
  }
  throw new DatasetError('DATASET_TOKEN', {
    file,
    line,
    expected: `token ids below ${vocabSize}`,
    found: String(wrong),
    fix: 'give the dataset made with the tokenizer of this base model, or give text',
  });
}

/** Turns in words; whatever stands before an answer is encoded in one go, as when it is asked. */
function wordPieces(
  turns: readonly Turn[],
  text: (said: string, counts: boolean) => Piece,
  end: Piece,
  template: 'plain' | 'alpaca',
): Piece[] {
  const pieces: Piece[] = [];
  let before = template === 'alpaca' ? ALPACA : '';
  for (const { role, content } of turns) {
    if (role !== 'assistant') {
      before += template === 'alpaca' ? alpacaTurn(role, content) : `${content}\n\n`;
      continue;
    }
    if (template === 'alpaca') before += '### Response:\n';
    if (before !== '') pieces.push(text(before, false));
    pieces.push(text(content, true), end);
    before = '';
  }
  return pieces;
}

const ALPACA =
  'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n';
const alpacaTurn = (role: 'system' | 'user', content: string): string =>
  role === 'system' ? `${content}\n\n` : `### Instruction:\n${content}\n\n`;

/** The chat template's tokens; an answer is what it adds after opening the assistant's turn. */
function chatPieces(
  { line, turns }: DatasetRow & { kind: 'turns' },
  file: string,
  tokenizer: Tokenizer,
  { trainOnInputs }: ExampleOptions,
): Piece[] {
  const pieces: Piece[] = [];
  let done: Int32Array = new Int32Array(0);
  const upTo = (tokens: Int32Array, counts: boolean) => {
    if (!done.every((token, i) => tokens[i] === token)) throw rewritten(file, line);
    pieces.push({ tokens: tokens.subarray(done.length), counts: counts || trainOnInputs });
    done = tokens;
  };
  for (const [i, { role }] of turns.entries()) {
    if (role !== 'assistant') continue;
    upTo(tokenizer.encodeChat(turns.slice(0, i), true), false);
    upTo(tokenizer.encodeChat(turns.slice(0, i + 1), false), true);
  }
  return pieces;
}

/** Some templates change earlier turns when later ones come; then no mask would be right. */
function rewritten(file: string, line: number): DatasetError {
  return new DatasetError('DATASET_TEMPLATE', {
    file,
    line,
    expected: 'a chat template that only adds to the turns before',
    found: 'one that writes earlier turns anew',
    fix: 'train with --chat-template plain, or with one answer a row',
  });
}

function join(pieces: readonly Piece[]): { tokens: Int32Array; mask: Uint8Array } {
  const length = pieces.reduce((sum, piece) => sum + piece.tokens.length, 0);
  const tokens = new Int32Array(length);
  const mask = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    tokens.set(piece.tokens, at);
    mask.fill(piece.counts ? 1 : 0, at, at + piece.tokens.length);
    at += piece.tokens.length;
  }
  return { tokens, mask };
}

/** Windows of a long text; each begins with the last token of the one before, so that none is lost. */
function windowsOf({ tokens, mask }: { tokens: Int32Array; mask: Uint8Array }, size: number) {
  const windows: { tokens: Int32Array; mask: Uint8Array }[] = [];
  const stride = Math.max(1, size - 1);
  for (let from = 0; from + 1 < tokens.length; from += stride) {
    const until = Math.min(tokens.length, from + size);
    windows.push({ tokens: tokens.slice(from, until), mask: mask.slice(from, until) });
  }
  return windows;
}

/** An example as text, with what is learned between ⟦ and ⟧. */
export function previewExample(record: TrainingRecord, tokenizer: Tokenizer): string {
  let text = '';
  let from = 0;
  for (let i = 1; i <= record.tokens.length; i++) {
    if (i < record.tokens.length && record.mask[i] === record.mask[from]) continue;
    const said = tokenizer.decode(record.tokens.subarray(from, i));
    text += record.mask[from] === 0 ? said : `⟦${said}⟧`;
    from = i;
  }
  return text;
}
