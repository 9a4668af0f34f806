/** A node's control API over HTTP, as contributors use it. */
import type { ContributionApi } from '../services/contributing.ts';
import { callApi } from './session.ts';

/** The calls of one node. */
export function contributionApi(api: string, token: string): ContributionApi {
  return {
    commit: (request) => callApi(api, token, '/swarm/v1/contributions', { body: request }),
    reveal: async (contributionId, salt, records) => {
      await callApi(api, token, `/swarm/v1/contributions/${contributionId}/reveal`, {
        body: { salt, records: records.map((record) => Buffer.from(record).toString('base64')) },
      });
    },
  };
}
