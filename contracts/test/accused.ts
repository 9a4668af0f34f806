/** A provider that serves one adapter, whose score leaves the referee's tests accuse, rightly or not. */
import assert from 'node:assert/strict';
import { type EventLog, hexlify, id, type Wallet } from 'ethers';
import { buildTree } from '#crypto';
import { judgedLeaf, type ScoreEvidence } from '#protocol';
import { Reverted, startChain } from '../harness.ts';
import {
  evidenceOf,
  findScore,
  packedOf,
  type Receipt,
  recordOf,
  type ScoreLeaf,
  type Served,
  type Sketch,
  seededSketch,
  serve,
  signReceipt,
  sketchLeafBytes,
  sketchNear,
} from './answers.ts';
import {
  announce,
  isolate,
  PROVIDER,
  publish,
  resultOf,
  siblings,
  stake,
  toVoting,
  VERIFIER,
  vote,
} from './fixtures.ts';

export const chain = await startChain();
export const { Referee, Staking, Epochs } = chain.contracts;
export const [client, provider, challenger, thief, alice, bob, ...verifiers] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  ...Wallet[],
];
export const FEE = 10_000_000n;
export const query = seededSketch(1);
export const sketches = [0, 1, 2, 3, 4].map(
  (i): Sketch => ({
    recordHash: id(`record ${i}`),
    contributor: i % 2 === 0 ? alice.address : bob.address,
    cluster: i,
    registeredAt: 1_800_000_000 + i,
    sketch: sketchNear(i + 10, query),
  }),
);
// The last record has nothing to do with the query.
sketches[4] = { ...sketches[4]!, sketch: seededSketch(99) };
export const sketchTree = buildTree(sketches.map(sketchLeafBytes));

for (const wallet of verifiers) await stake(chain, wallet, VERIFIER);
await stake(chain, provider, PROVIDER);
await stake(chain, challenger, 0);
await chain.send(provider, 'Staking', 'registerServing', []);
export const datanet = await publish(chain, client, sketches.length);
export const taskId = await announce(chain, client, datanet);
export const result = resultOf(hexlify(sketchTree.root), sketches.length);
await vote(chain, await toVoting(chain, provider, taskId, result), taskId);
export const { adapterId } = await chain.contracts.TaskEscrow.getTask(taskId);
isolate(chain);

export type Alter = (leaves: ScoreLeaf[], receipt: Receipt) => void;
export const answer = (alter?: Alter): Served =>
  serve(
    { client: client.address, provider: provider.address, adapterId, feeWei: FEE },
    sketches.slice(0, 4),
    alter,
  );
/** The evidence against a leaf, with the proof against the sketches of the whole version. */
export async function proveAgainst(served: Served, index: number): Promise<ScoreEvidence> {
  const evidence = evidenceOf(served, index, await signReceipt(chain, provider, served.receipt));
  const place = served.leaves[index]!.sketchIndex;
  const sketch = sketches[place];
  return {
    ...evidence,
    record: sketch === undefined ? null : recordOf(sketch, siblings(sketchTree, place)),
  };
}
/** What the contract finds, with the answer open or by its hash. */
export async function find(evidence: ScoreEvidence) {
  const open = await findScore(chain, packedOf(evidence));
  assert.deepEqual(await findScore(chain, packedOf(evidence, 'hash')), open);
  return open;
}
export const leafOf = ({ receipt, leaf, leafIndex }: ScoreEvidence) =>
  judgedLeaf(receipt, leaf, leafIndex);
/** The error that refuses a call. */
export async function revertedBy(call: Promise<unknown>): Promise<Reverted> {
  const refused = await call.then(
    () => null,
    (reason: unknown) => reason,
  );
  assert.ok(refused instanceof Reverted, String(refused));
  return refused;
}
/** The last verdict that the referee logged. */
export async function lastVerdict() {
  const { ScoreJudged } = Referee.filters;
  const logs = await Referee.queryFilter(ScoreJudged!());
  return (logs.at(-1) as EventLog).args;
}
export const inflate: Alter = (leaves) => {
  leaves[1]!.score += 1;
};
