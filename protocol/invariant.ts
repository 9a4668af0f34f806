/** The one way to say that something of ours is broken. Strangers' faults are values, not this. */

export class InvariantViolation extends Error {
  override readonly name = 'InvariantViolation';
}

/** @throws InvariantViolation if the condition does not hold; nobody catches it: log and exit. */
export function invariant(condition: boolean, expectation: string): asserts condition {
  if (!condition) throw new InvariantViolation(`broken invariant: ${expectation}`);
}
