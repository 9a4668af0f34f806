/**
 * Conversations as ids: the model's own chat template, rendered by @huggingface/jinja, in which no
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

const TEMPLATE_LENGTH_MAX = 65_536;
/** Far above any conversation's rendering: it only ends templates that never would. */
const RENDER_MS_MAX = 2_000;
/** Supplementary private use: stands for the first character of a special token in a content. */
const STAND_INS_FROM = 0xf0000;
const STAND_INS_TO = 0xffffd;

/**
 * The ids of a conversation under a template.
 *
 * @throws ModelError CHAT_TEMPLATE_UNSUPPORTED | CHAT_TEMPLATE_REFUSED
 */
export function makeChatEncoder(
  parts: ChatParts,
): (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => Int32Array {
  const text = templateText(parts.template);
  let template: Template | undefined;
  const specials = [...parts.added].filter(([, { special }]) => special).map(([token]) => token);
  const anySpecial = alternation(specials);
  const anyAdded = alternation([...parts.added.keys()]);
  return (messages, addGenerationPrompt) => {
    template ??= compile(text, parts);
    const stand = standIns(specials, messages);
    const literal = messages.map(({ role, content }) => ({
      role,
      content: protect(content, anySpecial, stand.of),
    }));
    const rendered = render(template, parts, { messages: literal, addGenerationPrompt });
    const ids: number[] = [];
    let at = 0;
    const addText = (piece: string) => {
      if (piece !== '') for (const id of Array.from(parts.encode(stand.undo(piece)))) ids.push(id);
    };
    for (const match of anyAdded === undefined ? [] : rendered.matchAll(anyAdded)) {
      addText(rendered.slice(at, match.index));
      ids.push(parts.added.get(match[0])!.id);
      at = match.index + match[0].length;
    }
    addText(rendered.slice(at));
    return Int32Array.from(ids);
  };
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
