/** A chain for the contracts' tests, on either engine: chosen timestamps, snapshots, named reverts, gas. */
import {
  type AbstractProvider,
  concat,
  id,
  JsonRpcApiProvider,
  type JsonRpcError,
  type JsonRpcPayload,
  type JsonRpcResult,
  Network,
  type TransactionReceipt,
  toQuantity,
  Wallet,
} from 'ethers';
import type { ContractFunctions, ContractName } from './bindings/contracts.ts';
import {
  type Contracts,
  connectContracts,
  contractInterfaces,
  type Deployment,
  decodeError,
  encodeCall,
} from './connect.ts';
import { deploymentPlan } from './deploy.ts';
import { createEngine, type Engine, MAX_TRANSACTION_GAS, TEST_CHAIN_ID } from './engines.ts';
import { OPEN_WEI, type PresetName } from './presets.ts';

export { TEST_CHAIN_ID } from './engines.ts';

/** ethers over an engine. */
class EngineProvider extends JsonRpcApiProvider {
  readonly engine: Engine;

  constructor(engine: Engine, network: Network) {
    super(network, { staticNetwork: network, cacheTimeout: -1, batchMaxCount: 1 });
    this.engine = engine;
  }

  override async _send(
    payload: JsonRpcPayload | JsonRpcPayload[],
  ): Promise<(JsonRpcResult | JsonRpcError)[]> {
    const answers: (JsonRpcResult | JsonRpcError)[] = [];
    for (const request of Array.isArray(payload) ? payload : [payload]) {
      const { error, result } = await this.engine.ask(request);
      answers.push(error === undefined ? { id: request.id, result } : { id: request.id, error });
    }
    return answers;
  }
}

/** A call that the chain refused, with the custom error that it named. */
export class Reverted extends Error {
  override readonly name = 'Reverted';
  readonly error: string;
  readonly args: readonly unknown[];

  constructor(data: string) {
    const decoded = decodeError(data);
    const error = decoded?.error ?? `unknown revert ${data}`;
    super(`reverted with ${error}(${decoded?.args.join(', ') ?? ''})`);
    this.error = error;
    this.args = decoded?.args.toArray() ?? [];
  }
}

type Functions<N extends ContractName> = keyof ContractFunctions[N] & string;
type Args<N extends ContractName, F extends Functions<N>> = ContractFunctions[N][F] extends {
  args: infer A extends unknown[];
}
  ? A
  : never;

export type Chain = {
  readonly provider: AbstractProvider;
  readonly deployment: Deployment;
  readonly contracts: Contracts;
  readonly wallets: readonly Wallet[];
  readonly deployer: Wallet;
  readonly treasury: Wallet;
  /** Sends a call from a wallet in a block of its own; throws Reverted with the error's name. */
  send<N extends ContractName, F extends Functions<N>>(
    from: Wallet,
    contract: N,
    fn: F,
    args: Args<N, F>,
    valueWei?: bigint,
  ): Promise<TransactionReceipt>;
  /** Sends a call in the name of any address, a contract's too, without its key. */
  sendAs<N extends ContractName, F extends Functions<N>>(
    from: string,
    contract: N,
    fn: F,
    args: Args<N, F>,
    valueWei?: bigint,
  ): Promise<TransactionReceipt>;
  /** Sends several calls in one block, in this order; gives what each was refused with, or null. A tail follows the arguments. */
  together(
    from: Wallet,
    calls: readonly (readonly [
      contract: ContractName,
      fn: string,
      args: readonly unknown[],
      tail?: string,
    ])[],
  ): Promise<(Reverted | null)[]>;
  /** Sends raw data in a block of its own; `to` null creates. */
  sendData(
    from: Wallet,
    to: string | null,
    data: string,
    valueWei?: bigint,
  ): Promise<TransactionReceipt>;
  request(method: string, params: unknown[]): Promise<unknown>;
  now(): Promise<number>;
  /** Mines a block this many seconds after the last one. */
  pass(seconds: number | bigint): Promise<void>;
  mine(blocks: number): Promise<void>;
  snapshot(): Promise<string>;
  revert(snapshot: string): Promise<void>;
};

/** Transactions and blocks, without knowledge of the contracts. */
function blocksOf(provider: EngineProvider) {
  const request = (method: string, params: unknown[]) => provider.send(method, params);

  async function now() {
    const block = (await request('eth_getBlockByNumber', ['latest', false])) as {
      timestamp: string;
    };
    return Number(block.timestamp);
  }

  // The engine would otherwise follow the wall clock, and no deadline could be tested to the second.
  async function mine(blocks: number, firstAfterSeconds: number) {
    await provider.engine.mine(blocks, (await now()) + firstAfterSeconds);
  }

  async function sign(
    from: Wallet,
    to: string | null,
    data: string,
    valueWei: bigint,
    after: number,
  ) {
    const count = await request('eth_getTransactionCount', [from.address, 'latest']);
    return from.signTransaction({
      chainId: TEST_CHAIN_ID,
      type: 2,
      to,
      data,
      value: valueWei,
      nonce: Number(count) + after,
      gasLimit: MAX_TRANSACTION_GAS,
      maxFeePerGas: 0n,
      maxPriorityFeePerGas: 0n,
    });
  }

  async function together(from: Wallet, calls: readonly (readonly [to: string, data: string])[]) {
    const hashes: string[] = [];
    for (const [i, [to, data]] of calls.entries()) {
      const raw = await sign(from, to, data, 0n, i);
      hashes.push((await request('eth_sendRawTransaction', [raw])) as string);
    }
    await mine(1, 1);
    const outcomes: (Reverted | null)[] = [];
    for (const hash of hashes) {
      outcomes.push(
        await mined(hash).then(
          () => null,
          (reason: unknown) => {
            if (reason instanceof Reverted) return reason;
            throw reason;
          },
        ),
      );
    }
    return outcomes;
  }

  async function sendData(from: Wallet, to: string | null, data: string, valueWei = 0n) {
    const raw = await sign(from, to, data, valueWei, 0);
    const hash = (await request('eth_sendRawTransaction', [raw])) as string;
    await mine(1, 1);
    return mined(hash);
  }

  async function sendAs(from: string, to: string, data: string, valueWei = 0n) {
    await request('hardhat_impersonateAccount', [from]);
    const hash = (await request('eth_sendTransaction', [
      { from, to, data, value: toQuantity(valueWei), gasPrice: '0x0' },
    ])) as string;
    await mine(1, 1);
    return mined(hash);
  }

  async function mined(hash: string) {
    const receipt = await provider.getTransactionReceipt(hash);
    if (receipt === null) throw new Error(`no receipt of ${hash}`);
    if (receipt.status === 1) return receipt;
    const trace = (await request('debug_traceTransaction', [
      hash,
      { disableStorage: true, disableMemory: true, disableStack: true },
    ])) as { returnValue: string };
    throw new Reverted(`0x${trace.returnValue.replace(/^0x/, '')}`);
  }

  return { request, now, mine, sendData, sendAs, together };
}

/** Starts a chain with `count` funded wallets and deploys every contract of a preset on it. */
export async function startChain(preset: PresetName = 'local', count = 12): Promise<Chain> {
  const wallets = Array.from({ length: count }, (_, i) => new Wallet(id(`wallet/${i}`)));
  const deployer = new Wallet(id('deployer'));
  const treasury = new Wallet(id('treasury'));
  const engine = await createEngine({
    accounts: [...wallets, deployer, treasury].map(({ address }) => address),
    balanceWei: 1_000_000n * OPEN_WEI,
  });
  const provider = new EngineProvider(engine, Network.from(TEST_CHAIN_ID));
  const blocks = blocksOf(provider);
  const { request, mine, sendData } = blocks;

  const plan = deploymentPlan(preset, {
    deployer: deployer.address,
    nonce: 0,
    treasury: treasury.address,
    chainId: TEST_CHAIN_ID,
  });
  let deployedAtBlock = 0;
  for (const { data } of plan.transactions) {
    const receipt = await sendData(deployer, null, data);
    deployedAtBlock ||= receipt.blockNumber;
  }
  const deployment: Deployment = { ...plan.deployment, deployedAtBlock };
  return {
    provider,
    deployment,
    contracts: connectContracts(deployment, provider),
    wallets,
    deployer,
    treasury,
    send: (from, contract, fn, args, valueWei) =>
      sendData(from, deployment.contracts[contract], encodeCall(contract, fn, args), valueWei),
    sendAs: (from, contract, fn, args, valueWei) =>
      blocks.sendAs(from, deployment.contracts[contract], encodeCall(contract, fn, args), valueWei),
    together: (from, calls) =>
      blocks.together(
        from,
        calls.map(([contract, fn, args, tail = '0x']) => [
          deployment.contracts[contract],
          concat([contractInterfaces[contract].encodeFunctionData(fn, args), tail]),
        ]),
      ),
    sendData,
    request,
    now: blocks.now,
    pass: (seconds) => mine(1, Number(seconds)),
    mine: (count) => mine(count, 1),
    snapshot: async () => (await request('evm_snapshot', [])) as string,
    revert: async (snapshot) => {
      await request('evm_revert', [snapshot]);
    },
  };
}
