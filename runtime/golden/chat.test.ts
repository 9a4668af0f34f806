// Texts and conversations as ids, against the tokenizers library and the chat templates of
// transformers (make_chat.py), for the three shapes of tokenizer that the Llama family has.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { plainPrompt } from '../model/chat.ts';
import { type ChatMessage, makeTokenizer } from '../model/tokenizer.ts';

type Golden = {
  readonly tokenizer: object;
  readonly config: object;
  readonly texts: readonly { text: string; ids: number[]; decoded: string }[];
  /** No ids where the template refuses the conversation. */
  readonly chats: readonly { messages: ChatMessage[]; open: boolean; ids: number[] | null }[];
};

const specialTexts = ({ tokenizer }: Golden): string[] =>
  (tokenizer as { added_tokens: { content: string }[] }).added_tokens.map(({ content }) => content);

const HERE = join(dirname(fileURLToPath(import.meta.url)), 'chat');

for (const name of ['qwen', 'llama3', 'llama2']) {
  const golden = JSON.parse(readFileSync(join(HERE, `${name}.json`), 'utf8')) as Golden;
  const tokenizer = makeTokenizer(golden.tokenizer, golden.config, 400);

  test(`${name}: ids of texts, and their bytes back`, () => {
    for (const { text, ids, decoded } of golden.texts) {
      assert.deepEqual(Array.from(tokenizer.encode(text)), ids, text);
      assert.equal(tokenizer.decode(ids), decoded);
      assert.equal(decoded, text);
    }
  });

  test(`${name}: a conversation as the text of a prompt has the same ids behind the opening mark`, () => {
    const opening = Int32Array.of(tokenizer.startOfText);
    for (const { messages, open, ids } of golden.chats) {
      if (ids === null || !open) continue;
      const prompt = tokenizer.renderChat(messages);
      const read = [...opening, ...tokenizer.encodePrompt(prompt)];
      assert.deepEqual(read.slice(ids[0] === opening[0] ? 0 : 1), ids);
    }
  });

  test(`${name}: any text is a prompt that says it, and no content speaks as the template`, () => {
    const tokens = golden.chats.length === 0 ? [] : ['\ufdd0', ...specialTexts(golden)];
    const piece = fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom(...tokens, 'a'));
    const text = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(text, (said) => {
        assert.deepEqual(tokenizer.encodePrompt(plainPrompt(said)), tokenizer.encode(said));
        const messages = [{ role: 'user' as const, content: `x${said}x` }];
        const rendered = tokenizer.encodePrompt(tokenizer.renderChat(messages));
        const ids = tokenizer.encodeChat(messages);
        assert.deepEqual(rendered, ids[0] === tokenizer.startOfText ? ids.slice(1) : ids);
        // However it begins, a marked token is that token, and half a mark is text.
        assert.ok(tokenizer.encodePrompt(said) instanceof Int32Array);
      }),
      { numRuns: 150, seed: 21 },
    );
  });

  test(`${name}: ids of conversations under the template`, () => {
    for (const { messages, open, ids } of golden.chats) {
      if (ids !== null) assert.deepEqual(Array.from(tokenizer.encodeChat(messages, open)), ids);
      else assert.throws(() => tokenizer.encodeChat(messages, open), /CHAT_TEMPLATE_REFUSED/);
    }
  });
}

test('the mark that opens a text is the model’s own where it has one', () => {
  const startOf = (name: string) => {
    const golden = JSON.parse(readFileSync(join(HERE, `${name}.json`), 'utf8')) as Golden;
    const tokenizer = makeTokenizer(golden.tokenizer, golden.config, 400);
    return tokenizer.startOfText === tokenizer.endOfText
      ? 'the end'
      : tokenizer.startOfText ===
          tokenizer.specialId(name === 'llama2' ? '<s>' : '<|begin_of_text|>');
  };
  assert.deepEqual(['qwen', 'llama3', 'llama2'].map(startOf), ['the end', true, true]);
});
