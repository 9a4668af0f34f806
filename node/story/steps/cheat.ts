/**
 * Step 6: one provider overstates the score of a contributor that it owns, to a client that does not
 * look. A verifier looks, shows the contract both Merkle proofs, and the provider's lock is slashed.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { formatOpen } from '../../units.ts';
import { readEvents } from '../events.ts';
import type { Stage } from '../stage.ts';
import { ask } from './answers.ts';
import { evaluationOf } from './datanet.ts';

const JUDGED_WITHIN_MS = 60_000;

type Judgement = {
  readonly challenger: string;
  readonly slashedWei: bigint;
};

export async function cheatOnce(stage: Stage): Promise<void> {
  const { state, swarm, narrator } = stage;
  if (!state.state.cheats) {
    narrator.fact('every receipt of this run is true');
    return;
  }
  if (state.state.cheat === null) await lie(stage);
  const { cheat } = state.state;
  if (cheat === null) throw new Error('no answer was overstated');
  const owner = state.state.contributors.find(({ address }) => address === cheat.contributor);
  narrator.fact(
    `${swarm.file.nodes.at(-1)?.name} signs a receipt that pays ${owner?.package ?? cheat.contributor} ${formatOpen(BigInt(cheat.inflatedWei))} OPEN`,
  );
  if (!state.state.challenges) {
    narrator.fact('nobody challenges it in this run');
    return;
  }
  const judgement = await judged(stage);
  narrator.fact(
    `the Referee recomputed the score: ${swarm.file.nodes.at(-1)?.name} is slashed ${formatOpen(judgement.slashedWei)} OPEN, challenged by ${nameOf(stage, judgement.challenger)}`,
  );
}

const nameOf = ({ swarm }: Stage, address: string): string =>
  swarm.file.nodes.find((each) => each.address === address)?.name ?? address;

/** Asks through a gateway that trusts its provider, until an answer has come out overstated. */
async function lie(stage: Stage): Promise<void> {
  const { state, swarm, scenario, narrator } = stage;
  const { token, nodes } = swarm.file;
  const cheater = nodes.at(-1);
  const client = nodes[1];
  if (cheater === undefined || client === undefined) throw new Error('a cheat needs two nodes');
  const contributor = state.state.contributors.at(-1)?.address;
  if (contributor === undefined) throw new Error('a cheat needs a contributor');
  const own = evaluationOf(stage).questions.filter(
    ({ package: name }) => name === state.state.contributors.at(-1)?.package,
  );
  const others = evaluationOf(stage).questions;
  for (const { prompt } of [...own, ...others].slice(0, 12)) {
    const asked = await ask(client.api, token, prompt, scenario.outputTokens, {
      route: { provider: cheater.address, verify: 'payment' },
    });
    const top = asked.receipt.scores.find((each) => each.contributor === contributor);
    // The lie claims a cosine that no honest sketch of this story comes near.
    if (top === undefined || top.score < FALSE_SCORE) continue;
    state.save({
      ...state.state,
      cheat: {
        receiptId: asked.receiptId as `0x${string}`,
        contributor,
        provider: cheater.address as `0x${string}`,
        inflatedWei: top.amountWei,
      },
    });
    return;
  }
  narrator.warn('no answer gave the cheat an occasion');
}

const FALSE_SCORE = 62_000;

async function judged(stage: Stage): Promise<Judgement> {
  const untilMs = Date.now() + JUDGED_WITHIN_MS;
  while (Date.now() < untilMs) {
    const [first] = await readEvents(stage, 'Referee', 'ScoreJudged');
    if (first !== undefined)
      return {
        challenger: String(first['challenger']).toLowerCase(),
        slashedWei: first['slashedWei'],
      };
    await wait(400);
  }
  throw new Error(`no judgement within ${JUDGED_WITHIN_MS} ms`);
}
