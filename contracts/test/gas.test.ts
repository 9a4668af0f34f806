/** Gas of what is called often or in disputes, printed, with the limits that we hold ourselves to. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Contract, hexlify, Interface, id, randomBytes, type Wallet } from 'ethers';
import { sketchBytes } from '#crypto';
import { LibraryProbeAbi, LibraryProbeBytecode } from '../bindings/library-probe.ts';
import { startChain } from '../harness.ts';
import { presets } from '../presets.ts';
import { challenge, seededSketch } from './answers.ts';
import { collectTwice, deepAdapter } from './deep.ts';
import {
  anchor,
  announce,
  claimArgs,
  commitResult,
  finalise,
  isolate,
  PROVIDER,
  pay,
  payoutTree,
  publish,
  resultOf,
  revealResult,
  rootsOf,
  stake,
  VERIFIER,
} from './fixtures.ts';

const chain = await startChain('local', 20);
const [client, provider, challenger] = chain.wallets as [Wallet, Wallet, Wallet];
await stake(chain, provider, PROVIDER | VERIFIER);
await stake(chain, challenger, VERIFIER);
await chain.send(provider, 'Staking', 'registerServing', []);
isolate(chain);

const table: string[] = [];
function note(what: string, gas: bigint, limit: bigint): void {
  table.push(`${what.padEnd(62)} ${gas.toString().padStart(9)}  (limit ${limit})`);
  assert.ok(gas <= limit, `${what}: ${gas} gas, limit ${limit}`);
}
after(() => process.stdout.write(`${table.join('\n')}\n`));

describe('gas', () => {
  test('int8 dot product of 256 inside the library', async () => {
    const deployed = await chain.sendData(chain.deployer, null, LibraryProbeBytecode);
    const probe = new Contract(
      deployed.contractAddress!,
      new Interface(LibraryProbeAbi),
      chain.provider,
    );
    const [a, b] = [sketchBytes(seededSketch(1)), sketchBytes(seededSketch(2))];
    note('Int8Dot.dot, k = 256, execution', await probe['dotGas']!(a, b), 4_500n);
  });

  for (const depth of [10, 20]) {
    test(`challengeScore with two proofs of depth ${depth}`, async () => {
      const wrongAnswer = await deepAdapter(chain, client, provider, depth);
      const { evidence } = await wrongAnswer('request');
      const receipt = await challenge(chain, challenger, evidence);
      note(
        `Referee.challengeScore, two proofs of depth ${depth}, slash`,
        receipt.gasUsed,
        270_000n,
      );
    });
  }

  test('anchor, finalise, and claims at depth 10', async () => {
    await pay(chain, client, provider, 1_000_000n, 10_000_000n);
    const payouts = Array.from({ length: 600 }, (_, i) => ({
      account: i === 0 ? client.address : hexlify(randomBytes(20)),
      cumulativeWei: 10n,
    }));
    const roots = rootsOf({
      payoutRoot: hexlify(payoutTree(payouts).root),
      leafCount: 600,
      totalWei: 6_000n,
      receiptsRoot: id('receipts'),
      receiptCount: 100,
    });
    const anchored = await chain.send(challenger, 'Epochs', 'anchor', [1, roots, '0x']);
    note('Epochs.anchor, with its bond', anchored.gasUsed, 300_000n);
    await finalise(chain, 1n);
    const claim = (list: typeof payouts) =>
      chain.send(provider, 'Epochs', 'claim', [...claimArgs(list, 0)]);
    note('Epochs.claim, depth 10, first', (await claim(payouts)).gasUsed, 85_000n);
    const more = payouts.map((payout) => ({ ...payout, cumulativeWei: 20n }));
    await pay(chain, client, provider, 0n, 10_000_000n);
    await finalise(chain, await anchor(chain, challenger, more));
    note('Epochs.claim, depth 10, later', (await claim(more)).gasUsed, 62_000n);
  });

  test('collecting a batch of vouchers again', async () => {
    const { gasUsed } = await collectTwice(chain, chain.wallets.slice(3, 18), provider);
    note('InferenceEscrow.collect, batch of 15 again, each', gasUsed / 15n, 27_000n);
  });

  test('drawing 3 of 17 and of the most verifiers a local chain can have', async () => {
    const datanet = await publish(chain, client);
    const drawCommittee = async (taskId: bigint) => {
      await chain.send(provider, 'TaskEscrow', 'claim', [taskId]);
      await commitResult(chain, provider, taskId, resultOf());
      await revealResult(chain, provider, taskId, resultOf());
      await chain.mine(1);
      return chain.send(client, 'TaskEscrow', 'drawCommittee', [taskId]);
    };
    for (const wallet of chain.wallets.slice(3)) await stake(chain, wallet, VERIFIER);
    const few = await drawCommittee(await announce(chain, client, datanet));
    note('TaskEscrow.drawCommittee, 3 of 18', few.gasUsed, 330_000n);
    const most = Number(presets.local.bonds.maxStakers);
    const listed = Number(await chain.contracts.Staking.stakerCount());
    for (let i = listed; i < most; i += 1) {
      const address = hexlify(randomBytes(20));
      await chain.request('hardhat_setBalance', [address, `0x${(10n ** 21n).toString(16)}`]);
      await chain.sendAs(address, 'Staking', 'deposit', [], 10n ** 19n);
      await chain.sendAs(address, 'Staking', 'setRoles', [VERIFIER]);
    }
    const many = await drawCommittee(await announce(chain, client, datanet));
    note(`TaskEscrow.drawCommittee, 3 of ${most}`, many.gasUsed, 400_000n);
  });

  test('the everyday calls', async () => {
    const datanet = await publish(chain, client);
    const receipt = await chain.send(
      client,
      'TaskEscrow',
      'announce',
      [id('spec'), id('base model'), datanet.datanetId, 1, 8, 'adapter'],
      10n ** 18n,
    );
    note('TaskEscrow.announce', receipt.gasUsed, 500_000n);
    const claimed = await chain.send(provider, 'TaskEscrow', 'claim', [1]);
    note('TaskEscrow.claim', claimed.gasUsed, 250_000n);
    const beat = await chain.send(provider, 'TaskEscrow', 'heartbeat', [1, 1, id('c')]);
    note('TaskEscrow.heartbeat', beat.gasUsed, 120_000n);
  });
});
