/**
 * The reduced story, everything of it killed with -9 at every step's boundary and at seeded instants.
 * Wherever that is, the next run goes on, the last one ends right, no OPEN is missing, and nothing was
 * sent or paid twice.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { type Finished, heading, lastJson, place, type Running, within } from './harness.ts';
import { assertBooksRight } from './money.ts';

const STORY_WITHIN_MS = 180_000;
const NODES = 5;
const TESTNET = ['--json', 'testnet', '--once', '--reduced', '--gateway-port', '0'];

function assertToldRight({ code, out, err }: Finished): void {
  assert.equal(code, 0, err.join('\n'));
  const told = lastJson({ out, err });
  assert.deepEqual(
    [told['ok'], told['nodes'], told['slashed'], told['conservationErrorWei']],
    [true, NODES, 1, '0'],
    JSON.stringify(told),
  );
}

const finish = async (run: Running): Promise<Finished> => ({
  ...(await within(run.ended, STORY_WITHIN_MS, () => `the story to end:\n${run.err.join('\n')}`)),
  out: run.out,
  err: run.err,
});

const SEED = 20_261_121;

test('everything killed with -9 at each of the seven boundaries and at five instants', async (t) => {
  const here = place(t);
  const data = join(here.folder, 'swarm');
  const args = ['--data-dir', data, ...TESTNET];
  const instants = instantsOf(SEED);
  t.diagnostic(`seed ${SEED}: ${instants.join(', ')} ms after the boundaries of steps 3 to 7`);
  // The same folder throughout: each run goes on where the one before was killed.
  const kill = async (boundary: RegExp, afterMs: number): Promise<void> => {
    const startedMs = Date.now();
    const run = here.start(args);
    await run.says(boundary, STORY_WITHIN_MS);
    // Not a wait for something: the instant itself is what the seed draws.
    if (afterMs > 0) await Promise.race([run.ended, wait(afterMs)]);
    await run.killGroup();
    t.diagnostic(`killed ${afterMs} ms after ${boundary}, ${Date.now() - startedMs} ms old`);
  };
  await kill(heading(1), 0);
  await kill(heading(2), 0);
  for (const [at, afterMs] of instants.entries()) {
    await kill(heading(at + 3), 0);
    await kill(heading(at + 3), afterMs);
  }
  const startedMs = Date.now();
  assertToldRight(await finish(here.start(args)));
  t.diagnostic(`finished in ${Date.now() - startedMs} ms`);
  await assertBooksRight(here, `${data}-reduced`);
});

/** One instant within each of the steps 3 to 7, from a seed. */
function instantsOf(seed: number): number[] {
  let state = seed;
  return [3, 4, 5, 6, 7].map(() => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 200 + (state % 5_000);
  });
}
