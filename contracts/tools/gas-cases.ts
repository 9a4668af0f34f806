/** The transactions whose gas we hold ourselves to, sent on a chain with Prague rules; figures come from their receipts. */
import assert from 'node:assert/strict';
import {
  AbiCoder,
  Contract,
  concat,
  hexlify,
  Interface,
  id,
  keccak256,
  type TransactionReceipt,
  toBeHex,
  toQuantity,
  type Wallet,
} from 'ethers';
import { contractNames, contractRuntimes } from '../bindings/contracts.ts';
import { LibraryProbeAbi, LibraryProbeBytecode } from '../bindings/library-probe.ts';
import { encodeCall } from '../connect.ts';
import { type Chain, startChain } from '../harness.ts';
import { challengeAnchored, packedOf, seededSketch, showEvidence } from '../test/answers.ts';
import { collectTwice, deepAdapter, path, rootOver, type WrongAnswer } from '../test/deep.ts';
import { disputeGas } from '../test/disputes.ts';
import {
  announce,
  commitResult,
  finalise,
  PROVIDER,
  pay,
  publish,
  resultOf,
  revealResult,
  rootsOf,
  stake,
  VERIFIER,
} from '../test/fixtures.ts';

/** A figure, and the limit that it is held to. */
export type GasFigure = { what: string; gas: number; target: number };

const DEPTH = 20;
const COUNT = 2 ** DEPTH;
/** No byte of it is 0, which would be cheaper. */
const CERTIFICATE = `0x${'ce'.repeat(300)}`;
const BATCH = 50;
const VERIFIERS = 10_000;
/** Two transactions each, of at most 500,000 gas, in blocks of 60 million. */
const VERIFIERS_PER_BLOCK = 50;
/** Where DrandBeacon keeps `randomnessOf`: behind the key. */
const RANDOMNESS_OF_SLOT = 1;
const MAX_TRANSACTION_GAS = 16_777_216;
const MAX_RUNTIME_BYTES = 24_576;

async function insideLibraries(chain: Chain): Promise<GasFigure[]> {
  const deployed = await chain.sendData(chain.deployer, null, LibraryProbeBytecode);
  const probe = new Contract(
    deployed.contractAddress!,
    new Interface(LibraryProbeAbi),
    chain.provider,
  );
  const dot = (await probe['dotGas']!(
    hexlify(Uint8Array.from(seededSketch(1))),
    hexlify(Uint8Array.from(seededSketch(2))),
  )) as bigint;
  // pi * -0.1 + 0.75 and the like: ordinary exponents, either sign, some cancellation.
  const words = [0x3f812345, 0x40490fdb, 0xbe99999a, 0x3f4d999a, 0xbdcccccd, 0x3f400000];
  let most = 0n;
  for (const a of words) {
    for (const b of words) {
      for (const c of words) {
        const gas = (await probe['floatGas']!(a, b, c)) as bigint;
        if (gas > most) most = gas;
      }
    }
  }
  return [
    { what: 'int8 dot k=256, inside the library', gas: Number(dot), target: 4_500 },
    { what: 'binary32 mul + add, dearest of 216', gas: Number(most), target: 1_100 },
  ];
}

/** Wrong leaves under trees of a million leaves: the verdict alone, and all of it with the epoch's proof. */
async function score(chain: Chain, parties: readonly [Wallet, Wallet, Wallet]) {
  const [client, provider, challenger] = parties;
  const receiptProof = path('receipt', DEPTH);
  const wrongAnswer = await deepAdapter(chain, client, provider, DEPTH);
  const anchored: TransactionReceipt[] = [];
  /** The whole, in one transaction, the receipt standing in an epoch that was just anchored. */
  const judge = async (epoch: bigint, { evidence, receiptHash }: WrongAnswer) => {
    const receiptsRoot = rootOver(receiptHash, receiptProof);
    const roots = rootsOf({
      payoutRoot: id('payouts'),
      paymentsRoot: id(`payments ${epoch}`),
      paymentCount: COUNT,
      receiptsRoot,
      receiptCount: COUNT,
    });
    anchored.push(await chain.send(challenger, 'Epochs', 'anchor', [epoch, roots, CERTIFICATE]));
    await finalise(chain, epoch);
    await chain.send(provider, 'Staking', 'registerServing', []);
    const place = { epoch: Number(epoch), index: 0, count: COUNT, siblings: receiptProof };
    return challengeAnchored(chain, challenger, evidence, place);
  };
  const answer = await wrongAnswer('first');
  const packed = packedOf(answer.evidence, 'hash');
  const verdict = await showEvidence(chain, challenger, packed, 'findScore');
  const whole = await judge(1n, answer);
  const again = await judge(2n, await wrongAnswer('second'));
  const commitment = await chain.send(challenger, 'Referee', 'commitEvidence', [id('evidence')]);
  return { verdict, whole, again, commitment, first: anchored[0]! };
}

/** Anchors payouts of which only the path to the first is real, and claims it twice. */
async function epoch(chain: Chain, parties: readonly [Wallet, Wallet, Wallet]) {
  const [client, provider, challenger] = parties;
  const proof = path('payout', DEPTH);
  const receipts: TransactionReceipt[] = [];
  for (const [number, cumulativeWei] of [
    [3, 100_000n],
    [4, 200_000n],
  ] as const) {
    await pay(chain, client, provider, 0n, 1_000_000n);
    const leaf = concat([
      toBeHex(0, 32),
      concat([new Uint8Array(12), client.address]),
      toBeHex(cumulativeWei, 32),
      toBeHex(cumulativeWei, 32),
    ]);
    const roots = rootsOf({
      payoutRoot: rootOver(leaf, proof),
      paymentsRoot: id(`payments ${number}`),
      paymentCount: COUNT,
      receiptsRoot: id('receipts'),
      totalWei: cumulativeWei,
      leafCount: COUNT,
      receiptCount: COUNT,
    });
    const anchored = await chain.send(challenger, 'Epochs', 'anchor', [number, roots, CERTIFICATE]);
    await finalise(chain, BigInt(number));
    const claimed = await chain.send(client, 'Epochs', 'claim', [
      client.address,
      cumulativeWei,
      cumulativeWei,
      0,
      proof,
    ]);
    receipts.push(anchored, claimed);
  }
  return { anchor: receipts[2]!, claim: receipts[3]! };
}

/** drand has not signed the task's round yet: its randomness is put where `submit` would put it. */
async function bringRound(chain: Chain, taskId: bigint) {
  const { seedMark } = await chain.contracts.TaskEscrow.getTask(taskId);
  const slot = keccak256(
    AbiCoder.defaultAbiCoder().encode(['uint64', 'uint256'], [seedMark, RANDOMNESS_OF_SLOT]),
  );
  const beacon = chain.deployment.contracts.DrandBeacon;
  await chain.request('hardhat_setStorageAt', [beacon, slot, id('round')]);
  assert.equal(await chain.contracts.DrandBeacon.randomnessOf(seedMark), id('round'));
}

/** Fills the list of verifiers as far as the parameters allow, and draws a committee. */
async function draw(chain: Chain, client: Wallet, provider: Wallet) {
  const { maxStakers, versionLockWei } = await chain.contracts.Parameters.bonds();
  // Too little to be listed: it is for the version that the client publishes.
  if (versionLockWei > 0n) await chain.send(client, 'Staking', 'deposit', [], versionLockWei);
  const most = Math.min(VERIFIERS, Number(maxStakers));
  const to = chain.deployment.contracts.Staking;
  const calls = [
    [encodeCall('Staking', 'setRoles', [VERIFIER]), '0x0', 0],
    [encodeCall('Staking', 'deposit', []), toQuantity(2_000n * 10n ** 18n), 1],
  ] as const;
  for (let i = Number(await chain.contracts.Staking.stakerCount()); i < most; i += 1) {
    const from = keccak256(id(`verifier/${i}`)).slice(0, 42);
    await chain.request('hardhat_setBalance', [from, toQuantity(10n ** 22n)]);
    await chain.request('hardhat_impersonateAccount', [from]);
    for (const [data, value, nonce] of calls) {
      const call = { from, to, data, value, nonce, gas: '0xf4240', gasPrice: '0x0' };
      await chain.request('eth_sendTransaction', [call]);
    }
    if (i % VERIFIERS_PER_BLOCK === 0 || i === most - 1) await chain.mine(1);
  }
  assert.equal(await chain.contracts.Staking.stakerCount(), BigInt(most));
  const taskId = await announce(chain, client, await publish(chain, client));
  await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
  await commitResult(chain, provider, taskId, resultOf());
  await revealResult(chain, provider, taskId, resultOf());
  await chain.mine(1);
  await bringRound(chain, taskId);
  const receipt = await chain.send(client, 'TaskEscrow', 'drawCommittee', [taskId]);
  return { receipt, most };
}

/** Sends everything and gives the figures in the order of the table. */
export async function gasFigures(): Promise<GasFigure[]> {
  const chain = await startChain('local', BATCH + 3);
  const [client, provider, challenger, ...clients] = chain.wallets as [
    Wallet,
    Wallet,
    Wallet,
    ...Wallet[],
  ];
  await stake(chain, provider, PROVIDER | VERIFIER);
  await stake(chain, challenger, VERIFIER);
  const libraries = await insideLibraries(chain);
  const parties = [client, provider, challenger] as const;
  const { verdict, whole, again, commitment, first } = await score(chain, parties);
  const { anchor, claim } = await epoch(chain, parties);
  const collected = await collectTwice(chain, clients, provider);
  const mainnet = await startChain('mainnet', 3);
  const [requester, trainer] = mainnet.wallets as [Wallet, Wallet];
  await stake(mainnet, trainer, PROVIDER, 20_000n);
  const { receipt: drawn, most } = await draw(mainnet, requester, trainer);
  const disputes = await disputeGas();

  const figure = (what: string, gas: bigint | number, target: number): GasFigure => ({
    what,
    gas: Number(gas),
    target,
  });
  const transactions = [verdict, whole, again, commitment, first, anchor, claim, collected, drawn];
  const gasUsed = [...transactions.map((each) => each.gasUsed), ...disputes.map(({ gas }) => gas)];
  const dearest = Math.max(...gasUsed.map(Number));
  const largest = Math.max(...contractNames.map((name) => contractRuntimes[name].length));
  return [
    figure('score verdict, two depth-20 proofs, k=256', verdict.gasUsed, 100_000),
    figure('with epoch proof, slash and credit', whole.gasUsed, 170_000),
    figure('the same among parties who had it before', again.gasUsed, 170_000),
    figure('commitment to evidence, before any verdict', commitment.gasUsed, MAX_TRANSACTION_GAS),
    ...disputes.map(({ what, gas }) => figure(what, gas, MAX_TRANSACTION_GAS)),
    ...libraries,
    figure('claim at depth 20, later, by its account', claim.gasUsed, 62_000),
    figure('anchor again, with a certificate of 300 B', anchor.gasUsed, 130_000),
    figure('anchor the first time, with its bond', first.gasUsed, 300_000),
    figure(`vouchers again, batch of ${BATCH}, each`, collected.gasUsed / BigInt(BATCH), 25_000),
    figure(`drawing 3 of ${most} verifiers`, drawn.gasUsed, 400_000),
    figure('dearest transaction of this table', dearest, MAX_TRANSACTION_GAS),
    figure('largest runtime code, bytes', largest, MAX_RUNTIME_BYTES),
  ];
}
