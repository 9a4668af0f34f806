/**
 * The anchored epochs again: each manifest under the digest and the roots that stand on chain,
 * following from the one before and from inputs that are the chain's; and every claim against them.
 */
import { type Address, type Bytes32, parseAddress, parseBytes32 } from '#crypto';
import {
  checkEpochManifest,
  cidOfDigest,
  decodeEpochManifest,
  type EpochManifest,
  type EpochRoots,
  epochRoots,
  type PreviousEpoch,
  type Stake,
} from '#protocol';
import type { Blocks } from './blocks.ts';
import type { Chain } from './chain.ts';
import { AuditError } from './errors.ts';
import type { Recomputed } from './report.ts';

export type AuditedEpoch = {
  readonly manifest: EpochManifest;
  readonly roots: EpochRoots;
  readonly faults: readonly string[];
};

/** All epochs anchored by the audited block, in order. @throws AuditError BLOCK_MISSING, CONTENT_WRONG */
export async function readEpochs(chain: Chain, blocks: Blocks): Promise<readonly AuditedEpoch[]> {
  const count = Number(await chain.read('Epochs', 'epochCount', []));
  const epochs: AuditedEpoch[] = [];
  const paid = new Set<Bytes32>();
  let previous: PreviousEpoch = null;
  // Of an epoch that was rejected the last anchoring counts.
  const anchored = new Map(
    chain.history
      .of('Epochs', 'EpochAnchored')
      .map(({ args }) => [Number(args['epoch']), args as Anchored]),
  );
  for (let epoch = 1; epoch <= count; epoch += 1) {
    const onChain = await chain.read('Epochs', 'getEpoch', [epoch]);
    // The contract keeps only the payout roots and manifests that claims can still be judged by.
    const { roots: stated, potTotalWei } = anchored.get(epoch) ?? {};
    const digest = parseBytes32(String(stated?.manifest));
    const what = `manifest of epoch ${epoch}`;
    const decoded = decodeEpochManifest(await blocks.get(cidOfDigest(digest), what));
    if (!decoded.ok) throw new AuditError('CONTENT_WRONG', { what, reason: decoded.message });
    const manifest = decoded.value;
    const roots = epochRoots(manifest);
    const check = checkEpochManifest(manifest, previous, (hash) => paid.has(hash));
    const rules: readonly (readonly [boolean, string])[] = [
      [check.ok, check.ok ? '' : `does not follow from its own contents (${check.code})`],
      [roots.payoutRoot === stated?.payoutRoot, 'has another payout root than the chain'],
      [roots.receiptsRoot === onChain.receiptsRoot, 'has another receipts root than the chain'],
      [roots.paymentsRoot === stated?.paymentsRoot, 'has another payments root than the chain'],
      [roots.leafCount === Number(onChain.leafCount), 'has another number of payouts'],
      [roots.receiptCount === Number(onChain.receiptCount), 'has another number of receipts'],
      [
        roots.totalWei === onChain.totalWei,
        `totals ${roots.totalWei} wei, not ${onChain.totalWei}`,
      ],
      [
        potTotalWei !== undefined && manifest.potTotalWei <= potTotalWei,
        'divides more than the pots held',
      ],
    ];
    const faults = rules.filter(([holds]) => !holds).map(([, fault]) => fault);
    faults.push(...(await inputFaults(chain, manifest, onChain)));
    epochs.push({ manifest, roots, faults: faults.map((each) => `${what} ${each}`) });
    for (const { receiptHash } of manifest.receipts) paid.add(receiptHash);
    previous = { digest, manifest };
  }
  return epochs;
}

type Anchored = {
  readonly roots?: Readonly<Record<'payoutRoot' | 'paymentsRoot' | 'manifest', string>>;
  readonly potTotalWei?: bigint;
};
type Bounds = { readonly openedBlock: bigint; readonly anchoredBlock: bigint };

/** What a manifest says of collections, owners, stakes and the treasury, against the chain. */
async function inputFaults(
  { read, history }: Chain,
  manifest: EpochManifest,
  { openedBlock, anchoredBlock }: Bounds,
): Promise<string[]> {
  const faults: string[] = [];
  const treasury = parseAddress(await read('InferenceEscrow', 'treasury', []));
  if (manifest.treasury !== treasury) faults.push(`names ${manifest.treasury} as the treasury`);
  for (const { adapterId, owner } of manifest.modelOwners) {
    const adapter = await read('ModelRegistry', 'getAdapter', [adapterId]);
    if (parseAddress(adapter.owner) !== owner)
      faults.push(`names ${owner} as owner of ${adapterId}`);
  }
  const collected = new Map<string, bigint>();
  for (const { args, blockNumber } of history.of('InferenceEscrow', 'VoucherCollected')) {
    if (blockNumber > Number(anchoredBlock)) continue;
    const channel = `${args['client']}/${args['provider']}`.toLowerCase();
    const feeWei = (args['platformWei'] as bigint) + (args['potWei'] as bigint);
    collected.set(channel, (collected.get(channel) ?? 0n) + feeWei);
  }
  for (const { client, provider, feeWei } of manifest.collected) {
    const foundWei = collected.get(`${client}/${provider}`) ?? 0n;
    if (feeWei > foundWei)
      faults.push(
        `says ${feeWei} wei were collected of ${client} for ${provider}, not ${foundWei}`,
      );
  }
  const stakes = await read('Staking', 'getStakes', [openedBlock, 0, STAKES_MAX]);
  const staked = stakes.map(({ owner, stakeWei }) => ({ account: parseAddress(owner), stakeWei }));
  if (stakesText(staked) !== stakesText(manifest.stakers))
    faults.push('names other stakes than there were when the epoch opened');
  return faults;
}

/** More owners of stake than any audited chain had. */
const STAKES_MAX = 100_000;

const stakesText = (stakes: readonly Stake[]): string =>
  stakes
    .filter(({ stakeWei }) => stakeWei > 0n)
    .map(({ account, stakeWei }) => `${account} ${stakeWei}`)
    .toSorted()
    .join(',');

/** The claims that were paid; none takes more than the manifests say, together or apart. */
export function auditClaims({ history }: Chain, epochs: readonly AuditedEpoch[]): Recomputed {
  const faults = epochs.flatMap((each) => each.faults);
  const finalised = new Set(
    history.of('Epochs', 'EpochFinalised').map(({ args }) => Number(args['epoch'])),
  );
  const taken = new Map<Address, bigint>();
  const claims = history.of('Epochs', 'Claimed');
  for (const { args, transaction } of claims) {
    const account = parseAddress(String(args['account']));
    const epoch = Number(args['epoch']);
    const manifest = epochs[epoch - 1]?.manifest;
    const owed = manifest?.payouts.find((payout) => payout.account === account)?.amountWei ?? 0n;
    const [paidWei, claimedWei] = [args['amountWei'] as bigint, args['claimedWei'] as bigint];
    const beforeWei = taken.get(account) ?? 0n;
    const fault = (text: string) => faults.push(`claim ${transaction}: ${text}`);
    if (!finalised.has(epoch)) fault(`epoch ${epoch} was not final`);
    if (claimedWei > owed) fault(`${account} took ${claimedWei} wei of ${owed} that it is owed`);
    if (beforeWei + paidWei > claimedWei) fault(`${account} was paid ${paidWei} wei twice`);
    taken.set(account, claimedWei);
  }
  return { value: claims.length, faults };
}
