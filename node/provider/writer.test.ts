import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Piece, type Tail, textOfBytes, writePieces } from './writer.ts';

/** Every byte is a token: the hardest case for whole characters. */
const bytesOf = (tokens: readonly number[]): Uint8Array => Uint8Array.from(tokens);

async function write(bytes: Uint8Array, stops: readonly string[], tokensMax = bytes.length + 1) {
  const row = (async function* () {
    yield* bytes.subarray(0, tokensMax);
  })();
  const pieces: Piece[] = [];
  const writer = writePieces(row, { tokensMax, stops, bytesOf });
  for (;;) {
    const next = await writer.next();
    if (next.done) return { pieces, tail: next.value };
    pieces.push(next.value);
  }
}
const joined = ({ pieces, tail }: { pieces: Piece[]; tail: Tail }): string =>
  pieces.map(({ text }) => text).join('') + tail.text;

test('pieces are whole characters, and their text is exactly that of their tokens', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary' }), async (text) => {
      const written = await write(Buffer.from(text), []);
      for (const piece of written.pieces)
        assert.equal(textOfBytes(bytesOf(piece.tokens)), piece.text);
      assert.equal(joined(written), Buffer.from(text).toString());
      assert.equal(written.tail.finish, 'stop');
    }),
  );
});

test('bytes that are no text become replacement characters, the same for writer and reader', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 40 }), async (bytes) => {
      const { pieces, tail } = await write(bytes, []);
      for (const piece of pieces) assert.equal(textOfBytes(bytesOf(piece.tokens)), piece.text);
      assert.ok(textOfBytes(bytes).startsWith(pieces.map(({ text }) => text).join('') + tail.text));
    }),
  );
});

/** Read one character after the other, until a stop string is whole. */
function upToStop(text: string, stops: readonly string[]): string {
  for (let end = 1; end <= text.length; end += 1) {
    const whole = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    if (whole.length > 0) return text.slice(0, end - Math.max(...whole.map((stop) => stop.length)));
  }
  return text;
}

test('of two stop strings the one that is whole first ends the text', async () => {
  assert.equal(joined(await write(Buffer.from('b¶a'), ['b¶a', '¶'])), 'b');
  assert.equal(joined(await write(Buffer.from('ab¶'), ['¶', 'b¶'])), 'a');
});

test('a stop string ends the text before it, wherever the tokens cut it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: fc.constantFrom('a', 'b', 'c', '¶') }),
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '¶'), minLength: 1, maxLength: 4 }), {
        maxLength: 3,
      }),
      async (text, stops) => {
        const written = await write(Buffer.from(text), stops);
        assert.equal(joined(written), upToStop(text, stops));
        const sent = written.pieces.map((piece) => piece.text).join('');
        for (const stop of stops) assert.ok(!sent.includes(stop));
      },
    ),
  );
});

test('an answer cut by its length says so and leaves out half a character', async () => {
  const { tail, pieces } = await write(Buffer.from('ab¶'), [], 3);
  assert.deepEqual(
    [pieces.map(({ text }) => text), tail],
    [['a', 'b'], { text: '', finish: 'length', tokens: [0xc2] }],
  );
});
