/** Verdicts on whole receipts: a record left out, a wrong division, two receipts for one request; and honest ones stay safe. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AbiCoder, dataSlice, getBytes, hexlify, id, keccak256, type Wallet } from 'ethers';
import fc from 'fast-check';
import { buildTree, cosineQ16, dotProduct, sketchBytes, squaredNorm } from '#crypto';
import { RefereeVerdictKind } from '../bindings/structs.ts';
import { encodeCall } from '../connect.ts';
import { evidenceCommitment } from '../evidence.ts';
import { startChain } from '../harness.ts';
import { OPEN_WEI, presets } from '../presets.ts';
import {
  commitEvidence,
  type Receipt,
  receiptHash,
  type ScoreLeaf,
  type Sketch,
  scoreLeafBytes,
  seededSketch,
  serve,
  signReceipt,
  sketchLeafBytes,
  sketchNear,
} from './answers.ts';
import {
  assertConserved,
  bonds,
  domainOf,
  isolate,
  PROVIDER,
  refuses,
  registerAdapter,
  siblings,
  stake,
} from './fixtures.ts';

const chain = await startChain();
const { Referee, Staking } = chain.contracts;
const [client, provider, challenger, thief, alice, bob] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
];
const coder = AbiCoder.defaultAbiCoder();
const FEE = 1_000_000_007n * 1_000_000n;
const MAX_LEAVES = 64;
const query = seededSketch(1);

/** 70 records that pass, in 70 clusters but for the last two, which share the first one's; and one that does not. */
const records = Array.from(
  { length: 73 },
  (_, i): Sketch => ({
    recordHash: id(`record ${i}`),
    contributor: (i % 2 === 0 ? alice : bob).address,
    cluster: i === 70 || i === 71 ? 0 : i,
    registeredAt: 1_800_000_000 + i,
    sketch: i === 72 ? seededSketch(99) : sketchNear(i + 10, query),
  }),
);
const sketchTree = buildTree(records.map(sketchLeafBytes));
const sketchRoot = hexlify(sketchTree.root);
const adapterId = await registerAdapter(chain, client, provider, sketchRoot, records.length);
await stake(chain, provider, PROVIDER);
await chain.send(provider, 'Staking', 'registerServing', []);
isolate(chain);

type Span = { contributor: string; weight: bigint; amountWei: bigint };
type Answer = { receipt: Receipt; leaves: ScoreLeaf[]; spans: Span[] };

const scoreOf = (i: number) => {
  const { sketch } = records[i]!;
  const dot = dotProduct(query, sketch);
  return { dot, score: cosineQ16(dot, squaredNorm(query), squaredNorm(sketch)) };
};

/** The records that an honest provider pays, by the words of docs/protocol.md section 4. */
function honestOrder(among: readonly number[]): number[] {
  const { numerator: a, denominator: b } = presets.local.threshold;
  const passing = among.filter((i) => {
    const dot = BigInt(scoreOf(i).dot);
    const product = BigInt(squaredNorm(query)) * BigInt(squaredNorm(records[i]!.sketch));
    return dot > 0n && dot * dot * b * b >= a * a * product;
  });
  const ranked = passing.sort((x, y) => scoreOf(y).score - scoreOf(x).score || x - y);
  const clusters = new Set<number>();
  const best = ranked.filter((i) => {
    const { cluster } = records[i]!;
    if (clusters.has(cluster)) return false;
    clusters.add(cluster);
    return true;
  });
  return best.slice(0, MAX_LEAVES);
}

/** Floored shares of a pool, what is left to the first. */
function shares(poolWei: bigint, weights: readonly bigint[]): bigint[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0n);
  const parts = weights.map((weight) => (total === 0n ? 0n : (poolWei * weight) / total));
  const rest = poolWei - parts.reduce((sum, part) => sum + part, 0n);
  return parts.map((part, i) => (i === 0 && total > 0n ? part + rest : part));
}

function spanBytes(requestId: string, span: Span): Uint8Array {
  return getBytes(
    coder.encode(
      ['bytes32', 'uint256', 'uint256', 'uint256', 'uint256', 'address', 'uint256', 'uint256'],
      [requestId, 1, 2, 3, 4, span.contributor, span.weight, span.amountWei],
    ),
  );
}

const spanInput = (requestId: string, span: Span) => ({
  requestId,
  exchangeOffset: 1,
  length: 2,
  recordIndex: 3,
  recordOffset: 4,
  ...span,
});

/** An answer that pays these records and spans as the rules say, or as `alter` has it before it is signed. */
function answerOf(
  paid: readonly number[],
  weights: readonly bigint[] = [],
  alter: (leaves: ScoreLeaf[], spans: Span[], receipt: Receipt) => void = () => {},
  fees = presets.local.fees,
): Answer {
  const served = serve(
    { client: client.address, provider: provider.address, adapterId, feeWei: FEE },
    [],
  );
  const { receipt } = served;
  const part = (ppm: bigint) => (FEE * ppm) / 1_000_000n;
  const dataWei = FEE - part(fees.platformPpm) - part(fees.modelOwnerPpm) - part(fees.stakersPpm);
  let learnedWei = (dataWei * fees.learnedPpm) / 1_000_000n;
  if (paid.length === 0) learnedWei = 0n;
  if (weights.length === 0) learnedWei = dataWei;
  const scoreShares = shares(
    learnedWei,
    paid.map((i) => BigInt(scoreOf(i).score)),
  );
  const leaves = paid.map(
    (i, place): ScoreLeaf => ({
      sketchIndex: i,
      recordHash: records[i]!.recordHash,
      contributor: records[i]!.contributor,
      ...scoreOf(i),
      amountWei: scoreShares[place]!,
    }),
  );
  const spanShares = shares(dataWei - learnedWei, weights);
  const spans = weights.map((weight, i) => ({
    contributor: bob.address,
    weight,
    amountWei: spanShares[i]!,
  }));
  alter(leaves, spans, receipt);
  receipt.scoreRoot = hexlify(buildTree(leaves.map(scoreLeafBytes)).root);
  receipt.scoreCount = leaves.length;
  receipt.spanRoot = hexlify(
    buildTree(spans.map((span) => spanBytes(receipt.requestId, span))).root,
  );
  receipt.spanCount = spans.length;
  return { receipt, leaves, spans };
}

const sketchInput = (i: number) => {
  const { sketch, ...words } = records[i]!;
  return { ...words, norm: squaredNorm(sketch), sketch: sketchBytes(sketch) };
};
const sketchProof = (i: number) => siblings(sketchTree, i);

async function omissionOf(answer: Answer, index: number) {
  const { score } = scoreOf(index);
  const better = answer.leaves.filter(
    (leaf) => leaf.score > score || (leaf.score === score && leaf.sketchIndex < index),
  );
  return {
    receipt: answer.receipt,
    signature: await signReceipt(chain, provider, answer.receipt),
    leaves: answer.leaves,
    querySketch: sketchBytes(query),
    sketchIndex: index,
    sketchLeaf: sketchInput(index),
    sketchProof: sketchProof(index),
    better: better.map(({ sketchIndex }) => ({
      sketchLeaf: sketchInput(sketchIndex),
      proof: sketchProof(sketchIndex),
    })),
  };
}

async function divisionOf(answer: Answer) {
  return {
    receipt: answer.receipt,
    signature: await signReceipt(chain, provider, answer.receipt),
    scores: answer.leaves,
    spans: answer.spans.map((span) => spanInput(answer.receipt.requestId, span)),
  };
}

type Challenge = 'challengeOmission' | 'challengeDivision' | 'challengeEquivocation';

/** Commits the evidence and shows it one block later. */
async function accuse(fn: Challenge, evidence: unknown, from = challenger) {
  const call = encodeCall('Referee', fn, [evidence as never]);
  await commitEvidence(chain, from, dataSlice(call, 4));
  return chain.sendData(from, chain.deployment.contracts.Referee, call);
}

async function assertSlashed(
  kind: bigint,
  subject: string,
  slashedWei = bonds.servingLockWei,
): Promise<void> {
  const verdict = await Referee.verdictOf(kind, subject);
  assert.equal(verdict.provider, provider.address);
  assert.equal(verdict.challenger, challenger.address);
  assert.equal(verdict.slashedWei, slashedWei);
  assert.equal(await Staking.credits(challenger.address), (slashedWei * 4n) / 10n);
  assert.equal(await Staking.credits(client.address), slashedWei / 10n);
  assert.equal((await Staking.getAccount(provider.address)).servingLockWei, 0n);
  await assertConserved(chain);
}

async function assertSafe(): Promise<void> {
  const { servingLockWei } = await Staking.getAccount(provider.address);
  assert.equal(servingLockWei, bonds.servingLockWei);
}

const all = records.map((_, i) => i);

describe('Referee: records left out', () => {
  test('whoever leaves out a record above the threshold is slashed', async () => {
    const some = honestOrder([1, 2, 3, 4, 5]);
    const answer = answerOf(some.filter((i) => i !== some[2]));
    const receipt = await accuse('challengeOmission', await omissionOf(answer, some[2]!));
    assert.ok(receipt.gasUsed < 1_000_000n);
    await assertSlashed(RefereeVerdictKind.Omission, receiptHash(answer.receipt));
  });

  test('no record is owed a place in an honest receipt, whatever is claimed about it', async () => {
    const paid = honestOrder(all);
    assert.equal(paid.length, MAX_LEAVES);
    const answer = answerOf(paid);
    const left = all.filter((i) => !paid.includes(i));
    // Outranked by 64, the worse of a paid cluster, and the one below the threshold.
    assert.ok(left.includes(72) && left.length >= 9);
    for (const index of [paid[0]!, paid[63]!, ...left]) {
      await refuses(
        accuse('challengeOmission', await omissionOf(answer, index)),
        'RefereeNotOmitted',
        [BigInt(index)],
      );
    }
    await assertSafe();
  });

  test('with 64 leaves, one that pushed out a better record costs the lock; the transaction fits', async () => {
    const paid = honestOrder(all);
    const outranked = all.find((i) => i < 70 && !paid.includes(i) && records[i]!.cluster !== 0)!;
    const answer = answerOf([...paid.slice(0, 63), outranked]);
    const receipt = await accuse('challengeOmission', await omissionOf(answer, paid[63]!));
    assert.ok(receipt.gasUsed < 16_777_216n);
    await assertSlashed(RefereeVerdictKind.Omission, receiptHash(answer.receipt));
  });

  test('paying a worse record of the cluster instead of the best is an omission', async () => {
    const ofCluster = [0, 70, 71].sort((x, y) => scoreOf(y).score - scoreOf(x).score || x - y) as [
      number,
      number,
      number,
    ];
    const answer = answerOf([ofCluster[1]]);
    await refuses(
      accuse('challengeOmission', await omissionOf(answer, ofCluster[2])),
      'RefereeNotOmitted',
    );
    await accuse('challengeOmission', await omissionOf(answer, ofCluster[0]));
    await assertSlashed(RefereeVerdictKind.Omission, receiptHash(answer.receipt));
  });

  test('a record that passes only one of two thresholds of the time was not owed a place', async () => {
    const strict = { ...presets.local, threshold: { numerator: 999n, denominator: 1_000n } };
    await chain.send(chain.deployer, 'Parameters', 'change', [strict]);
    const now = await chain.now();
    const answer = answerOf([], [], (_leaves, _spans, receipt) => {
      receipt.issuedAt = now;
    });
    await refuses(accuse('challengeOmission', await omissionOf(answer, 3)), 'RefereeNotOmitted');
    const before = answerOf([], [], (_leaves, _spans, receipt) => {
      receipt.issuedAt = now - 3_601;
    });
    await accuse('challengeOmission', await omissionOf(before, 3));
  });

  test('RefereeBetterMissing, RefereeLeavesMismatch: nothing that counts may be kept back', async () => {
    const some = honestOrder([1, 2, 3]);
    const answer = answerOf([some[0]!]);
    const evidence = await omissionOf(answer, some[1]!);
    await refuses(
      accuse('challengeOmission', { ...evidence, better: [] }),
      'RefereeBetterMissing',
      [0n],
    );
    await refuses(
      accuse('challengeOmission', { ...evidence, leaves: [] }),
      'RefereeLeavesMismatch',
    );
    const swapped = [{ ...evidence.better[0]!, sketchLeaf: sketchInput(some[2]!) }];
    await refuses(
      accuse('challengeOmission', { ...evidence, better: swapped }),
      'RefereeSketchProofInvalid',
    );
    await assertSafe();
  });

  test('RefereeQuerySketchMismatch, RefereeSketchLength: the sketches are those that were signed', async () => {
    const some = honestOrder([1, 2]);
    const evidence = await omissionOf(answerOf([some[0]!]), some[1]!);
    await refuses(
      accuse('challengeOmission', { ...evidence, querySketch: sketchBytes(seededSketch(2)) }),
      'RefereeQuerySketchMismatch',
    );
    const short = { ...evidence.sketchLeaf, sketch: new Uint8Array(255) };
    await refuses(
      accuse('challengeOmission', { ...evidence, sketchLeaf: short }),
      'RefereeSketchLength',
      [255n],
    );
    await assertSafe();
  });
});

describe('Referee: division', () => {
  test('a wei moved from one leaf to another, or kept, costs the lock', async () => {
    const moves: ((leaves: ScoreLeaf[], spans: Span[]) => void)[] = [
      (leaves) => {
        leaves[0]!.amountWei += 1n;
        leaves[1]!.amountWei -= 1n;
      },
      (_leaves, spans) => {
        spans[1]!.amountWei -= 1n;
      },
      (leaves, spans) => {
        leaves[2]!.amountWei -= 5n;
        spans[0]!.amountWei += 5n;
      },
      // Numbers that would overflow an honest computation accuse their signer instead of saving it.
      (_leaves, spans) => {
        spans[1]!.weight = 2n ** 255n;
      },
    ];
    for (const move of moves) {
      const before = await chain.snapshot();
      const answer = answerOf(honestOrder([1, 2, 3]), [840n, 1_260n], move);
      await accuse('challengeDivision', await divisionOf(answer));
      await assertSlashed(RefereeVerdictKind.Division, receiptHash(answer.receipt));
      await refuses(
        accuse('challengeDivision', await divisionOf(answer), thief),
        'RefereeVerdictKnown',
      );
      await chain.revert(before);
    }
  });

  test('an honest division is safe, with any leaves', async () => {
    // The same evidence cannot be committed twice.
    let run = 0n;
    await fc.assert(
      fc.asyncProperty(
        fc.subarray([1, 2, 3, 4, 5, 6]),
        fc.array(fc.bigInt(1n, 3_440_640n), { maxLength: 6 }),
        async (among, weights) => {
          const answer = answerOf(honestOrder(among), weights, (_leaves, _spans, receipt) => {
            receipt.computeWei = ++run;
          });
          await refuses(
            accuse('challengeDivision', await divisionOf(answer)),
            'RefereeDivisionCorrect',
            [receiptHash(answer.receipt)],
          );
        },
      ),
      { numRuns: 25 },
    );
    await assertSafe();
  });

  test('around a change of the fees both divisions are right, later only the new one', async () => {
    const fees = { ...presets.local.fees, platformPpm: 0n, dataPpm: 600_000n };
    await chain.send(chain.deployer, 'Parameters', 'change', [{ ...presets.local, fees }]);
    const changedAt = await chain.now();
    const at = (issuedAt: number, rules = presets.local.fees) =>
      answerOf(
        honestOrder([1, 2, 3]),
        [840n],
        (_leaves, _spans, receipt) => {
          receipt.issuedAt = issuedAt;
        },
        rules,
      );
    for (const safe of [at(changedAt), at(changedAt, fees), at(changedAt + 3_600, fees)]) {
      await refuses(accuse('challengeDivision', await divisionOf(safe)), 'RefereeDivisionCorrect');
    }
    await accuse('challengeDivision', await divisionOf(at(changedAt + 3_600)));
  });
});

describe('Referee: equivocation', () => {
  async function pairOf(alter: (second: Receipt) => void, domain = domainOf(chain, 'Referee')) {
    const first = answerOf(honestOrder([1, 2])).receipt;
    const second = structuredClone(first);
    alter(second);
    return {
      first,
      firstSignature: await signReceipt(chain, provider, first),
      second,
      secondSignature: await signReceipt(chain, provider, second, domain),
    };
  }

  test('two receipts for one request cost the lock and a share of the stake, once', async () => {
    const pair = await pairOf((second) => {
      second.computeWei += 1n;
    });
    await accuse('challengeEquivocation', pair);
    const subject = keccak256(
      coder.encode(['address', 'bytes32'], [provider.address, pair.first.requestId]),
    );
    // The only staker's lock is a fifth of all stake: 5 % + 3 * 20 % of its 100 OPEN.
    const shareWei = 65n * OPEN_WEI;
    const takenWei = bonds.servingLockWei + shareWei;
    await assertSlashed(RefereeVerdictKind.Equivocation, subject, takenWei);
    assert.equal((await Staking.getAccount(provider.address)).stakeWei, 100n * OPEN_WEI - takenWei);
    // Now 85 of 100 are lost.
    assert.equal(await Staking.correlationFraction(), 1_000_000n);
    const swapped = {
      first: pair.second,
      firstSignature: pair.secondSignature,
      second: pair.first,
      secondSignature: pair.firstSignature,
    };
    await refuses(accuse('challengeEquivocation', swapped, thief), 'RefereeVerdictKnown');
  });

  test('RefereeNotEquivocation: the same receipt twice, another request, another provider', async () => {
    for (const alter of [
      () => {},
      (second: Receipt) => {
        second.requestId = id('another');
      },
      (second: Receipt) => {
        second.provider = thief.address;
      },
    ]) {
      await refuses(accuse('challengeEquivocation', await pairOf(alter)), 'RefereeNotEquivocation');
    }
    await assertSafe();
  });

  test('what was signed for another chain or contract is no second receipt', async () => {
    const alter = (second: Receipt) => {
      second.computeWei += 1n;
    };
    for (const domain of [domainOf(chain, 'Referee', 1), domainOf(chain, 'Epochs')]) {
      await refuses(
        accuse('challengeEquivocation', await pairOf(alter, domain)),
        'RefereeReceiptSignerMismatch',
      );
    }
    await assertSafe();
  });

  test('evidence of any kind is bound to its sender and must be committed before', async () => {
    const pair = await pairOf((second) => {
      second.computeWei += 1n;
    });
    const data = encodeCall('Referee', 'challengeEquivocation', [pair]);
    const commitment = evidenceCommitment(challenger.address, dataSlice(data, 4));
    await chain.send(challenger, 'Referee', 'commitEvidence', [commitment]);
    const { Referee: referee } = chain.deployment.contracts;
    await refuses(chain.sendData(thief, referee, data), 'RefereeEvidenceNotCommitted');
    await chain.sendData(challenger, referee, data);
  });
});
