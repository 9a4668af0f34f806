/**
 * The Python peers of the runtime suite (PyTorch, transformers and PEFT as runtime/golden pins them), in a
 * virtual environment of their own under .cache. Needs Python 3 with its venv module, and PyPI once.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const CACHE = join(ROOT, '.cache', 'peers');
const REQUIREMENTS = join(ROOT, 'runtime', 'golden', 'requirements.txt');

/** A peer that a row is measured against cannot be had here. */
export class PeerAbsentError extends Error {
  readonly code = 'PEER_ABSENT';
  constructor(peer: string, reason: string) {
    super(`the bench needs ${peer}: ${reason}`);
    this.name = 'PeerAbsentError';
  }
}

function must(command: string, args: readonly string[], needs: string): void {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status === 0) return;
  const said = `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n').slice(-4).join('\n');
  throw new PeerAbsentError(needs, error?.message ?? said);
}

/** The environment's python; makes the environment where it is missing or pins other versions. */
export function pythonPeer(say: (line: string) => void): string {
  const environment = join(CACHE, 'python');
  const python = join(environment, 'bin', 'python');
  const stamp = join(environment, 'requirements.sha256');
  const wanted = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return python;
  say('installing PyTorch, transformers and PEFT into .cache/peers/python');
  rmSync(environment, { recursive: true, force: true });
  must('python3', ['-m', 'venv', environment], 'Python 3 with its venv module');
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-compile'];
  must(python, [...pip, '-r', REQUIREMENTS], 'PyTorch, transformers and PEFT from PyPI');
  writeFileSync(stamp, wanted);
  return python;
}

/** A long-lived Python process that answers one JSON line per JSON line. */
export type PythonChild = {
  ask<Answer>(request: object): Promise<Answer>;
  close(): void;
};

export function startPython(
  python: string,
  script: string,
  args: readonly string[],
  threads: number,
): PythonChild {
  const child: ChildProcess = spawn(python, [script, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      OMP_NUM_THREADS: `${threads}`,
      TORCHINDUCTOR_CACHE_DIR: join(CACHE, 'inductor'),
      TOKENIZERS_PARALLELISM: 'false',
    },
  });
  const waiting: { resolve: (answer: never) => void; reject: (reason: Error) => void }[] = [];
  createInterface({ input: child.stdout! }).on('line', (line) => {
    waiting.shift()?.resolve(JSON.parse(line) as never);
  });
  let ended: string | undefined;
  const fail = (reason: string) => {
    ended = reason;
    for (const { reject } of waiting.splice(0)) reject(new PeerAbsentError(script, reason));
  };
  child.on('error', (error) => fail(error.message));
  // A child that is gone says why by its end.
  child.stdin!.on('error', () => undefined);
  child.on('exit', (code) => fail(`it ended with code ${code}; its reason is above`));
  return {
    ask: (request) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        if (ended !== undefined) fail(ended);
        else child.stdin!.write(`${JSON.stringify(request)}\n`);
      }),
    close: () => child.stdin!.end(),
  };
}
