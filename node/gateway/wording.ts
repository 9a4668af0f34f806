/** What a gateway needs of the base: its tokenizer and the length of its context, not its weights. */
import type { ReceiptCheck } from '#protocol';
import { type ChatMessage, plainPrompt, type SamplingSettings, type Tokenizer } from '#runtime';
import { textOfBytes } from '../provider/writer.ts';

/** What the base says about texts. */
export type Wording = {
  /** Tokens of prompt and answer together; one place of the context is the opening mark's. */
  readonly contextTokens: number;
  readonly countTokens: (text: string) => number;
  readonly countPrompt: (prompt: string) => number;
  /** A conversation as a prompt. @throws ModelError CHAT_TEMPLATE_REFUSED */
  readonly renderChat: (messages: readonly ChatMessage[]) => string;
  /** How the base's makers want it sampled; what they leave open is missing. */
  readonly sampling: Partial<SamplingSettings>;
  readonly bytesOf: (tokens: readonly number[]) => Uint8Array;
  /** The text of whole pieces, as providers show it. */
  readonly textOf: (tokens: readonly number[]) => string;
};

export const wordingOf = (base: {
  readonly config: { readonly contextLength: number };
  readonly tokenizer: Tokenizer;
  readonly generation?: { readonly sampling: Partial<SamplingSettings> };
}): Wording => ({
  contextTokens: base.config.contextLength - 1,
  countTokens: (text) => base.tokenizer.encode(text).length,
  countPrompt: (prompt) => base.tokenizer.encodePrompt(prompt).length,
  renderChat: (messages) =>
    base.tokenizer.hasChatTemplate
      ? base.tokenizer.renderChat(messages)
      : messages.map(({ content }) => plainPrompt(`${content}\n\n`)).join(''),
  sampling: base.generation?.sampling ?? {},
  bytesOf: (tokens) => base.tokenizer.decodeBytes(tokens),
  textOf: (tokens) => textOfBytes(base.tokenizer.decodeBytes(tokens)),
});

/** How the counts in a receipt are checked. */
export const exchangeTokens =
  ({
    countTokens,
    countPrompt,
  }: Pick<Wording, 'countTokens' | 'countPrompt'>): ReceiptCheck['countTokens'] =>
  (prompt, output) => ({ promptTokens: countPrompt(prompt), outputTokens: countTokens(output) });
