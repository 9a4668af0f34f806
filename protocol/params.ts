/**
 * Every number of the protocol that is not governed on chain, with its unit and where it comes from,
 * in three presets. Governed numbers are read from Parameters on chain; only their type is here.
 */
import { invariant } from './invariant.ts';
import type { FeeRules } from './payouts.ts';
import type { Price } from './receipt.ts';
import type { Threshold } from './scores.ts';

/** Parameters.sol, as `all()` gives it. Durations in seconds, ratios PPM. */
export type GovernedParameters = {
  readonly threshold: Threshold;
  readonly fees: FeeRules;
  readonly slashing: {
    readonly challengerPpm: number;
    readonly juryPpm: number;
    readonly requesterPpm: number;
    readonly burnPpm: number;
  };
  readonly tasks: {
    readonly claimSeconds: number;
    readonly leaseSeconds: number;
    readonly revealSeconds: number;
    readonly voteCommitSeconds: number;
    readonly voteRevealSeconds: number;
    readonly maxRenewals: number;
    readonly committeeSize: number;
    readonly segmentsPerVerifier: number;
    readonly samplesPerVerifier: number;
    readonly verifierRewardPpm: number;
  };
  readonly bonds: {
    readonly minStakeWei: bigint;
    readonly servingLockWei: bigint;
    readonly trainingLockWei: bigint;
    readonly abandonBondWei: bigint;
    readonly maxStakers: number;
  };
  readonly timing: {
    readonly challengeWindowSeconds: number;
    readonly thawSeconds: number;
    readonly slashingFloorSeconds: number;
    readonly evidenceDelayBlocks: number;
  };
};

/** What a node goes by; never a rule between strangers except where `wire/` says so. */
export type ProtocolParameters = {
  readonly preset: 'local' | 'testnet' | 'mainnet';
  /** Mean time between blocks. */
  readonly blockMs: number;
  /** How often a node reads the chain's state: once a block, no faster than once a second. */
  readonly pollMs: number;
  /** A message's clock may be so much ahead of or behind ours: NTP errors and a slow mesh. */
  readonly clockSkewMs: number;
  /** How long a gossip message is worth passing on; also how long its id is remembered. */
  readonly gossipAgeMs: number;
  /** Capacity is announced so often; it is believed for `capacityTtlMs`. */
  readonly capacityPeriodMs: number;
  readonly capacityTtlMs: number;
  /** Shards are announced again so often, for nodes that came late. */
  readonly shardsPeriodMs: number;
  /** Of several nodes that may send one housekeeping transaction, each next one waits so much longer. */
  readonly staggerMs: number;
  /** An epoch's manifest that is not to be had for so long is asked for on chain: three times delta of messages. */
  readonly askAfterMs: number;
  /** A lease is renewed when this part of it is left, so that one lost transaction does no harm. */
  readonly leaseMarginPpm: number;
  /** An epoch with receipts is anchored at least this often. */
  readonly epochAgeMs: number;
  /** Vouchers are collected when they add up to this, or are so old. */
  readonly collectWei: bigint;
  readonly collectAgeMs: number;
  /** A client gives up on a provider that is silent for so long. */
  readonly answerSilenceMs: number;
  /** Concurrent answers that a node takes on before it refuses. */
  readonly answersMax: number;
  /** Tokens that a node generates for one answer at most. */
  readonly outputTokensMax: number;
  /** What a node asks unless its operator says otherwise; the fee is the network's. */
  readonly price: Price;
};

/** 10^9 wei a token: a million tokens cost 0.001 OPEN; the fee is a third of the usual compute. */
const PRICE: Price = {
  promptWeiPerToken: 1_000_000_000n,
  outputWeiPerToken: 2_000_000_000n,
  feeWeiPerToken: 1_000_000_000n,
};

/** A thousand times that, so that people see what they earn in a demonstration of minutes. */
const LOCAL_PRICE: Price = {
  promptWeiPerToken: 1_000n * PRICE.promptWeiPerToken,
  outputWeiPerToken: 1_000n * PRICE.outputWeiPerToken,
  feeWeiPerToken: 1_000n * PRICE.feeWeiPerToken,
};

/** Seconds: one machine, six processes, blocks of one second. */
const local: ProtocolParameters = {
  preset: 'local',
  blockMs: 1_000,
  pollMs: 1_000,
  clockSkewMs: 5_000,
  gossipAgeMs: 60_000,
  capacityPeriodMs: 3_000,
  // Three announcements may be lost.
  capacityTtlMs: 12_000,
  shardsPeriodMs: 10_000,
  // Two blocks: the first sender's transaction is seen before the second sends.
  staggerMs: 2_000,
  // Late in the window of 12 s: a slow machine is no withholder.
  askAfterMs: 8_000,
  leaseMarginPpm: 500_000,
  // The story and the operator close epochs when they want to see them.
  epochAgeMs: 600_000,
  collectWei: 1_000_000_000_000_000n,
  collectAgeMs: 3_000,
  answerSilenceMs: 15_000,
  answersMax: 8,
  outputTokensMax: 1_024,
  price: LOCAL_PRICE,
};

/** Minutes: machines on the internet, blocks of two seconds. */
const testnet: ProtocolParameters = {
  ...local,
  preset: 'testnet',
  price: PRICE,
  blockMs: 2_000,
  pollMs: 2_000,
  clockSkewMs: 30_000,
  gossipAgeMs: 300_000,
  capacityPeriodMs: 30_000,
  capacityTtlMs: 120_000,
  shardsPeriodMs: 300_000,
  staggerMs: 6_000,
  askAfterMs: 180_000,
  collectWei: 10_000_000_000_000_000n,
  collectAgeMs: 300_000,
  answerSilenceMs: 30_000,
};

/** Hours: the same chain, traffic that pays for patience. */
const mainnet: ProtocolParameters = {
  ...testnet,
  preset: 'mainnet',
  capacityPeriodMs: 60_000,
  capacityTtlMs: 240_000,
  shardsPeriodMs: 3_600_000,
  staggerMs: 10_000,
  epochAgeMs: 86_400_000,
  collectWei: 100_000_000_000_000_000n,
  collectAgeMs: 3_600_000,
};

export const PRESETS: {
  readonly local: ProtocolParameters;
  readonly testnet: ProtocolParameters;
  readonly mainnet: ProtocolParameters;
} = { local, testnet, mainnet };

/** @throws InvariantViolation if the numbers contradict each other; tests hold all presets to it. */
export function checkParameters(parameters: ProtocolParameters): void {
  const { blockMs, pollMs, staggerMs, price } = parameters;
  invariant(
    pollMs >= 1_000 || pollMs >= blockMs,
    'the chain is not asked more often than it moves',
  );
  invariant(staggerMs >= 2 * blockMs, 'a transaction is seen before the next node sends its own');
  invariant(
    parameters.capacityTtlMs >= 3 * parameters.capacityPeriodMs,
    'two lost announcements do not hide a node',
  );
  invariant(
    parameters.gossipAgeMs > 2 * parameters.clockSkewMs,
    'a message outlives the errors of two clocks',
  );
  invariant(
    parameters.leaseMarginPpm > 0 && parameters.leaseMarginPpm < 1_000_000,
    'a lease is renewed after it began and before it ends',
  );
  invariant(price.feeWeiPerToken % 1_000_000n === 0n, 'fees are whole millions of wei');
  invariant(parameters.epochAgeMs > 0, 'epochs have a length');
}

/**
 * What of the chain's governed numbers these parameters cannot live with; empty if nothing. A node
 * prints these and does not take part.
 */
export function parameterConflicts(
  parameters: ProtocolParameters,
  governed: GovernedParameters,
): readonly string[] {
  const { staggerMs, leaseMarginPpm, blockMs } = parameters;
  const { tasks, timing } = governed;
  const conflicts: string[] = [];
  const marginMs = (tasks.leaseSeconds * leaseMarginPpm) / 1_000;
  if (marginMs < 2 * blockMs) {
    conflicts.push(`lease: expected a margin of two blocks, got ${marginMs} ms`);
  }
  for (const name of ['revealSeconds', 'voteCommitSeconds', 'voteRevealSeconds'] as const) {
    if (tasks[name] * 1_000 < 2 * blockMs) {
      conflicts.push(`${name}: expected at least two blocks, got ${tasks[name]} s`);
    }
  }
  // drawCommittee must come from some node within the time to commit votes.
  if (tasks.voteCommitSeconds * 1_000 < 2 * staggerMs) {
    conflicts.push(`voteCommitSeconds: expected twice ${staggerMs} ms, got it shorter`);
  }
  if (timing.challengeWindowSeconds * 1_000 < 2 * blockMs) {
    conflicts.push('challengeWindowSeconds: expected at least two blocks');
  }
  return conflicts;
}
