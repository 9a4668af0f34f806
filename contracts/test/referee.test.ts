/** Referee: a wrong score is slashed to the wei, a right one is safe, evidence cannot be stolen. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { concat, dataLength, dataSlice, id, keccak256 } from 'ethers';
import type { Hex } from '#crypto';
import type { ScoreEvidence } from '#protocol';
import { RefereeFault, RefereeLeafState } from '../bindings/structs.ts';
import { evidenceCommitment } from '../evidence.ts';
import { OPEN_WEI, presets } from '../presets.ts';
import {
  type Alter,
  adapterId,
  answer,
  bob,
  chain,
  challenger,
  client,
  FEE,
  find,
  inflate,
  lastVerdict,
  proveAgainst,
  provider,
  Referee,
  revertedBy,
  Staking,
  sketches,
  sketchTree,
  thief,
} from './accused.ts';
import {
  challenge,
  commitEvidence,
  packedOf,
  receiptHash,
  recordOf,
  serve,
  showEvidence,
  signReceipt,
} from './answers.ts';
import { assertConserved, bonds, domainOf, refuses, siblings, tagged } from './fixtures.ts';

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
    const verdict = await lastVerdict();
    assert.deepEqual(verdict.toObject(), {
      receiptHash: receiptHash(served.receipt),
      provider: provider.address,
      challenger: challenger.address,
      leafIndex: 1n,
      contributor: bob.address,
      amountWei: FEE / 10n,
      client: client.address,
      fault: RefereeFault.Score,
      slashedWei: lock,
      epoch: 0n,
    });
    const hash = receiptHash(served.receipt);
    assert.equal(await Referee.stateOf(hash, 1), RefereeLeafState.Judged);
    assert.equal(await Referee.stateOf(hash, 0), RefereeLeafState.Unjudged);
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
      assert.equal((await find(evidence)).fault, fault);
      await challenge(chain, challenger, evidence);
      assert.equal((await lastVerdict())['fault'], fault);
      assert.equal((await Staking.getAccount(provider.address)).servingLockWei, 0n);
    });
  }

  test('a right score of a record below the threshold is slashed', async () => {
    const served = serve(
      { client: client.address, provider: provider.address, adapterId, feeWei: FEE },
      sketches,
    );
    const evidence = await proveAgainst(served, 4);
    const finding = await find(evidence);
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
    assert.equal((await lastVerdict())['slashedWei'], 0n);
    assert.equal(await Referee.stateOf(receiptHash(again.receipt), 1), RefereeLeafState.Judged);
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
    assert.equal((await lastVerdict())['fault'], RefereeFault.BelowThreshold);
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
      `0x${'00'.repeat(64)}1b`,
    ];
    for (const signature of signatures as Hex[]) {
      await refuses(
        challenge(chain, challenger, { ...evidence, signature }),
        'RefereeReceiptSignerMismatch',
      );
    }
  });

  test('RefereeReceiptSignerMismatch: what the provider signed is refused with anything in it changed', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    const { receipt, leaf, leafIndex, querySketch } = evidence;
    const altered: ScoreEvidence[] = [
      ...Object.entries(receipt).map(([name, value]): ScoreEvidence => {
        const changed =
          typeof value === 'string' ? `${value.slice(0, -1)}${value.endsWith('1') ? '2' : '1'}` : 3;
        return { ...evidence, receipt: { ...receipt, [name]: changed } };
      }),
      { ...evidence, leaf: { ...leaf, score: leaf.score + 1 } },
      { ...evidence, leaf: { ...leaf, amountWei: leaf.amountWei + 1n } },
      { ...evidence, leafIndex: leafIndex - 1 },
      { ...evidence, leafProof: evidence.leafProof.toReversed() },
      { ...evidence, querySketch: querySketch.map((value, i) => (i === 3 ? value ^ 1 : value)) },
    ];
    let refused = 0;
    for (const each of altered) {
      const packed = packedOf(each);
      // What is computed is not sent: these two cannot be changed at all.
      if (packed === packedOf(evidence)) continue;
      await refuses(challenge(chain, challenger, packed), 'RefereeReceiptSignerMismatch');
      refused += 1;
    }
    // All but adapterId, querySketchHash and scoreRoot, which follow from the rest.
    assert.equal(refused, altered.length - 3);
  });

  test('RefereeSketchProofInvalid: only what the adapter was trained on is evidence', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    const record = evidence.record!;
    const others = [
      recordOf(sketches[1]!, siblings(sketchTree, 0)),
      { ...record, leaf: { ...record.leaf, cluster: 9 } },
      { ...record, leaf: { ...record.leaf, registeredAt: 9 } },
      { ...record, leaf: { ...record.leaf, norm: 9 } },
    ];
    for (const other of others) {
      await refuses(
        challenge(chain, challenger, { ...evidence, record: other }),
        'RefereeSketchProofInvalid',
      );
    }
  });

  test('RefereeEvidenceLength, RefereeEvidenceForm, RefereeLeafOutside: hostile bytes', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    const packed = packedOf(evidence);
    const length = dataLength(packed);
    const lengths = [0, 1, 64, 65, 96, 309, 400, length - 257, length - 32, length - 1];
    for (const short of lengths) {
      const cut = dataSlice(packed, 0, short);
      // What is missing reads as zeros, which make some other evidence, and never a verdict.
      const { error } = await revertedBy(challenge(chain, challenger, cut));
      const expected =
        short < 65 ? ['RefereeLeafOutside'] : ['RefereeEvidenceLength', 'RefereeLeafOutside'];
      assert.ok(expected.includes(error), `${short}: ${error}`);
    }
    for (const tail of ['0x00', `0x${'00'.repeat(32)}`]) {
      await refuses(challenge(chain, challenger, concat([packed, tail])), 'RefereeEvidenceLength', [
        BigInt(length + dataLength(tail)),
        BigInt(length),
      ]);
    }
    for (const form of ['0x04', '0xff']) {
      await refuses(
        challenge(chain, challenger, concat([form, dataSlice(packed, 1)])),
        'RefereeEvidenceForm',
        [BigInt(form)],
      );
    }
    // An answer that stays hidden is enough to find the fault, not to divide what it costs.
    await refuses(challenge(chain, challenger, packedOf(evidence, 'hash')), 'RefereeEvidenceForm', [
      0n,
    ]);
    // A leaf in short form of a record that is not there.
    const nowhere = { ...evidence, leaf: { ...evidence.leaf, sketchIndex: 99 } };
    await refuses(challenge(chain, challenger, packedOf(nowhere)), 'RefereeEvidenceForm', [1n]);
    await refuses(
      challenge(chain, challenger, { ...evidence, leafIndex: 4 }),
      'RefereeLeafOutside',
      [4n, 4n],
    );
  });

  test('ModelRegistryNoAdapterAt: an unregistered adapter cannot be judged', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    await refuses(
      challenge(chain, challenger, { ...evidence, adapterIndex: 1 }),
      'ModelRegistryNoAdapterAt',
      [1n],
    );
  });
});

describe('Referee: evidence is bound to its sender and to an earlier block', () => {
  test('RefereeEvidenceNotCommitted: a thief cannot show what another committed', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    const packed = packedOf(evidence);
    assert.equal(
      await Referee.evidenceCommitmentOf(thief.address, keccak256(packed)),
      tagged('openledger/evidence/1', ['address', 'bytes32'], [thief.address, keccak256(packed)]),
    );
    await commitEvidence(chain, challenger, packed);
    await refuses(showEvidence(chain, thief, packed), 'RefereeEvidenceNotCommitted', [
      evidenceCommitment(thief.address, packed),
    ]);
    // A thief that copies the commitment has only bound the challenger's own evidence again.
    await refuses(
      chain.send(thief, 'Referee', 'commitEvidence', [
        evidenceCommitment(challenger.address, packed),
      ]),
      'RefereeEvidenceKnown',
    );
    await showEvidence(chain, challenger, packed);
    assert.equal((await lastVerdict())['challenger'], challenger.address);
    // Used up, its slot refunded: what is judged cannot be judged again with it.
    assert.equal(await Referee.evidenceBlock(evidenceCommitment(challenger.address, packed)), 0n);
  });

  test('RefereeEvidenceTooEarly: not in the block of its commitment', async () => {
    const evidence = await proveAgainst(answer(inflate), 1);
    const packed = packedOf(evidence);
    const commitment = evidenceCommitment(challenger.address, packed);
    const [first, second] = await chain.together(challenger, [
      ['Referee', 'commitEvidence', [commitment]],
      ['Referee', 'challengeScore', [], packed],
    ]);
    assert.equal(first, null);
    assert.equal(second?.error, 'RefereeEvidenceTooEarly');
    const block = await Referee.evidenceBlock(commitment);
    assert.deepEqual(second?.args, [commitment, block + 1n]);
    await showEvidence(chain, challenger, packed);
  });

  test('evidence changed after the commitment is other evidence', async () => {
    const served = answer((leaves) => {
      leaves[0]!.score += 1;
      leaves[1]!.score += 1;
    });
    const committed = packedOf(await proveAgainst(served, 1));
    const shown = packedOf(await proveAgainst(served, 0));
    await commitEvidence(chain, challenger, committed);
    await refuses(showEvidence(chain, challenger, shown), 'RefereeEvidenceNotCommitted');
  });
});
