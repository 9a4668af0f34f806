// Bits: a row computed in a batch, with pages and gathered adapters, equals the row computed alone.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nativeStatus, openArena } from '../engine/backend.ts';
import { weightsOf } from '../engine/config.ts';
import { createEngine } from '../engine/engine.ts';
import type { Adapter } from '../engine/graph.ts';
import {
  fullFeaturedConfig,
  sampleAdapter,
  sampleConfig,
  sampleParameters,
  sampleRecord,
} from '../reference/sample.ts';
import { adapterLayout } from './adapter-layout.ts';
import { BatchGraph } from './batch-graph.ts';
import { PagePool } from './page-pool.ts';

const backends = nativeStatus().usable ? (['wasm', 'native'] as const) : (['wasm'] as const);
const sizes = { sequences: 9, rows: 64, pagePositions: 8, poolBytes: 4e6, rankMax: 20 };
const bytes = (values: Float32Array) =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

function place(graph: BatchGraph, adapter: Adapter): number {
  const pages = Array.from(
    { length: graph.layoutOf(adapter.rank).pages },
    () => graph.pool.take()!,
  );
  // A scattered adapter must give the bits of one that lies in order.
  const at = graph.placeHeader(adapter, pages.reverse());
  for (let layer = 0; layer < graph.config.layers; layer++) graph.pack(at, adapter, layer);
  return at;
}

for (const backend of backends) {
  const everyHead = sampleConfig({ kvHeads: 4, tiedEmbeddings: false, vocabSize: 107 });
  const cases = [
    ['plain', sampleConfig(), 'f32'],
    ['a key per head', everyHead, 'f32'],
    ['featured', fullFeaturedConfig(), 'f32'],
    ['plain', sampleConfig(), 'int8'],
    ['a key per head', everyHead, 'f16'],
    ['featured', fullFeaturedConfig(), 'bf16'],
  ] as const;
  for (const [name, config, format] of cases) {
    test(`batched rows equal rows alone: ${backend} ${name} ${format}`, () => {
      const values = weightsOf(config, sampleParameters(config));
      const graph = new BatchGraph(openArena(backend), values, sizes, format);
      const engine = createEngine(values, { backend, training: false, weights: format });
      const adapters = [1, 3, 8, 16, 20].map((rank) => sampleAdapter(config, rank, rank));
      const placed = new Map(adapters.map((adapter) => [adapter, place(graph, adapter)]));
      // Neighbours of one adapter, the base between others, and texts of different lengths.
      const uses = [0, 0, null, 1, 2, 3, 4, 4, null].map((i) => (i === null ? null : adapters[i]!));
      const texts = uses.map((adapter, i) => ({
        adapter,
        tokens: sampleRecord(config, 21 + 4 * i, 40 + i).tokens,
        table: graph.takeTable()!,
        done: 0,
        first: 5 + i,
        session: engine.session(adapter),
      }));
      for (const { table, tokens } of texts) {
        for (let i = 0; i < graph.pagesFor(tokens.length); i++) {
          graph.setPage(table, i, graph.pool.take()!);
        }
      }
      for (let round = 0; round < 60; round++) {
        let room = sizes.rows;
        const turn = texts
          .filter(({ tokens, done }, i) => done < tokens.length && (round + i) % 5 !== 0)
          .map((text, i) => {
            const most = text.done === 0 ? text.first : round % 7 === i ? 6 : 1;
            const rows = Math.min(most, text.tokens.length - text.done, room);
            room -= rows;
            return { text, rows };
          })
          .filter(({ rows }) => rows > 0);
        if (turn.length === 0) continue;
        const logits = graph
          .step(
            turn.map(({ text, rows }) => ({
              table: text.table,
              tokens: text.tokens.subarray(text.done, text.done + rows),
              start: text.done,
              adapter: text.adapter === null ? 0 : placed.get(text.adapter)!,
              wanted: true,
            })),
          )
          .slice();
        for (const [i, { text, rows }] of turn.entries()) {
          const alone = text.session.prefill(text.tokens.subarray(text.done, text.done + rows));
          const row = logits.subarray(i * config.vocabSize, (i + 1) * config.vocabSize);
          assert.equal(Buffer.compare(bytes(row), bytes(alone)), 0, `round ${round}, text ${i}`);
          assert.equal(graph.logprob(row, 5), text.session.logprob(5));
          text.done += rows;
        }
      }
      assert.ok(texts.every(({ tokens, done }) => done === tokens.length));
    });
  }
}

test('RANK_TOO_LARGE when a panel or the header of an adapter does not fit a page', () => {
  const tooLarge = (error: { code?: string }) => error.code === 'RANK_TOO_LARGE';
  assert.throws(() => adapterLayout(sampleConfig(), 256, 4096), tooLarge);
  assert.throws(() => adapterLayout(sampleConfig({ layers: 40 }), 8, 4096), tooLarge);
});

test('a page is free again when its last owner lets go, and not before', () => {
  const pool = new PagePool(openArena('wasm'), 64, 2);
  const page = pool.take()!;
  pool.share(page);
  pool.release(page);
  assert.equal(pool.free, 1);
  assert.equal(pool.owners(page), 1);
  pool.release(page);
  assert.equal(pool.free, 2);
  assert.throws(() => pool.release(page), /owned page/);
});
