// Entry of every compute worker thread: builds what its role needs, then answers requests.
import { parentPort, workerData } from 'node:worker_threads';
import {
  type ServeMessage,
  type ServeProgress,
  ServeWorker,
  type ServeWorkerData,
} from '../serve/serve-worker.ts';
import { type FullRequest, FullWorker, type FullWorkerData } from './full-worker.ts';
import { type PoolRequest, PoolWorker, type PoolWorkerData } from './pool-worker.ts';
import { failureOf } from './threads.ts';

type Handler = (request: { id: number }, emit: (event: unknown) => void) => unknown;

const port = parentPort;
if (port === null) throw new Error('worker.ts runs as a worker thread only');

type WorkerData = FullWorkerData | PoolWorkerData | ServeWorkerData;

function build(data: WorkerData): Handler {
  if (data.role === 'full') {
    const worker = new FullWorker(data);
    return (request) => worker.handle(request as FullRequest & { id: number });
  }
  if (data.role === 'serve') {
    const worker = new ServeWorker(data);
    return (request, emit: (event: ServeProgress) => void) =>
      worker.handle(request as ServeMessage & { id: number }, emit);
  }
  const worker = new PoolWorker(data);
  return (request) => worker.handle(request as PoolRequest & { id: number });
}

/** What cannot be built answers every request with the reason, if that has a code; else it dies. */
function start(data: WorkerData): Handler {
  try {
    return build(data);
  } catch (error) {
    if (typeof (error as { code?: unknown }).code !== 'string') throw error;
    return () => {
      throw error;
    };
  }
}

const handle = start(workerData as WorkerData);

/** Gradients are handed over, not copied. */
function transferable(result: unknown): ArrayBuffer[] {
  if (!Array.isArray(result)) return [];
  return result.flatMap((one: { gradient?: Float32Array } | undefined) =>
    one?.gradient === undefined ? [] : [one.gradient.buffer as ArrayBuffer],
  );
}

async function answer(request: { id: number }): Promise<void> {
  const { id } = request;
  try {
    const result = await handle(request, (event) => port?.postMessage({ id, event }));
    port?.postMessage({ id, result }, transferable(result));
  } catch (error) {
    port?.postMessage({ id, error: failureOf(error) });
  }
}

port.on('message', (request: { id: number }) => void answer(request));
