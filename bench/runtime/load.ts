/**
 * The loading arm, bundled and run in a process of its own: `load.js FOLDER BACKEND FORMAT PREPARED` prints
 * JSON: GB/s of reading the weights' file out of the page cache, GB/s of loading the model from it, and what
 * that adds to the process. A virtual machine's host takes unused memory back, and touching it again costs
 * more than the load itself; so with `backed` as much is touched and given back before the clock starts.
 */
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread, Worker } from 'node:worker_threads';
import { Graph, openArena, openWeights, type WeightFormat } from '#runtime';

const PIECE_BYTES = 2 ** 20;

const [folder, choice, format, prepared] = process.argv.slice(2) as [
  ...[folder: string, backend: string, format: WeightFormat, prepared: 'backed' | 'fresh'],
];
const backend = choice === 'native' ? 'native' : 'wasm';
const file = join(folder, 'model.safetensors');

/** Bytes per nanosecond, which is GB/s. */
function readSpeed(): number {
  const piece = Buffer.alloc(PIECE_BYTES);
  const descriptor = openSync(file, 'r');
  const startedAtMs = performance.now();
  let bytes = 0;
  for (let count = -1; count !== 0; bytes += count) {
    count = readSync(descriptor, piece, 0, PIECE_BYTES, bytes);
  }
  const ms = performance.now() - startedAtMs;
  closeSync(descriptor);
  return bytes / ms / 1e6;
}

function status(field: 'VmRSS' | 'VmHWM'): number {
  const found = new RegExp(`${field}:\\s+(\\d+) kB`).exec(
    readFileSync('/proc/self/status', 'utf8'),
  );
  return Number(found?.[1]) * 1024;
}

/** A thread touches memory as a load does and ends, which gives it back. */
async function backMemory(): Promise<void> {
  const thread = new Worker(new URL(import.meta.url), { argv: process.argv.slice(2) });
  await once(thread, 'exit');
}

async function load(): Promise<{ seconds: number; graph: Graph }> {
  const startedAtMs = performance.now();
  const weights = await openWeights(folder);
  const graph = new Graph(openArena(backend), weights.config, false, format);
  graph.load(weights);
  return { seconds: (performance.now() - startedAtMs) / 1000, graph };
}

const { size } = statSync(file);

async function measure(): Promise<void> {
  // The first arena compiles the kernels and holds them against each other, once per process.
  openArena(backend);
  readSpeed();
  if (prepared === 'backed') await backMemory();
  const cacheGBs = readSpeed();
  const before = status('VmRSS');
  // From here on the high-water mark counts anew.
  writeFileSync('/proc/self/clear_refs', '5');
  const { seconds, graph } = await load();
  const addedBytes = status('VmRSS') - before;
  const peakBytes = status('VmHWM') - before;
  // One position through the model: everything is in its place.
  const logits = graph.extend(null, graph.placeCache(8), Int32Array.of(1), 0);
  if (!logits.every(Number.isFinite)) throw new Error('expected finite logits');
  const { residentBytes } = graph;
  const loadGBs = size / seconds / 1e9;
  console.log(JSON.stringify({ cacheGBs, loadGBs, residentBytes, addedBytes, peakBytes }));
}

if (isMainThread) {
  await measure();
} else {
  const arena = openArena(backend);
  arena.u8(arena.allocate(size), size).fill(1);
}
