/** Step 7: vouchers are collected, the epoch is anchored, its window passes, everybody claims. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type Address, addressOfPrivateKey } from '#crypto';
import { callApi, callApiBytes } from '../../cli/session.ts';
import { openAccount } from '../../services/account.ts';
import { withdrawCredits } from '../../services/credits.ts';
import { keyAt } from '../../store/key-file.ts';
import { formatOpen } from '../../units.ts';
import { personKey, type Stage } from '../stage.ts';

const ANCHORED_WITHIN_MS = 150_000;
const CLOSED_AGAIN_AFTER_MS = 6_000;
const CLAIMS_AT_ONCE = 8;
const TREASURY_GAS_WEI = 10n ** 17n;

export async function payEverybody(stage: Stage): Promise<void> {
  const { swarm, narrator, dataDir } = stage;
  const { gateway, token } = swarm.file;
  await anchor(stage);
  writeFileSync(
    join(dataDir, 'anchors.json'),
    await callApiBytes(gateway, token, '/swarm/v1/anchors'),
  );
  const accounts = accountsOf(stage);
  const bar = narrator.progress('claims', accounts.length);
  let done = 0;
  let paidWei = 0n;
  const queue = [...accounts];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      paidWei += await claim(stage, next);
      done += 1;
      bar.update(done);
    }
  };
  await Promise.all(Array.from({ length: CLAIMS_AT_ONCE }, work));
  bar.end();
  narrator.fact(`${formatOpen(paidWei)} OPEN claimed by contributors, the model owner and stakers`);
  await withdrawAll(stage);
}

/** Everybody that an epoch may pay. */
function accountsOf({ swarm, state }: Stage): Address[] {
  const owner = addressOfPrivateKey(personKey(state.state, 'model owner'));
  return [
    ...state.state.contributors.map(({ address }) => address as Address),
    owner,
    swarm.treasury,
    ...swarm.file.nodes.map(({ address }) => address as Address),
  ];
}

/** Claims what an account is owed now; 0 when nothing. */
async function claim({ swarm }: Stage, account: Address): Promise<bigint> {
  const { gateway, token } = swarm.file;
  const path = `/swarm/v1/claims/${account}`;
  const owed = await callApi<{ claimableWei: string }>(gateway, token, path);
  if (BigInt(owed.claimableWei) === 0n) return 0n;
  const paid = await callApi<{ claimedWei: string }>(gateway, token, path, { body: {} });
  return BigInt(paid.claimedWei);
}

/** Collects everywhere, closes the epoch and waits until it is final. */
async function anchor(stage: Stage): Promise<void> {
  const { swarm, narrator } = stage;
  const { gateway, token, nodes } = swarm.file;
  const { read } = swarm.operator.chain;
  const bar = narrator.progress('anchored and final', 2);
  const untilMs = Date.now() + ANCHORED_WITHIN_MS;
  const close = async (): Promise<void> => {
    await Promise.all(
      nodes.map(({ api }) => callApi(api, token, '/swarm/v1/collect', { body: {} })),
    );
    await callApi(gateway, token, '/swarm/v1/epochs/close', { body: {} });
  };
  await close();
  let closedAtMs = Date.now();
  for (;;) {
    const [anchored, finalised] = await Promise.all([
      read<bigint | number>('Epochs', 'epochCount'),
      read<bigint | number>('Epochs', 'finalisedCount'),
    ]);
    bar.update(Number(anchored) > 0 ? 1 : 0);
    if (Number(anchored) === Number(finalised)) {
      if (Number(anchored) > 0 && (await isSettled(stage))) break;
      // A receipt or a voucher that came late waits for one more epoch.
      if (Date.now() - closedAtMs > CLOSED_AGAIN_AFTER_MS) {
        await close();
        closedAtMs = Date.now();
      }
    }
    if (Date.now() > untilMs) {
      const what =
        anchored === finalised ? 'answers stand in no epoch' : `epoch ${anchored} is not final`;
      throw new Error(`${what} after ${ANCHORED_WITHIN_MS} ms`);
    }
    await wait(500);
  }
  bar.end();
  const count = Number(await read<bigint | number>('Epochs', 'epochCount'));
  const epoch = await read<{ receiptCount: number; totalWei: bigint }>('Epochs', 'getEpoch', count);
  narrator.fact(
    `epoch ${count}: ${epoch.receiptCount} receipts, ${formatOpen(epoch.totalWei)} OPEN in all, window over`,
  );
}

/** Whether every answer of the story stands in an anchored epoch. */
async function isSettled({ swarm, state }: Stage): Promise<boolean> {
  const { gateway, token } = swarm.file;
  for (const { receiptId } of state.state.answers.toReversed()) {
    const path = `/swarm/v1/receipts/${receiptId}`;
    const receipt = await callApi<{ receiptHash: string }>(gateway, token, path);
    const settled = await callApi(gateway, token, `/swarm/v1/proofs/${receipt.receiptHash}`).then(
      () => true,
      () => false,
    );
    if (!settled) return false;
  }
  return true;
}

/** Rewards, slashing shares and fees wait as credits in the contracts; their owners take them. */
async function withdrawAll({ swarm, narrator, dataDir }: Stage): Promise<void> {
  const { token, nodes } = swarm.file;
  const taken = await Promise.all(
    nodes.map(({ api }) =>
      callApi<{ withdrawnWei: string }>(api, token, '/swarm/v1/withdraw', { body: {} }),
    ),
  );
  const nodesWei = taken.reduce((sum, { withdrawnWei }) => sum + BigInt(withdrawnWei), 0n);
  await swarm.operator.outbox.submit({
    key: `fund/${swarm.treasury}`,
    to: swarm.treasury,
    data: '0x',
    valueWei: TREASURY_GAS_WEI,
  });
  const treasury = await openAccount({
    rpc: swarm.rpc,
    chainId: swarm.chainId,
    deployment: swarm.deployment,
    privateKey: await keyAt(join(dataDir, 'keys', 'treasury.json')),
    outboxFile: join(dataDir, 'treasury.outbox'),
  });
  const treasuryWei = await withdrawCredits(treasury.chain, (key) => treasury.outbox.status(key));
  await treasury.close();
  narrator.fact(
    `${formatOpen(nodesWei)} OPEN of compute, rewards and slashes taken by nodes, ${formatOpen(treasuryWei)} by the platform`,
  );
}
