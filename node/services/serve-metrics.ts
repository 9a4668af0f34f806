/**
 * The serving engine in `/metrics`: read when somebody asks, under the names of the design
 * (`openledger_serve_…`). Labels are bounded: codes, tiers and ways to end, never adapters or clients.
 */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { ServeMetrics, Serving } from '#runtime';

type Source = Pick<Serving, 'metrics' | 'tiers' | 'tierLoad'>;
/** Values by label; '' where there is none. */
type Reading = Readonly<Record<string, number>>;
type Metric = {
  readonly name: string;
  readonly help: string;
  readonly read: () => Reading | Promise<Reading>;
  readonly label?: string;
};

/** Registers them; a scrape asks the engine's threads once. */
export function exportServing(registry: Registry, serving: Source): void {
  const threads = oncePerScrape(serving.metrics);
  for (const metric of gauges(serving, threads)) registry.registerMetric(gaugeOf(metric));
  for (const metric of counters(serving, threads)) registry.registerMetric(counterOf(metric));
}

type Threads = () => Promise<readonly ServeMetrics[]>;

/** All metrics of one scrape collect in one turn of the event loop: one question serves them all. */
function oncePerScrape(ask: Threads): Threads {
  let asked: ReturnType<Threads> | undefined;
  return () => {
    if (asked === undefined) {
      asked = ask();
      setImmediate(() => {
        asked = undefined;
      });
    }
    return asked;
  };
}

const sum =
  (threads: Threads, of: (one: ServeMetrics) => number) => async (): Promise<Reading> => ({
    '': (await threads()).reduce((all, one) => all + of(one), 0),
  });

const byName =
  (threads: Threads, of: (one: ServeMetrics) => Reading) => async (): Promise<Reading> => {
    const all: Record<string, number> = {};
    for (const one of await threads())
      for (const [name, value] of Object.entries(of(one))) all[name] = (all[name] ?? 0) + value;
    return all;
  };

const pagesOf = ({ pages }: ServeMetrics): Reading => ({
  free: pages.free,
  adapters: pages.adapters,
  texts: pages.total - pages.free - pages.adapters,
});

function gauges(serving: Source, threads: Threads): readonly Metric[] {
  const total = (of: (one: ServeMetrics) => number) => sum(threads, of);
  const load = (of: 'adapters' | 'bytes') => (): Reading => {
    const { ram, disk } = serving.tierLoad();
    return { ram: ram[of], disk: disk[of] };
  };
  const meanRows = async (): Promise<Reading> => {
    const all = await threads();
    const steps = all.reduce((count, one) => count + one.steps, 0);
    return { '': steps === 0 ? 0 : all.reduce((count, { rows }) => count + rows, 0) / steps };
  };
  const metric = (name: string, help: string, read: Metric['read'], label?: string): Metric => ({
    ...{ name, help, read },
    ...(label === undefined ? {} : { label }),
  });
  return [
    metric(
      'running_requests',
      'Answers in the batch now.',
      total((one) => one.requests.running),
    ),
    metric(
      'waiting_requests',
      'Answers that wait.',
      total((one) => one.requests.waiting),
    ),
    metric('batch_rows_mean', 'Rows in a step, since the start.', meanRows),
    metric('pages', 'Pages of the pool by who has them.', byName(threads, pagesOf), 'owner'),
    metric(
      'prefix_pages',
      'Pages of texts kept for reuse.',
      total((one) => one.pages.prefixes),
    ),
    metric(
      'resident_adapters',
      'Adapters in the pool.',
      total((one) => one.adapters.resident),
    ),
    metric('tier_adapters', 'Adapters in a tier.', load('adapters'), 'tier'),
    metric('tier_bytes', 'Bytes of adapters in a tier.', load('bytes'), 'tier'),
  ];
}

function counters({ tiers }: Source, threads: Threads): readonly Metric[] {
  const plain = (name: string, help: string, of: (one: ServeMetrics) => number): Metric => ({
    ...{ name: `${name}_total`, help },
    read: sum(threads, of),
  });
  return [
    plain('steps', 'Steps computed.', ({ steps }) => steps),
    plain('rows', 'Rows computed.', ({ rows }) => rows),
    plain('prompt_tokens', 'Tokens of prompts.', ({ promptTokens }) => promptTokens),
    plain('prefix_hit_tokens', 'Those found in the prefix cache.', (one) => one.prefixTokens),
    plain('output_tokens', 'Tokens of answers.', ({ outputTokens }) => outputTokens),
    plain('preemptions', 'Answers set back for want of pages.', (one) => one.preemptions),
    plain('adapter_loads', 'Adapters taken into the pool.', ({ adapters }) => adapters.loads),
    {
      ...{ name: 'finished_total', help: 'Answers that ended.', label: 'reason' },
      read: byName(threads, ({ finished }) => finished),
    },
    {
      ...{ name: 'refused_total', help: 'Answers refused.', label: 'code' },
      read: byName(threads, ({ refused }) => refused),
    },
    {
      ...{ name: 'adapter_evictions_total', help: 'Adapters that made room.', label: 'tier' },
      read: async () => ({
        resident: (await sum(threads, ({ adapters }) => adapters.evictions)())['']!,
        ram: tiers.ramEvictions,
        disk: tiers.diskEvictions,
      }),
    },
    {
      ...{ name: 'adapter_hits_total', help: 'Fetched adapters, by who had them.', label: 'tier' },
      read: () => ({ ram: tiers.ram, disk: tiers.disk, swarm: tiers.swarm }),
    },
  ];
}

function gaugeOf({ read, label, ...metric }: Metric): Gauge {
  return new Gauge({
    ...settings(metric, label),
    async collect() {
      for (const [value, now] of Object.entries(await read()))
        if (label === undefined) this.set(now);
        else this.set({ [label]: value }, now);
    },
  });
}

/** Counted elsewhere: each scrape writes the whole. */
function counterOf({ read, label, ...metric }: Metric): Counter {
  return new Counter({
    ...settings(metric, label),
    async collect() {
      const now = await read();
      this.reset();
      for (const [value, total] of Object.entries(now))
        if (label === undefined) this.inc(total);
        else this.inc({ [label]: value }, total);
    },
  });
}

const settings = ({ name, help }: Pick<Metric, 'name' | 'help'>, label: string | undefined) => ({
  name: `openledger_serve_${name}`,
  help,
  labelNames: label === undefined ? [] : [label],
  registers: [],
});
