/**
 * The chain as the audit sees it: contract state at one block, and what happened up to that block,
 * read from every block and every log.
 */
import { JsonRpcProvider } from 'ethers';
import {
  type ContractFunctions,
  type ContractName,
  type Deployment,
  decodeResult,
  encodeCall,
  verifyDeployment,
} from '#contracts';
import type { DataDir } from './data-dir.ts';
import { AuditError, reasonOf } from './errors.ts';
import { type History, readHistory } from './history.ts';
import { type OwnChain, startOwnChain } from './own-chain.ts';
import { connectRpc, hexOf, type Rpc } from './rpc.ts';

/** A contract's view at the audited block, typed by its ABI. */
export type Read = <N extends ContractName, F extends keyof ContractFunctions[N] & string>(
  contract: N,
  fn: F,
  args: Parameters<typeof encodeCall<N, F>>[2],
) => Promise<ReturnType<typeof decodeResult<N, F>>>;

export type Chain = {
  readonly rpc: Rpc;
  readonly chainId: number;
  readonly contracts: Deployment['contracts'];
  /** The block whose state is audited. */
  readonly atBlock: number;
  /** Whether the audit started the chain itself. */
  readonly started: boolean;
  readonly read: Read;
  readonly history: History;
  readonly close: () => Promise<void>;
};

const PROBE_MS = 3_000;

/**
 * Connects to the run's chain: the one that the swarm serves now, or else a replay of its journal.
 * @throws AuditError CHAIN_UNAVAILABLE
 */
export async function openChain(dataDir: DataDir): Promise<Chain> {
  const { swarm } = dataDir;
  const running = connectRpc(swarm.rpc, PROBE_MS);
  if ((await strangeness(running, dataDir)) === null) return viewOf(dataDir, swarm.rpc, null);
  const own = await startOwnChain(dataDir.path, swarm.chainId);
  try {
    const reason = await strangeness(connectRpc(own.rpc), dataDir);
    if (reason !== null) throw new AuditError('CHAIN_UNAVAILABLE', { chain: own.rpc, reason });
    return await viewOf(dataDir, own.rpc, own);
  } catch (error) {
    await own.close();
    throw error;
  }
}

/** Why what answers there is not this run's chain with this version's contracts; null if it is. */
async function strangeness(rpc: Rpc, { swarm, story }: DataDir): Promise<string | null> {
  const { chainId, contracts } = swarm;
  try {
    if (Number(await rpc.call('eth_chainId', [])) !== chainId) return `not chain ${chainId}`;
    // Datanet ids depend on their curator's key, which no other run has.
    const data = encodeCall('DatanetRegistry', 'getDatanet', [story.datanetId]);
    await rpc.call('eth_call', [{ to: contracts.DatanetRegistry, data }, 'latest']);
  } catch (error) {
    return reasonOf(error);
  }
  const provider = new JsonRpcProvider(rpc.url, chainId, { staticNetwork: true, cacheTimeout: -1 });
  try {
    await verifyDeployment(provider, { chainId, contracts, preset: 'local', deployedAtBlock: 0 });
    return null;
  } catch (error) {
    return reasonOf(error);
  } finally {
    provider.destroy();
  }
}

async function viewOf(
  { swarm, story }: DataDir,
  url: string,
  own: OwnChain | null,
): Promise<Chain> {
  const rpc = connectRpc(url);
  const head = Number(await rpc.call('eth_blockNumber', []));
  if (story.atBlock !== null && story.atBlock > head)
    throw new AuditError('CHAIN_UNAVAILABLE', {
      chain: url,
      reason: `its head is block ${head}, the story ended at block ${story.atBlock}`,
    });
  const atBlock = story.atBlock ?? head;
  return {
    rpc,
    chainId: swarm.chainId,
    contracts: swarm.contracts,
    atBlock,
    started: own !== null,
    read: async (contract, fn, args) => {
      const call = { to: swarm.contracts[contract], data: encodeCall(contract, fn, args) };
      try {
        const data = await rpc.call('eth_call', [call, hexOf(atBlock)]);
        return decodeResult(contract, fn, String(data));
      } catch (error) {
        if (!/revert/.test(reasonOf(error))) throw error;
        const what = `${contract}.${fn}(${args.join(', ')})`;
        const reason = `the chain has no such thing at block ${atBlock}`;
        throw new AuditError('CONTENT_WRONG', { what, reason }, error);
      }
    },
    history: await readHistory(rpc, swarm.contracts, atBlock),
    close: async () => own?.close(),
  };
}
