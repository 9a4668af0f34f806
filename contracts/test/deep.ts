/** Answers under trees of a million leaves, of which only the path to the first is real, which is all that a proof shows. */
import { concat, id, keccak256, toBeHex, type Wallet } from 'ethers';
import type { Hex } from '#crypto';
import type { ScoreEvidence } from '#protocol';
import type { Chain } from '../harness.ts';
import {
  evidenceOf,
  receiptHash,
  recordOf,
  type Sketch,
  scoreLeafBytes,
  seededSketch,
  serve,
  signReceipt,
  sketchLeafBytes,
  sketchNear,
} from './answers.ts';
import { registerAdapter, signVoucher } from './fixtures.ts';

/** Siblings of the first leaf of a tree with 2^depth leaves. */
export function path(name: string, depth: number): Hex[] {
  return Array.from({ length: depth }, (_, i) => id(`${name}/${i}`) as Hex);
}

/** Root of the tree with these siblings of its first leaf. */
export function rootOver(leaf: Uint8Array | string, siblings: readonly string[]): string {
  let top = keccak256(concat(['0x00', leaf]));
  for (const sibling of siblings) top = keccak256(concat(['0x01', top, sibling]));
  return keccak256(concat(['0x02', toBeHex(2 ** siblings.length, 32), top]));
}

export type WrongAnswer = { readonly evidence: ScoreEvidence; readonly receiptHash: string };

/** Registers an adapter and gives answers of it whose first score is off by one, each for another request. */
export async function deepAdapter(
  chain: Chain,
  client: Wallet,
  provider: Wallet,
  depth: number,
): Promise<(request: string) => Promise<WrongAnswer>> {
  const sketch: Sketch = {
    recordHash: id('record'),
    contributor: id('contributor').slice(0, 42),
    cluster: 0,
    registeredAt: 1_800_000_000,
    sketch: sketchNear(10, seededSketch(1)),
  };
  const [leafProof, sketchProof] = [path('leaf', depth), path('sketch', depth)];
  const sketchRoot = rootOver(sketchLeafBytes(sketch), sketchProof);
  const adapterId = await registerAdapter(chain, client, provider, sketchRoot, 2 ** depth);
  const parties = { client: client.address, provider: provider.address };
  return async (request) => {
    const served = serve(
      { ...parties, adapterId, feeWei: 1_000_000n },
      [sketch],
      (leaves, receipt) => {
        leaves[0]!.score += 1;
        receipt.requestId = id(request);
      },
    );
    served.receipt.scoreRoot = rootOver(scoreLeafBytes(served.leaves[0]!), leafProof);
    served.receipt.scoreCount = 2 ** depth;
    const evidence = evidenceOf(served, 0, await signReceipt(chain, provider, served.receipt));
    return {
      evidence: { ...evidence, leafProof, record: recordOf(sketch, sketchProof) },
      receiptHash: receiptHash(served.receipt),
    };
  };
}

/** Deposits for each client, and collects a voucher of each in one transaction, twice; gives the second one's receipt. */
export async function collectTwice(chain: Chain, clients: readonly Wallet[], provider: Wallet) {
  for (const client of clients) {
    await chain.send(client, 'InferenceEscrow', 'deposit', [provider.address], 100_000_000n);
  }
  const batch = async (times: bigint) => {
    const vouchers = clients.map(({ address }) => ({
      client: address,
      provider: provider.address,
      cumulativeComputeWei: times,
      cumulativeFeeWei: times * 1_000_000n,
    }));
    const signatures = await Promise.all(
      vouchers.map((voucher, i) => signVoucher(chain, clients[i]!, voucher)),
    );
    return chain.send(provider, 'InferenceEscrow', 'collect', [vouchers, signatures]);
  };
  await batch(1n);
  return batch(2n);
}
