/** A node's control API over HTTP, as contributors use it. */
import type { Address } from '#crypto';
import type { ContributionApi, RotationApi } from '../services/contributing.ts';
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

/** The calls of one node that a change of key needs. */
export function rotationApi(api: string, token: string): RotationApi {
  return {
    contributor: async (asked) => {
      const path = `/swarm/v1/contributors/${asked}`;
      const { account, nonce } = await callApi<{ account: Address; nonce: string }>(
        api,
        token,
        path,
      );
      return { account, nonce: BigInt(nonce) };
    },
    rotate: async (request) => {
      await callApi(api, token, '/swarm/v1/contributors/rotate', {
        body: { ...request, deadline: `${request.deadline}` },
      });
    },
  };
}
