#!/usr/bin/env node
/** The solc that forge and slither call: solcjs behind the two options that they use. It needs no network. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const solc = require('solc');
if (process.argv.includes('--version')) {
  process.stdout.write(`solc, the solidity compiler\nVersion: ${solc.version()}\n`);
} else {
  // forge puts every source's text into the input; slither leaves what those import to be looked up.
  const read = (path) => ({
    contents: readFileSync(path.startsWith('@') ? require.resolve(path) : path, 'utf8'),
  });
  process.stdout.write(solc.compile(readFileSync(0, 'utf8'), { import: read }));
}
