/**
 * What a curator sees to besides judging: commitments that nobody revealed are ended, the stake behind
 * a version is there before it is published, and comes back when its challenge window is over.
 */
import type { Bytes32 } from '#crypto';
import { isOverdue, lapseIntent, releaseIntent, versionLockId } from '#protocol';
import { isChainError } from '../chain/errors.ts';
import { NodeError } from '../errors.ts';
import type { Log } from '../log.ts';
import { formatOpen } from '../units.ts';
import type { ChainPort } from './chain-port.ts';
import type { Contribution, Datanet } from './datanets.ts';

export type CuratorChain = ChainPort<'DatanetRegistry' | 'Parameters' | 'Staking'>;

export type CuratorDuties = {
  /** Ends the contributions that can no longer be revealed. */
  readonly endOverdue: (contributions: readonly Contribution[]) => Promise<void>;
  /**
   * Sees to it that what the next version locks is free, and deposits what is missing.
   * @throws NodeError STAKE_SHORT: the account cannot pay it, or its last version was slashed.
   */
  readonly prepareLock: (datanet: Datanet) => Promise<void>;
  /** Releases what is locked for versions whose window is over. */
  readonly releaseLocks: (datanet: Datanet) => Promise<void>;
};

export function createCuratorDuties(
  chain: CuratorChain,
  chainSeconds: () => Promise<number>,
  log: Log,
): CuratorDuties {
  const settled = new Set<string>();
  return {
    endOverdue: async (contributions) => {
      const seconds = await chainSeconds();
      for (const entry of contributions) {
        if (!isOverdue(entry, seconds)) continue;
        const { id } = entry;
        try {
          await chain.submit(lapseIntent(id));
          log.info('contribution lapsed: it was not revealed in time', { id });
        } catch (error) {
          // Anybody may end it, and judging must not wait for it.
          log.debug('a contribution is not ended, or by somebody else', { id, error });
        }
      }
    },
    prepareLock: (datanet) => prepareLock(chain, datanet),
    releaseLocks: async (datanet) => {
      const seconds = await chainSeconds();
      for (let version = 1; version <= datanet.versionCount; version += 1) {
        const key = `${datanet.id}/${version}`;
        if (settled.has(key)) continue;
        const until = await heldUntil(chain, datanet.id, version);
        if (until > seconds) continue;
        if (until > 0) {
          await chain.submit(releaseIntent(datanet.id, version));
          log.info('what was locked for a version is free again', { datanet: datanet.id, version });
        }
        settled.add(key);
      }
    },
  };
}

const heldUntil = (chain: CuratorChain, datanetId: Bytes32, version: number): Promise<number> =>
  chain.read<number>('DatanetRegistry', 'heldUntil', datanetId, version);

async function prepareLock(chain: CuratorChain, datanet: Datanet): Promise<void> {
  const { versionLockWei } = await chain.read<{ versionLockWei: bigint }>('Parameters', 'bonds');
  if (versionLockWei === 0n) return;
  const freeWei = await chain.read<bigint>('Staking', 'freeOf', chain.self);
  if (freeWei >= versionLockWei) return;
  const missingWei = versionLockWei - freeWei;
  const short = (why: string, cause?: unknown) =>
    new NodeError(
      'STAKE_SHORT',
      {
        account: chain.self,
        freeWei: `${freeWei}`,
        neededWei: `${versionLockWei}`,
        missingWei: `${missingWei}`,
      },
      `${why}; a version locks ${formatOpen(versionLockWei)} OPEN of its curator's free stake`,
      cause,
    );
  // As for nodes: what was slashed is not topped up by itself, that is for the operator to decide.
  if (await wasSlashed(chain, datanet))
    throw short('the last version was slashed: find out why, then deposit stake by hand');
  try {
    await chain.submit({
      key: `stake/version/${datanet.id}/${datanet.versionCount + 1}/${missingWei}`,
      contract: 'Staking',
      fn: 'deposit',
      args: [],
      valueWei: missingWei,
    });
  } catch (error) {
    if (!isChainError(error, 'CHAIN_UNFUNDED')) throw error;
    throw short(`send at least ${formatOpen(missingWei)} OPEN and fees to the account`, error);
  }
}

/** Whether nothing is left of what the last version locked, although nobody released it. */
async function wasSlashed(chain: CuratorChain, datanet: Datanet): Promise<boolean> {
  const version = datanet.versionCount;
  if (version === 0 || (await heldUntil(chain, datanet.id, version)) === 0) return false;
  const { amountWei } = await chain.read<{ amountWei: bigint }>(
    'Staking',
    'getLock',
    versionLockId(datanet.id, version),
  );
  return amountWei === 0n;
}
