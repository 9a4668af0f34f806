/**
 * For whom a node works. Stake may belong to an owner whose key is elsewhere and name this node's key as
 * its worker: the owner's authorisation is completed and sent here, and a key that was replaced takes
 * nothing new, finishes what it has undertaken and ends.
 */
import type { Address } from '#crypto';
import {
  decodeWorkerKey,
  findWorkerKeyFault,
  signWorkerKey,
  type WorkerAuthorisation,
  type WorkerKeyFaultCode,
} from '#protocol';
import type { ChainClient } from '../chain/client.ts';
import { NodeError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { ChainPort } from './chain-port.ts';

/** Whose stake an account works with, and the key that acts with it now. */
export type Standing = { readonly owner: Address; readonly worker: Address };

/** An account that never heard of worker keys is its own owner and its own worker. */
export async function readStanding(
  chain: Pick<ChainPort<'Staking'>, 'read'>,
  account: Address,
): Promise<Standing> {
  const owner = await chain.read<Address>('Staking', 'ownerOf', account);
  return { owner, worker: await chain.read<Address>('Staking', 'workerOf', owner) };
}

/**
 * The standing of a key that may act.
 * @throws NodeError WORKER_KEY_RETIRED, WORKER_KEY_NAMED
 */
export async function assertInForce(chain: ChainPort<'Staking'>): Promise<Standing> {
  const { self } = chain;
  const standing = await readStanding(chain, self);
  const { owner, worker } = standing;
  if (worker === self) return standing;
  throw owner === self ? namedElsewhere(owner, worker) : retired(self, standing);
}

const retired = (worker: Address, { owner, worker: successor }: Standing) =>
  new NodeError(
    'WORKER_KEY_RETIRED',
    { worker, owner, successor },
    'a retired key never works again: run the node with the key that replaced it, or a new --data-dir',
  );

const namedElsewhere = (owner: Address, worker: Address) =>
  new NodeError(
    'WORKER_KEY_NAMED',
    { owner, worker },
    "run the node with its worker's key, and keep the owner's off line",
  );

const ADVICE: Record<WorkerKeyFaultCode, string> = {
  WORKER_KEY_WRONG_CHAIN: 'authorise the worker for the chain of this swarm',
  WORKER_KEY_WRONG_CONTRACT: 'authorise the worker for the Staking contract of this swarm',
  WORKER_KEY_WRONG_WORKER: "give this node's address as --worker (`openledger worker address`)",
  WORKER_KEY_WRONG_SIGNER: "sign with the owner's key, and leave the file as it was written",
  WORKER_KEY_WRONG_NONCE: 'authorise anew with the nonce that `openledger worker show OWNER` says',
  WORKER_KEY_EXPIRED: 'authorise anew with a later deadline',
};

/** The authorisation in a file's text. @throws NodeError FILE_UNREADABLE */
export function readAuthorisation(text: string, file: string): WorkerAuthorisation {
  const read = decodeWorkerKey(text);
  if (read.ok) return read.value;
  throw new NodeError(
    'FILE_UNREADABLE',
    { file, reason: read.message },
    'give the file that `openledger worker authorise` wrote',
  );
}

export type Naming = {
  readonly chain: ChainPort<'Staking'>;
  readonly client: Pick<ChainClient, 'block' | 'chainId'>;
  readonly privateKey: Uint8Array;
};

/**
 * Takes up the work that an owner authorised this node's key for: signs too and sends it, once. A key
 * that is in force for that owner already stays as it is.
 * @returns the transaction, or null when nothing was left to do
 * @throws NodeError WORKER_KEY_…; ChainError CHAIN_REVERTED StakingKeyTaken for a key with stake of its own
 */
export async function nameWorker(
  { chain, client, privateKey }: Naming,
  authorisation: WorkerAuthorisation,
): Promise<string | null> {
  const { owner, worker, nonce, deadline, ownerSignature } = authorisation;
  const { self } = chain;
  const standing = await readStanding(chain, self);
  const isDone = (now: Standing) => worker === self && now.owner === owner && now.worker === self;
  if (isDone(standing)) return null;
  const fault = findWorkerKeyFault(authorisation, {
    chainId: client.chainId,
    staking: chain.addressOf('Staking'),
    worker: self,
    nonce: Number(await chain.read<bigint>('Staking', 'workerNonce', owner)),
    nowSeconds: (await client.block('latest')).timestamp,
  });
  // A key that worked before never works again, whatever else is wrong.
  if (standing.owner === owner && owner !== self) throw retired(self, standing);
  if (standing.owner !== self)
    throw new NodeError(
      'WORKER_KEY_TAKEN',
      { worker: self, owner: standing.owner },
      'a key works for one owner, once: make a new one in another --data-dir',
    );
  if (fault !== null) {
    // What a crash left under way may have been mined since the standing was read.
    if (isDone(await readStanding(chain, self))) return null;
    const { code, expected, came } = fault;
    throw new NodeError(code, { expected, came }, ADVICE[code]);
  }
  const { hash } = await chain.submit({
    // The deadline is in it, so that a later authorisation is another action.
    key: `worker/${owner}/${nonce}/${deadline}`,
    contract: 'Staking',
    fn: 'setWorker',
    args: [owner, self, deadline, ownerSignature, signWorkerKey(authorisation, privateKey)],
  });
  return hash;
}

export type Retirement = {
  readonly tick: () => Promise<void>;
  /** Resolves when the key was replaced and nothing that it undertook is left to do; says by whom. */
  readonly retired: Promise<NodeError>;
};

/**
 * Watches whether this node's key is still in force.
 * @param undertaken how many tasks still wait for this key; once it was replaced they can only get fewer
 * @param settle takes what the key has earned, before it ends
 */
export function watchRetirement(
  chain: ChainPort<'Staking'>,
  undertaken: () => Promise<number>,
  settle: () => Promise<unknown>,
  log: Pick<Log, 'warn'>,
): Retirement {
  let retire: (why: NodeError) => void = () => undefined;
  const done = new Promise<NodeError>((resolve) => {
    retire = resolve;
  });
  let isTold = false;
  return {
    retired: done,
    tick: async () => {
      try {
        await assertInForce(chain);
      } catch (error) {
        if (!(error instanceof NodeError)) throw error;
        const left = await undertaken();
        if (!isTold) log.warn(error.message, { left });
        isTold = true;
        if (left > 0) return;
        await settle();
        retire(error);
      }
    },
  };
}
