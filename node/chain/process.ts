// `openledger chain`: the local chain as an operating-system process of its own. Says in one JSON line
// when it is ready, ends cleanly on SIGTERM and SIGINT, and exits with a code of its own for every
// failure that an operator can act on.
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { computeAddress } from 'ethers';
import { onEnd } from '../signals.ts';
import { chainExitCode } from './errors.ts';
import { type LocalChain, openLocalChain } from './local-chain.ts';
import { type ChainServer, startChainServer } from './server.ts';

export type ChainProcessOptions = {
  /** The chain keeps its files in `chain/` below this. */
  readonly dataDir: string;
  /** TCP port on 127.0.0.1; 0 takes any free one. */
  readonly port: number;
  readonly blockMs?: number;
  readonly chainId?: number;
  /** Seal at once when a transaction arrives (tests). */
  readonly sealOnTransaction?: boolean;
  /** Private key of the account funded at genesis; made and kept in `chain/faucet.key` if absent. */
  readonly faucetKey?: string;
  /** Further accounts funded at genesis. */
  readonly alloc?: readonly { readonly address: string; readonly balanceWei: bigint }[];
};

/** A chain that serves. */
export type RunningChain = {
  readonly rpcUrl: string;
  readonly wsUrl: string;
  readonly chainId: number;
  readonly faucetAddress: string;
  readonly chain: LocalChain;
  close(): Promise<void>;
};

export const DEFAULT_CHAIN_ID = 901_313;
/** One billion OPEN, all there is on a local chain. */
export const FAUCET_BALANCE_WEI = 10n ** 27n;

/** Opens the chain and serves it, in this process. @throws ChainError with every chain code. */
export async function startChain(options: ChainProcessOptions): Promise<RunningChain> {
  const dataDir = join(options.dataDir, 'chain');
  await mkdir(dataDir, { recursive: true });
  const server = await startChainServer(options.port);
  try {
    return await openBehind(server, dataDir, options);
  } catch (error) {
    await server.close();
    throw error;
  }
}

async function openBehind(
  server: ChainServer,
  dataDir: string,
  options: ChainProcessOptions,
): Promise<RunningChain> {
  const faucetKey = options.faucetKey ?? (await readFaucetKey(join(dataDir, 'faucet.key')));
  const faucetAddress = computeAddress(faucetKey);
  const chain = await openLocalChain({
    dataDir,
    chainId: options.chainId ?? DEFAULT_CHAIN_ID,
    blockMs: options.blockMs ?? 1_000,
    sealOnTransaction: options.sealOnTransaction ?? false,
    alloc: [{ address: faucetAddress, balanceWei: FAUCET_BALANCE_WEI }, ...(options.alloc ?? [])],
  });
  server.serve(chain);
  return {
    rpcUrl: `http://127.0.0.1:${server.port}`,
    wsUrl: `ws://127.0.0.1:${server.port}`,
    chainId: chain.chainId,
    faucetAddress,
    chain,
    async close() {
      // The chain first: a transaction that was admitted gets its block before the door shuts.
      try {
        await chain.close();
      } finally {
        await server.close();
      }
    },
  };
}

/**
 * Runs the chain until a signal or a failure ends it, then ends the process. Resolves when the chain is
 * ready or has failed to start; prints one line: JSON on stdout when ready, `error[CODE]: …` on stderr.
 */
export async function runChainProcess(options: ChainProcessOptions): Promise<void> {
  let running: RunningChain;
  try {
    running = await startChain(options);
  } catch (error) {
    report(error);
    process.exitCode = chainExitCode(error);
    return;
  }
  const end = (error: unknown) => {
    if (error !== null) report(error);
    running.close().then(
      () => process.exit(error === null ? 0 : chainExitCode(error)),
      (closeError: unknown) => {
        if (error === null) report(closeError);
        process.exit(chainExitCode(error ?? closeError));
      },
    );
  };
  onEnd(() => end(null));
  running.chain.failed.then(end, end);
  const { rpcUrl, wsUrl, chainId, faucetAddress, chain } = running;
  const ready = { rpc: rpcUrl, ws: wsUrl, chainId, faucet: faucetAddress, ...chain.opened };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

function report(error: unknown): void {
  const { code, message } = error as { code?: string; message?: string };
  process.stderr.write(`error[${code ?? 'CHAIN_FAILED'}]: ${message}\n`);
}

async function readFaucetKey(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const key = `0x${randomBytes(32).toString('hex')}`;
    await writeFile(path, `${key}\n`, { mode: 0o600, flag: 'wx' });
    return key;
  }
}
