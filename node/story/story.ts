/**
 * The story that `npm start` tells: chain, nodes, a datanet of real text, a trained adapter, paid
 * answers, a cheat that is caught, and everybody's balance. Each step looks at what is already done,
 * so that a run that was killed anywhere is finished by the next.
 */
import { join } from 'node:path';
import { type Address, addressOfPrivateKey } from '#crypto';
import { callApi } from '../cli/session.ts';
import { NodeError } from '../errors.ts';
import { formatOpen } from '../units.ts';
import { account } from './accounting.ts';
import { hitRates } from './evaluate.ts';
import { readEvents } from './events.ts';
import type { Scenario } from './scenario.ts';
import { personKey, type Stage } from './stage.ts';
import type { StoryState } from './state.ts';
import { answerQuestions } from './steps/answers.ts';
import { cheatOnce } from './steps/cheat.ts';
import { contributeAll, evaluationOf } from './steps/datanet.ts';
import { payEverybody } from './steps/pay.ts';
import { trainAdapter } from './steps/training.ts';

/** The addresses of the packages' contributors, by package name. */
export function contributorAddresses(state: StoryState, scenario: Scenario): Address[] {
  return evaluationOf({ scenario })
    .contributions.map(({ package: name }) => name)
    .toSorted()
    .map((name) => addressOfPrivateKey(personKey(state, name)));
}

/** Steps 3 to 7; 1 and 2 are the swarm itself. Returns the story's figures. */
export async function tellStory(stage: Stage): Promise<Record<string, unknown>> {
  const { narrator, state } = stage;
  await step(stage, 3, 'A datanet from real text', contributeAll);
  await step(stage, 4, 'An adapter is trained, and re-executed by a committee', trainAdapter);
  await step(stage, 5, 'Answers, and whose data they rest on', answerQuestions);
  await step(stage, 6, state.state.cheats ? 'A provider lies' : 'Nobody lies this time', cheatOnce);
  await step(stage, 7, 'Anchor and pay', payEverybody);
  const figures = await figuresOf(stage);
  state.save({ ...state.state, result: figures });
  narrator.fact('');
  return figures;
}

async function step(
  stage: Stage,
  number: number,
  title: string,
  run: (stage: Stage) => Promise<void>,
): Promise<void> {
  stage.narrator.heading(number, title);
  try {
    await run(stage);
  } catch (error) {
    throw new NodeError(
      'STEP_FAILED',
      {
        step: `${number}. ${title}`,
        reason: error instanceof Error ? error.message : String(error),
      },
      `read the logs in ${join(stage.dataDir, 'logs')} and ${join(stage.dataDir, 'node-*/node.log')}; starting again goes on from here`,
      error,
    );
  }
}

async function figuresOf(stage: Stage): Promise<Record<string, unknown>> {
  const { state, swarm, narrator, scenario } = stage;
  const now = state.state;
  const { operator } = swarm;
  const { read } = operator.chain;
  const sums = await account(
    operator.client,
    operator.chain,
    swarm.deployment.contracts,
    peopleOf(stage),
    BigInt(now.genesisWei),
  );
  narrator.table(
    ['who', 'OPEN'],
    sums.holdings
      .filter(({ wei }) => wei > 0n)
      .toSorted((a, b) => (a.wei < b.wei ? 1 : -1))
      .map(({ name, wei }) => [name, formatOpen(wei)]),
  );
  const error = sums.bucketErrorWei === 0n ? sums.errorWei : sums.bucketErrorWei;
  narrator.fact(
    `${formatOpen(sums.genesisWei)} OPEN at the start, the same now: ${error} wei of difference`,
  );
  const contributions = await contributionsOf(stage);
  const version = await read<{ recordCount: number }>(
    'DatanetRegistry',
    'getVersion',
    now.datanetId,
    now.datanetVersion,
  );
  return {
    nodes: scenario.nodes,
    contributors: new Set(
      contributions
        .filter(({ stateName }) => stateName === 'accepted')
        .map((each) => each.contributor),
    ).size,
    records: version.recordCount,
    nearCopiesRefused: contributions.filter(({ stateName }) => stateName === 'refused').length,
    trainLossFirst: now.losses?.first ?? null,
    trainLossLast: now.losses?.last ?? null,
    answers: now.answers.length,
    ...hitRates(now.answers, now.contributors),
    slashed: (await readEvents(stage, 'Referee', 'ScoreJudged')).length,
    claimsPaid: (await readEvents(stage, 'Epochs', 'Claimed')).length,
    conservationErrorWei: `${error}`,
    // An audit reads the chain as of this block, whatever people do on it afterwards.
    atBlock: sums.block,
  };
}

/** Everybody who may hold OPEN, by name. */
function peopleOf({ swarm, state }: Stage): Map<Address, string> {
  const people = new Map<Address, string>([
    [swarm.operator.chain.self, 'operator (faucet)'],
    [swarm.treasury, 'platform treasury'],
    [addressOfPrivateKey(personKey(state.state, 'model owner')), 'model owner'],
  ]);
  for (const { name, address } of swarm.file.nodes) people.set(address as Address, name);
  for (const each of state.state.contributors)
    people.set(each.address as Address, `contributor ${each.package}`);
  const { copier } = state.state;
  if (copier !== null) people.set(copier.address as Address, 'near-copier');
  return people;
}

async function contributionsOf({ swarm, state }: Stage) {
  const { file } = swarm;
  const reply = await callApi<{ contributions: { contributor: string; stateName: string }[] }>(
    file.gateway,
    file.token,
    `/swarm/v1/datanets/${state.state.datanetId}/contributions`,
  );
  return reply.contributions;
}
