/** `openledger stake`: what an owner does with its stake: add, thaw, take out, and give a key's serving bond back. */
import { Command } from 'commander';
import { type Address, addressOfPrivateKey } from '#crypto';
import { NodeError } from '../errors.ts';
import { type Account, openKey, openReader } from '../services/account.ts';
import type { Receipt } from '../services/chain-port.ts';
import { readStake, type StakeAccount } from '../services/staking.ts';
import { readStanding } from '../services/worker.ts';
import { formatOpen } from '../units.ts';
import { addressValue, globals, openValue, placeOf, print, withPlace } from './session.ts';
import { accountOf, keyOfWallet, type WalletOptions, withKey } from './wallet.ts';

type Own = WalletOptions & { readonly swarm?: string };
type Amount = { readonly amount: bigint };
type Serving = { readonly worker?: Address };

const CONNECT_PATIENCE_MS = 10_000;

export function stakeCommand(): Command {
  const stake = new Command('stake').description('stake: see it, add to it, take it out again');
  const add = (name: string, description: string): Command => {
    const command = withPlace(withKey(new Command(name).description(description)));
    stake.addCommand(command);
    return command;
  };
  add('show', 'what an account has staked, and which key works with it')
    .argument('[address]', 'whose; default: of the wallet', addressValue)
    .action(show);
  add('deposit', "add to the stake; with a worker's key, to its owner's")
    .requiredOption('--amount <open>', 'how much, in OPEN', openValue)
    .action(deposit);
  add('thaw', 'ask for free stake back; asking again restarts the clock for all of it')
    .option('--amount <open>', 'how much, in OPEN; default: all that is free', openValue)
    .action(thaw);
  add('withdraw', 'take out what has thawed').action(withdraw);
  add('exit', 'announce the end of serving, for this key or for one that works, or worked, for it')
    .option('--worker <address>', 'the key that serves; default: the present one', addressValue)
    .action(exit);
  add('release', 'return a serving bond to free stake, once it has thawed')
    .option('--worker <address>', 'the key that served; default: the present one', addressValue)
    .action(release);
  return stake;
}

async function show(address: Address | undefined, own: Own, command: Command): Promise<void> {
  const options = globals(command);
  const place = placeOf(options, own);
  const account = address ?? addressOfPrivateKey(await keyOfWallet(options, own));
  const { chain, close } = await openReader({ ...place, patienceMs: CONNECT_PATIENCE_MS });
  try {
    const [standing, stake] = await Promise.all([
      readStanding(chain, account),
      readStake(chain, account),
    ]);
    print(options, { ok: true, account, ...standing, ...stake }, told(account, standing, stake));
  } finally {
    close();
  }
}

function told(
  account: Address,
  { owner, worker }: { readonly owner: Address; readonly worker: Address },
  stake: StakeAccount,
): string {
  const open = (wei: bigint) => `${formatOpen(wei)} OPEN`;
  const at = (seconds: number) => (seconds === 0 ? '' : `, can be taken from ${isoOf(seconds)} on`);
  const roles = [
    ...((stake.roles & 1) === 0 ? [] : ['provider']),
    ...((stake.roles & 2) === 0 ? [] : ['verifier']),
  ];
  return [
    `account  ${account}`,
    `owner    ${owner}`,
    `worker   ${worker}`,
    `free     ${open(stake.freeWei)}`,
    `locked   ${open(stake.lockedWei)}`,
    `thawing  ${open(stake.thawingWei)}${at(stake.thawReadyAt)}`,
    `serving  ${open(stake.servingLockWei)}${at(stake.servingExitAt)}`,
    `roles    ${roles.join(', ') || 'none'}${stake.listed ? '' : ', not listed'}`,
  ].join('\n');
}

/** The key that a command acts with, for whom, and what an earlier command left under way. */
type Hand = {
  readonly account: Account;
  readonly self: Address;
  readonly owner: Address;
  readonly underWay: readonly string[];
};

/** Runs a command with the chain account of the key that the options name. */
async function withHand(
  own: Own,
  command: Command,
  run: (hand: Hand) => Promise<readonly [Record<string, unknown>, string]>,
): Promise<void> {
  const options = globals(command);
  const key = await keyOfWallet(options, own);
  const name = own.key === undefined ? own.wallet : addressOfPrivateKey(key);
  const account = await accountOf(options, placeOf(options, own), name, key);
  // Before anything is awaited: the outbox finishes what was left by itself, and then it is no longer told.
  const underWay = account.outbox.pending();
  try {
    const { self } = account.chain;
    const { owner } = await readStanding(account.chain, self);
    const [value, text] = await run({ account, self, owner, underWay });
    print(options, { ok: true, account: self, owner, ...value }, text);
  } finally {
    await account.close();
  }
}

/** A command that was killed and is given again takes up the step that it left, and does not do it twice. */
function submit(
  { account: { chain, outbox }, underWay }: Hand,
  fn: string,
  args: readonly (string | bigint)[],
  valueWei = 0n,
): Promise<Receipt> {
  const prefix = ['stake-by-hand', fn, ...args, valueWei].join('/');
  const key =
    underWay.find((each) => each.startsWith(`${prefix}/`)) ??
    openKey(prefix, (each) => outbox.status(each));
  return chain.submit({ key, contract: 'Staking', fn, args, valueWei });
}

function needOwner({ self, owner }: Hand): void {
  if (owner === self) return;
  throw new NodeError(
    'OWNER_KEY_NEEDED',
    { owner, came: self },
    "use the owner's key (--key or --wallet): a worker works with the stake and cannot take it out",
  );
}

const isoOf = (seconds: number): string => new Date(seconds * 1000).toISOString();

const deposit = (own: Own & Amount, command: Command): Promise<void> =>
  withHand(own, command, async (hand) => {
    const { hash } = await submit(hand, 'deposit', [], own.amount);
    return [
      { amountWei: own.amount, hash },
      `${formatOpen(own.amount)} OPEN added to the stake of ${hand.owner}`,
    ];
  });

const thaw = (own: Own & Partial<Amount>, command: Command): Promise<void> =>
  withHand(own, command, async (hand) => {
    needOwner(hand);
    const { chain } = hand.account;
    const amountWei = own.amount ?? (await readStake(chain, hand.owner)).freeWei;
    const { hash } = await submit(hand, 'requestThaw', [amountWei]);
    const { thawReadyAt } = await readStake(chain, hand.owner);
    return [
      { amountWei, hash, thawReadyAt },
      `${formatOpen(amountWei)} OPEN thaw; \`openledger stake withdraw\` pays from ${isoOf(thawReadyAt)} on`,
    ];
  });

const withdraw = (own: Own, command: Command): Promise<void> =>
  withHand(own, command, async (hand) => {
    needOwner(hand);
    const receipt = await submit(hand, 'withdraw', []);
    const { chain } = hand.account;
    const paid = chain.event<{ amountWei: bigint }>(receipt, 'Staking', 'Withdrawn');
    const amountWei = paid?.amountWei ?? 0n;
    return [
      { amountWei, hash: receipt.hash },
      `${formatOpen(amountWei)} OPEN paid out to ${hand.owner}`,
    ];
  });

const exit = (own: Own & Serving, command: Command): Promise<void> =>
  withHand(own, command, async (hand) => {
    const worker = await servingKey(own, hand);
    // The key itself may, and its owner for it.
    if (worker !== hand.self) needOwner(hand);
    const { hash } = await (worker === hand.self
      ? submit(hand, 'requestServingExit', [])
      : submit(hand, 'requestServingExitOf', [worker]));
    const { servingExitAt } = await readStake(hand.account.chain, worker);
    return [
      { worker, hash, servingExitAt },
      `${worker} ends serving; \`openledger stake release\` frees its bond from ${isoOf(servingExitAt)} on`,
    ];
  });

const release = (own: Own & Serving, command: Command): Promise<void> =>
  withHand(own, command, async (hand) => {
    const worker = await servingKey(own, hand);
    const { hash } = await submit(hand, 'releaseServingOf', [worker]);
    return [{ worker, hash }, `the serving bond of ${worker} is free stake again`];
  });

const servingKey = async ({ worker }: Serving, { account, owner }: Hand): Promise<Address> =>
  worker ?? (await readStanding(account.chain, owner)).worker;
