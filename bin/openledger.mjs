#!/usr/bin/env node
// The command `openledger`. Bundles our TypeScript with esbuild when the sources are newer than the
// bundle (about half a second), then runs it: a fresh clone needs no build step, and node processes
// start from plain JavaScript, which halves their memory against a loader hook.
import './polyfill.mjs';
import { buildIfStale } from '../scripts/bundle.mjs';

await buildIfStale();
const { main } = await import('../dist/openledger.js');
process.exitCode = await main(process.argv.slice(2));
