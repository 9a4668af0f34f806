/** Random actions of several actors: after every step each contract's buckets sum to its balance, and no OPEN is lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getBytes, hexlify, id, type Wallet } from 'ethers';
import { buildTree, createRandom, type MerkleTree } from '#crypto';
import { type JudgedLeaf, judgedLeaf } from '#protocol';
import { TaskEscrowState } from '../bindings/structs.ts';
import { Reverted, startChain } from '../harness.ts';
import { OPEN_WEI } from '../presets.ts';
import {
  evidenceOf,
  receiptHash,
  type Served,
  type Sketch,
  seededSketch,
  serve,
  challenge as showEvidence,
  signReceipt,
  sketchLeafBytes,
  sketchNear,
} from './answers.ts';
import { commitRecords, SALT } from './contributing.ts';
import {
  announce,
  assertConserved,
  bonds,
  claimArgs,
  commitResult,
  commitVote,
  INVALID,
  type Payout,
  PROVIDER,
  pay,
  payoutTree,
  publish,
  resultOf,
  revealResult,
  revealVote,
  rootsOf,
  rules,
  siblings,
  stake,
  timing,
  VALID,
  VERIFIER,
} from './fixtures.ts';

const STEPS = 350;
/** Another seed tries another road: OPENLEDGER_TEST_SEED=… */
const DEFAULT_SEED = 'conservation';
const seed = process.env['OPENLEDGER_TEST_SEED'] ?? DEFAULT_SEED;

const chain = await startChain('local', 10);
const { Staking, TaskEscrow, Epochs } = chain.contracts;
const random = createRandom(getBytes(id(seed)), 'conservation');
const people = chain.wallets;
const everybody = [...people, chain.deployer, chain.treasury];
const query = seededSketch(1);
const sketches = [0, 1, 2].map(
  (i): Sketch => ({
    recordHash: id(`record ${i}`),
    contributor: people[i]!.address,
    cluster: i,
    registeredAt: i,
    sketch: sketchNear(i + 10, query),
  }),
);
const sketchTree = buildTree(sketches.map(sketchLeafBytes));
const result = resultOf(hexlify(sketchTree.root), sketches.length);

/** What the off-chain parties remember. */
const contributions: { who: Wallet; root: string }[] = [];
const verdicts = new Map<string, bigint>();
const judged: JudgedLeaf[] = [];
const cumulative = new Map<string, bigint>();
let payouts: Payout[] = [];
let paidOut = 0n;
let adapterId = '';
let served: { answer: Served; signature: string }[] = [];
let receipts: MerkleTree = buildTree([]);
let anchored: string[] = [];
let requests = 1;

const total = async () => {
  const { contracts } = chain.deployment;
  const {
    Staking: a,
    TaskEscrow: b,
    InferenceEscrow: c,
    Epochs: d,
    DatanetRegistry: e,
  } = contracts;
  const holders = [...everybody.map(({ address }) => address), a, b, c, d, e];
  const balances = await Promise.all(holders.map((holder) => chain.provider.getBalance(holder)));
  return balances.reduce((sum, balance) => sum + balance, 0n);
};

const someone = () => random.pick(people);
/** One of the last few tasks, so that some are brought to their end. */
const someTask = async () => {
  const count = Number(await TaskEscrow.taskCount());
  return count - random.below(Math.min(count, 4));
};
const wei = (open: number) => (BigInt(open) * OPEN_WEI) / 7n + BigInt(random.below(1_000));

const actions: Record<string, () => Promise<unknown>> = {
  deposit: () => chain.send(someone(), 'Staking', 'deposit', [], wei(1 + random.below(200))),
  thaw: () => chain.send(someone(), 'Staking', 'requestThaw', [wei(1 + random.below(60))]),
  withdraw: () => chain.send(someone(), 'Staking', 'withdraw', []),
  serveRegister: () => chain.send(someone(), 'Staking', 'registerServing', []),
  serveExit: () => chain.send(someone(), 'Staking', 'requestServingExit', []),
  serveRelease: () => chain.send(someone(), 'Staking', 'releaseServing', []),
  announce: () => announce(chain, someone(), datanet, wei(1 + random.below(50))),
  cancel: async () => {
    const taskId = await someTask();
    const { requester } = await TaskEscrow.getTask(taskId);
    return chain.send(walletOf(requester), 'TaskEscrow', 'cancel', [taskId]);
  },
  expire: async () => chain.send(someone(), 'TaskEscrow', 'expire', [await someTask()]),
  work: async () => {
    const taskId = BigInt(await someTask());
    for (let steps = 1 + random.below(8); steps > 0; steps -= 1) await advance(taskId);
  },
  release: async () =>
    chain.send(someone(), 'TaskEscrow', 'releaseEscalated', [await someTask(), random.below(2)]),
  pay: () =>
    pay(chain, someone(), someone(), wei(random.below(3)), BigInt(random.below(50)) * 1_000_000n),
  abandon: async () => {
    const taskId = await announce(chain, someone(), datanet, wei(3));
    await chain.send(someone(), 'TaskEscrow', 'claim', [taskId]);
    await chain.pass(rules.leaseSeconds);
    return chain.send(someone(), 'TaskEscrow', 'expire', [taskId]);
  },
  answer: () => answer(random.chance(1, 3)),
  caught: async () => {
    const wrong = await answer(true);
    await challenge(served.length - 1, wrong);
    await anchorNext();
    return withhold(judged.length);
  },
  challenge: () => challenge(random.below(served.length + 1), random.below(3)),
  withhold: async () => withhold(1 + random.below(judged.length + 1)),
  anchor: anchorNext,
  finalise: async () => chain.send(someone(), 'Epochs', 'finalise', [await Epochs.epochCount()]),
  claim: () => {
    if (payouts.length === 0) return Promise.resolve();
    const index = random.below(payouts.length);
    return chain.send(someone(), 'Epochs', 'claim', [...claimArgs(payouts, index)]);
  },
  credits: () =>
    chain.send(
      random.pick(everybody),
      random.pick([
        'Staking',
        'TaskEscrow',
        'InferenceEscrow',
        'Epochs',
        'DatanetRegistry',
      ] as const),
      'withdrawCredits',
      [],
    ),
  contribute: async () => {
    const [who, sender] = [someone(), someone()];
    const { datanetId } = datanet;
    const root = id(`records ${contributions.length}`);
    contributions.push({ who, root });
    return commitRecords(chain, { datanetId, who, root, count: 1, sender });
  },
  reveal: async () => {
    const place = random.below(contributions.length + 1);
    const { who, root } = contributions[place] ?? { who: someone(), root: id('none') };
    return chain.send(who, 'DatanetRegistry', 'reveal', [place + 1, root, SALT, id('manifest')]);
  },
  lapse: () => {
    const contributionId = 1 + random.below(contributions.length + 1);
    return chain.send(someone(), 'DatanetRegistry', 'lapse', [contributionId]);
  },
  wait: () => chain.pass(1 + random.below(60)),
  waitLong: () => chain.pass(timing.thawSeconds),
};

function walletOf(address: string): Wallet {
  const wallet = people.find((one) => one.address === address);
  assert.ok(wallet !== undefined);
  return wallet;
}

/** Moves a task one step on in the way its parties would, now and then dishonestly. */
async function advance(taskId: bigint): Promise<unknown> {
  const task = await TaskEscrow.getTask(taskId);
  switch (task.state) {
    case TaskEscrowState.Announced:
    case TaskEscrowState.Escalated:
      return chain.send(someone(), 'TaskEscrow', 'claim', [taskId]);
    case TaskEscrowState.Claimed:
      return commitResult(chain, walletOf(task.provider), taskId, result);
    case TaskEscrowState.Committed:
      return revealResult(chain, walletOf(task.provider), taskId, result);
    case TaskEscrowState.Revealed:
      await chain.mine(1);
      return chain.send(someone(), 'TaskEscrow', 'drawCommittee', [taskId]);
    case TaskEscrowState.Voting:
      return ballot(taskId);
    default:
      return undefined;
  }
}

async function ballot(taskId: bigint): Promise<unknown> {
  if (await TaskEscrow.canTally(taskId)) {
    return chain.send(someone(), 'TaskEscrow', 'tally', [taskId]);
  }
  const { committee, attempt, round } = await TaskEscrow.getTask(taskId);
  const canReveal = await TaskEscrow.canReveal(taskId);
  for (const { verifier, commitment, verdict } of committee) {
    const key = `${taskId}/${attempt}/${round}/${verifier}`;
    if (!canReveal && BigInt(commitment) === 0n) {
      verdicts.set(key, random.chance(1, 5) ? INVALID : VALID);
      await commitVote(chain, walletOf(verifier), taskId, verdicts.get(key)!);
    } else if (canReveal && verdict === 0n) {
      await revealVote(chain, walletOf(verifier), taskId, verdicts.get(key)!);
    }
  }
  return undefined;
}

/** A provider serves and is paid, with one inflated score if it cheats; gives that leaf's place. */
async function answer(cheats: boolean): Promise<number> {
  const [client, provider] = [someone(), someone()];
  requests += 1;
  const { servingLockWei, freeWei } = await Staking.getAccount(provider.address);
  if (servingLockWei === 0n && freeWei >= bonds.servingLockWei) {
    await chain.send(provider, 'Staking', 'registerServing', []);
  }
  const feeWei = BigInt(10 + random.below(90)) * 1_000_000n;
  const wrong = random.below(3);
  const made = serve(
    { client: client.address, provider: provider.address, adapterId, feeWei },
    sketches,
    (leaves, receipt) => {
      receipt.issuedAt = requests;
      if (cheats) leaves[wrong]!.score += 1;
    },
  );
  await pay(chain, client, provider, wei(1), feeWei);
  served.push({ answer: made, signature: await signReceipt(chain, provider, made.receipt) });
  return wrong;
}

async function challenge(place: number, leaf: number): Promise<unknown> {
  const found = served[place];
  if (found === undefined) return undefined;
  const challenger = someone();
  const evidence = evidenceOf(found.answer, leaf, found.signature);
  const receipt = await showEvidence(chain, challenger, evidence);
  judged.push(judgedLeaf(evidence.receipt, evidence.leaf, leaf));
  return receipt;
}

async function withhold(judgementId: number): Promise<unknown> {
  const leaf = judged[judgementId - 1];
  if (leaf === undefined) return undefined;
  const place = anchored.indexOf(leaf.receiptHash);
  if (place < 0) return undefined;
  return chain.send(someone(), 'Referee', 'withholdLeaf', [
    leaf,
    await Epochs.epochCount(),
    place,
    siblings(receipts, place),
  ]);
}

/** Anchors what was served since the last anchor, as a function of the receipts alone. */
async function anchorNext(): Promise<void> {
  const next = new Map(cumulative);
  let sumWei = paidOut;
  for (const { answer: made } of served) {
    for (const { contributor, amountWei } of made.leaves) {
      next.set(contributor, (next.get(contributor) ?? 0n) + amountWei);
      sumWei += amountWei;
    }
  }
  const list = [...next].sort().map(([account, cumulativeWei]) => ({ account, cumulativeWei }));
  const hashes = served.map(({ answer: made }) => receiptHash(made.receipt)).sort();
  const tree = buildTree(hashes.map((hash) => getBytes(hash)));
  const epoch = (await Epochs.epochCount()) + 1n;
  const roots = rootsOf({
    payoutRoot: hexlify(payoutTree(list).root),
    leafCount: list.length,
    totalWei: sumWei,
    receiptsRoot: hexlify(tree.root),
    receiptCount: hashes.length,
  });
  await chain.send(someone(), 'Epochs', 'anchor', [epoch, roots, '0x']);
  for (const [account, amountWei] of next) cumulative.set(account, amountWei);
  paidOut = sumWei;
  payouts = list;
  receipts = tree;
  anchored = hashes;
  served = [];
}

for (const wallet of people) await stake(chain, wallet, PROVIDER | VERIFIER, 120n);
const datanet = await publish(chain, people[0]!, sketches.length);
const first = await announce(chain, people[0]!, datanet);
for (let i = 0; i < 40 && adapterId === ''; i += 1) {
  await advance(first);
  const task = await TaskEscrow.getTask(first);
  if (task.state === TaskEscrowState.Registered) adapterId = task.adapterId;
}

test(`${STEPS} random actions (seed ${seed}) conserve every wei`, async () => {
  const before = await total();
  const names = Object.keys(actions);
  // Work, service and claims make up most of a network's life.
  const frequent = [
    'announce',
    'work',
    'work',
    'work',
    'work',
    'answer',
    'challenge',
    'withhold',
    'claim',
    'anchor',
    'finalise',
  ];
  const done = new Map<string, number>();
  const refused = new Map<string, number>();
  for (let step = 0; step < STEPS; step += 1) {
    const name = random.pick(random.chance(1, 2) ? frequent : names);
    try {
      await actions[name]!();
      done.set(name, (done.get(name) ?? 0) + 1);
    } catch (error) {
      if (!(error instanceof Reverted)) throw error;
      assert.ok(!error.error.startsWith('unknown'), `step ${step}, ${name}: ${error.message}`);
      refused.set(error.error, (refused.get(error.error) ?? 0) + 1);
    }
    const [after, claimed, pots] = await Promise.all([
      total(),
      Epochs.claimedTotalWei(),
      Epochs.potTotalWei(),
      assertConserved(chain),
      assertStakeAddsUp(),
    ]);
    assert.equal(after, before, `step ${step}, ${name}: OPEN appeared or vanished`);
    assert.ok(claimed <= pots, `step ${step}, ${name}: more was claimed than came in`);
  }
  const reached = {
    registered: (await TaskEscrow.getTasks(1, 500)).filter(
      ({ state }) => state === TaskEscrowState.Registered,
    ).length,
    escalated: await eventCount('TaskEscrow', 'TaskEscalated'),
    abandoned: await eventCount('TaskEscrow', 'TaskAbandoned'),
    refunded: await eventCount('TaskEscrow', 'TaskRefunded'),
    slashed: await eventCount('Staking', 'Slashed'),
    withheld: await eventCount('Epochs', 'Withheld'),
    claimed: await eventCount('Epochs', 'Claimed'),
    revealed: await eventCount('DatanetRegistry', 'ContributionRevealed'),
    lapsed: await eventCount('DatanetRegistry', 'ContributionLapsed'),
    finalised: await eventCount('Epochs', 'EpochFinalised'),
  };
  process.stdout.write(`${JSON.stringify(reached)}\n`);
  for (const [what, count] of Object.entries(reached))
    assert.ok(count > 0, `never reached: ${what}`);
});

/** The accounts' buckets sum to the contract's. */
async function assertStakeAddsUp(): Promise<void> {
  let [free, locked, thawing] = [0n, 0n, 0n];
  const accounts = await Promise.all(people.map(({ address }) => Staking.getAccount(address)));
  for (const account of accounts) {
    free += account.freeWei;
    locked += account.lockedWei;
    thawing += account.thawingWei;
  }
  assert.equal(free, await Staking.freeTotalWei());
  assert.equal(locked, await Staking.lockedTotalWei());
  assert.equal(thawing, await Staking.thawingTotalWei());
}

async function eventCount(
  contract: 'Staking' | 'TaskEscrow' | 'Epochs' | 'DatanetRegistry',
  event: string,
): Promise<number> {
  const logs = await chain.contracts[contract].queryFilter(event, chain.deployment.deployedAtBlock);
  return logs.length;
}
