#!/usr/bin/env node
/** The solc that forge calls: solcjs behind the two options that forge uses. It needs no network. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const solc = createRequire(import.meta.url)('solc');
if (process.argv.includes('--version')) {
  process.stdout.write(`solc, the solidity compiler\nVersion: ${solc.version()}\n`);
} else {
  // forge puts every source's text into the input, therefore nothing is left to look up.
  process.stdout.write(solc.compile(readFileSync(0, 'utf8')));
}
