/**
 * Loaded before every test file: property tests draw from a fixed seed, so that the same code passes
 * or fails the same way everywhere. FAST_CHECK_SEED=random explores; a number repeats what it found.
 */
import fc from 'fast-check';

const DEFAULT_SEED = 20261121;

const given = process.env['FAST_CHECK_SEED'];
if (given !== 'random') fc.configureGlobal({ seed: Number(given ?? DEFAULT_SEED) });
