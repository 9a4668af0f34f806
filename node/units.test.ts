/** Amounts are shown and read without losing a wei that matters. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatOpen, parseOpen } from './units.ts';

test('what is shown with up to nine decimals reads back', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 10n ** 15n }), (nanos) => {
      const wei = nanos * 10n ** 9n;
      assert.equal(parseOpen(formatOpen(wei)), wei);
    }),
  );
});

test('dust is shown in wei, and what is no amount is null', () => {
  assert.equal(formatOpen(12n), '12 wei');
  assert.equal(formatOpen(0n), '0');
  for (const text of ['', '-1', '1e5', '1.', '.5', 'x']) assert.equal(parseOpen(text), null);
});
