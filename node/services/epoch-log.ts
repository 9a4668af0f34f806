/** What the contracts of epochs only log: manifests of older epochs, and leaves that were shown on request. */
import { toBeHex } from 'ethers';
import { contractInterfaces, type Deployment } from '#contracts';
import type { Bytes32, Hex } from '#crypto';
import type { ChainClient } from '../chain/client.ts';

export type EpochLog = {
  /** Digest of the manifest that an epoch was last anchored with. */
  readonly manifestOf: (epoch: number) => Promise<Bytes32>;
  /** Bytes of the leaves that were shown for an ask, in its order; null while they were not. */
  readonly shownFor: (askId: bigint) => Promise<readonly Hex[] | null>;
};

export function openEpochLog(
  client: Pick<ChainClient, 'logs'>,
  { contracts, deployedAtBlock }: Deployment,
): EpochLog {
  /** The last event of that name about a subject, its first indexed argument. */
  const lastOf = async (contract: 'Epochs' | 'EpochDisputes', name: string, subject: bigint) => {
    const abi = contractInterfaces[contract];
    const topics = [abi.getEvent(name)?.topicHash ?? '', toBeHex(subject, 32)];
    const filter = { address: contracts[contract], topics };
    let last = null;
    for (let from = deployedAtBlock, next = -1; next !== from; ) {
      next = from;
      const found = await client.logs(filter, from);
      last = found.logs.at(-1) ?? last;
      from = found.nextBlock;
    }
    return last === null ? null : abi.parseLog({ ...last, topics: [...last.topics] });
  };
  return {
    manifestOf: async (epoch) => {
      const anchored = await lastOf('Epochs', 'EpochAnchored', BigInt(epoch));
      if (anchored === null) throw new Error(`epoch ${epoch} is anchored and was never announced`);
      return anchored.args['roots'].manifest as Bytes32;
    },
    shownFor: async (askId) => {
      const shown = await lastOf('EpochDisputes', 'LeavesShown', askId);
      return shown === null ? null : ([...shown.args['leaves']] as Hex[]);
    },
  };
}
