/** Steps of real passes before StepJudge: what a trace of the runtime holds, it recomputes bit for bit. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hexlify } from 'ethers';
import { bisect, type Opening, operandBytes, resultBits, Trace } from '#runtime';
import { lyingAt, type StepPlace, smallPrograms } from '../../runtime/trace/testing.ts';
import { startChain } from '../harness.ts';

const { StepJudge } = (await startChain()).contracts;

async function judge({ step, stepsRoot, stepProof }: Opening): Promise<[boolean, bigint]> {
  const { count, index, siblings } = stepProof;
  const shown = {
    operation: BigInt(step.operation),
    operands: hexlify(operandBytes(step)),
    result: resultBits(step),
  };
  const proof = siblings.map((sibling) => hexlify(sibling));
  const [right, truth] = await StepJudge.judge(hexlify(stepsRoot), count, index, shown, proof);
  return [right, truth];
}

/** Of every operation of the program, the first step of each kind in its first and last tile. */
function placesOf(trace: Trace): Map<number, StepPlace[]> {
  const found = new Map<number, StepPlace[]>();
  const { inputs, operations } = trace.program;
  for (const [own, { output, tile: size }] of operations.entries()) {
    const operation = own + inputs.length;
    for (const tile of new Set([0, Math.ceil(output.length / size) - 1])) {
      const seen = new Set<number>();
      trace.visit(operation, tile, (step, index) => {
        if (seen.has(step.operation)) return;
        seen.add(step.operation);
        const places = found.get(step.operation) ?? [];
        found.set(step.operation, [...places, { operation, tile, step: index }]);
      });
    }
  }
  return found;
}

/** Up to `count` of them, evenly spread. */
const spread = <T>(all: readonly T[], count: number) =>
  all.filter(
    (_, i) => Math.floor((i * count) / all.length) !== Math.floor(((i - 1) * count) / all.length),
  );

const { forward, lora, update } = smallPrograms();

for (const [name, program] of Object.entries({ forward, lora, update })) {
  describe(`StepJudge on a traced pass: ${name}`, () => {
    const trace = new Trace(program, { detail: 'steps' });
    const places = placesOf(trace);

    test('finds steps of every kind right', async () => {
      const chosen = [...places.values()].flatMap((all) => spread(all, 3));
      for (const place of chosen.sort((a, b) => a.operation - b.operation)) {
        const opening = trace.open(place.operation, place.tile, place.step);
        const expected = [true, resultBits(opening.step)];
        assert.deepEqual(await judge(opening), expected, `${opening.name} ${place.step}`);
      }
    });

    test('refutes the step that bisection finds in a lying trace, and says what is true', async () => {
      for (const place of spread(
        [...places.values()].map((all) => all.at(-1)!),
        5,
      )) {
        const lie = new Trace(program, { detail: 'steps', recorder: lyingAt(place) });
        const { operation, tile, step } = bisect(trace, lie)!;
        const honest = trace.open(operation, tile!, step!);
        const truth = resultBits(honest.step);
        assert.deepEqual(await judge(honest), [true, truth]);
        assert.deepEqual(await judge(lie.open(operation, tile!, step!)), [false, truth]);
      }
    });
  });
}
