/**
 * Runs the chain and the nodes of a local swarm as separate OS processes: starts them, waits until
 * each says it is ready, starts a died one again, measures their memory together, and ends them all.
 * Children watch the channel to their parent (signals.ts), so that none outlives a killed supervisor.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT, NodeError } from '../errors.ts';
import { projectRoot } from '../paths.ts';

/** What a child process prints as its first line of standard output when it serves. */
export type Ready = { readonly [key: string]: unknown };

export type Child = {
  readonly name: string;
  readonly ready: Ready;
  readonly pid: number;
  /** Ends the process with a signal and resolves when it is gone; it is not started again. */
  readonly stop: (signal: NodeJS.Signals) => Promise<void>;
};

export type ChildOptions = {
  readonly name: string;
  /** Arguments after `openledger`. */
  readonly args: readonly string[];
  /** Flags for Node.js itself. */
  readonly nodeFlags?: readonly string[];
  readonly logFile: string;
  /** Started again when it dies, after this long; null = never. */
  readonly restartAfterMs: number | null;
  readonly readyWithinMs: number;
  readonly onDeath?: (info: { code: number | null; signal: NodeJS.Signals | null }) => void;
  readonly onReady?: (ready: Ready) => void;
};

/** Starts one child and waits for its ready line. */
export async function startChild(options: ChildOptions): Promise<Child> {
  let wanted = true;
  let current: ChildProcess;
  let ready: Ready;
  const launch = async (): Promise<void> => {
    const launched = await launchOnce(options);
    current = launched.process;
    ready = launched.ready;
    options.onReady?.(ready);
    current.once('exit', (code, signal) => {
      if (!wanted) return;
      options.onDeath?.({ code, signal });
      // A key that was replaced never works again.
      if (options.restartAfterMs !== null && code !== EXIT.replaced)
        setTimeout(() => {
          // A child that cannot come back is told by its next death or by whoever misses it.
          if (wanted) launch().catch(() => options.onDeath?.({ code: null, signal: null }));
        }, options.restartAfterMs);
    });
  };
  await launch();
  return {
    name: options.name,
    get ready() {
      return ready;
    },
    get pid() {
      return current.pid ?? -1;
    },
    stop: async (signal) => {
      wanted = false;
      if (current.exitCode !== null || current.signalCode !== null) return;
      const gone = new Promise<void>((resolve) => current.once('exit', () => resolve()));
      current.kill(signal);
      const patience = setTimeout(() => current.kill('SIGKILL'), 8_000);
      await gone;
      clearTimeout(patience);
    },
  };
}

async function launchOnce(options: ChildOptions): Promise<{ process: ChildProcess; ready: Ready }> {
  const root = projectRoot();
  mkdirSync(join(options.logFile, '..'), { recursive: true });
  const errors = openSync(options.logFile, 'a');
  const child = spawn(
    process.execPath,
    [
      ...(options.nodeFlags ?? []),
      '--enable-source-maps',
      '--import',
      join(root, 'bin/polyfill.mjs'),
      join(root, 'bin/run.mjs'),
      ...options.args,
    ],
    { stdio: ['ignore', 'pipe', errors, 'ipc'], env: { ...process.env, OPENLEDGER_CHILD: '1' } },
  );
  let printed = '';
  const ready = await new Promise<Ready>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`said nothing for ${options.readyWithinMs} ms`);
    }, options.readyWithinMs);
    const fail = (reason: string) => {
      clearTimeout(timer);
      reject(
        new NodeError(
          'STEP_FAILED',
          { step: `start of ${options.name}`, reason: `${reason}${lastError(options.logFile)}` },
          `read ${options.logFile}`,
        ),
      );
    };
    child.stdout?.setEncoding('utf8');
    child.stdout?.on('data', (text: string) => {
      printed += text;
      const end = printed.indexOf('\n');
      if (end < 0) return;
      clearTimeout(timer);
      try {
        resolve(JSON.parse(printed.slice(0, end)) as Ready);
      } catch {
        fail(`printed ${JSON.stringify(printed.slice(0, 200))} instead of its ready line`);
      }
    });
    child.once('exit', (code, signal) => fail(`ended with ${signal ?? `code ${code}`}`));
    child.once('error', (error) => fail(error.message));
  });
  child.stdout?.removeAllListeners('data');
  child.stdout?.resume();
  return { process: child, ready };
}

function lastError(logFile: string): string {
  if (!existsSync(logFile)) return '';
  const lines = readFileSync(logFile, 'utf8').split('\n');
  const last = lines.findLast((line) => line.startsWith('error['));
  return last === undefined ? '' : `: ${last}`;
}

/** Resident memory of the given processes in bytes, from /proc; 0 where there is none. */
export function residentBytes(pids: readonly number[]): number {
  let total = 0;
  for (const pid of pids) {
    const file = `/proc/${pid}/statm`;
    if (!existsSync(file)) continue;
    try {
      total += Number(readFileSync(file, 'utf8').split(' ')[1]) * 4096;
    } catch {
      // The process ended between the two lines: it uses nothing now.
    }
  }
  return total;
}
