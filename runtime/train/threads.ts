// One worker thread as a caller sees it: requests in, promises out, a typed error when it dies.
import { Worker } from 'node:worker_threads';

/** A worker thread ended while work was under way; its jobs were not done. */
export class WorkerCrashedError extends Error {
  readonly code = 'WORKER_CRASHED';
  constructor(reason: string, cause?: unknown) {
    super(`a compute worker stopped: ${reason}; its jobs were not done, submit them again`, {
      cause,
    });
    this.name = 'WorkerCrashedError';
  }
}

/** The work was cancelled by its AbortSignal. */
export class WorkAbortedError extends Error {
  readonly code = 'WORK_ABORTED';
  constructor(cause?: unknown) {
    super('the work was aborted by its caller', { cause });
    this.name = 'WorkAbortedError';
  }
}

/** A worker answered with an error; code and details are those of the error it met. */
export class WorkerJobError extends Error {
  readonly code: string;
  readonly details: unknown;
  constructor(failure: Failure) {
    super(failure.message);
    this.name = failure.name;
    this.code = failure.code;
    this.details = failure.details;
  }
}

/** An error on its way between threads, where classes do not survive. */
export type Failure = {
  readonly name: string;
  readonly message: string;
  readonly code: string;
  readonly details: unknown;
};

/** The parts of an error that cross a thread boundary. */
export function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) {
    return { name: 'Error', message: String(error), code: 'WORKER_JOB', details: undefined };
  }
  const { name, message, code, details } = error as Error & { code?: string; details?: unknown };
  return { name, message, code: code ?? 'WORKER_JOB', details };
}

/** What a worker answers: progress of a request, its result, or its failure. */
export type Reply = {
  readonly id: number;
  readonly event?: unknown;
  readonly result?: unknown;
  readonly error?: Failure;
};

type Waiting = {
  resolve(result: unknown): void;
  reject(error: unknown): void;
  onEvent: ((event: unknown) => void) | undefined;
};

/**
 * Starts the worker entry: the file given, else worker.ts beside this source, else worker.js beside
 * the bundle. Node 20 does not hand TypeScript loaders down to workers, so a source registers its own.
 */
function startWorker(workerData: unknown, file?: string | URL): Worker {
  const source = new URL(import.meta.url).pathname.endsWith('.ts');
  const entry = new URL(file ?? (source ? './worker.ts' : './worker.js'), import.meta.url);
  if (!entry.pathname.endsWith('.ts')) return new Worker(entry, { workerData });
  const loader = import.meta.resolve('tsx/esm/api');
  const code = `import(${JSON.stringify(loader)}).then((tsx) => {
    tsx.register();
    return import(${JSON.stringify(entry.href)});
  })`;
  return new Worker(code, { eval: true, workerData });
}

/** Owner of one worker thread. */
export class Thread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #dead: WorkerCrashedError | undefined;

  constructor(workerData: unknown, file?: string | URL) {
    this.#worker = startWorker(workerData, file);
    this.#worker.on('message', (reply: Reply) => this.#settle(reply));
    this.#worker.on('error', (cause) => this.#fail(new WorkerCrashedError(cause.message, cause)));
    this.#worker.on('exit', (code) => this.#fail(new WorkerCrashedError(`exit code ${code}`)));
    this.#worker.unref();
  }

  /** Requests not yet answered. */
  get load(): number {
    return this.#waiting.size;
  }

  get alive(): boolean {
    return this.#dead === undefined;
  }

  /** Sends a request; the result comes back whole, events as they happen; an abort is passed on. */
  request<T>(message: object, onEvent?: (event: never) => void, signal?: AbortSignal): Promise<T> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const id = this.#next++;
    const abort = () => this.notify({ kind: 'abort', target: id });
    signal?.addEventListener('abort', abort, { once: true });
    this.#worker.ref();
    return new Promise<T>((resolve, reject) => {
      const waiting = { resolve, reject, onEvent } as Waiting;
      this.#waiting.set(id, waiting);
      this.#worker.postMessage({ ...message, id });
      if (signal?.aborted) abort();
    }).finally(() => signal?.removeEventListener('abort', abort));
  }

  /** A message without an answer. */
  notify(message: object): void {
    if (this.#dead === undefined) this.#worker.postMessage({ ...message, id: 0 });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if (waiting === undefined) return;
    if ('event' in reply) {
      waiting.onEvent?.(reply.event);
      return;
    }
    this.#waiting.delete(reply.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if (reply.error !== undefined) waiting.reject(new WorkerJobError(reply.error));
    else waiting.resolve(reply.result);
  }

  #fail(error: WorkerCrashedError): void {
    this.#dead ??= error;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const one of waiting) one.reject(this.#dead);
  }
}
