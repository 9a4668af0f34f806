// The bundle without the freshness check: what a parent process that has just built it starts.
import './polyfill.mjs';

const { main } = await import('../dist/openledger.js');
process.exitCode = await main(process.argv.slice(2));
