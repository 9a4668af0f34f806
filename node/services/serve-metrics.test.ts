import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { exportServing } from './serve-metrics.ts';

const thread = (running: number) => ({
  requests: { running, waiting: 3 },
  finished: { stop: 1, length: 2, cancelled: 0, deadline: 0 },
  refused: { QUEUE_FULL: 4 },
  ...{ promptTokens: 10, prefixTokens: 6, outputTokens: 20, steps: 2, rows: 9, preemptions: 1 },
  adapters: { resident: 2, loads: 5, evictions: 3 },
  pages: { total: 30, free: 10, adapters: 8, prefixes: 4 },
  rate: 1,
});

test('the engine is exported as it stands at each scrape, its threads added up', async () => {
  const registry = new Registry();
  let asked = 0;
  const tiers = { ram: 1, disk: 2, swarm: 3, damaged: 0, ramEvictions: 4, diskEvictions: 5 };
  exportServing(registry, {
    metrics: async () => {
      asked += 1;
      return [thread(asked), thread(1)];
    },
    tiers,
    tierLoad: () => ({ ram: { adapters: 1, bytes: 64 }, disk: { adapters: 2, bytes: 128 } }),
  });
  const scrape = async () => (await registry.metrics()).split('\n');
  const first = await scrape();
  for (const line of [
    'openledger_serve_running_requests 2',
    'openledger_serve_waiting_requests 6',
    'openledger_serve_batch_rows_mean 4.5',
    'openledger_serve_pages{owner="free"} 20',
    'openledger_serve_pages{owner="texts"} 24',
    'openledger_serve_prefix_pages 8',
    'openledger_serve_prefix_hit_tokens_total 12',
    'openledger_serve_finished_total{reason="length"} 4',
    'openledger_serve_refused_total{code="QUEUE_FULL"} 8',
    'openledger_serve_adapter_evictions_total{tier="resident"} 6',
    'openledger_serve_adapter_evictions_total{tier="ram"} 4',
    'openledger_serve_adapter_hits_total{tier="swarm"} 3',
    'openledger_serve_tier_bytes{tier="disk"} 128',
  ])
    assert.ok(first.includes(line), `${line}\n${first.join('\n')}`);
  assert.equal(asked, 1);
  // The next scrape comes in another turn of the event loop.
  await setImmediate();
  const second = await scrape();
  assert.ok(second.includes('openledger_serve_running_requests 3'));
  assert.ok(second.includes('openledger_serve_steps_total 4'));
  assert.equal(asked, 2);
});
