// Plain counters of the network layer. They are numbers in a map, so that an exporter can be
// attached elsewhere and a test can read them without one.

/** What is counted. Each name is exported as `openledger_network_<name>_total`. */
export type CounterName =
  | 'refused'
  | 'penalties'
  | 'bans'
  | 'gossip_published'
  | 'gossip_accepted'
  | 'gossip_ignored'
  | 'rpc_served'
  | 'rpc_called'
  | 'rpc_failed'
  | 'dials'
  | 'dials_failed'
  | 'blocks_put'
  | 'blocks_received'
  | 'blocks_corrupt'
  | 'store_repaired';

export type Counters = {
  /** Key: name, or name with its one label, as in `refused{code="GOSSIP_TOO_LARGE"}`. */
  readonly values: ReadonlyMap<string, number>;
  add(name: CounterName, label?: CounterLabel, by?: number): void;
  get(name: CounterName, label?: CounterLabel): number;
};

/** One label; names are ours, values come from closed sets, so the map stays small. */
export type CounterLabel = Readonly<Record<string, string>>;

export function createCounters(): Counters {
  const values = new Map<string, number>();
  return {
    values,
    add(name, label, by = 1) {
      const key = keyOf(name, label);
      values.set(key, (values.get(key) ?? 0) + by);
    },
    get: (name, label) => values.get(keyOf(name, label)) ?? 0,
  };
}

function keyOf(name: string, label: CounterLabel | undefined): string {
  if (label === undefined) return name;
  const parts = Object.entries(label).map(([key, value]) => `${key}="${value}"`);
  return `${name}{${parts.join(',')}}`;
}
