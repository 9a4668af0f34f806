/** Figures as stated and as recomputed, and how they are shown to people and to programs. */
import { AuditError, reasonOf } from './errors.ts';

/** One figure recomputed. `faults`: proofs on the way to it that do not hold. */
export type Recomputed = { readonly value: unknown; readonly faults: readonly string[] };

export type Figure = {
  readonly name: string;
  readonly stated: unknown;
  /** null where it could not be recomputed; `faults` then say why. */
  readonly recomputed: unknown;
  readonly agrees: boolean;
  readonly faults: readonly string[];
};

/** What only a clock can give, and what says where to look. */
const NO_FIGURES = new Set(['ok', 'seconds', 'peakRssMb', 'dataDir', 'atBlock']);

export type Figures = {
  /** Recomputes figures that come from one source; what fails there names each of them. */
  readonly recompute: <Name extends string>(
    names: readonly Name[],
    from: () => Promise<Readonly<Record<Name, Recomputed>>>,
  ) => Promise<void>;
  /** In the order of the statement; a figure that nobody recomputes disagrees. */
  readonly all: () => readonly Figure[];
};

export function createFigures(stated: Readonly<Record<string, unknown>>): Figures {
  const found = new Map<string, Recomputed>();
  return {
    recompute: async (names, from) => {
      try {
        const recomputed = await from();
        for (const name of names) found.set(name, recomputed[name]);
      } catch (error) {
        const fault = faultOf(error);
        if (fault === null) throw error;
        for (const name of names) found.set(name, { value: null, faults: [fault] });
      }
    },
    all: () => {
      const names = Object.keys(stated).filter((name) => !NO_FIGURES.has(name));
      const missing = [...found.keys()].filter((name) => !names.includes(name));
      return [...names, ...missing].map((name) => figureOf(name, stated, found.get(name)));
    },
  };
}

function figureOf(
  name: string,
  stated: Readonly<Record<string, unknown>>,
  found: Recomputed | undefined,
): Figure {
  const { value, faults } = found ?? { value: null, faults: ['no rule recomputes this figure'] };
  const isStated = Object.hasOwn(stated, name);
  const agrees = isStated && stated[name] === value && faults.length === 0;
  return { name, stated: isStated ? stated[name] : null, recomputed: value, agrees, faults };
}

/** What of a failure belongs into the report; null for what must end the audit. */
function faultOf(error: unknown): string | null {
  const isAbout = error instanceof AuditError && error.code !== 'CHAIN_UNAVAILABLE';
  return isAbout ? `${reasonOf(error)}; ${error.fix}` : null;
}

const shown = (value: unknown): string => (value === null ? '–' : String(value));

/** The figures as a table, faults below their figure. */
export function tableOf(figures: readonly Figure[]): string {
  const rows = figures.map(({ name, stated, recomputed, agrees }) => [
    name,
    shown(stated),
    shown(recomputed),
    agrees ? 'agrees' : 'DISAGREES',
  ]);
  const all = [['figure', 'stated', 'recomputed', ''], ...rows];
  const widths = [0, 1, 2].map((at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd();
  const lines = [line(all[0] ?? [])];
  const told = new Map<string, string>();
  for (const [at, row] of rows.entries()) {
    lines.push(line(row));
    const { name, faults } = figures[at] as Figure;
    // What several figures rest on is said once.
    const before = new Set(
      faults.map((fault) => told.get(fault)).filter((each) => each !== undefined),
    );
    for (const fault of faults.filter((each) => !told.has(each))) lines.push(`    ${fault}`);
    for (const first of before) lines.push(`    as for ${first}`);
    for (const fault of faults) if (!told.has(fault)) told.set(fault, name);
  }
  return lines.join('\n');
}
