/** Gas of the verdicts on receipts as a whole, at the sizes of real answers and at the largest that are judged. */
import { dataSlice, getBytes, hexlify, id, toBeHex, type Wallet } from 'ethers';
import { buildTree, type Hex, type MerkleTree, sketchBytes, squaredNorm } from '#crypto';
import { dividePool, type SpanLeaf, spanTree } from '#protocol';
import { encodeCall } from '../connect.ts';
import { type Chain, startChain } from '../harness.ts';
import { presets } from '../presets.ts';
import {
  commitEvidence,
  type Receipt,
  type ScoreLeaf,
  type Sketch,
  seededSketch,
  serve,
  signReceipt,
  sketchLeafBytes,
  sketchNear,
} from './answers.ts';
import { PROVIDER, registerAdapter, siblings, stake } from './fixtures.ts';

/** Records that an adapter was trained on; all but the first of them stand for nothing. */
const RECORDS = 2 ** 14;
const MAX_LEAVES = 64;
const FEE_WEI = 10n ** 15n;
const ONE = 1_000_000n;

type Challenge = 'challengeOmission' | 'challengeDivision' | 'challengeEquivocation';
export type DisputeGas = { readonly what: string; readonly gas: bigint };

const query = seededSketch(1);
const records = Array.from(
  { length: MAX_LEAVES },
  (_, i): Sketch => ({
    recordHash: id(`record ${i}`),
    contributor: id(`contributor ${i}`).slice(0, 42),
    cluster: i,
    registeredAt: 1_800_000_000 + i,
    sketch: sketchNear(i + 10, query),
  }),
);

/** One verdict of each kind, among parties whose slots a first one has made. */
export async function disputeGas(): Promise<DisputeGas[]> {
  const chain = await startChain('local', 3);
  const [client, provider, challenger] = chain.wallets as [Wallet, Wallet, Wallet];
  const tree = buildTree(
    Array.from({ length: RECORDS }, (_, i) =>
      records[i] === undefined ? getBytes(toBeHex(i, 32)) : sketchLeafBytes(records[i]),
    ),
  );
  const adapterId = await registerAdapter(chain, client, provider, hexlify(tree.root), RECORDS);
  await stake(chain, provider, PROVIDER, 200n);
  const answers = answersOf(chain, provider, tree, { client: client.address, adapterId });
  const figures: DisputeGas[] = [];
  const judge = async (what: string, fn: Challenge, evidence: unknown) => {
    await chain.send(provider, 'Staking', 'registerServing', []);
    const call = encodeCall('Referee', fn, [evidence as never]);
    await commitEvidence(chain, challenger, dataSlice(call, 4));
    const to = chain.deployment.contracts.Referee;
    figures.push({ what, gas: (await chain.sendData(challenger, to, call)).gasUsed });
  };
  const { omission, division, equivocation } = answers;
  await judge('the first', 'challengeDivision', await division(1));
  await judge('omission, behind 8 of 15, depth 14', 'challengeOmission', await omission(16, 8));
  await judge('omission, behind 63 of 63, depth 14', 'challengeOmission', await omission(64, 63));
  await judge('division, 8 leaves of each kind', 'challengeDivision', await division(8));
  await judge('division, 64 leaves of each kind', 'challengeDivision', await division(64));
  await judge('two receipts for one request', 'challengeEquivocation', await equivocation());
  return figures.slice(1);
}

/** What a provider signed wrongly, as the functions that judge it take it. */
function answersOf(
  chain: Chain,
  provider: Wallet,
  tree: MerkleTree,
  of: { readonly client: string; readonly adapterId: string },
) {
  const parties = { ...of, provider: provider.address };
  const sign = (receipt: Receipt) => signReceipt(chain, provider, receipt);
  const sketchInput = (i: number) => {
    const { sketch, ...words } = records[i]!;
    return { ...words, norm: squaredNorm(sketch), sketch: sketchBytes(sketch) };
  };

  /** An answer that pays all but one of these records, the best first, so that `rank` of them stand before it. */
  async function omission(count: number, rank: number) {
    let omitted: ScoreLeaf | undefined;
    const served = serve({ ...parties, feeWei: FEE_WEI }, records.slice(0, count), (leaves) => {
      leaves.sort((a, b) => b.score - a.score || a.sketchIndex - b.sketchIndex);
      [omitted] = leaves.splice(rank, 1);
    });
    const { sketchIndex } = omitted!;
    return {
      receipt: served.receipt,
      signature: await sign(served.receipt),
      leaves: served.leaves,
      querySketch: sketchBytes(query),
      sketchIndex,
      sketchLeaf: sketchInput(sketchIndex),
      sketchProof: siblings(tree, sketchIndex),
      better: served.leaves.slice(0, rank).map((leaf) => ({
        sketchLeaf: sketchInput(leaf.sketchIndex),
        proof: siblings(tree, leaf.sketchIndex),
      })),
    };
  }

  /** An answer with so many leaves of each kind, of which the first score leaf, which is compared last, has a wei too much. */
  async function division(count: number) {
    const { dataPpm, learnedPpm } = presets.local.fees;
    const dataWei = (FEE_WEI * dataPpm) / ONE;
    const learnedWei = (dataWei * learnedPpm) / ONE;
    const memorised = dividePool(dataWei - learnedWei, Array<bigint>(count).fill(1n));
    let spans: SpanLeaf[] = [];
    const served = serve(
      { ...parties, feeWei: FEE_WEI },
      records.slice(0, count),
      (leaves, receipt) => {
        const scores = leaves.map(({ score }) => BigInt(score));
        const learned = dividePool(learnedWei, scores);
        for (const [i, leaf] of leaves.entries()) leaf.amountWei = learned[i]!;
        leaves[0]!.amountWei += 1n;
        spans = memorised.map((amountWei, i) => ({
          exchangeOffset: 40 * i,
          length: 32,
          recordIndex: i,
          recordOffset: 100 * i,
          contributor: records[i]!.contributor as Hex,
          weight: 1,
          amountWei,
        }));
        receipt.spanRoot = hexlify(spanTree(receipt.requestId as Hex, spans).root);
        receipt.spanCount = count;
      },
    );
    const { requestId } = served.receipt;
    return {
      receipt: served.receipt,
      signature: await sign(served.receipt),
      scores: served.leaves,
      spans: spans.map((span) => ({ requestId, ...span })),
    };
  }

  async function equivocation() {
    const [first, second] = [FEE_WEI, FEE_WEI + 1n].map(
      (feeWei) => serve({ ...parties, feeWei }, records.slice(0, 8)).receipt,
    ) as [Receipt, Receipt];
    return {
      first,
      firstSignature: await sign(first),
      second,
      secondSignature: await sign(second),
    };
  }

  return { omission, division, equivocation };
}
