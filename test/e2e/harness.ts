/**
 * Real processes for the end-to-end tests: the command line in a process group of its own, so that
 * one signal reaches a whole swarm, its output line by line, and waits that end at a condition.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { Deployment } from '#contracts';

const COMMAND = join(process.cwd(), 'bin', 'openledger.mjs');

export type Ended = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

export type Running = {
  readonly pid: number;
  /** What it has printed so far, standard output and standard error apart. */
  readonly out: readonly string[];
  readonly err: readonly string[];
  readonly ended: Promise<Ended>;
  /** The first line, on either stream, that matches; fails when the process ends without it. */
  readonly says: (pattern: RegExp, withinMs: number) => Promise<string>;
  /** Ends all processes of the group at once and resolves when none is left. */
  readonly killGroup: () => Promise<void>;
  readonly signal: (signal: NodeJS.Signals) => void;
};

/** A folder for one test, and everything started in it ended when the test is over. */
export type Place = {
  readonly folder: string;
  readonly start: (args: readonly string[], options?: StartOptions) => Running;
  /** Runs one command to its end. */
  readonly run: (args: readonly string[], options?: StartOptions) => Promise<Finished>;
};
export type StartOptions = {
  /** Another program than `openledger`. */
  readonly program?: readonly string[];
  readonly withinMs?: number;
};
export type Finished = Ended & { readonly out: readonly string[]; readonly err: readonly string[] };

/** Makes a place that a test leaves nothing behind of when it passes, and all of when it fails. */
export function place(t: TestContext): Place {
  const folder = mkdtempSync(join(tmpdir(), 'openledger-e2e-'));
  const started: Running[] = [];
  t.after(async () => {
    for (const running of started) await running.killGroup();
    // In Node since 20.12, in its types later.
    const { passed } = t as TestContext & { readonly passed: boolean };
    if (passed && process.env['KEEP_E2E'] === undefined)
      rmSync(folder, { recursive: true, force: true });
    else t.diagnostic(`kept ${folder}`);
  });
  const start = (args: readonly string[], options: StartOptions = {}): Running => {
    const [file, ...first] = options.program ?? [process.execPath, COMMAND];
    const running = follow(
      spawn(file as string, [...first, ...args], {
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, NODE_TEST_CONTEXT: '' },
      }),
    );
    started.push(running);
    return running;
  };
  return {
    folder,
    start,
    run: async (args, options = {}) => {
      const running = start(args, options);
      const withinMs = options.withinMs ?? 60_000;
      const ended = await within(running.ended, withinMs, () => `${args.join(' ')} to end`);
      return { ...ended, out: running.out, err: running.err };
    },
  };
}

function follow(child: ChildProcess): Running {
  const out: string[] = [];
  const err: string[] = [];
  const watchers = new Set<(line: string) => void>();
  const read = (stream: NodeJS.ReadableStream | null, into: string[]): Promise<void> => {
    if (stream === null) return Promise.resolve();
    const lines = createInterface({ input: stream });
    lines.on('line', (line) => {
      into.push(line);
      for (const watcher of watchers) watcher(line);
    });
    return new Promise((resolve) => lines.once('close', resolve));
  };
  const drained = Promise.all([read(child.stdout, out), read(child.stderr, err)]);
  const ended = new Promise<Ended>((resolve) => {
    child.once('exit', (code, signal) => {
      // Its last lines may still be in the pipe; children that outlive it hold the pipe open.
      void Promise.race([drained, wait(5_000)]).then(() => resolve({ code, signal }));
    });
  });
  const { pid } = child;
  assert.ok(pid !== undefined, 'the process starts');
  const told = () => [...out.slice(-8), ...err.slice(-30)].join('\n');
  return {
    pid,
    out,
    err,
    ended,
    says: (pattern, withinMs) => {
      const before = [...out, ...err].find((line) => pattern.test(line));
      if (before !== undefined) return Promise.resolve(before);
      const seen = new Promise<string>((resolve, reject) => {
        const watcher = (line: string) => {
          if (!pattern.test(line)) return;
          watchers.delete(watcher);
          resolve(line);
        };
        watchers.add(watcher);
        void ended.then(({ code, signal }) =>
          reject(new Error(`ended with ${signal ?? code} before ${pattern}:\n${told()}`)),
        );
      });
      return within(seen, withinMs, () => `${pattern}; it said:\n${told()}`);
    },
    killGroup: async () => {
      try {
        process.kill(-pid, 'SIGKILL');
      } catch (error) {
        if ((error as { code?: string }).code !== 'ESRCH') throw error;
      }
      await until(() => groupMembers(pid).length === 0, 10_000, 'the process group to be gone');
    },
    signal: (signal) => {
      process.kill(pid, signal);
    },
  };
}

/** Processes of a group that are alive (a zombie is not). */
export function groupMembers(group: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        // pid (name) state parent group …; the name may hold spaces and brackets.
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
        const [state, , of] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return Number(of) === group && state !== 'Z' && state !== 'X';
      } catch {
        return false;
      }
    });
}

/** The process of a group whose command line holds all of these words. */
export function memberWith(group: number, ...words: readonly string[]): number {
  const found = groupMembers(group).find((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words.every((word) => line.includes(word));
    } catch {
      return false;
    }
  });
  assert.ok(found !== undefined, `a process with ${words.join(' ')} runs`);
  return found;
}

/** Resolves as `promise` does, or fails after `ms` saying what was waited for. */
export async function within<T>(promise: Promise<T>, ms: number, what: () => string): Promise<T> {
  const over = new AbortController();
  const late = wait(ms, undefined, { signal: over.signal }).then(
    () => {
      throw new Error(`waited ${ms} ms for ${what()}`);
    },
    // Not late after all.
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    over.abort();
  }
}

const LOOK_EVERY_MS = 50;

/** Looks again and again until `seen` gives something else than false, null or undefined. */
export async function until<T>(
  seen: () => T | Promise<T>,
  withinMs: number,
  what: string,
): Promise<NonNullable<Exclude<T, false>>> {
  const endMs = Date.now() + withinMs;
  for (;;) {
    const value = await seen();
    if (value !== false && value !== null && value !== undefined)
      return value as NonNullable<Exclude<T, false>>;
    if (Date.now() > endMs) throw new Error(`waited ${withinMs} ms for ${what}`);
    await wait(LOOK_EVERY_MS);
  }
}

export type SwarmView = {
  readonly chainId: number;
  readonly rpc: string;
  readonly gateway: string;
  readonly token: string;
  readonly nodes: readonly {
    readonly name: string;
    readonly api: string;
    readonly peerId: string;
    readonly address: string;
  }[];
  readonly deployment: Deployment;
};

/** `swarm.json` of a data directory. */
export const swarmOf = (dataDir: string): SwarmView =>
  JSON.parse(readFileSync(join(dataDir, 'swarm.json'), 'utf8')) as SwarmView;

/** The JSON object that a command printed as its last line of standard output. */
export function lastJson({ out, err }: Pick<Running, 'out' | 'err'>): Record<string, unknown> {
  const line = out.findLast((each) => each.startsWith('{'));
  assert.ok(line !== undefined, `one JSON object on standard output, got:\n${err.join('\n')}`);
  return JSON.parse(line) as Record<string, unknown>;
}

/** What a step of the story begins with. */
export const heading = (step: number): RegExp => new RegExp(`^${step}\\. \\S`);

/** A control call to a node. */
export async function control<Reply>(
  api: string,
  token: string,
  path: string,
  body?: unknown,
): Promise<Reply> {
  const response = await fetch(`${api}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: status ${response.status} ${text}`);
  return JSON.parse(text) as Reply;
}

/** Checks that a failed command said one line `error[CODE]: …` and ended with its exit code. */
export function assertFailed(
  { code, err }: Finished,
  expected: { readonly code: RegExp; readonly exit: number; readonly says?: RegExp },
): string {
  const lines = err.filter((line) => line.startsWith('error['));
  assert.equal(lines.length, 1, `one error line, got:\n${err.join('\n')}`);
  const [line = ''] = lines;
  assert.match(/^error\[([A-Z_]+)\]/.exec(line)?.[1] ?? '', expected.code, line);
  if (expected.says !== undefined) assert.match(line, expected.says);
  assert.equal(code, expected.exit, line);
  return line;
}
