/**
 * The control API of a node under `/swarm/v1`, for its operator's commands: bearer token, loopback.
 * It relays what people have signed with keys that never come here.
 */
import { timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type Address, type Bytes32, parseAddress, parseBytes32 } from '#crypto';
import { CONTRIBUTION_STATES, type EpochProof } from '#protocol';
import { ADAPTER_BYTES_MAX } from '../adapter-files.ts';
import { describe } from '../errors.ts';
import type { Contribution, Datanets } from '../services/datanets.ts';
import { type AdapterApi, addAdapters } from './adapters.ts';

export type ClaimProof = {
  readonly epoch: number;
  readonly account: Address;
  readonly cumulativeWei: bigint;
  readonly runningWei: bigint;
  /** What the account has claimed so far, by the chain. */
  readonly paidWei: bigint;
  /** What a claim would pay now: cumulative less claimed less withheld. */
  readonly claimableWei: bigint;
  readonly index: number;
  readonly proof: readonly Bytes32[];
};

export type TaskProgress = {
  readonly taskId: number;
  readonly state: string;
  readonly provider: Address;
  readonly step: number;
  readonly steps: number;
  readonly loss: number | null;
  readonly [key: string]: unknown;
};

/** What the routes stand on. */
export type ControlParts = {
  readonly token: string;
  readonly datanets: Datanets;
  readonly adapters: AdapterApi;
  /** Identity of the base model that this node serves. */
  readonly baseHash: Bytes32;
  readonly putBlock: (bytes: Uint8Array) => Promise<string>;
  readonly task: (taskId: number) => Promise<TaskProgress | null>;
  /** What an account can claim of the newest finalised epoch; null when nothing. */
  readonly claimOf: (account: Address) => Promise<ClaimProof | null>;
  /** Sends the claim for an account, null if nothing is due; the contract pays the account itself. */
  readonly relayClaim: (claim: ClaimProof) => Promise<{ hash: string | null }>;
  /** Gives OPEN away, on a local swarm; null elsewhere. */
  readonly faucet: ((account: Address, amountWei: bigint) => Promise<{ hash: string }>) | null;
  /** The trusted roots that receipts are verified against, as JSON text. */
  readonly anchors: () => Promise<string>;
  /** The proof that a receipt stands in an anchored epoch; null while it does not. */
  readonly proofOf: (receiptHash: Bytes32) => Promise<EpochProof | null>;
  /** Collects the vouchers that this node holds as a provider. */
  readonly collect: () => Promise<void>;
  /** Takes what contracts hold for this node's account. */
  readonly withdraw: () => Promise<bigint>;
  /** Closes the epoch: vouchers are collected and it is anchored as soon as they are. */
  readonly closeEpoch: () => Promise<void>;
};

const BODY_BYTES_MAX = 8 * 1024 * 1024;

const hex32 = z.string().regex(/^0x[0-9a-fA-F]{64}$/, 'expected 0x and 64 digits');
const address = z.string().regex(/^0x[0-9a-fA-F]{40}$/, 'expected 0x and 40 digits');
const createBody = z.object({
  name: z.string().min(1).max(100),
  licence: z.string().min(1).max(100),
});
const signature = z.string().regex(/^0x[0-9a-fA-F]{130}$/, 'expected 0x and 130 digits');
const rotateBody = z.object({
  from: address,
  to: address,
  deadline: z.string().regex(/^\d{1,19}$/, 'expected seconds'),
  fromSignature: signature,
  toSignature: signature,
});
const commitBody = z.object({
  datanetId: hex32,
  contributor: address,
  commitment: hex32,
  recordCount: z.number().int().min(1).max(1_048_576),
  signature,
});
const wholeParam = z
  .string()
  .regex(/^\d{1,15}$/, 'expected a whole number')
  .transform(Number);
const faucetBody = z.object({ account: address, amountWei: z.string().regex(/^\d{1,24}$/) });
const revealBody = z.object({ salt: hex32, records: z.array(z.base64()).min(1).max(65_536) });

/** Adds the routes; every one of them needs the token. */
export function addControl(server: FastifyInstance, parts: ControlParts): void {
  void server.register((scope, _options, done) => {
    scope.addContentTypeParser(
      'application/octet-stream',
      { parseAs: 'buffer', bodyLimit: ADAPTER_BYTES_MAX },
      (_request, body, parsed) => parsed(null, body),
    );
    scope.addHook('onRequest', async (request, reply) => {
      if (!authorised(request, parts.token))
        return reply.code(401).send({
          error: { message: 'expected the bearer token of swarm.json', code: 'unauthorised' },
        });
      return undefined;
    });
    scope.setErrorHandler((error, _request, reply) => refuse(reply, error));
    addDatanets(scope, parts);
    addAdapters(scope, parts.adapters);
    addRest(scope, parts);
    done();
  });
}

function authorised(request: FastifyRequest, token: string): boolean {
  const given = Buffer.from(request.headers.authorization ?? '');
  const expected = Buffer.from(`Bearer ${token}`);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function refuse(reply: FastifyReply, error: unknown): FastifyReply {
  if (error instanceof z.ZodError)
    return reply
      .code(400)
      .send({ error: { message: z.prettifyError(error), code: 'invalid_request' } });
  // Of the server itself: no JSON, a body above its limit.
  const { statusCode = 500 } = error as { statusCode?: number };
  if (statusCode >= 400 && statusCode < 500)
    return reply.code(statusCode).send({
      error: {
        message: (error as Error).message,
        code: statusCode === 413 ? 'too_large' : 'invalid_request',
      },
    });
  const told = describe(error);
  const status = told.code === 'INTERNAL' ? 500 : 409;
  return reply.code(status).send({ error: { message: told.line, code: told.code } });
}

/** Nothing owed is an answer, not a failure. */
const claimView = (claim: ClaimProof | null) =>
  claim === null
    ? { claimableWei: '0' }
    : {
        ...claim,
        cumulativeWei: claim.cumulativeWei.toString(),
        runningWei: claim.runningWei.toString(),
        paidWei: claim.paidWei.toString(),
        claimableWei: claim.claimableWei.toString(),
      };

const contributionView = (entry: Contribution) => ({
  ...entry,
  depositWei: `${entry.depositWei}`,
  stateName: CONTRIBUTION_STATES[entry.state],
});

const notFound = (reply: FastifyReply, what: string): FastifyReply =>
  reply.code(404).send({ error: { message: `${what} does not exist`, code: 'not_found' } });

function addDatanets(scope: FastifyInstance, { datanets }: ControlParts): void {
  scope.get('/swarm/v1/datanets', async () => ({ datanets: await datanets.list() }));
  scope.post('/swarm/v1/datanets', async (request) => {
    const { name, licence } = createBody.parse(request.body);
    return { datanetId: await datanets.create(name, licence) };
  });
  scope.post('/swarm/v1/contributions', async (request) => {
    const body = commitBody.parse(request.body);
    return datanets.relayCommit({
      datanetId: parseBytes32(body.datanetId),
      contributor: parseAddress(body.contributor),
      commitment: parseBytes32(body.commitment),
      recordCount: body.recordCount,
      signature: body.signature,
    });
  });
  scope.get<{ Params: { account: string } }>('/swarm/v1/contributors/:account', async (request) => {
    const who = await datanets.contributor(parseAddress(address.parse(request.params.account)));
    return { account: who.account, nonce: `${who.nonce}` };
  });
  scope.post('/swarm/v1/contributors/rotate', async (request) => {
    const body = rotateBody.parse(request.body);
    await datanets.relayRotation({
      from: parseAddress(body.from),
      to: parseAddress(body.to),
      deadline: BigInt(body.deadline),
      fromSignature: body.fromSignature,
      toSignature: body.toSignature,
    });
    return { account: parseAddress(body.to) };
  });
  scope.post<{ Params: { id: string } }>(
    '/swarm/v1/contributions/:id/reveal',
    { bodyLimit: BODY_BYTES_MAX },
    async (request) => {
      const { salt, records } = revealBody.parse(request.body);
      const bytes = records.map((record) => new Uint8Array(Buffer.from(record, 'base64')));
      const id = wholeParam.parse(request.params.id);
      return { shards: await datanets.relayReveal(id, parseBytes32(salt), bytes) };
    },
  );
  scope.get<{ Params: { id: string } }>('/swarm/v1/contributions/:id', async (request) => {
    return contributionView(await datanets.contribution(wholeParam.parse(request.params.id)));
  });
  scope.get<{ Params: { id: string } }>('/swarm/v1/datanets/:id/contributions', async (request) => {
    const all = await datanets.contributions(parseBytes32(hex32.parse(request.params.id)));
    return { contributions: all.map(contributionView) };
  });
}

function addRest(scope: FastifyInstance, parts: ControlParts): void {
  scope.post('/swarm/v1/blocks', { bodyLimit: BODY_BYTES_MAX }, async (request, reply) => {
    if (!(request.body instanceof Uint8Array))
      return reply
        .code(400)
        .send({ error: { message: 'expected bytes', code: 'invalid_request' } });
    return { cid: await parts.putBlock(new Uint8Array(request.body)) };
  });
  scope.get<{ Params: { id: string } }>('/swarm/v1/tasks/:id', async (request, reply) => {
    const task = await parts.task(wholeParam.parse(request.params.id));
    return task ?? notFound(reply, `task ${request.params.id}`);
  });
  scope.get<{ Params: { account: string } }>('/swarm/v1/claims/:account', async ({ params }) =>
    claimView(await parts.claimOf(parseAddress(address.parse(params.account)))),
  );
  scope.post<{ Params: { account: string } }>('/swarm/v1/claims/:account', async ({ params }) => {
    const claim = await parts.claimOf(parseAddress(address.parse(params.account)));
    const { hash } = claim === null ? { hash: null } : await parts.relayClaim(claim);
    const view = claimView(claim);
    return { ...view, hash, claimedWei: view.claimableWei };
  });
  scope.post('/swarm/v1/faucet', async (request, reply) => {
    if (parts.faucet === null) return notFound(reply, 'a faucet (this is no local swarm)');
    const { account, amountWei } = faucetBody.parse(request.body);
    const { hash } = await parts.faucet(parseAddress(account), BigInt(amountWei));
    return { hash };
  });
  scope.get('/swarm/v1/anchors', async (_request, reply) =>
    reply.type('application/json').send(await parts.anchors()),
  );
  scope.post('/swarm/v1/withdraw', async () => ({ withdrawnWei: `${await parts.withdraw()}` }));
  scope.get('/swarm/v1/base', async () => ({ baseHash: parts.baseHash }));
  scope.post('/swarm/v1/collect', async () => {
    await parts.collect();
    return { ok: true };
  });
  scope.get<{ Params: { hash: string } }>('/swarm/v1/proofs/:hash', async (request, reply) => {
    const proof = await parts.proofOf(parseBytes32(hex32.parse(request.params.hash)));
    if (proof === null)
      return notFound(reply, `an anchored epoch with receipt ${request.params.hash}`);
    return { ...proof, siblings: proof.siblings.map((each) => Buffer.from(each).toString('hex')) };
  });
  scope.post('/swarm/v1/epochs/close', async () => {
    await parts.closeEpoch();
    return { ok: true };
  });
}
