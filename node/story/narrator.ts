/**
 * Tells the story as it happens: headings, facts, and progress bars where there is a terminal (plain
 * lines every few seconds where there is none). With `--json` it tells it on standard error, so that
 * standard output holds the one JSON object.
 */
import { SingleBar } from 'cli-progress';

export type Progress = {
  readonly update: (done: number, note?: string) => void;
  readonly end: (note?: string) => void;
};

export type Narrator = {
  readonly heading: (step: number, title: string) => void;
  readonly fact: (text: string) => void;
  readonly warn: (text: string) => void;
  readonly table: (head: readonly string[], rows: readonly (readonly string[])[]) => void;
  readonly progress: (what: string, total: number) => Progress;
};

const QUIET_LINE_EVERY_MS = 4_000;

/** A narrator on `stream`; `startedAtMs` is what its clock counts from. */
export function createNarrator(stream: NodeJS.WriteStream, startedAtMs: number): Narrator {
  const terminal = stream.isTTY === true;
  const bold = (text: string) => (terminal ? `\u001b[1m${text}\u001b[0m` : text);
  const dim = (text: string) => (terminal ? `\u001b[2m${text}\u001b[0m` : text);
  const clock = () => `${((Date.now() - startedAtMs) / 1000).toFixed(1).padStart(6)} s`;
  const line = (text: string) => stream.write(`${text}\n`);
  return {
    heading: (step, title) => line(`\n${bold(`${step}. ${title}`)} ${dim(clock())}`),
    fact: (text) => line(`   ${text}`),
    warn: (text) => line(`   ! ${text}`),
    table: (head, rows) => {
      const widths = head.map((title, column) =>
        Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
      );
      const format = (row: readonly string[]) =>
        row
          .map((cell, column) =>
            column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
          )
          .join('  ');
      line(`   ${bold(format(head))}`);
      for (const row of rows) line(`   ${format(row)}`);
    },
    progress: (what, total) =>
      terminal ? bar(stream, what, total) : quietProgress(line, what, total, clock),
  };
}

function bar(stream: NodeJS.WriteStream, what: string, total: number): Progress {
  const shown = new SingleBar({
    stream,
    format: `   ${what} {bar} {value}/{total} {note}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 28,
    hideCursor: true,
    clearOnComplete: false,
  });
  shown.start(total, 0, { note: '' });
  return {
    update: (done, note = '') => shown.update(Math.min(done, total), { note }),
    end: (note = '') => {
      shown.update(total, { note });
      shown.stop();
    },
  };
}

function quietProgress(
  line: (text: string) => void,
  what: string,
  total: number,
  clock: () => string,
): Progress {
  let toldAtMs = Date.now();
  return {
    update: (done, note = '') => {
      if (Date.now() - toldAtMs < QUIET_LINE_EVERY_MS) return;
      toldAtMs = Date.now();
      line(`   ${what} ${done}/${total} ${note} (${clock().trim()})`);
    },
    end: (note = '') => line(`   ${what} ${total}/${total} ${note}`),
  };
}
