/**
 * Brings drand's rounds to the chain, where committees are drawn by them. Each tick starts from what the chain says: a
 * round is brought when a task waits for it, drand has made it, and nobody has brought it yet.
 */
import { quicknet } from '#contracts';
import { type Address, fromHex, type Hex, toHex } from '#crypto';
import { isTurn } from '#protocol';
import type { LogPort } from '../provider/ports.ts';
import type { ChainPort } from './chain-port.ts';
import { type DrandAnswer, fetchDrandRound } from './drand-http.ts';
import { readStakers } from './staking.ts';

type Contracts = 'DrandBeacon' | 'Staking' | 'TaskEscrow';

/** How long one server may take for a round, ms. */
const PATIENCE_MS = 10_000;

type BeaconOptions = {
  readonly chain: ChainPort<Contracts>;
  /** Rounds that tasks wait for. */
  readonly rounds: () => Iterable<number>;
  readonly nowMs: () => number;
  /** Nodes bring a round one after the other, so that mostly one pays for it. */
  readonly staggerMs: number;
  readonly log: LogPort;
};

/** The service with drand's servers behind it; null where committees are not drawn by drand. */
export async function openBeacon(
  options: BeaconOptions & { readonly servers: readonly string[] },
): Promise<((signal: AbortSignal) => Promise<void>) | null> {
  const { chain, servers } = options;
  const beacon = await chain.read<Address>('TaskEscrow', 'beacon');
  if (beacon !== chain.addressOf('DrandBeacon')) return null;
  const source = {
    servers,
    chainHash: quicknet.chainHash,
    publicKey: fromHex(await chain.read<Hex>('DrandBeacon', 'publicKey')),
    patienceMs: PATIENCE_MS,
  };
  return createBeacon({
    ...options,
    fetchRound: (round, signal) => fetchDrandRound(source, round, signal),
  });
}

/** @returns the tick */
export function createBeacon({
  chain,
  rounds,
  fetchRound,
  nowMs,
  staggerMs,
  log,
}: BeaconOptions & {
  readonly fetchRound: (round: number, signal: AbortSignal) => Promise<DrandAnswer>;
}): (signal: AbortSignal) => Promise<void> {
  const bring = async (round: number, actors: readonly Address[], signal: AbortSignal) => {
    const [genesisSeconds, periodSeconds, known] = await Promise.all([
      chain.read<number>('DrandBeacon', 'genesisSeconds'),
      chain.read<number>('DrandBeacon', 'periodSeconds'),
      chain.read<Hex>('DrandBeacon', 'randomnessOf', round),
    ]);
    if (BigInt(known) !== 0n) return;
    // Round 1 is made at genesis.
    const madeAtMs = 1_000 * (genesisSeconds + (round - 1) * periodSeconds);
    const key = `beacon/${round}`;
    if (!isTurn(key, actors, chain.self, madeAtMs, nowMs(), staggerMs)) return;
    const answer = await fetchRound(round, signal);
    if (!answer.ok) {
      log.warn('no drand server gave the round, will ask again', { round, faults: answer.faults });
      return;
    }
    const args = [round, toHex(answer.point)];
    await chain.submit({ key, contract: 'DrandBeacon', fn: 'submit', args });
    log.info('drand round brought', { round });
  };
  return async (signal) => {
    const waited = [...new Set(rounds())];
    if (waited.length === 0) return;
    const actors = (await readStakers(chain)).map(({ account }) => account);
    await Promise.all(waited.map((round) => bring(round, actors, signal)));
  };
}
