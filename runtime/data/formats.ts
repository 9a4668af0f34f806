/**
 * The shapes of rows that people train on, told by their columns, and what a row says in each: turns
 * of a conversation, pieces of text that count or not, or tokens.
 */
import { DatasetError, shown } from './errors.ts';
import type { RawRow } from './raw-row.ts';

export type Role = 'system' | 'user' | 'assistant';
export type Turn = { readonly role: Role; readonly content: string };

/** A row in the one form that examples are made from; `line` is where it stands in its file. */
export type DatasetRow = { readonly line: number } & (
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'turns'; readonly turns: readonly Turn[] }
  | { readonly kind: 'pair'; readonly prompt: string; readonly completion: string }
  | {
      readonly kind: 'segments';
      readonly segments: readonly { readonly text: string; readonly counts: boolean }[];
    }
  | {
      readonly kind: 'tokens';
      readonly tokens: readonly number[];
      readonly counts: readonly boolean[];
    }
);

export const FORMATS = [
  'messages',
  'preference',
  'tokens',
  'segments',
  'alpaca',
  'prompt-completion',
  'text',
] as const;
export type Format = (typeof FORMATS)[number];

/** Which column plays which part, as detected or given: `{prompt: 'question', completion: 'answer'}`. */
export type Mapping = Readonly<Record<string, string>>;

/** Parts of each format with the names that their columns go by; a ? may be absent. */
const COLUMNS: Readonly<Record<Format, Readonly<Record<string, readonly string[]>>>> = {
  messages: { messages: ['messages', 'conversations', 'conversation', 'dialogue', 'dialog'] },
  preference: {
    'prompt?': ['prompt', 'question', 'instruction', 'input'],
    chosen: ['chosen'],
    rejected: ['rejected'],
  },
  tokens: { tokens: ['input_ids'], 'labels?': ['labels'], 'attention?': ['attention_mask'] },
  segments: { segments: ['segments'] },
  alpaca: {
    instruction: ['instruction'],
    'input?': ['input', 'context'],
    output: ['output', 'response', 'answer', 'completion'],
  },
  'prompt-completion': {
    prompt: ['prompt', 'question', 'query', 'input'],
    completion: ['completion', 'generation', 'response', 'answer', 'output', 'target'],
  },
  text: { text: ['text', 'content', 'document'] },
};

/** The first format whose parts all have a column; `given` names columns that go by other names. */
export function detectFormat(
  file: string,
  first: RawRow,
  given: Mapping = {},
  format?: Format,
): { readonly format: Format; readonly mapping: Mapping } {
  const names = Object.keys(first.fields);
  for (const one of format === undefined ? FORMATS : [format]) {
    const mapping = mappingOf(COLUMNS[one], names, given);
    if (mapping !== undefined) return { format: one, mapping };
  }
  const wanted = format === undefined ? FORMATS : [format];
  throw new DatasetError('DATASET_COLUMNS', {
    file,
    line: first.line,
    expected: `the columns of one format: ${wanted.map(describeColumns).join(' | ')}`,
    found: names.length === 0 ? 'no columns' : `columns ${names.join(', ')}`,
    fix: 'rename the columns, or say which is which: --columns prompt=question,completion=reply',
  });
}

function mappingOf(
  parts: Readonly<Record<string, readonly string[]>>,
  names: readonly string[],
  given: Mapping,
): Mapping | undefined {
  const mapping: Record<string, string> = {};
  const known = Object.keys(parts).map((part) => part.replace('?', ''));
  if (!Object.keys(given).every((part) => known.includes(part))) return undefined;
  for (const [part, aliases] of Object.entries(parts)) {
    const name = part.replace('?', '');
    const column = given[name] ?? aliases.find((alias) => names.includes(alias));
    const isThere = column !== undefined && names.includes(column);
    if (isThere) mapping[name] = column;
    else if (!part.endsWith('?') || given[name] !== undefined) return undefined;
  }
  return mapping;
}

function describeColumns(format: Format): string {
  const parts = Object.entries(COLUMNS[format]).map(
    ([part, aliases]) => `${aliases[0]}${part.endsWith('?') ? '?' : ''}`,
  );
  return `{${parts.join(', ')}}`;
}

/** What one row says. @throws DatasetError DATASET_FIELD | DATASET_ROLE | DATASET_NO_ANSWER */
export function readRow(file: string, raw: RawRow, format: Format, mapping: Mapping): DatasetRow {
  const cell = new Cells(file, raw, mapping);
  const { line } = raw;
  switch (format) {
    case 'text':
      return { line, kind: 'text', text: cell.text('text') };
    case 'messages':
      return { line, kind: 'turns', turns: cell.conversation('messages') };
    case 'tokens':
      return { line, kind: 'tokens', ...cell.tokens() };
    case 'segments':
      return { line, kind: 'segments', segments: cell.segments() };
    case 'alpaca': {
      const input = cell.optional('input');
      const asked = cell.text('instruction') + (input === '' ? '' : `\n\n${input}`);
      return { line, kind: 'turns', turns: answered(asked, cell.answer('output')) };
    }
    case 'prompt-completion':
      return { line, ...cell.exchange('prompt', 'completion') };
    case 'preference':
      return { line, ...cell.exchange('prompt', 'chosen') };
  }
}

const answered = (asked: string, answer: string): Turn[] => [
  { role: 'user', content: asked },
  { role: 'assistant', content: answer },
];

const ROLES: Readonly<Record<string, Role>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  human: 'user',
  prompter: 'user',
  assistant: 'assistant',
  gpt: 'assistant',
  chatgpt: 'assistant',
  bot: 'assistant',
  model: 'assistant',
};

/** The cells of one row, read strictly. */
class Cells {
  readonly #file: string;
  readonly #raw: RawRow;
  readonly #mapping: Mapping;

  constructor(file: string, raw: RawRow, mapping: Mapping) {
    this.#file = file;
    this.#raw = raw;
    this.#mapping = mapping;
  }

  text(part: string): string {
    const value = this.#value(part);
    if (typeof value === 'string' && value !== '') return value;
    throw this.#problem(part, 'text that is not empty', value);
  }

  /** Text that an answer needs; numbers of a CSV or JSON answer are text too. */
  answer(part: string): string {
    const value = this.#value(part);
    return typeof value === 'number' ? String(value) : this.text(part);
  }

  optional(part: string): string {
    const value = this.#value(part);
    if (value === undefined || value === null) return '';
    if (typeof value === 'string') return value;
    throw this.#problem(part, 'text or nothing', value);
  }

  /** Prompt and answer, as texts or as lists of messages. */
  exchange(asked: string, answer: string) {
    if (typeof this.#value(asked) === 'string') {
      const reply = this.#value(answer);
      if (Array.isArray(reply)) {
        const turns = this.#turns(answer, reply);
        const whole =
          turns[0]?.role === 'assistant'
            ? [{ role: 'user' as const, content: this.text(asked) }, ...turns]
            : turns;
        return { kind: 'turns' as const, turns: this.#withAnswer(answer, whole) };
      }
      const [prompt, completion] = [this.text(asked), this.answer(answer)];
      return { kind: 'pair' as const, prompt, completion };
    }
    const before = this.#value(asked);
    const turns = [
      ...(before === undefined ? [] : this.#turns(asked, before)),
      ...this.#turns(answer, this.#value(answer)),
    ];
    return { kind: 'turns' as const, turns: this.#withAnswer(answer, turns) };
  }

  conversation(part: string): readonly Turn[] {
    return this.#withAnswer(part, this.#turns(part, this.#value(part)));
  }

  #withAnswer(part: string, turns: readonly Turn[]): readonly Turn[] {
    if (turns.some(({ role }) => role === 'assistant')) return turns;
    throw new DatasetError('DATASET_NO_ANSWER', {
      ...this.#place(part),
      expected: 'a conversation with at least one answer of the assistant',
      found: turns.map(({ role }) => role).join(', ') || 'no turns',
      fix: 'add the answer, or leave the row out',
    });
  }

  #turns(part: string, value: unknown): Turn[] {
    const list = typeof value === 'string' ? this.#parsedList(part, value) : value;
    if (!Array.isArray(list)) throw this.#problem(part, 'a list of messages', value);
    return list.map((each: unknown) => this.#turn(part, each));
  }

  /** Lists in CSV cells are JSON. */
  #parsedList(part: string, value: string): unknown {
    try {
      return JSON.parse(value);
    } catch {
      throw this.#problem(part, 'a list of messages, in CSV as JSON', value);
    }
  }

  #turn(part: string, value: unknown): Turn {
    const { role, from, content, value: said } = Object(value) as Record<string, unknown>;
    const name = role ?? from;
    const text = content ?? said;
    const known = typeof name === 'string' ? ROLES[name.toLowerCase()] : undefined;
    if (known === undefined) {
      throw new DatasetError('DATASET_ROLE', {
        ...this.#place(part),
        expected: `a message with a role of ${Object.keys(ROLES).join(', ')}`,
        found: shown(name ?? value),
        fix: 'name the speaker in "role" or "from"; tool calls are not supported',
      });
    }
    if (typeof text !== 'string') throw this.#problem(part, 'messages with text content', text);
    return { role: known, content: text };
  }

  segments() {
    const value = this.#value('segments');
    if (!Array.isArray(value)) throw this.#problem('segments', 'a list of segments', value);
    return value.map((each: unknown) => {
      const { label, text } = Object(each) as { label?: unknown; text?: unknown };
      if (typeof label === 'boolean' && typeof text === 'string') return { text, counts: label };
      throw this.#problem('segments', 'segments {"label": true or false, "text": …}', each);
    });
  }

  tokens(): { tokens: readonly number[]; counts: readonly boolean[] } {
    const tokens = this.#numbers('tokens', 0);
    const labels = this.#value('labels') === undefined ? tokens : this.#numbers('labels', -100);
    const seen = this.#value('attention') === undefined ? tokens : this.#numbers('attention', 0);
    if (labels.length !== tokens.length || seen.length !== tokens.length) {
      const found = `${labels.length} labels, ${seen.length} attention_mask`;
      throw this.#problem('tokens', `labels and attention_mask for ${tokens.length} tokens`, found);
    }
    const hasMask = this.#value('attention') !== undefined;
    const kept = tokens.flatMap((_, i) => (hasMask && seen[i] === 0 ? [] : [i]));
    return {
      tokens: kept.map((i) => tokens[i]!),
      counts: kept.map((i) => (labels[i] ?? -100) >= 0),
    };
  }

  #numbers(part: string, least: number): readonly number[] {
    const value = this.#value(part);
    const isWhole = (each: unknown) => Number.isInteger(each) && (each as number) >= least;
    if (Array.isArray(value) && value.every(isWhole)) return value as number[];
    throw this.#problem(part, `a list of whole numbers from ${least} on`, value);
  }

  #value(part: string): unknown {
    const column = this.#mapping[part];
    return column === undefined ? undefined : this.#raw.fields[column];
  }

  #place(part: string) {
    const column = this.#mapping[part] ?? part;
    return { file: this.#file, line: this.#raw.line, column };
  }

  #problem(part: string, expected: string, found: unknown): DatasetError {
    const fix = 'correct that row or leave it out';
    return new DatasetError('DATASET_FIELD', {
      ...this.#place(part),
      expected,
      found: shown(found),
      fix,
    });
  }
}
