/**
 * What serving, paying and checking need to know from the contracts, and the few things they submit,
 * in their own terms. Governed numbers are read each time they are needed, at most once a second.
 */

import type { ContractName } from '#contracts';
import type { Address, Bytes32 } from '#crypto';
import { toHex } from '#crypto';
import {
  type AdapterAnchor,
  inferVoucher,
  NO_ADAPTER,
  type ReceiptRules,
  type TrustedAnchors,
  type VersionAnchor,
} from '#protocol';
import { isChainError } from '../chain/errors.ts';
import type { Escrow } from '../gateway/ledger.ts';
import type { ListedAdapter } from '../gateway/models.ts';
import type { AdapterLineage } from '../provider/bundle.ts';
import type { Channel } from '../provider/cashier.ts';
import type { ChainPort } from './chain-port.ts';
import type { ContractAdapter, ContractTask, ContractVersion } from './contract-types.ts';
import { readStake } from './staking.ts';
import { readStanding } from './worker.ts';

type Fees = {
  readonly platformPpm: number;
  readonly modelOwnerPpm: number;
  readonly stakersPpm: number;
  readonly dataPpm: number;
  readonly learnedPpm: number;
};
type Threshold = { readonly numerator: number; readonly denominator: number };

export type ChainView = {
  readonly rules: () => Promise<ReceiptRules>;
  readonly adapters: () => Promise<readonly ListedAdapter[]>;
  readonly lineage: (adapterId: Bytes32) => Promise<AdapterLineage>;
  readonly isServing: (provider: Address) => Promise<boolean>;
  readonly channel: (client: Address, provider: Address) => Promise<Channel>;
  /** Deposits of this account as a client. */
  readonly escrow: Escrow;
  /** Collects vouchers of this account as a provider. */
  readonly collect: (key: string, vouchers: readonly Uint8Array[]) => Promise<void>;
  /** What a receipt of this adapter is checked against now; with epochs when they are given. */
  readonly anchors: (
    adapterId: Bytes32 | null,
    epochs?: TrustedAnchors['epochs'],
  ) => Promise<TrustedAnchors>;
  /** Everything on chain that receipts can be checked against. */
  readonly allAnchors: (epochs: TrustedAnchors['epochs']) => Promise<TrustedAnchors>;
};

const RULES_AGE_MS = 1_000;

export function createChainView(
  chain: ChainPort<ContractName>,
  chainId: number,
  nowMs: () => number,
): ChainView {
  let rules: { readonly atMs: number; readonly value: Promise<ReceiptRules> } | null = null;
  const currentRules = (): Promise<ReceiptRules> => {
    if (rules === null || nowMs() - rules.atMs > RULES_AGE_MS) {
      const value = readRules(chain);
      rules = { atMs: nowMs(), value };
      value.catch(() => {
        rules = null;
      });
    }
    return rules.value;
  };
  const adapterOf = (adapterId: Bytes32) =>
    chain.read<ContractAdapter>('ModelRegistry', 'getAdapter', adapterId);
  const found = async (adapterId: Bytes32): Promise<ContractAdapter[]> => {
    const adapter = await registeredAdapter(chain, adapterId);
    return adapter === null ? [] : [adapter];
  };
  const channel = (client: Address, provider: Address) =>
    chain.read<Channel>('InferenceEscrow', 'getChannel', client, provider);
  const allAdapters = async (): Promise<ContractAdapter[]> => {
    const count = await chain.read<bigint>('ModelRegistry', 'adapterCount');
    return chain.read<ContractAdapter[]>('ModelRegistry', 'getAdapters', 0, count);
  };
  const trusted = async (
    adapters: readonly ContractAdapter[],
    epochs: TrustedAnchors['epochs'],
  ): Promise<TrustedAnchors> => ({
    chainId,
    referee: chain.addressOf('Referee'),
    adapters: adapters.map(adapterAnchor),
    versions: await versionAnchors(chain, adapters),
    epochs,
    parameters: await currentRules(),
  });
  return {
    rules: currentRules,
    adapters: async () =>
      (await allAdapters()).map(({ adapterId, adapterHash, name, owner, registeredAt }) => ({
        adapterId,
        adapterHash,
        name,
        owner,
        registeredAt,
        isRegistered: true,
      })),
    lineage: async (adapterId) => lineageOf(chain, await adapterOf(adapterId)),
    isServing: async (provider) => {
      const [{ worker }, account] = await Promise.all([
        readStanding(chain, provider),
        readStake(chain, provider),
      ]);
      // The lock answers for what the key in force signs: not for its owner, nor for the next key.
      return worker === provider && account.servingLockWei > 0n && account.servingExitAt === 0;
    },
    channel,
    escrow: {
      coverWei: async (provider) => {
        const open = await channel(chain.self, provider as Address);
        return open.balanceWei + open.computeWei + open.feeWei;
      },
      topUp: async (key, provider, amountWei) => {
        await chain.submit({
          key: `deposit/${key}`,
          contract: 'InferenceEscrow',
          fn: 'deposit',
          args: [provider],
          valueWei: amountWei,
        });
      },
    },
    collect: async (key, vouchers) => {
      const opened = vouchers.map((bytes) => {
        const decoded = inferVoucher.decode(bytes);
        if (!decoded.ok) throw new Error(`a stored voucher reads ${decoded.code}`);
        return decoded.value;
      });
      await chain.submit({
        key: `collect/${key}`,
        contract: 'InferenceEscrow',
        fn: 'collect',
        args: [
          opened.map(({ signature: _signature, ...voucher }) => voucher),
          opened.map(({ signature }) => toHex(signature)),
        ],
      });
    },
    anchors: async (adapterId, epochs = []) =>
      trusted(adapterId === null ? [] : await found(adapterId), epochs),
    allAnchors: async (epochs) => trusted(await allAdapters(), epochs),
  };
}

/** An adapter as the registry has it; null for the base alone and for imported ones. */
export async function registeredAdapter(
  chain: Pick<ChainPort<'ModelRegistry'>, 'read'>,
  adapterId: Bytes32,
): Promise<ContractAdapter | null> {
  if (adapterId === NO_ADAPTER) return null;
  try {
    return await chain.read<ContractAdapter>('ModelRegistry', 'getAdapter', adapterId);
  } catch (error) {
    const isUnknown =
      isChainError(error, 'CHAIN_REVERTED') &&
      error.details.error === 'ModelRegistryAdapterUnknown';
    if (isUnknown) return null;
    throw error;
  }
}

async function readRules(chain: ChainPort<ContractName>): Promise<ReceiptRules> {
  const [fees, threshold] = await Promise.all([
    chain.read<Fees>('Parameters', 'fees'),
    chain.read<Threshold>('Parameters', 'threshold'),
  ]);
  return { ...fees, ...threshold };
}

const adapterAnchor = (adapter: ContractAdapter): AdapterAnchor => ({
  adapterId: adapter.adapterId,
  baseHash: adapter.baseHash,
  datanetId: adapter.datanetId,
  version: adapter.version,
  adapterHash: adapter.adapterHash,
  sketchRoot: adapter.sketchRoot,
  sketchCount: adapter.sketchCount,
});

async function versionAnchors(
  chain: ChainPort<ContractName>,
  adapters: readonly ContractAdapter[],
): Promise<VersionAnchor[]> {
  const wanted = new Map(adapters.map((each) => [`${each.datanetId}/${each.version}`, each]));
  return Promise.all(
    [...wanted.values()].map(async ({ datanetId, version }) => {
      const stated = await chain.read<ContractVersion>(
        'DatanetRegistry',
        'getVersion',
        datanetId,
        version,
      );
      return { datanetId, version, root: stated.root, recordCount: stated.recordCount };
    }),
  );
}

async function lineageOf(
  chain: ChainPort<ContractName>,
  adapter: ContractAdapter,
): Promise<AdapterLineage> {
  const [task, version] = await Promise.all([
    chain.read<ContractTask>('TaskEscrow', 'getTask', adapter.taskId),
    chain.read<ContractVersion>(
      'DatanetRegistry',
      'getVersion',
      adapter.datanetId,
      adapter.version,
    ),
  ]);
  return {
    ...adapterAnchor(adapter),
    name: adapter.name,
    owner: adapter.owner,
    spec: task.specDigest,
    manifest: adapter.manifest,
    registeredAt: adapter.registeredAt,
    versionRoot: version.root,
    versionManifest: version.manifest,
  };
}
