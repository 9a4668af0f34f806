/**
 * How a watcher takes evidence to the contract that judges it: committed first, shown in a later
 * block, so that nobody can copy it; then the stake that is left is settled.
 */
import { type Address, fromHex, type Hex } from '#crypto';
import { evidenceCommitment } from '#protocol';
import type { ChainPort } from '../services/chain-port.ts';

type Judge = 'DatanetRegistry' | 'EpochDisputes' | 'PaymentDisputes';

export type VerdictParts = {
  readonly self: Address;
  readonly chain: Pick<ChainPort<Judge | 'Parameters' | 'Referee' | 'Staking'>, 'read' | 'submit'>;
  readonly waitForBlock: (number: number, signal: AbortSignal) => Promise<void>;
};

export type Accusation = {
  /** Names the action for ever. */
  readonly key: string;
  readonly contract: Judge;
  readonly fn: string;
  readonly evidence: unknown;
  /** What is committed to: the ABI-encoded argument. */
  readonly encoded: string;
  readonly accused: Address;
  /** Whether there still is something to judge; another watcher may be faster. */
  readonly stands: () => Promise<boolean>;
};

/** Has evidence judged. @returns false if another watcher was faster */
export async function accuse(
  { self, chain, waitForBlock }: VerdictParts,
  { key, contract, fn, evidence, encoded, accused, stands }: Accusation,
  signal: AbortSignal,
): Promise<boolean> {
  const commitment = evidenceCommitment(self, fromHex(encoded as Hex));
  // The same lie told again has the same evidence, which stands committed.
  const before = Number(await chain.read<bigint>('Referee', 'evidenceBlock', commitment));
  const commit = { contract: 'Referee', fn: 'commitEvidence', args: [commitment] } as const;
  const committedIn =
    before > 0 ? before : (await chain.submit({ key: `${key}/commit`, ...commit })).blockNumber;
  const delayBlocks = await chain.read<bigint>('Parameters', 'evidenceDelayBlocks');
  await waitForBlock(committedIn + Number(delayBlocks), signal);
  try {
    await chain.submit({ key: `${key}/show`, contract, fn, args: [evidence] });
  } catch (error) {
    if (await stands()) throw error;
    return false;
  }
  // What was slashed leaves the list and the draws by a transaction of its own.
  const settle = { key: `${key}/settle`, fn: 'settle', args: [accused] };
  await chain.submit({ ...settle, contract: 'Staking' });
  return true;
}
