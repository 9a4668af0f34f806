/**
 * The story's cheat, and nothing else: a provider so configured signs one false receipt, in which a
 * record of a contributor of its choice scores far above the truth. It exists so that everybody can
 * see the lie found, judged and punished; outside the local preset it cannot be switched on.
 */
import { type Address, dotProduct } from '#crypto';
import {
  type AnswerParts,
  type BuiltReceipt,
  buildReceipt,
  compareScores,
  SCORE_LEAVES_MAX,
  type Score,
} from '#protocol';
import type { AdapterBundle } from './bundle.ts';
import type { LogPort } from './ports.ts';

export type InflateConfig = {
  /** Whose best record is overstated. */
  readonly contributor: Address;
  /** Only for answers of the adapter with this name; undefined: of any. */
  readonly adapter?: string;
  /** Only for answers to this client, who does not look; undefined: to any. */
  readonly client?: Address;
};

export class InflateError extends Error {
  override readonly name = 'InflateError';
  readonly code = 'INFLATE_NOT_LOCAL';
  readonly fix = 'remove provider.inflate from the configuration';
}

/** Of the learned pool, what the overstated record shall get: nine times all others together. */
const OTHERS_TIMES = 9;
const COSINE_ONE = 65_536;
/** The most that a receipt file can say, for score and for dot product. */
const SCORE_MAX = (1 << 24) - 1;
const DOT_MAX = 256 * 128 * 128;

/**
 * Returns the function that distorts one answer and then none. `spent` is the durable memory of
 * whether it has happened.
 * @throws InflateError INFLATE_NOT_LOCAL outside the local preset.
 */
export function openInflate(
  config: InflateConfig,
  parts: {
    readonly preset: string;
    readonly spent: { readonly read: () => boolean; readonly write: () => void };
    readonly log: LogPort;
  },
): (answer: AnswerParts, bundle: AdapterBundle | null) => BuiltReceipt | null {
  if (parts.preset !== 'local')
    throw new InflateError(
      `provider.inflate: expected the local preset, got ${parts.preset}; a node that lies on purpose would lose its stake`,
    );
  return (answer, bundle) => {
    if (bundle === null || parts.spent.read()) return null;
    if (config.adapter !== undefined && config.adapter !== bundle.lineage.name) return null;
    if (config.client !== undefined && config.client !== answer.client) return null;
    const scores = inflated(answer, bundle, config.contributor);
    if (scores === null) return null;
    parts.spent.write();
    const [first] = scores;
    parts.log.warn('signing a FALSE receipt, as configured by provider.inflate', {
      requestId: answer.requestId,
      contributor: config.contributor,
      sketchIndex: first!.sketchIndex,
      score: first!.score,
    });
    return buildReceipt({ ...answer, scores });
  };
}

/** The answer's scores with the contributor's best record far above them; null if it has none. */
function inflated(
  { querySketch, scores }: AnswerParts,
  bundle: AdapterBundle,
  contributor: Address,
): readonly Score[] | null {
  let best: { readonly sketchIndex: number; readonly dot: number } | null = null;
  for (const [sketchIndex, leaf] of bundle.sketches.entries()) {
    if (leaf.contributor !== contributor) continue;
    const dot = dotProduct(querySketch, leaf.sketch);
    if (best === null || dot > best.dot) best = { sketchIndex, dot };
  }
  if (best === null) return null;
  const { recordHash, cluster } = bundle.sketches[best.sketchIndex]!;
  const others = scores.filter(
    ({ sketchIndex }) => bundle.sketches[sketchIndex]!.cluster !== cluster,
  );
  const sum = others.reduce((total, { score }) => total + score, 0);
  const score = Math.min(SCORE_MAX, Math.max(COSINE_ONE, OTHERS_TIMES * sum));
  const lie: Score = {
    sketchIndex: best.sketchIndex,
    recordHash,
    contributor,
    dot: Math.min(DOT_MAX, Math.max(1, Math.abs(best.dot)) * 4),
    score,
  };
  return [lie, ...others].sort(compareScores).slice(0, SCORE_LEAVES_MAX);
}
