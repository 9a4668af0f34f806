/** Adapters over the control API: list, import, export, remove, pin. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { ADAPTER_BYTES_MAX, joinAdapterFiles, splitAdapterFiles } from '../adapter-files.ts';
import type { Adapters } from '../services/adapters.ts';

export type AdapterApi = Pick<Adapters, 'list' | 'add' | 'remove' | 'files' | 'pin'>;

const importQuery = z.object({ name: z.string(), trial: z.enum(['0', '1']).default('0') });
const pinBody = z.object({ pinned: z.boolean() });
type Which = { Params: { which: string } };

/** Adds the routes; `which` is a name or an id. */
export function addAdapters(scope: FastifyInstance, adapters: AdapterApi): void {
  scope.get('/swarm/v1/adapters', async () => ({ adapters: await adapters.list() }));
  scope.post('/swarm/v1/adapters', { bodyLimit: ADAPTER_BYTES_MAX }, async (request) => {
    const { name, trial } = importQuery.parse(request.query);
    const body = request.body instanceof Uint8Array ? request.body : new Uint8Array();
    return adapters.add(name, splitAdapterFiles(body), trial === '1');
  });
  scope.delete<Which>('/swarm/v1/adapters/:which', async ({ params }) =>
    adapters.remove(params.which),
  );
  scope.get<Which>('/swarm/v1/adapters/:which/files', async ({ params }, reply) => {
    const body = joinAdapterFiles(await adapters.files(params.which));
    return reply.type('application/octet-stream').send(body);
  });
  scope.post<Which>('/swarm/v1/adapters/:which/pin', async ({ params, body }) =>
    adapters.pin(params.which, pinBody.parse(body).pinned),
  );
}
