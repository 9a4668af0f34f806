/** docs/contracts.md says what the deployed contracts answer. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { documented } from '../document.ts';

test('every governed number of docs/contracts.md is the one that its preset deploys', async () => {
  const page = readFileSync(new URL('../../docs/contracts.md', import.meta.url), 'utf8');
  assert.equal(await documented(page), page);
  assert.match(page, /\| `timing\.thawSeconds` \| 15 min \|/);
});
