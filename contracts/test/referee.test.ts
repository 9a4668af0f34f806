/** Referee: a wrong score is slashed to the wei and withheld, a right one is safe, evidence cannot be stolen. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { getBytes, hexlify, id, keccak256, recoverAddress, type Wallet } from 'ethers';
import { buildTree, type MerkleTree } from '#crypto';
import { RefereeFault } from '../bindings/structs.ts';
import { encodeScoreEvidence, evidenceCommitment } from '../evidence.ts';
import { startChain } from '../harness.ts';
import { OPEN_WEI, presets } from '../presets.ts';
import {
  challenge,
  commitEvidence,
  evidenceOf,
  type Receipt,
  receiptHash,
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
  anchor,
  announce,
  assertConserved,
  bonds,
  claimArgs,
  domainOf,
  finalise,
  isolate,
  PROVIDER,
  pay,
  publish,
  refuses,
  resultOf,
  siblings,
  stake,
  tagged,
  toReverted,
  toVoting,
  VERIFIER,
  vote,
} from './fixtures.ts';

const chain = await startChain();
const { Referee, Staking, Epochs } = chain.contracts;
const [client, provider, challenger, thief, alice, bob, ...verifiers] = chain.wallets as [
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  Wallet,
  ...Wallet[],
];
const FEE = 10_000_000n;
const query = seededSketch(1);
const sketches = [0, 1, 2, 3, 4].map(
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
const sketchTree = buildTree(sketches.map(sketchLeafBytes));

for (const wallet of verifiers) await stake(chain, wallet, VERIFIER);
await stake(chain, provider, PROVIDER);
await stake(chain, challenger, 0);
await chain.send(provider, 'Staking', 'registerServing', []);
const datanet = await publish(chain, client, sketches.length);
const taskId = await announce(chain, client, datanet);
const result = resultOf(hexlify(sketchTree.root), sketches.length);
await vote(chain, await toVoting(chain, provider, taskId, result), taskId);
const { adapterId } = await chain.contracts.TaskEscrow.getTask(taskId);
isolate(chain);

type Alter = (leaves: ScoreLeaf[], receipt: Receipt) => void;
const answer = (alter?: Alter): Served =>
  serve(
    { client: client.address, provider: provider.address, adapterId, feeWei: FEE },
    sketches.slice(0, 4),
    alter,
  );
/** The evidence against a leaf, with the proof against the sketches of the whole version. */
async function proveAgainst(
  served: Served,
  index: number,
  place = served.leaves[index]!.sketchIndex,
) {
  const evidence = evidenceOf(served, index, await signReceipt(chain, provider, served.receipt));
  return { ...evidence, sketchProof: siblings(sketchTree, Math.min(place, 4)) };
}
const inflate: Alter = (leaves) => {
  leaves[1]!.score += 1;
};

describe('Referee: wrong leaves', () => {
  test('an inflated score is slashed and divided to the wei', async () => {
    const served = answer(inflate);
    await challenge(chain, challenger, await proveAgainst(served, 1));
    const lock = bonds.servingLockWei;
    assert.equal(await Staking.credits(challenger.address), (lock * 4n) / 10n);
    assert.equal(await Staking.credits(client.address), lock / 10n);
    assert.equal(await Staking.burnedWei(), lock / 2n);
    const account = await Staking.getAccount(provider.address);
    assert.equal(account.servingLockWei, 0n);
    assert.equal(account.stakeWei, 100n * OPEN_WEI - lock);
    const judgement = await Referee.getJudgement(1);
    assert.equal(judgement.fault, RefereeFault.Score);
    assert.equal(judgement.slashedWei, lock);
    assert.equal(judgement.challenger, challenger.address);
    assert.equal(judgement.client, client.address);
    assert.equal(judgement.contributor, bob.address);
    assert.equal(judgement.amountWei, FEE / 10n);
    assert.equal(judgement.receiptHash, receiptHash(served.receipt));
    assert.equal(judgement.withheld, false);
    assert.equal(await Referee.judgementOf(receiptHash(served.receipt), 1), 1n);
    assert.equal((await Referee.getJudgements(1, 9)).length, 1);
    assert.equal((await Referee.getJudgements(0, 9)).length, 0);
    await assertConserved(chain);
  });

  const wrong: Record<string, [Alter, bigint]> = {
    'a wrong dot product': [
      (leaves) => {
        leaves[1]!.dot += 1;
      },
      RefereeFault.Dot,
    ],
    'an understated score': [
      (leaves) => {
        leaves[1]!.score -= 1;
      },
      RefereeFault.Score,
    ],
    "another record's hash": [
      (leaves) => {
        leaves[1]!.recordHash = id('other');
      },
      RefereeFault.OtherRecord,
    ],
    'a contributor of its own': [
      (leaves) => {
        leaves[1]!.contributor = provider.address;
      },
      RefereeFault.OtherContributor,
    ],
    "another request's id": [
      (leaves) => {
        leaves[1]!.requestId = id('other');
      },
      RefereeFault.OtherRequest,
    ],
    'a record that the adapter was not trained on': [
      (leaves) => {
        leaves[1]!.sketchIndex = 5;
      },
      RefereeFault.NoSuchRecord,
    ],
    'a norm that makes every score larger': [
      (_leaves, receipt) => {
        receipt.queryNorm -= 1;
      },
      RefereeFault.QueryNorm,
    ],
  };
  for (const [what, [alter, fault]] of Object.entries(wrong)) {
    test(`${what} is slashed`, async () => {
      const evidence = await proveAgainst(answer(alter), 1);
      assert.equal((await Referee.findScore(evidence)).fault, fault);
      await challenge(chain, challenger, evidence);
      assert.equal((await Referee.getJudgement(1)).fault, fault);
      assert.equal((await Staking.getAccount(provider.address)).servingLockWei, 0n);
    });
  }

  test('a right score of a record below the threshold is slashed', async () => {
    const served = serve(
      { client: client.address, provider: provider.address, adapterId, feeWei: FEE },
      sketches,
    );
    const evidence = await proveAgainst(served, 4);
    const finding = await Referee.findScore(evidence);
    assert.equal(finding.passes, false);
    assert.equal(finding.fault, RefereeFault.BelowThreshold);
    await challenge(chain, challenger, evidence);
  });

  test('a provider without a serving lock is still judged, for the withholding', async () => {
    await challenge(chain, challenger, await proveAgainst(answer(inflate), 1));
    const again = answer((leaves, receipt) => {
      inflate(leaves, receipt);
      receipt.issuedAt += 1;
    });
    await challenge(chain, challenger, await proveAgainst(again, 1));
    assert.equal((await Referee.getJudgement(2)).slashedWei, 0n);
    assert.equal(await Referee.judgementCount(), 2n);
  });

  test('every wrong leaf of a receipt is judged once', async () => {
    const served = answer((leaves) => {
      leaves[0]!.score += 1;
      leaves[1]!.score += 1;
    });
    await challenge(chain, challenger, await proveAgainst(served, 1));
    await refuses(challenge(chain, thief, await proveAgainst(served, 1)), 'RefereeAlreadyJudged', [
      receiptHash(served.receipt),
      1n,
    ]);
    await challenge(chain, thief, await proveAgainst(served, 0));
    assert.equal(await Staking.credits(thief.address), 0n);
  });
});

describe('Referee: right leaves and bad evidence', () => {
  test('a threshold raised later makes no signed leaf wrong, and one signed under it is', async () => {
    const raised = { ...presets.local, threshold: { numerator: 1n, denominator: 1n } };
    const before = answer();
    await chain.send(chain.deployer, 'Parameters', 'change', [raised]);
    await chain.pass(86_400);
    await refuses(
      challenge(chain, challenger, await proveAgainst(before, 1)),
      'RefereeScoreCorrect',
    );
    const now = await chain.now();
    const after = answer((_leaves, receipt) => {
      receipt.issuedAt = now;
    });
    await challenge(chain, challenger, await proveAgainst(after, 1));
    assert.equal((await Referee.getJudgement(1)).fault, RefereeFault.BelowThreshold);
  });

  test('RefereeScoreCorrect: an honest provider cannot be slashed', async () => {
    const served = answer();
    for (const index of [0, 1, 2, 3]) {
      const leaf = served.leaves[index]!;
      await refuses(
        challenge(chain, challenger, await proveAgainst(served, index)),
        'RefereeScoreCorrect',
        [BigInt(leaf.dot), BigInt(leaf.score)],
      );
    }
    assert.equal((await Staking.getAccount(provider.address)).servingLockWei, bonds.servingLockWei);
  });

  test('a receipt signed by another, or for another chain or contract, accuses nobody', async () => {
    const served = answer(inflate);
    const evidence = await proveAgainst(served, 1);
    const signatures = [
      await signReceipt(chain, thief, served.receipt),
      await signReceipt(chain, provider, served.receipt, domainOf(chain, 'Referee', 1)),
      await signReceipt(chain, provider, served.receipt, domainOf(chain, 'InferenceEscrow')),
      '0x',
    ];
    for (const signature of signatures) {
      await refuses(
        challenge(chain, challenger, { ...evidence, signature }),
        'RefereeReceiptSignerMismatch',
      );
    }
  });

  test('LeafProofInvalid, SketchProofInvalid, QuerySketchMismatch, SketchLength', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    await refuses(
      challenge(chain, challenger, { ...evidence, leafIndex: 0 }),
      'RefereeLeafProofInvalid',
    );
    await refuses(
      challenge(chain, challenger, { ...evidence, leafProof: [] }),
      'RefereeLeafProofInvalid',
    );
    await refuses(
      challenge(chain, challenger, { ...evidence, sketchProof: siblings(sketchTree, 0) }),
      'RefereeSketchProofInvalid',
    );
    await refuses(
      challenge(chain, challenger, {
        ...evidence,
        sketchLeaf: { ...evidence.sketchLeaf, norm: 1n },
      }),
      'RefereeSketchProofInvalid',
    );
    await refuses(
      challenge(chain, challenger, { ...evidence, querySketch: new Uint8Array(256) }),
      'RefereeQuerySketchMismatch',
    );
    await refuses(
      challenge(chain, challenger, {
        ...evidence,
        sketchLeaf: { ...evidence.sketchLeaf, sketch: new Uint8Array(255) },
      }),
      'RefereeSketchLength',
      [255n],
    );
  });

  test('Int8DotLength: a query sketch of another length is no evidence', async () => {
    const short = new Uint8Array(32);
    const served = answer((_leaves, receipt) => {
      receipt.querySketchHash = keccak256(short);
    });
    await refuses(
      challenge(chain, challenger, { ...(await proveAgainst(served, 1)), querySketch: short }),
      'Int8DotLength',
      [32n, 256n],
    );
  });

  test('an unregistered adapter cannot be judged', async () => {
    const served = answer((_leaves, receipt) => {
      receipt.adapterId = id('none');
    });
    await refuses(
      challenge(chain, challenger, await proveAgainst(served, 1)),
      'ModelRegistryAdapterUnknown',
    );
  });
});

describe('Referee: evidence is bound to its sender and to an earlier block', () => {
  test('RefereeEvidenceNotCommitted: a thief cannot show what another committed', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    const encoded = encodeScoreEvidence(evidence);
    assert.equal(
      await Referee.evidenceCommitmentOf(thief.address, keccak256(encoded)),
      tagged('openledger/evidence/1', ['address', 'bytes32'], [thief.address, keccak256(encoded)]),
    );
    await commitEvidence(chain, challenger, evidence);
    await refuses(
      chain.send(thief, 'Referee', 'challengeScore', [evidence]),
      'RefereeEvidenceNotCommitted',
      [evidenceCommitment(thief.address, encoded)],
    );
    // A thief that copies the commitment has only bound the challenger's own evidence again.
    await refuses(
      chain.send(thief, 'Referee', 'commitEvidence', [
        evidenceCommitment(challenger.address, encoded),
      ]),
      'RefereeEvidenceKnown',
    );
    await chain.send(challenger, 'Referee', 'challengeScore', [evidence]);
    assert.equal((await Referee.getJudgement(1)).challenger, challenger.address);
  });

  test('RefereeEvidenceTooEarly: not in the block of its commitment', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    const commitment = evidenceCommitment(challenger.address, encodeScoreEvidence(evidence));
    const [first, second] = await chain.together(challenger, [
      ['Referee', 'commitEvidence', [commitment]],
      ['Referee', 'challengeScore', [evidence]],
    ]);
    assert.equal(first, null);
    assert.equal(second?.error, 'RefereeEvidenceTooEarly');
    const block = await Referee.evidenceBlock(commitment);
    assert.deepEqual(second?.args, [commitment, block + 1n]);
    await chain.send(challenger, 'Referee', 'challengeScore', [evidence]);
  });

  test('evidence changed after the commitment is other evidence', async () => {
    const served = answer((leaves) => {
      leaves[0]!.score += 1;
      leaves[1]!.score += 1;
    });
    await commitEvidence(chain, challenger, await proveAgainst(served, 1));
    await refuses(
      chain.send(challenger, 'Referee', 'challengeScore', [await proveAgainst(served, 0)]),
      'RefereeEvidenceNotCommitted',
    );
  });
});

describe('Referee: the wrong leaf is never paid', () => {
  async function judged(): Promise<{ served: Served; receipts: MerkleTree }> {
    const served = answer(inflate);
    await pay(chain, client, provider, OPEN_WEI, FEE);
    await challenge(chain, challenger, await proveAgainst(served, 1));
    const hashes = [receiptHash(served.receipt), id('other receipt')].sort();
    return { served, receipts: buildTree(hashes.map((hash) => getBytes(hash))) };
  }
  const payouts = [
    { account: alice.address, cumulativeWei: 2n * (FEE / 10n) },
    { account: bob.address, cumulativeWei: 2n * (FEE / 10n) },
  ];

  test('its amount comes off the contributor and is credited to the client', async () => {
    const { served, receipts } = await judged();
    await anchor(chain, challenger, payouts, receipts);
    const hash = receiptHash(served.receipt);
    const place = hash < id('other receipt') ? 0 : 1;
    await refuses(
      chain.send(thief, 'Referee', 'withholdLeaf', [
        1,
        1,
        1 - place,
        siblings(receipts, 1 - place),
      ]),
      'RefereeReceiptNotAnchored',
      [1n, 1n, BigInt(1 - place)],
    );
    await chain.send(thief, 'Referee', 'withholdLeaf', [1, 1, place, siblings(receipts, place)]);
    await refuses(
      chain.send(thief, 'Referee', 'withholdLeaf', [1, 1, place, siblings(receipts, place)]),
      'RefereeAlreadyWithheld',
      [1n],
    );
    assert.equal((await Referee.getJudgement(1)).withheld, true);
    await finalise(chain, 1n);
    const before = await chain.provider.getBalance(bob.address);
    await chain.send(bob, 'Epochs', 'claim', [...claimArgs(payouts, 1)]);
    assert.equal((await chain.provider.getBalance(bob.address)) - before, FEE / 10n);
    assert.equal(await Epochs.credits(client.address), FEE / 10n);
    await assertConserved(chain);
  });

  test('a leaf of a receipt that no epoch anchored withholds nothing', async () => {
    await judged();
    await refuses(
      chain.send(thief, 'Referee', 'withholdLeaf', [1, 1, 0, []]),
      'EpochsUnknownEpoch',
      [1n],
    );
    await anchor(chain, challenger, payouts);
    await refuses(
      chain.send(thief, 'Referee', 'withholdLeaf', [1, 1, 0, []]),
      'RefereeReceiptNotAnchored',
      [1n, 1n, 0n],
    );
  });

  test('an amount above the fee withholds the fee at most', async () => {
    const served = answer((leaves) => {
      leaves[1]!.score += 1;
      leaves[1]!.amountWei = 1_000n * OPEN_WEI;
    });
    await challenge(chain, challenger, await proveAgainst(served, 1));
    assert.equal((await Referee.getJudgement(1)).amountWei, FEE);
  });

  test('RefereeUnknownJudgement', async () => {
    await refuses(Referee.getJudgement(1).catch(toReverted), 'RefereeUnknownJudgement', [1n]);
    await refuses(
      chain.send(thief, 'Referee', 'withholdLeaf', [0, 1, 0, []]),
      'RefereeUnknownJudgement',
      [0n],
    );
  });

  test('receiptHashOf and receiptDigest are those of EIP-712', async () => {
    const { receipt } = answer();
    assert.equal(await Referee.receiptHashOf(receipt), receiptHash(receipt));
    const signature = await signReceipt(chain, provider, receipt);
    assert.equal(recoverAddress(await Referee.receiptDigest(receipt), signature), provider.address);
  });
});
