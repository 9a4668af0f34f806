/** Epochs and the watch over them, put together for one node. */
import type { Deployment } from '#contracts';
import { type Address, parseAddress } from '#crypto';
import { PRESETS } from '#protocol';
import type { Log } from '../log.ts';
import { watchEpochs } from '../watch/epochs.ts';
import type { Account } from './account.ts';
import type { BlockPort } from './datanets.ts';
import { openEpochLog } from './epoch-log.ts';
import { createEpochs, type Epochs } from './epochs.ts';
import { readStakers } from './staking.ts';

export type EpochServiceParts = {
  readonly account: Pick<Account, 'chain' | 'client' | 'chainSeconds'>;
  readonly host: { readonly blocks: BlockPort };
  readonly config: {
    readonly chainId: number;
    readonly deployment: Deployment;
    readonly preset: keyof typeof PRESETS;
    readonly isGateway: boolean;
    readonly challenges: boolean;
  };
  readonly log: Log;
};

export type EpochServices = {
  readonly epochs: Epochs;
  readonly watch: (signal: AbortSignal) => Promise<void>;
};

/** @param receipts receipt files that this node vouches for as valid, oldest first */
export async function openEpochServices(
  { account, host: { blocks }, config, log: nodeLog }: EpochServiceParts,
  receipts: () => AsyncIterable<Uint8Array>,
): Promise<EpochServices> {
  const { chain, client, chainSeconds } = account;
  const { manifestOf, presented, shownFor } = openEpochLog(client, config.deployment);
  const { epochAgeMs, staggerMs, askAfterMs } = PRESETS[config.preset];
  const shared = {
    chain,
    blocks,
    chainSeconds,
    presented,
    treasury: parseAddress(await chain.read<Address>('InferenceEscrow', 'treasury')),
    domain: { chainId: config.chainId, verifyingContract: chain.addressOf('Referee') },
    nowMs: Date.now,
    log: nodeLog.child('epochs'),
  };
  const { isGateway: anchors } = config;
  const epochs = createEpochs({ ...shared, manifestOf, receipts, anchors, epochAgeMs });
  const watch = watchEpochs(
    {
      ...shared,
      self: chain.self,
      pending: epochs.pending,
      lists: epochs.lists,
      shownFor,
      watchers: async () => (await readStakers(chain)).map((each) => each.account),
      waitForBlock: (number, signal) => client.waitForBlock(number, signal),
    },
    { staggerMs, patienceMs: askAfterMs, challenges: config.challenges },
  );
  return { epochs, watch };
}
