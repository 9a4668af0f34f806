/**
 * Records and exchanges as the token sequences whose gradients are taken. Both have one form, and an
 * exchange needs nothing but its bytes, so that whoever holds the receipt can take it again.
 */

/** Tokens with, for each, whether its loss counts (1) or not (0). */
export type Example = { readonly tokens: Int32Array; readonly mask: Uint8Array };

/** What is needed of a tokenizer. */
export type ExampleTokenizer = {
  readonly startOfText: number;
  readonly endOfText: number;
  readonly specialIds: readonly number[];
  encode(text: string): Int32Array;
  encodePrompt(prompt: string): Int32Array;
};

/**
 * A record: its tokens between the marks of start and end, cut at `tokensMax`. Everything after the first
 * token counts.
 */
export function recordExample(
  tokenizer: ExampleTokenizer,
  text: string,
  tokensMax: number,
): Example {
  const { startOfText, endOfText } = tokenizer;
  return example([startOfText, ...tokenizer.encode(text), endOfText].slice(0, tokensMax), 1);
}

/**
 * An exchange: prompt and output as one text, without the marks of the chat format. Its last
 * `tokensMax` tokens are kept. Prompt and output count alike: the answer rests on both.
 */
export function exchangeExample(
  tokenizer: ExampleTokenizer,
  prompt: string,
  output: string,
  tokensMax: number,
): Example {
  const { specialIds } = tokenizer;
  const read = tokenizer.encodePrompt(prompt).filter((id) => !specialIds.includes(id));
  const text = [...read, ...tokenizer.encode(output)];
  return example([tokenizer.startOfText, ...text.slice(-(tokensMax - 1))], 1);
}

function example(tokens: number[], counting: number): Example {
  const mask = new Uint8Array(tokens.length).fill(1);
  mask.fill(0, 0, counting);
  return { tokens: Int32Array.from(tokens), mask };
}
