/** Gas of what is called often or in disputes, printed, with the limits that we hold ourselves to. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import {
  Contract,
  concat,
  hexlify,
  Interface,
  id,
  keccak256,
  randomBytes,
  toBeHex,
  type Wallet,
} from 'ethers';
import { sketchBytes } from '#crypto';
import { LibraryProbeAbi, LibraryProbeBytecode } from '../bindings/library-probe.ts';
import { startChain } from '../harness.ts';
import { presets } from '../presets.ts';
import {
  commitEvidence,
  evidenceOf,
  type Sketch,
  scoreLeafBytes,
  seededSketch,
  serve,
  signReceipt,
  sketchLeafBytes,
  sketchNear,
} from './answers.ts';
import {
  anchor,
  rootsOf as anchorRoots,
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
  signVoucher,
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
      const query = seededSketch(1);
      const sketch: Sketch = {
        recordHash: id('record'),
        contributor: client.address,
        cluster: 0,
        registeredAt: 1,
        sketch: sketchNear(10, query),
      };
      // A tree of depth 20 has a million leaves: only the path to leaf 0 is real, which is all a proof shows.
      const path = Array.from({ length: depth }, () => hexlify(randomBytes(32)));
      const count = 2 ** depth;
      const { sketchRoot, scoreRoot } = rootsOf(sketchLeafBytes(sketch), path, count);
      const adapter = {
        adapterId: id('x'),
        baseHash: id('x'),
        datanetId: id('x'),
        version: 1,
        sketchCount: count,
        registeredAt: 0,
        owner: client.address,
        provider: provider.address,
        taskId: 1,
        adapterHash: id('x'),
        sketchRoot,
        traceRoot: id('x'),
        manifest: id('x'),
        name: 'a',
      };
      await chain.sendAs(
        chain.deployment.contracts.TaskEscrow,
        'ModelRegistry',
        'registerAdapter',
        [adapter],
      );
      const adapterId = await chain.contracts.ModelRegistry.adapterIdOf(1, id('x'));
      const served = serve(
        { client: client.address, provider: provider.address, adapterId, feeWei: 1_000_000n },
        [sketch],
        (leaves) => {
          leaves[0]!.score += 1;
        },
      );
      served.receipt.scoreRoot = scoreRoot(scoreLeafBytes(served.leaves[0]!));
      served.receipt.scoreCount = count;
      const signature = await signReceipt(chain, provider, served.receipt);
      const evidence = { ...evidenceOf(served, 0, signature), leafProof: path, sketchProof: path };
      await commitEvidence(chain, challenger, evidence);
      const receipt = await chain.send(challenger, 'Referee', 'challengeScore', [evidence]);
      note(
        `Referee.challengeScore, two proofs of depth ${depth}, slash`,
        receipt.gasUsed,
        400_000n,
      );
    });
  }

  /** Roots over a leaf at place 0 with these siblings, in the way that the Referee hashes them. */
  function rootsOf(leaf: Uint8Array, path: readonly string[], count: number) {
    const rootOf = (bytes: Uint8Array) => {
      let top = keccak256(concat(['0x00', bytes]));
      for (const sibling of path) top = keccak256(concat(['0x01', top, sibling]));
      return keccak256(concat(['0x02', toBeHex(count, 32), top]));
    };
    return { sketchRoot: rootOf(leaf), scoreRoot: rootOf };
  }

  test('anchor, finalise, and claims at depth 10', async () => {
    await pay(chain, client, provider, 1_000_000n, 10_000_000n);
    const payouts = Array.from({ length: 600 }, (_, i) => ({
      account: i === 0 ? client.address : hexlify(randomBytes(20)),
      cumulativeWei: 10n,
    }));
    const roots = anchorRoots({
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
    const clients = chain.wallets.slice(3, 18);
    const vouchersAt = async (computeWei: bigint, feeWei: bigint) => {
      const vouchers = clients.map(({ address }) => ({
        client: address,
        provider: provider.address,
        cumulativeComputeWei: computeWei,
        cumulativeFeeWei: feeWei,
      }));
      const signatures = await Promise.all(
        vouchers.map((voucher, i) => signVoucher(chain, clients[i]!, voucher)),
      );
      return [vouchers, signatures] as const;
    };
    for (const from of clients) {
      await chain.send(from, 'InferenceEscrow', 'deposit', [provider.address], 100_000_000n);
    }
    await chain.send(provider, 'InferenceEscrow', 'collect', [
      ...(await vouchersAt(1n, 1_000_000n)),
    ]);
    const { gasUsed } = await chain.send(provider, 'InferenceEscrow', 'collect', [
      ...(await vouchersAt(2n, 2_000_000n)),
    ]);
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
