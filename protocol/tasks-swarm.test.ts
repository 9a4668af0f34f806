/** Nodes that follow `decideTask` against a small model of the contract, with deaths, lies and sloth. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Address, Bytes32 } from '#crypto';
import { hashOf } from './fixture.ts';
import type { Intent } from './intent.ts';
import { announced, NOBODY, nodes, numberOf, TASK_RULES, timing, ZERO } from './task-fixture.ts';
import {
  type ChainTask,
  decideTask,
  isCommitClosed,
  isVoteClosed,
  stateOf,
  type TaskSelf,
  type TaskState,
  type TaskView,
  taskWork,
} from './tasks.ts';
import { resultHash, voteHash } from './training.ts';

type Chain = { task: ChainTask; excluded: Set<Address>; revealBlock: number; result: Bytes32 };

/** Refuses as the contract does: by throwing. */
function need(condition: boolean, what: string): asserts condition {
  if (!condition) throw new RangeError(what);
}

/** The contract's rules, as far as they decide who may do what when. One block a second. */
function execute(chain: Chain, from: Address, { fn, args }: Intent, now: number): void {
  const { task } = chain;
  const state = stateOf(task);
  const set = (change: Partial<ChainTask>) => {
    chain.task = { ...chain.task, ...change };
  };
  const open = (next: TaskState) =>
    set({
      state: numberOf(next),
      provider: NOBODY,
      deadline: now + TASK_RULES.claimSeconds,
      committee: [],
      seed: ZERO,
    });
  const awaitDraw = () => {
    chain.revealBlock = now;
    set({
      state: numberOf('Revealed'),
      round: task.round + 1,
      deadline: now + TASK_RULES.voteCommitSeconds,
    });
  };
  const isOpen = state === 'Announced' || state === 'Escalated';
  const isHeld = (as: TaskState) => state === as && task.provider === from && now < task.deadline;
  const seat = task.committee.find(({ verifier }) => verifier === from);
  const reseat = (change: object) =>
    set({
      committee: task.committee.map((each) =>
        each.verifier === from ? { ...each, ...change } : each,
      ),
    });
  const moves: { readonly [name: string]: () => void } = {
    claim: () => {
      need(isOpen && now < task.deadline && !chain.excluded.has(from), 'claim');
      const attempt = task.attempt + 1;
      const deadline = now + TASK_RULES.leaseSeconds;
      set({
        state: numberOf('Claimed'),
        provider: from,
        attempt,
        renewals: 0,
        step: 0,
        round: 0,
        deadline,
      });
    },
    heartbeat: () => {
      need(isHeld('Claimed') && (args[1] as number) > task.step, 'heartbeat');
      need(task.renewals < TASK_RULES.maxRenewals, 'renewals');
      set({
        renewals: task.renewals + 1,
        step: args[1] as number,
        deadline: now + TASK_RULES.leaseSeconds,
      });
    },
    commit: () => {
      need(isHeld('Claimed'), 'commit');
      chain.result = args[1] as Bytes32;
      set({ state: numberOf('Committed'), deadline: now + TASK_RULES.revealSeconds });
    },
    reveal: () => {
      need(isHeld('Committed'), 'reveal');
      const [, traceRoot, adapterHash, sketchRoot, sketchCount, manifest, salt] = args as Bytes32[];
      const shown = { traceRoot, adapterHash, sketchRoot, manifest } as Parameters<
        typeof resultHash
      >[2];
      need(resultHash(7, from, shown, salt as Bytes32) === chain.result, 'mismatch');
      set({ result: { sketchCount: Number(sketchCount) } });
      awaitDraw();
    },
    drawCommittee: () => {
      need(state === 'Revealed' && now < task.deadline && now >= chain.revealBlock + 2, 'draw');
      const drawn = nodes.filter((node) => node !== task.provider);
      // Another committee each round, as chance would have it.
      const committee = [0, 1, 2].map((i) => ({
        verifier: drawn[(i + task.round + task.attempt) % drawn.length] as Address,
        verdict: 0,
        commitment: ZERO,
      }));
      const deadline = now + TASK_RULES.voteCommitSeconds;
      const voteRevealDeadline = deadline + TASK_RULES.voteRevealSeconds;
      set({
        state: numberOf('Voting'),
        committee,
        deadline,
        voteRevealDeadline,
        seed: hashOf('seed'),
      });
    },
    commitVote: () => {
      need(state === 'Voting' && seat?.commitment === ZERO && now < task.deadline, 'vote');
      reseat({ commitment: args[1] });
    },
    revealVote: () => {
      need(state === 'Voting' && seat !== undefined && isCommitClosed(task, now * 1000), 'show');
      need(now < task.voteRevealDeadline && seat.verdict === 0, 'show');
      const verdict = args[1] === 1 ? 'VALID' : 'INVALID';
      need(
        voteHash(7, from, verdict, args[2] as Bytes32, args[3] as Bytes32) === seat.commitment,
        'mismatch',
      );
      reseat({ verdict: args[1] });
    },
    tally: () => {
      need(state === 'Voting' && isVoteClosed(task, now * 1000), 'tally');
      const count = (verdict: number) =>
        task.committee.filter((each) => each.verdict === verdict).length;
      if (count(2) > 0) {
        chain.excluded.add(task.provider);
        open('Escalated');
      } else if (count(1) * 2 > 3) set({ state: numberOf('Registered') });
      else if (task.round < 2) awaitDraw();
      else set({ state: numberOf('Refunded') });
    },
    expire: () => {
      need(now >= task.deadline, 'expire');
      if (state === 'Claimed' || state === 'Committed') open('Announced');
      else if (state === 'Revealed' || isOpen) set({ state: numberOf('Refunded') });
      else need(false, 'expire');
    },
  };
  (moves[fn] as () => void)();
}

type Fate = {
  /** Seconds in which the node is down, again and again. */
  readonly down: readonly (readonly [from: number, to: number])[];
  /** A trainer that lies is found out by every verifier that is not lazy. */
  readonly lies: boolean;
  readonly neverVotes: boolean;
  readonly secondsToTrain: number;
};
const HONEST: Fate = { down: [], lies: false, neverVotes: false, secondsToTrain: 30 };
const RESULT = {
  traceRoot: hashOf('t'),
  adapterHash: hashOf('a'),
  sketchRoot: hashOf('s'),
  manifest: hashOf('m'),
};

function viewOf({ task, excluded, revealBlock }: Chain, self: Address, now: number): TaskView {
  return {
    taskId: 7,
    task,
    isExcluded: excluded.has(self),
    drawableAtBlock: stateOf(task) === 'Revealed' ? revealBlock + 2 : null,
    blockNumber: now,
    stakers: nodes,
    providers: nodes,
    verifiersEligible: nodes.length - 1,
    committeeSize: 3,
  };
}

type Played = {
  readonly state: TaskState;
  readonly chain: Chain;
  readonly executed: readonly string[];
  readonly reverted: number;
  readonly at: number;
};

/** Runs the swarm second by second until the task is over or 3,000 s have passed. */
function play(fates: readonly Fate[]): Played {
  const chain: Chain = { task: announced, excluded: new Set(), revealBlock: 0, result: ZERO };
  const spent = new Set<string>();
  const executed: string[] = [];
  const keyOfState = new Map<string, string>();
  const trained = new Map<string, number>();
  let reverted = 0;
  for (let now = 0; now < 3_000; now += 1) {
    const state = stateOf(chain.task);
    if (state === 'Registered' || state === 'Refunded')
      return { state, chain, executed, reverted, at: now };
    // All nodes look at one block; their transactions are mined in the next, in some order.
    const before = { ...chain, excluded: new Set(chain.excluded) };
    const wanted = nodes.flatMap((node, i) => {
      const fate = fates[i] as Fate;
      if (fate.down.some(([from, to]) => now >= from && now < to)) return [];
      const self = selfOf(before, node, fate, fates, trained);
      const view = viewOf(before, node, now);
      if (taskWork(view, self, now * 1000)?.type === 'train') {
        const work = `${node}/${view.task.attempt}`;
        trained.set(work, (trained.get(work) ?? 0) + 1);
      }
      const intents = decideTask(view, self, now * 1000, timing);
      assert.ok(intents.length <= 1);
      for (const intent of intents) {
        const fingerprint = `${node} ${JSON.stringify(view.task, (_, v) => (typeof v === 'bigint' ? `${v}` : v))}`;
        const known = keyOfState.get(fingerprint) ?? intent.key;
        // One state, one intent, one key: unless a heartbeat was overtaken by the finished work or
        // by the deadline.
        const isOvertaken = /heartbeat|commit/.test(known) || intent.fn === 'expire';
        assert.ok(known === intent.key || isOvertaken, `${known} then ${intent.key}`);
        keyOfState.set(fingerprint, intent.key);
      }
      return intents.map((intent) => ({ node, intent }));
    });
    for (const { node, intent } of wanted) {
      if (spent.has(`${node} ${intent.key}`)) continue;
      try {
        execute(chain, node, intent, now);
        spent.add(`${node} ${intent.key}`);
        executed.push(intent.key);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        reverted += 1;
      }
    }
  }
  return { state: stateOf(chain.task), chain, executed, reverted, at: 3_000 };
}

function selfOf(
  chain: Chain,
  node: Address,
  fate: Fate,
  fates: readonly Fate[],
  trained: ReadonlyMap<string, number>,
): TaskSelf {
  const { task } = chain;
  const seconds = trained.get(`${node}/${task.attempt}`) ?? 0;
  const isVoting = stateOf(task) === 'Voting' && !fate.neverVotes;
  const isCaught = fates[nodes.indexOf(task.provider)]?.lies === true;
  return {
    address: node,
    isProvider: true,
    freeStakeWei: 10n,
    isAble: true,
    busyWith: task.provider === node ? [7] : [],
    progress:
      task.provider !== node || seconds === 0
        ? null
        : {
            attempt: task.attempt,
            checkpointStep: Math.floor(seconds / 3),
            checkpointRoot: seconds < 3 ? null : hashOf(`checkpoint ${seconds}`),
            result: seconds >= fate.secondsToTrain ? { ...RESULT, sketchCount: 9 } : null,
            salt: hashOf(`salt of ${node}`),
          },
    vote: isVoting
      ? {
          attempt: task.attempt,
          round: task.round,
          verdict: isCaught ? 'INVALID' : 'VALID',
          verificationHash: hashOf('found'),
          salt: hashOf(`vote of ${node}`),
        }
      : null,
  };
}

test('with all nodes alive and honest the first attempt is registered, each move once', () => {
  const { state, chain, executed, reverted } = play(nodes.map(() => HONEST));
  assert.equal(state, 'Registered');
  assert.equal(chain.task.attempt, 1);
  // The verifiers' moves are their own; every other move is made once.
  const shared = executed.filter((key) => !/vote|show/.test(key));
  assert.equal(new Set(shared).size, shared.length);
  assert.equal(executed.length - shared.length, 6);
  assert.ok(reverted <= 2, `${reverted} transactions came too late`);
});

const fate = fc.record({
  down: fc.array(fc.tuple(fc.nat(300), fc.nat(3_000)), { maxLength: 2 }),
  lies: fc.boolean(),
  neverVotes: fc.boolean(),
  secondsToTrain: fc.constantFrom(1, 30, 400),
});

test('a task always ends while one node lives, whoever dies, lies or does nothing', () => {
  const outcomes = new Map<string, number>();
  fc.assert(
    fc.property(fc.array(fate, { minLength: 6, maxLength: 6 }), fc.nat(5), (fates, survivor) => {
      const lot = fates.map((each, i) => (i === survivor ? { ...each, down: [] } : each));
      const { state } = play(lot);
      assert.ok(state === 'Registered' || state === 'Refunded', `${state} after 3,000 s`);
      outcomes.set(state, (outcomes.get(state) ?? 0) + 1);
    }),
    { numRuns: 60, seed: 7 },
  );
  assert.ok((outcomes.get('Registered') ?? 0) > 0 && (outcomes.get('Refunded') ?? 0) > 0);
});

test('a lie is not registered where every verifier votes, and its author is out of the task', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(5), { minLength: 1, maxLength: 5 }), (liars) => {
      const fates = nodes.map((_, i) => ({ ...HONEST, lies: liars.includes(i) }));
      const { state, chain } = play(fates);
      assert.equal(state, 'Registered');
      assert.ok(!liars.includes(nodes.indexOf(chain.task.provider)));
      for (const excluded of chain.excluded) assert.ok(liars.includes(nodes.indexOf(excluded)));
    }),
    { numRuns: 20 },
  );
});

test('a provider killed while it trains loses the task to another when its lease runs out', () => {
  // Whoever claims first is killed at once and comes back when it is too late.
  const first = play(nodes.map(() => HONEST)).chain.task.provider;
  const fates = nodes.map((node) =>
    node === first ? { ...HONEST, down: [[3, 200] as const] } : HONEST,
  );
  const { state, chain } = play(fates);
  assert.equal(state, 'Registered');
  assert.notEqual(chain.task.provider, first);
  assert.equal(chain.task.attempt, 2);
});

test('a provider that is restarted in its lease goes on', () => {
  const first = play(nodes.map(() => HONEST)).chain.task.provider;
  const fates = nodes.map((node) =>
    node === first ? { ...HONEST, down: [[5, 15] as const] } : HONEST,
  );
  const { state, chain } = play(fates);
  assert.equal(state, 'Registered');
  assert.equal(chain.task.provider, first);
  assert.equal(chain.task.attempt, 1);
});
