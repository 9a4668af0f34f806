/** Log-probabilities as OpenAI's clients read them, in the shapes of its two endpoints. */
import type { MeasuredToken } from '#protocol';
import { textOfBytes } from '../provider/writer.ts';
import { AskFailure } from './asking.ts';
import type { Endpoint } from './replies.ts';

/** The `logprobs` of the next part of one answer. */
export type WriteLogprobs = (measured: readonly MeasuredToken[]) => Record<string, unknown>;

type BytesOf = (tokens: readonly number[]) => Uint8Array;

/** A writer for one answer: places in its text are counted from part to part. */
export function logprobsFor(endpoint: Endpoint, bytesOf: BytesOf): WriteLogprobs {
  return endpoint === 'chat' ? (measured) => ofChat(measured, bytesOf) : textWriter(bytesOf);
}

function ofChat(measured: readonly MeasuredToken[], bytesOf: BytesOf): Record<string, unknown> {
  const entry = ({ token, logprob }: Pick<MeasuredToken, 'token' | 'logprob'>) => {
    const bytes = bytesOf([token]);
    return { token: textOfBytes(bytes), logprob, bytes: [...bytes] };
  };
  const content = measured.map((one) => ({ ...entry(one), top_logprobs: one.top.map(entry) }));
  return { content, refusal: null };
}

/** `text_offset` counts UTF-16 units; a token that only goes on with a character begins where that does. */
function textWriter(bytesOf: BytesOf): WriteLogprobs {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let offset = 0;
  return (measured) => {
    const textOf = (token: number): string => textOfBytes(bytesOf([token]));
    const offsets = measured.map(({ token }) => {
      const at = offset;
      offset += decoder.decode(bytesOf([token]), { stream: true }).length;
      return at;
    });
    return {
      tokens: measured.map(({ token }) => textOf(token)),
      token_logprobs: measured.map(({ logprob }) => logprob),
      // Of tokens that look alike the likeliest counts.
      top_logprobs: measured.map((one) =>
        Object.fromEntries(
          [...one.top, one]
            .reverse()
            .map(({ token, logprob }) => [textOf(token), logprob] as const),
        ),
      ),
      text_offset: offsets,
    };
  };
}

/**
 * They cannot be recomputed here; that they are of the tokens, and as many as were asked for, can be
 * seen.
 *
 * @param asked likeliest tokens beside each, null for no log-probabilities
 * @throws AskFailure LOGPROBS_WRONG of kind `lied`
 */
export function checkLogprobs(
  asked: number | null,
  tokens: readonly number[],
  measured: readonly MeasuredToken[],
): void {
  const fail = (expected: string) => new AskFailure('lied', 'LOGPROBS_WRONG', expected);
  if (measured.length !== (asked === null ? 0 : tokens.length)) {
    throw fail('expected as many log-probabilities as tokens');
  }
  if (measured.some(({ token }, i) => token !== tokens[i])) {
    throw fail('these are log-probabilities of other tokens');
  }
  if (measured.some(({ top }) => top.length !== asked)) {
    throw fail(`expected ${asked} likeliest tokens`);
  }
}
