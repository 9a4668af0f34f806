import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromHex } from '#crypto';
import { hashOf } from './fixture.ts';
import {
  baseAloneAnchor,
  importedAnchor,
  importedHashOf,
  isPlainlyUnregistered,
  isUnregistered,
} from './unregistered.ts';

const BASE = hashOf('base');
const weights = fromHex(hashOf('weights'));

test('an id of imported weights stands for base, rank, alpha and every byte', () => {
  const idOf = (base: typeof BASE, rank: number, alpha: number, bytes: Uint8Array) =>
    importedAnchor(base, importedHashOf({ rank, alpha }, bytes)).adapterId;
  const ids = [
    idOf(BASE, 8, 16, weights),
    idOf(hashOf('other'), 8, 16, weights),
    idOf(BASE, 4, 16, weights),
    idOf(BASE, 8, 16.5, weights),
    idOf(
      BASE,
      8,
      16,
      weights.map((byte, i) => (i === 3 ? byte ^ 1 : byte)),
    ),
  ];
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(idOf(BASE, 8, 16, weights), ids[0]);
});

test('only the id itself makes an adapter unregistered, and then it has no data to name', () => {
  const imported = importedAnchor(BASE, hashOf('weights'));
  for (const anchor of [imported, baseAloneAnchor(BASE)]) {
    assert.ok(isUnregistered(anchor) && isPlainlyUnregistered(anchor));
    for (const change of [
      { datanetId: hashOf('datanet') },
      { version: 1 },
      { sketchRoot: hashOf('sketches') },
      { sketchCount: 1 },
    ])
      assert.ok(!isPlainlyUnregistered({ ...anchor, ...change }));
  }
  assert.ok(!isUnregistered({ ...imported, adapterId: hashOf('registered') }));
  assert.ok(!isUnregistered({ ...imported, baseHash: hashOf('other') }));
});
