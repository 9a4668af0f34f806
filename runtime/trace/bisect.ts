// Where two traces of one program part: from the roots down, one comparison of hashes per level of
// each tree, to the first operation, its first tile and that tile's first step that differ.
import { equal, type MerkleTree } from '#crypto';
import type { Trace } from './trace.ts';

/** What a party to a dispute answers with: it is asked for trees of its own trace alone. */
export type Party = Pick<Trace, 'operations' | 'tiles' | 'steps'>;

/** The first place at which two traces differ. */
export type Divergence = {
  /** Among inputs and operations. */
  readonly operation: number;
  /** Undefined when the tiles are the same: a party cannot show the tiles of its own root. */
  readonly tile: number | undefined;
  /**
   * The first step that differs. Undefined when the tile's steps are the same: the parties have
   * different inputs, or one committed to values that its own steps do not give.
   */
  readonly step: number | undefined;
  /** Pairs of hashes compared on the way. */
  readonly comparisons: number;
};

/** The traces are not of one program: they have different numbers of operations or tiles. */
export class TraceShapeError extends Error {
  readonly code = 'TRACE_SHAPE';
  readonly details: { readonly found: readonly [number, number] };
  constructor(what: 'operations' | 'tiles', left: number, right: number) {
    super(`expected traces of one program, found ${left} and ${right} ${what}`);
    this.name = 'TraceShapeError';
    this.details = { found: [left, right] };
  }
}

/**
 * First leaf at which two trees differ, going down from the top. A tree that ends early differs where
 * it ends. Undefined when they are the same.
 */
function firstDifference(
  left: MerkleTree,
  right: MerkleTree,
  compared: () => void,
): number | undefined {
  compared();
  if (equal(left.root, right.root)) return undefined;
  const same = (level: number, index: number) => {
    compared();
    const a = left.levels[level]?.[index];
    const b = right.levels[level]?.[index];
    return a !== undefined && b !== undefined && equal(a, b);
  };
  // The lower tree's top stands for the start of the higher one.
  let level = Math.min(left.levels.length, right.levels.length) - 1;
  if (level < 0) return 0;
  if (left.levels.length !== right.levels.length && same(level, 0)) return 2 ** level;
  let index = 0;
  while (level > 0) {
    level--;
    index *= 2;
    if (same(level, index)) index++;
  }
  return Math.min(index, left.count, right.count);
}

function sameCount(what: 'operations' | 'tiles', left: MerkleTree, right: MerkleTree): void {
  if (left.count !== right.count) throw new TraceShapeError(what, left.count, right.count);
}

/**
 * The first step at which two traces differ; undefined when they are the same. Everything before it
 * is agreed on, so its operands are too, and whoever has another result than StepJudge is wrong.
 * @throws TraceShapeError when the traces are not of one program.
 */
export function bisect(left: Party, right: Party): Divergence | undefined {
  let comparisons = 0;
  const compared = () => {
    comparisons++;
  };
  sameCount('operations', left.operations, right.operations);
  const operation = firstDifference(left.operations, right.operations, compared);
  if (operation === undefined) return undefined;
  const tiles = [left.tiles(operation), right.tiles(operation)] as const;
  sameCount('tiles', ...tiles);
  const tile = firstDifference(...tiles, compared);
  if (tile === undefined) return { operation, tile, step: undefined, comparisons };
  const [a, b] = [left.steps(operation, tile), right.steps(operation, tile)];
  const step = firstDifference(a, b, compared);
  return { operation, tile, step, comparisons };
}
