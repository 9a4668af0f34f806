import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AskFailure } from './asking.ts';
import { checkLogprobs, logprobsFor } from './logprobs.ts';

/** Tokens are bytes; 0xe2 0x82 0xac is one character. */
const bytesOf = (tokens: readonly number[]) => Uint8Array.from(tokens);
const measured = [0x61, 0xe2, 0x82, 0xac, 0x62].map((token, i) => ({
  token,
  logprob: -i,
  top: [{ token: 0x7a, logprob: -0.25 }],
}));

test('chat: each token with its bytes and the likeliest ones beside it', () => {
  const { content } = logprobsFor('chat', bytesOf)(measured) as { content: object[] };
  assert.deepEqual(content[0], {
    ...{ token: 'a', logprob: -0, bytes: [0x61] },
    top_logprobs: [{ token: 'z', logprob: -0.25, bytes: [0x7a] }],
  });
  assert.deepEqual(content[1], {
    ...{ token: '\ufffd', logprob: -1, bytes: [0xe2] },
    top_logprobs: [{ token: 'z', logprob: -0.25, bytes: [0x7a] }],
  });
  assert.equal(content.length, 5);
});

test('completions: places in the text go on from part to part, across cut characters', () => {
  const write = logprobsFor('text', bytesOf);
  const parts = [measured.slice(0, 2), measured.slice(2)].map(
    (part) => write(part) as { tokens: string[]; text_offset: number[]; top_logprobs: object[] },
  );
  assert.deepEqual(
    parts.flatMap(({ text_offset }) => text_offset),
    [0, 1, 1, 1, 2],
  );
  assert.deepEqual(parts[0]?.tokens, ['a', '\ufffd']);
  assert.deepEqual(parts[1]?.top_logprobs.at(-1), { b: -4, z: -0.25 });
});

test('LOGPROBS_WRONG: of other tokens, too many or too few, or with other company than asked', () => {
  const tokens = measured.map(({ token }) => token);
  checkLogprobs(1, tokens, measured);
  checkLogprobs(null, tokens, []);
  checkLogprobs(3, [], []);
  const alone = measured.map((one) => ({ ...one, top: [] }));
  checkLogprobs(0, tokens, alone);
  const lies = [
    [1, tokens, measured.slice(1)],
    [1, tokens.slice(1), measured],
    [null, tokens, measured],
    [1, [...tokens].reverse(), measured],
    [2, tokens, measured],
    [0, tokens, measured],
    [1, tokens, [...measured.slice(0, -1), alone.at(-1)!]],
  ] as const;
  for (const [asked, of, said] of lies) {
    assert.throws(
      () => checkLogprobs(asked, of, said),
      (error) => {
        assert.ok(error instanceof AskFailure);
        assert.deepEqual([error.kind, error.code], ['lied', 'LOGPROBS_WRONG']);
        return true;
      },
    );
  }
});
