// Commitments, openings and bisection: any one altered step is found at exactly its place.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { equal, merkleDepth } from '#crypto';
import { bisect, type Party, TraceShapeError } from './bisect.ts';
import { lyingAt, type StepPlace, smallPrograms } from './testing.ts';
import { type Detail, type Opening, Trace, TraceIndexError, verifyOpening } from './trace.ts';

const programs = smallPrograms();
const honest = Object.entries(programs).map(([name, program]) => ({
  name,
  program,
  trace: new Trace(program, { detail: 'steps' }),
}));

/** Every tile that has steps, of all traces together, with how many steps. */
const tiles = honest.flatMap(({ trace }, which) =>
  trace.program.operations.flatMap(({ output, tile }, own) => {
    const operation = own + trace.program.inputs.length;
    const count = Math.ceil(output.length / tile);
    return Array.from({ length: count }, (_, i) => ({ which, operation, tile: i }));
  }),
);
const anyStep = fc
  .record({
    place: fc.constantFrom(...tiles),
    part: fc.double({ min: 0, max: 0.999, noNaN: true }),
  })
  .map(({ place, part }) => {
    const { trace } = honest[place.which]!;
    const { count } = trace.steps(place.operation, place.tile);
    return { ...place, step: Math.floor(part * count), count };
  })
  .filter(({ count }) => count > 0);
const seeded = (numRuns: number) => ({ seed: 7, numRuns });

describe('a trace', () => {
  test('has the same results and, at the same detail, the same root whoever runs it', () => {
    for (const { program, trace } of honest) {
      const again = new Trace(program, { detail: 'steps' });
      const coarse = new Trace(program);
      assert.ok(equal(again.root, trace.root));
      assert.equal(bisect(trace, again), undefined);
      assert.ok(!equal(coarse.root, trace.root));
      for (const name of program.results.keys()) {
        assert.deepEqual(coarse.result(name), trace.result(name));
      }
    }
  });

  test('opens any step with its operands under its root', () => {
    fc.assert(
      fc.property(anyStep, ({ which, operation, tile, step }) => {
        const { program, trace } = honest[which]!;
        const opening = trace.open(operation, tile, step);
        assert.ok(verifyOpening(trace.root, opening, 'steps'));
        const coarse = new Trace(program);
        const later = coarse.open(operation, tile, step);
        assert.ok(verifyOpening(coarse.root, later, 'tiles'));
        assert.deepEqual(later.step, opening.step);
      }),
      seeded(6),
    );
  });

  test('no part of an opening can be another', () => {
    const { trace } = honest[0]!;
    const operation = trace.program.inputs.length + 4;
    const opening = trace.open(operation, 0, 2);
    const { step, stepProof } = opening;
    const other = trace.open(operation + 1, 0, 0);
    const wrong: Partial<Opening>[] = [
      { step: { ...step, result: step.result + 1 } },
      { step: { ...step, operands: step.operands.map((one) => one + 1) } },
      { stepProof: { ...stepProof, index: 1 } },
      { stepsRoot: other.stepsRoot },
      { tile: 1 },
      { tileBytes: other.tileBytes },
      { operation: operation + 1 },
      { operationRoot: other.operationRoot },
      { operationProof: other.operationProof },
    ];
    for (const part of wrong) {
      assert.ok(!verifyOpening(trace.root, { ...opening, ...part }, 'steps'), Object.keys(part)[0]);
    }
    assert.ok(!verifyOpening(trace.root, opening, 'tiles'));
    assert.ok(!verifyOpening(honest[1]!.trace.root, opening, 'steps'));
  });

  test('TRACE_INDEX: no such operation, tile or step; an input has no steps', () => {
    const { trace } = honest[0]!;
    const { inputs, operations } = trace.program;
    for (const [operation, tile, step] of [
      [inputs.length + operations.length, 0, 0],
      [inputs.length, 1e6, 0],
      [inputs.length, -1, 0],
      [inputs.length, 0, 1e6],
      [0, 0, 0],
    ] as const) {
      assert.throws(() => trace.open(operation, tile, step), TraceIndexError);
    }
  });
});

describe('bisection', () => {
  const find = (which: number, place: StepPlace, detail: Detail) => {
    const { program, trace } = honest[which]!;
    const right = detail === 'steps' ? trace : new Trace(program);
    return bisect(right, new Trace(program, { detail, recorder: lyingAt(place) }));
  };

  test('finds any one altered step at exactly its place, in a logarithm of comparisons', () => {
    fc.assert(
      fc.property(anyStep, ({ which, count, ...place }) => {
        const found = find(which, place, 'steps');
        const { comparisons, ...where } = found!;
        assert.deepEqual(where, { operation: place.operation, tile: place.tile, step: place.step });
        const { trace } = honest[which]!;
        const depths = [trace.operations.count, trace.tiles(place.operation).count, count];
        const most = depths.reduce((sum, leaves) => sum + merkleDepth(leaves) + 1, 0);
        assert.ok(comparisons <= most, `${comparisons} comparisons, at most ${most} expected`);
      }),
      seeded(10),
    );
  });

  test('of traces committed to their tiles finds it wherever it changed what the tile gives', () => {
    let found = 0;
    fc.assert(
      fc.property(anyStep, ({ which, count: _, ...place }) => {
        const divergence = find(which, place, 'tiles');
        if (divergence === undefined) return;
        found++;
        const { comparisons: __, ...where } = divergence;
        assert.deepEqual(where, { operation: place.operation, tile: place.tile, step: place.step });
      }),
      seeded(20),
    );
    // A sum of many steps hides none; only a choice not taken does.
    assert.ok(found >= 10, `${found} of 20 alterations reached their tile's results`);
  });

  test('of different inputs finds the input', () => {
    const other = new Trace(smallPrograms(2).forward, { detail: 'steps' });
    const found = bisect(honest[0]!.trace, other)!;
    assert.equal(honest[0]!.program.inputs[found.operation]!.name, 'model.embed_tokens.weight');
    assert.deepEqual([found.tile, found.step], [0, undefined]);
  });

  test('finds who committed to values that its own steps or tiles do not give', () => {
    const { program } = honest[0]!;
    const trace = new Trace(program);
    const operation = program.inputs.length + 2;
    const lie = new Trace(program, { recorder: lyingAt({ operation, tile: 0, step: 0 }) });
    const withoutSteps: Party = {
      operations: lie.operations,
      tiles: (at) => lie.tiles(at),
      steps: (at, tile) => trace.steps(at, tile),
    };
    const { comparisons: _, ...unshown } = bisect(trace, withoutSteps)!;
    assert.deepEqual(unshown, { operation, tile: 0, step: undefined });
    const withoutTiles: Party = { ...withoutSteps, tiles: (at) => trace.tiles(at) };
    assert.equal(bisect(trace, withoutTiles)!.tile, undefined);
  });

  test('TRACE_SHAPE: traces of different programs', () => {
    assert.throws(() => bisect(honest[0]!.trace, honest[2]!.trace), TraceShapeError);
  });
});
