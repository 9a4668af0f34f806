// Shared by the tests of this folder: a clock that tests drive, a contract that counts, accounts.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { Interface, Wallet } from 'ethers';
import type { ChainClock } from './clock.ts';

/** A clock that stands still until told. */
export type ManualClock = ChainClock & {
  /** Moves time and rings the alarm if it is due. */
  set(nowMs: number): void;
  /** Whether somebody waits for the alarm: work started by the last `set` is done. */
  readonly isArmed: boolean;
};

export function manualClock(startMs: number): ManualClock {
  let nowMs = startMs;
  let alarm: { atMs: number; run: () => void } | null = null;
  const ring = () => {
    if (alarm === null || alarm.atMs > nowMs) return;
    const { run } = alarm;
    alarm = null;
    run();
  };
  return {
    nowMs: () => nowMs,
    wakeAt(atMs, run) {
      alarm = { atMs, run };
      const own = alarm;
      queueMicrotask(ring);
      return () => {
        if (alarm === own) alarm = null;
      };
    },
    set(ms) {
      nowMs = ms;
      ring();
    },
    get isArmed() {
      return alarm !== null && alarm.atMs > nowMs;
    },
  };
}

export const FAUCET = new Wallet(`0x${'11'.repeat(32)}`);
export const STRANGER = new Wallet(`0x${'33'.repeat(32)}`);
export const CHAIN_ID = 901_313;

const COUNTER_SOURCE = `
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;
contract Counter {
  error AmountTooLarge(uint256 given, uint256 limit);
  event Acted(bytes32 indexed key, uint256 times);
  mapping(bytes32 => uint256) public times;
  bool public open;
  function act(bytes32 key, uint256 amount) external payable {
    if (amount > 100) revert AmountTooLarge(amount, 100);
    times[key] += 1;
    emit Acted(key, times[key]);
  }
  function setOpen() external { open = true; }
  function enter() external view { require(open, "closed"); }
  function boom() external pure returns (uint256 x) { assert(x > 0); }
  function randao() external view returns (uint256) { return block.prevrandao; }
}`;

/** The counter contract: counts how often each key was acted on. */
export function counterContract(): { abi: Interface; bytecode: string } {
  const solc = createRequire(import.meta.url)('solc') as { compile(input: string): string };
  const input = {
    language: 'Solidity',
    sources: { 'Counter.sol': { content: COUNTER_SOURCE } },
    settings: {
      evmVersion: 'prague',
      outputSelection: { '*': { Counter: ['abi', 'evm.bytecode.object'] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const { abi, evm } = output.contracts['Counter.sol'].Counter;
  return { abi: new Interface(abi), bytecode: `0x${evm.bytecode.object}` };
}

/** A signed transfer, or a call where `data` is given. */
export function signedTransfer(
  wallet: Wallet,
  nonce: number,
  changes: { to?: string; value?: bigint; data?: string; gasLimit?: bigint; chainId?: number } = {},
): Promise<string> {
  return wallet.signTransaction({
    type: 2,
    chainId: CHAIN_ID,
    nonce,
    to: STRANGER.address,
    value: 1n,
    gasLimit: 21_000n,
    maxFeePerGas: 2_000_000n,
    maxPriorityFeePerGas: 0n,
    ...changes,
  });
}

/** What the line between client and chain does with one HTTP request. */
export type LineFault = 'none' | 'lost request' | 'lost answer';

/**
 * A line to a chain, at one address whatever chain is behind it: `target` gives its present URL, `fault`
 * decides for each request by the methods in it.
 */
export async function openLine(target: () => string, fault: (methods: string[]) => LineFault) {
  const server = createServer((request, response) => {
    const forward = async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = Buffer.concat(chunks);
      const calls = [JSON.parse(body.toString('utf8'))].flat() as { method: string }[];
      const decision = fault(calls.map(({ method }) => method));
      if (decision === 'lost request') return request.socket.destroy();
      const headers = { 'content-type': 'application/json' };
      const answer = await fetch(target(), { method: 'POST', headers, body });
      const text = await answer.text();
      if (decision === 'lost answer') return request.socket.destroy();
      return response.writeHead(answer.status, headers).end(text);
    };
    // A chain that is away looks like a broken connection from here too.
    forward().catch(() => request.socket.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    rpcUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}
