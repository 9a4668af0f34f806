/** Step 3: the packages' documentation becomes a datanet, each package a contributor with its own key. */

import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { addressOfPrivateKey, type Bytes32, parseAddress } from '#crypto';
import { type Evaluation, nearCopiesFor, readEvaluation } from '#runtime';
import { contributionApi } from '../../cli/contribution-api.ts';
import { callApi } from '../../cli/session.ts';
import { projectRoot } from '../../paths.ts';
import type { ContractVersion } from '../../services/contract-types.ts';
import { contribute } from '../../services/contributing.ts';
import { personKey, type Stage } from '../stage.ts';

const DATANET = 'npm documentation';
const AT_ONCE = 6;
const DECIDED_WITHIN_MS = 90_000;

/** The story's contributions and questions; the same in every run on the same packages. */
export function evaluationOf({ scenario }: Pick<Stage, 'scenario'>): Evaluation {
  return readEvaluation(join(projectRoot(), 'node_modules'), scenario.evaluation);
}

export async function contributeAll(stage: Stage): Promise<void> {
  const { state, swarm, narrator, scenario } = stage;
  const { file } = swarm;
  const evaluation = evaluationOf(stage);
  const records = evaluation.contributions.reduce((sum, each) => sum + each.records.length, 0);
  narrator.fact(
    `${evaluation.contributions.length} packages, ${records} records from their own files`,
  );
  const { datanetId } = await callApi<{ datanetId: Bytes32 }>(
    file.gateway,
    file.token,
    '/swarm/v1/datanets',
    {
      body: { name: DATANET, licence: 'see the packages' },
    },
  );
  state.save({ ...state.state, datanetId });
  const contributors = await contributePackages(stage, datanetId, evaluation);
  state.save({ ...state.state, contributors });
  // The copier comes last: what it copies is on chain before it.
  const victim = evaluation.contributions[0];
  if (victim === undefined) throw new Error('no package has enough documentation');
  const copies = nearCopiesFor(victim.records, scenario.copiedRecords);
  const copier = await contributeOne(stage, datanetId, 'near-copier', copies);
  state.save({ ...state.state, copier: { package: victim.package, ...copier } });
  const version = await decided(stage, datanetId);
  // The first one decided stays the story's, whatever people add to the datanet before it goes on.
  const datanetVersion = state.state.datanetVersion || version.version;
  state.save({ ...state.state, datanetVersion });
  narrator.fact(`version ${version.version}: ${version.accepted} contributions accepted`);
  const refused = version.refused;
  for (const each of refused)
    narrator.fact(
      `refused: contribution ${each.id} copies ${victim.package}, earlier record ${each.earlierRecordHash.slice(0, 18)}…`,
    );
  narrator.fact(await fetchedBy(stage));
}

type Contributed = { readonly address: `0x${string}`; readonly contributionId: number };

async function contributePackages(stage: Stage, datanetId: Bytes32, evaluation: Evaluation) {
  const bar = stage.narrator.progress(
    'contributions committed, then revealed',
    evaluation.contributions.length,
  );
  const queue = [...evaluation.contributions];
  const done: { package: string; address: `0x${string}`; contributionId: number }[] = [];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const made = await contributeOne(stage, datanetId, next.package, next.records);
      done.push({ package: next.package, ...made });
      bar.update(done.length, next.package);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  bar.end();
  return done.toSorted((a, b) => (a.package < b.package ? -1 : 1));
}

async function contributeOne(
  { state, swarm }: Stage,
  datanetId: Bytes32,
  name: string,
  records: readonly string[],
): Promise<Contributed> {
  const privateKey = personKey(state.state, name);
  const { file, deployment, chainId } = swarm;
  const contributionId = await contribute(contributionApi(file.gateway, file.token), {
    privateKey,
    datanetId,
    records,
    chainId,
    registry: parseAddress(deployment.contracts.DatanetRegistry),
  });
  return { address: addressOfPrivateKey(privateKey), contributionId };
}

type View = {
  readonly id: number;
  readonly recordCount: number;
  readonly stateName: string;
  readonly earlierRecordHash: string;
};

/** Waits until the curator has decided on everything and published a version. */
async function decided({ swarm, narrator }: Stage, datanetId: Bytes32) {
  const { gateway, token } = swarm.file;
  const untilMs = Date.now() + DECIDED_WITHIN_MS;
  const bar = narrator.progress('decided by the curator', 1);
  const recordsIn = async (version: number): Promise<number> => {
    const { read } = swarm.operator.chain;
    const stated = await read<ContractVersion>('DatanetRegistry', 'getVersion', datanetId, version);
    return stated.recordCount;
  };
  for (;;) {
    const { contributions } = await callApi<{ contributions: View[] }>(
      gateway,
      token,
      `/swarm/v1/datanets/${datanetId}/contributions`,
    );
    const open = contributions.filter(
      ({ stateName }) => stateName === 'committed' || stateName === 'revealed',
    );
    const { datanets } = await callApi<{ datanets: { id: string; versionCount: number }[] }>(
      gateway,
      token,
      '/swarm/v1/datanets',
    );
    const version = datanets.find(({ id }) => id === datanetId)?.versionCount ?? 0;
    const kept = contributions.filter(({ stateName }) => stateName === 'accepted');
    const accepted = kept.length;
    // A version may have been published while the last ones were still on their way.
    const records = kept.reduce((sum, { recordCount }) => sum + recordCount, 0);
    if (open.length === 0 && version > 0 && (await recordsIn(version)) === records) {
      bar.end();
      return {
        version,
        accepted,
        refused: contributions.filter(({ stateName }) => stateName === 'refused'),
      };
    }
    if (Date.now() > untilMs)
      throw new Error(
        `the curator has ${open.length} contributions undecided after ${DECIDED_WITHIN_MS} ms`,
      );
    await wait(300);
  }
}

/** How many blocks the other nodes have fetched over bitswap. */
async function fetchedBy({ swarm }: Stage): Promise<string> {
  const { token, nodes } = swarm.file;
  const counts = await Promise.all(
    nodes.slice(1).map(async ({ api }) => {
      const { counters } = await callApi<{ counters: Record<string, number> }>(
        api,
        token,
        '/swarm/v1/status',
      );
      return Object.entries(counters)
        .filter(([name]) => name.startsWith('blocks_received'))
        .reduce((sum, [, count]) => sum + count, 0);
    }),
  );
  return `blocks fetched from other nodes: ${counts.join(', ')}`;
}
