import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AnchorsError, decodeAnchors, encodeAnchors, type TrustedAnchors } from './anchors.ts';
import { hashOf, sampleAnswer } from './fixture.ts';

const anchors: TrustedAnchors = {
  ...sampleAnswer().anchors,
  epochs: [{ epoch: 1, receiptsRoot: hashOf('root'), receiptCount: 4 }],
};

test('anchors read back from JSON as they were written', () => {
  assert.deepEqual(decodeAnchors(encodeAnchors(anchors)), anchors);
  assert.equal(encodeAnchors(decodeAnchors(encodeAnchors(anchors))), encodeAnchors(anchors));
  const upper = encodeAnchors(anchors).replace(
    /0x[0-9a-f]+/g,
    (hex) => `0x${hex.slice(2).toUpperCase()}`,
  );
  assert.deepEqual(decodeAnchors(upper), anchors);
});

test('ANCHORS_INVALID names the place', () => {
  const places: [string, (map: Record<string, unknown>) => void][] = [
    [
      'anchors.chainId',
      (map) => {
        map['chainId'] = '901';
      },
    ],
    [
      'anchors.referee',
      (map) => {
        map['referee'] = '0x12';
      },
    ],
    [
      'adapters',
      (map) => {
        map['adapters'] = {};
      },
    ],
    [
      'adapters[0].sketchRoot',
      (map) => {
        (map['adapters'] as Record<string, unknown>[])[0]!['sketchRoot'] = 1;
      },
    ],
    [
      'versions[0]',
      (map) => {
        (map['versions'] as unknown[])[0] = null;
      },
    ],
    [
      'epochs[0].receiptCount',
      (map) => {
        (map['epochs'] as Record<string, unknown>[])[0]!['receiptCount'] = -1;
      },
    ],
    [
      'parameters',
      (map) => {
        map['parameters'] = [];
      },
    ],
    [
      'parameters.learnedPpm',
      (map) => {
        (map['parameters'] as Record<string, unknown>)['learnedPpm'] = 0.5;
      },
    ],
  ];
  for (const [place, breakIt] of places) {
    const map = JSON.parse(encodeAnchors(anchors)) as Record<string, unknown>;
    breakIt(map);
    assert.throws(
      () => decodeAnchors(JSON.stringify(map)),
      (error) =>
        error instanceof AnchorsError && error.code === 'ANCHORS_INVALID' && error.at === place,
      place,
    );
  }
  assert.throws(() => decodeAnchors('{'), AnchorsError);
});
