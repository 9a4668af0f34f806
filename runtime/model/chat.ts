/**
 * Conversations as ids, and as texts that stand for exactly those ids: the model's own chat template, rendered by @huggingface/jinja, in which no
 * content can forge a special token. What a template does to a content (trim, cut) it does here too.
 */
import { createContext, Script } from 'node:vm';
import { Template } from '@huggingface/jinja';
import { ModelError } from './errors.ts';

/** One turn of a conversation. */
export type ChatMessage = { role: 'system' | 'user' | 'assistant'; content: string };

/** What rendering needs of a tokenizer. */
export type ChatParts = {
  /** The `chat_template` of tokenizer_config.json: a text, or a list of named ones. */
  readonly template: unknown;
  /** The added tokens by their text, and which of them are special. */
  readonly added: ReadonlyMap<string, { readonly id: number; readonly special: boolean }>;
  /** `bos_token` and the like, for the template. */
  readonly named: Readonly<Record<string, string>>;
  readonly file: string;
  encode(text: string): ArrayLike<number>;
};

/** A conversation under a template, in both forms. */
export type ChatEncoder = {
  readonly encode: (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => Int32Array;
  /** The text whose ids, by `encodePrompt`, are the conversation's. */
  readonly render: (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string;
  /** The ids of a rendered conversation, or of a plain text that `plainPrompt` gave. */
  readonly encodePrompt: (prompt: string) => Int32Array;
};

/**
 * Stands before each added token in a rendered conversation, and twice for itself. A noncharacter:
 * valid in UTF-8, meant for use inside a program, in nobody's text.
 */
const MARK = '\ufdd0';

/** A rendered conversation without the token that opens every text. */
export const withoutOpening = (prompt: string, opening: string): string =>
  opening !== '' && prompt.startsWith(MARK + opening) ? prompt.slice(1 + opening.length) : prompt;

/** A text as a prompt that says it literally, whatever it holds. */
export const plainPrompt = (text: string): string => text.replaceAll(MARK, MARK + MARK);

const TEMPLATE_LENGTH_MAX = 65_536;
/** Far above any conversation's rendering: it only ends templates that never would. */
const RENDER_MS_MAX = 2_000;
/** Supplementary private use: stands for the first character of a special token in a content. */
const STAND_INS_FROM = 0xf0000;
const STAND_INS_TO = 0xffffd;

/**
 * Conversations under a template.
 *
 * @throws ModelError CHAT_TEMPLATE_UNSUPPORTED | CHAT_TEMPLATE_REFUSED
 */
export function makeChatEncoder(parts: ChatParts): ChatEncoder {
  const text = templateText(parts.template);
  let template: Template | undefined;
  const specials = [...parts.added].filter(([, { special }]) => special).map(([token]) => token);
  const anySpecial = alternation(specials);
  const anyAdded = alternation([...parts.added.keys()]);
  /** Texts and, between them, the ids of added tokens. */
  const piecesOf = (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => {
    template ??= compile(text, parts);
    const stand = standIns(specials, messages);
    const literal = messages.map(({ role, content }) => ({
      role,
      content: protect(content, anySpecial, stand.of),
    }));
    const rendered = render(template, parts, { messages: literal, addGenerationPrompt });
    const pieces: Piece[] = [];
    let at = 0;
    for (const match of anyAdded === undefined ? [] : rendered.matchAll(anyAdded)) {
      pieces.push({ text: stand.undo(rendered.slice(at, match.index)) }, { added: match[0] });
      at = match.index + match[0].length;
    }
    return [...pieces, { text: stand.undo(rendered.slice(at)) }];
  };
  const idsOf = (pieces: readonly Piece[]): Int32Array =>
    Int32Array.from(
      pieces.flatMap((piece) => {
        if ('added' in piece) return [parts.added.get(piece.added)!.id];
        return piece.text === '' ? [] : Array.from(parts.encode(piece.text));
      }),
    );
  return {
    encode: (messages, open) => idsOf(piecesOf(messages, open)),
    render: (messages, open) =>
      piecesOf(messages, open)
        .map((piece) => ('added' in piece ? MARK + piece.added : plainPrompt(piece.text)))
        .join(''),
    encodePrompt: (prompt) => idsOf(promptPieces(prompt, anyAdded)),
  };
}

type Piece = { readonly text: string } | { readonly added: string };

/** A mark before neither a token nor another mark stands for itself: every text has one reading. */
function promptPieces(prompt: string, anyAdded: RegExp | undefined): Piece[] {
  const pieces: Piece[] = [];
  const token = anyAdded === undefined ? undefined : new RegExp(anyAdded.source, 'uy');
  let text = '';
  let at = 0;
  for (;;) {
    const mark = prompt.indexOf(MARK, at);
    if (mark < 0) return [...pieces, { text: text + prompt.slice(at) }];
    text += prompt.slice(at, mark);
    at = mark + 1;
    if (token !== undefined) token.lastIndex = at;
    const found = token?.exec(prompt)?.[0];
    if (prompt[at] === MARK || found === undefined) {
      text += MARK;
      if (prompt[at] === MARK) at += 1;
    } else {
      pieces.push({ text }, { added: found });
      text = '';
      at += found.length;
    }
  }
}

/** A list of named templates is what models with tools have; the one to talk to is `default`. */
function templateText(template: unknown): unknown {
  if (!Array.isArray(template)) return template;
  const named = template as readonly { name?: unknown; template?: unknown }[];
  return named.find((one) => one?.name === 'default')?.template;
}

function compile(text: unknown, { file, template }: ChatParts): Template {
  const refuse = (expected: string, found: unknown) =>
    new ModelError('CHAT_TEMPLATE_UNSUPPORTED', 'this model has no chat format that we can use', {
      file,
      key: 'chat_template',
      expected,
      found: (JSON.stringify(found) ?? 'nothing').slice(0, 80),
      remedy: 'send plain completions to this model',
    });
  if (typeof text !== 'string') throw refuse('a Jinja template', template);
  if (text.length > TEMPLATE_LENGTH_MAX) {
    throw refuse(`at most ${TEMPLATE_LENGTH_MAX} characters`, text.length);
  }
  try {
    return new Template(text);
  } catch (cause) {
    throw refuse('a Jinja template', cause instanceof Error ? cause.message : cause);
  }
}

function render(
  template: Template,
  { named, file }: ChatParts,
  given: { messages: readonly ChatMessage[]; addGenerationPrompt: boolean },
): string {
  const variables = {
    ...named,
    messages: given.messages,
    add_generation_prompt: given.addGenerationPrompt,
  };
  try {
    // A loop in a stranger's template would otherwise hold this thread for ever.
    const context = createContext({ render: () => template.render(variables) });
    return String(new Script('render()').runInContext(context, { timeout: RENDER_MS_MAX }));
  } catch (cause) {
    throw new ModelError('CHAT_TEMPLATE_REFUSED', 'the template refuses these messages', {
      file,
      key: 'chat_template',
      expected: 'messages in an order and with roles that the template knows',
      found: cause instanceof Error ? cause.message : String(cause),
    });
  }
}

/** One character that occurs in no content for each character that begins a special token. */
function standIns(specials: readonly string[], messages: readonly ChatMessage[]) {
  const taken = new Set(messages.flatMap(({ content }) => [...content]));
  const of = new Map<string, string>();
  const back = new Map<string, string>();
  let code = STAND_INS_FROM;
  for (const first of new Set(specials.map((token) => [...token][0] ?? ''))) {
    while (taken.has(String.fromCodePoint(code)) && code < STAND_INS_TO) code++;
    const stand = String.fromCodePoint(code++);
    of.set(first, stand);
    back.set(stand, first);
  }
  const any = alternation([...back.keys()]);
  const undo = (text: string) =>
    any === undefined ? text : text.replace(any, (stand) => back.get(stand) ?? stand);
  return { of, undo };
}

/** A content in which no special token is left; repeated, because tokens may overlap. */
function protect(
  content: string,
  special: RegExp | undefined,
  standIn: ReadonlyMap<string, string>,
): string {
  let text = content;
  while (special !== undefined && text.search(special) >= 0) {
    text = text.replace(special, (token) => {
      const [first = ''] = token;
      return `${standIn.get(first)}${token.slice(first.length)}`;
    });
  }
  return text;
}

/** Any of the texts, the longest first; undefined when there are none. */
function alternation(texts: readonly string[]): RegExp | undefined {
  const sorted = texts.filter((text) => text !== '').sort((a, b) => b.length - a.length);
  if (sorted.length === 0) return undefined;
  const escaped = sorted.map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&'));
  return new RegExp(escaped.join('|'), 'gu');
}
