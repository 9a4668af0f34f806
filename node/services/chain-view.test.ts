import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_ADAPTER } from '#protocol';
import { ChainError } from '../chain/errors.ts';
import { registeredAdapter } from './chain-view.ts';

const ID = `0x${'ab'.repeat(32)}` as const;
const reverted = (error: string) =>
  new ChainError('CHAIN_REVERTED', `reverted: ${error}`, {
    ...{ contract: 'ModelRegistry', error, args: [ID], hash: null },
  });
const chain = (answer: () => unknown) => {
  const asked: unknown[] = [];
  const read = async (...call: unknown[]) => {
    asked.push(call);
    return answer() as never;
  };
  return { asked, read };
};

test('an adapter that the registry does not know is none, and the base alone is not asked for', async () => {
  const unknown = chain(() => {
    throw reverted('ModelRegistryAdapterUnknown');
  });
  assert.equal(await registeredAdapter(unknown, ID), null);
  assert.equal(await registeredAdapter(unknown, NO_ADAPTER), null);
  assert.deepEqual(unknown.asked, [['ModelRegistry', 'getAdapter', ID]]);
  const known = chain(() => ({ adapterId: ID }));
  assert.deepEqual(await registeredAdapter(known, ID), { adapterId: ID });
});

test('any other failure of the chain is one', async () => {
  const failing = chain(() => {
    throw reverted('ModelRegistryUnauthorised');
  });
  await assert.rejects(registeredAdapter(failing, ID), { code: 'CHAIN_REVERTED' });
});
