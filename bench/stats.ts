/** Pairs of measurements, their median and its 95 % interval from order statistics. */

export type SuiteOptions = {
  readonly pairs: number;
  readonly wants: (id: string) => boolean;
  /** Only the models whose name this is. */
  readonly model: string | undefined;
  readonly say: (line: string) => void;
};

/** One measured ratio. */
export type Row = {
  readonly id: string;
  readonly what: string;
  readonly model: string;
  readonly target: string;
  readonly isMet: boolean;
  /** Exact rows are right or wrong on any machine; the others are measurements. */
  readonly isExact: boolean;
  readonly median: number;
  readonly interval: readonly [number, number];
  readonly pairs: readonly number[];
  /** Absolute figures of both arms, in the unit that the row names. */
  readonly arms: Readonly<Record<string, number>>;
  /** Of an exact row: hashes of what was computed, by name. */
  readonly digests?: Readonly<Record<string, string>>;
  /** Why this arm could not be had. */
  readonly absent?: string;
};

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** The q-quantile, between neighbours in proportion. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? Number.NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** Whatever the distribution, the median lies between these with 95 % or more (7 values: all of them). */
export function medianInterval(values: readonly number[]): readonly [number, number] {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  let term = 0.5 ** n;
  let tail = 0;
  let cut = 0;
  for (let k = 0; tail + term <= 0.025 && k < n / 2; k++) {
    tail += term;
    cut = k;
    term = (term * (n - k)) / (k + 1);
  }
  return [sorted[cut] ?? Number.NaN, sorted[n - 1 - cut] ?? Number.NaN];
}

type Ratio = {
  readonly id: string;
  readonly what: string;
  readonly model: string;
  readonly target: number;
  /** Whether the ratio should be at least the target, or at most. */
  readonly better: 'high' | 'low';
};

/**
 * Runs each arm once a round, after one unmeasured round; the order turns, so that nobody always finds
 * the warmer cache. Values by arm, in the order of the rounds.
 */
export function byTurns<Arm extends string>(
  rounds: number,
  arms: Readonly<Record<Arm, () => number>>,
): Record<Arm, number[]> {
  const names = Object.keys(arms) as Arm[];
  const seen = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<
    Arm,
    number[]
  >;
  for (let round = -1; round < rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round + 1) % names.length]!;
      const value = arms[name]();
      if (round >= 0) seen[name].push(value);
    }
  }
  return seen;
}

/** The row of first over second, out of rounds of `byTurns`. */
export function ratioRow<Arm extends string>(
  about: Ratio,
  seen: Readonly<Record<Arm, readonly number[]>>,
  [first, second]: readonly [Arm, Arm],
): Row {
  const ratios = seen[first].map((value, i) => value / seen[second][i]!);
  return rowOf(about, ratios, { [first]: median(seen[first]), [second]: median(seen[second]) });
}

/** Runs both arms by turns, after one unmeasured pair; the ratio is first over second. */
export function compare(
  about: Ratio,
  pairs: number,
  first: readonly [string, () => number],
  second: readonly [string, () => number],
): Row {
  const ratios: number[] = [];
  const seen: [number[], number[]] = [[], []];
  for (let i = -1; i < pairs; i++) {
    // Who goes first changes, so that neither always finds the warmer cache.
    let other = i % 2 === 0 ? 0 : second[1]();
    const value = first[1]();
    if (i % 2 === 0) other = second[1]();
    if (i < 0) continue;
    ratios.push(value / other);
    seen[0].push(value);
    seen[1].push(other);
  }
  return rowOf(about, ratios, { [first[0]]: median(seen[0]), [second[0]]: median(seen[1]) });
}

export function rowOf(about: Ratio, ratios: readonly number[], arms: Row['arms']): Row {
  const { better, target, ...rest } = about;
  const middle = median(ratios);
  return {
    ...rest,
    target: `${better === 'high' ? '≥' : '≤'} ${target}`,
    isMet: better === 'high' ? middle >= target : middle <= target,
    isExact: false,
    median: middle,
    interval: medianInterval(ratios),
    pairs: ratios,
    arms,
  };
}

const digits = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(3);

/** The rows as a Markdown table. */
export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const arms = [
      ...Object.entries(row.arms).map(([name, value]) => `${name} ${digits(value)}`),
      ...Object.entries(row.digests ?? {}).map(([name, hash]) => `${name} ${hash.slice(0, 8)}`),
      ...(row.absent === undefined ? [] : [`absent: ${row.absent}`]),
    ];
    const interval = `${digits(row.interval[0])} – ${digits(row.interval[1])}`;
    const cells = [row.id, row.what, row.model, digits(row.median), interval, row.target];
    return `| ${[...cells, row.isMet ? 'yes' : 'no', row.pairs.length, arms.join(', ')].join(' | ')} |`;
  });
  return [
    '| row | ratio | model | median | 95 % | target | met | pairs | arms (medians) |',
    '|---|---|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}
