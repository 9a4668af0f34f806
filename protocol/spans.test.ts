import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AbiCoder } from 'ethers';
import { addressOfPrivateKey, toHex } from '#crypto';
import { hashOf, keyOf, sampleAnswer } from './fixture.ts';
import {
  SPAN_CLUSTERS_MAX,
  SPANS_MIN,
  spanLeafBytes,
  spanRoot,
  spansKept,
  spansOf,
  spanWeight,
} from './spans.ts';

test('a weight is the length divided among clusters, exactly up to the most that count', () => {
  for (let clusters = 1; clusters <= SPAN_CLUSTERS_MAX; clusters += 1) {
    assert.equal(spanWeight(13, clusters) * clusters, spanWeight(13, 1));
  }
});

test('one span is kept for twenty tokens, rounded up, and never fewer than the least', () => {
  assert.deepEqual([0, 1, 100, 101, 400, 401].map(spansKept), [SPANS_MIN, SPANS_MIN, 5, 6, 20, 21]);
});

test('spans name who owns their record, in order of the exchange and then of records', () => {
  const { version } = sampleAnswer();
  const spans = spansOf(
    [
      { exchangeOffset: 40, length: 12, places: [{ recordIndex: 2, recordOffset: 1 }] },
      {
        exchangeOffset: 5,
        length: 24,
        places: [
          { recordIndex: 4, recordOffset: 0 },
          { recordIndex: 1, recordOffset: 3 },
        ],
      },
    ],
    version.leaves,
  );
  assert.deepEqual(
    spans.map(({ exchangeOffset, recordIndex, weight }) => [exchangeOffset, recordIndex, weight]),
    [
      [5, 1, spanWeight(24, 2)],
      [5, 4, spanWeight(24, 2)],
      [40, 2, spanWeight(12, 1)],
    ],
  );
  // Record 1 is a copy of record 0: its owner is paid.
  assert.equal(spans[0]?.contributor, version.leaves[0]?.contributor);
  const nowhere = { exchangeOffset: 0, length: 9, places: [{ recordIndex: 99, recordOffset: 0 }] };
  assert.throws(() => spansOf([nowhere], version.leaves), RangeError);
});

test('a leaf is the words of the specification', () => {
  const contributor = addressOfPrivateKey(keyOf('ada'));
  const leaf = {
    exchangeOffset: 1,
    length: 2,
    recordIndex: 3,
    recordOffset: 4,
    contributor,
    weight: 5,
    amountWei: 6n,
  };
  const encoded = AbiCoder.defaultAbiCoder().encode(
    ['bytes32', 'uint256', 'uint256', 'uint256', 'uint256', 'address', 'uint256', 'uint256'],
    [hashOf('q'), 1, 2, 3, 4, contributor, 5, 6],
  );
  assert.equal(toHex(spanLeafBytes(hashOf('q'), leaf)), encoded);
  assert.equal(spanRoot(hashOf('q'), []), `0x${'00'.repeat(32)}`);
});
