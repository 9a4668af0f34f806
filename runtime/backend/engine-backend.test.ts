// The canonical engine in the conformance suite, in each build that this machine has.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nativeStatus } from '../engine/backend.ts';
import { conformance } from './conformance.ts';
import { engineBackend } from './engine-backend.ts';

for (const choice of ['wasm', 'native'] as const) {
  test(`the ${choice} engine passes the conformance suite`, async (t) => {
    const native = nativeStatus();
    if (choice === 'native' && !native.usable) return t.skip(native.reason);
    let found = 0;
    for await (const { name, error, isWithin } of conformance(engineBackend(choice))) {
      assert.ok(isWithin, `${name}: ${error}`);
      found++;
    }
    assert.equal(found, 14);
  });
}
