import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InflateError, openInflate } from './inflate.ts';
import { addressOf } from './testing.ts';

const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
const spent = { read: () => false, write: () => undefined };

test('INFLATE_NOT_LOCAL: a node that is told to lie does not start outside the local preset', () => {
  const config = { contributor: addressOf('cid') };
  for (const preset of ['testnet', 'mainnet'])
    assert.throws(
      () => openInflate(config, { preset, spent, log }),
      (error: unknown) => error instanceof InflateError && error.code === 'INFLATE_NOT_LOCAL',
    );
  assert.ok(openInflate(config, { preset: 'local', spent, log }));
});
