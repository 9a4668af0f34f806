/**
 * What the contracts of epochs only log: manifests of older epochs, leaves that were shown on
 * request, and receipts that were presented.
 */
import { toBeHex } from 'ethers';
import { contractInterfaces, type Deployment } from '#contracts';
import { type Address, type Bytes32, type Hex, parseAddress } from '#crypto';
import type { ReceiptContent } from '#protocol';
import type { ChainClient } from '../chain/client.ts';
import { plainValue } from './chain-port.ts';
import { contentOf, type ShownDivision } from './receipt-contents.ts';

export type EpochLog = {
  /** Digest of the manifest that an epoch was last anchored with. */
  readonly manifestOf: (epoch: number) => Promise<Bytes32>;
  /** Bytes of the leaves that were shown for an ask, in its order; null while they were not. */
  readonly shownFor: (askId: bigint) => Promise<readonly Hex[] | null>;
  /** Receipts that were presented on chain, by whom, each once. */
  readonly presented: () => Promise<readonly PresentedContent[]>;
};

export type PresentedContent = { readonly content: ReceiptContent; readonly presenter: Address };

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
  const presented = new Map<string, PresentedContent>();
  let nextBlock = deployedAtBlock;
  const readPresented = async (): Promise<void> => {
    const abi = contractInterfaces.PaymentDisputes;
    const event = abi.getEvent('ReceiptPresented');
    const filter = { address: contracts.PaymentDisputes, topics: [event?.topicHash ?? ''] };
    for (let from = -1; from !== nextBlock; ) {
      from = nextBlock;
      const found = await client.logs(filter, from);
      for (const log of found.logs) {
        const parsed = abi.parseLog({ ...log, topics: [...log.topics] });
        const [hash, presenter, division] = [...(parsed?.args ?? [])];
        const type = event?.inputs[2];
        if (type === undefined) continue;
        presented.set(`${hash}/${presenter}`, {
          content: contentOf(plainValue(type, division) as ShownDivision),
          presenter: parseAddress(presenter),
        });
      }
      nextBlock = found.nextBlock;
    }
  };
  // One at a time: two readers would read the same blocks twice.
  let reading: Promise<void> = Promise.resolve();
  return {
    presented: async () => {
      reading = reading.catch(() => undefined).then(readPresented);
      await reading;
      return [...presented.values()];
    },
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
