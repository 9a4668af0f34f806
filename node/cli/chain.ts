/** `openledger chain`: the embedded L2 as a process of its own. */
import { Command } from 'commander';
import { CHAIN_EXIT_CODES } from '../chain/errors.ts';
import { runChainProcess } from '../chain/process.ts';
import { globals } from './session.ts';

const EXIT_CODES = Object.entries(CHAIN_EXIT_CODES)
  .map(([code, exit]) => `${exit} ${code}`)
  .join(' · ');

export function chainCommand(onExit: (code: number) => void): Command {
  return new Command('chain')
    .description('run the embedded L2 (EVM with OP rules, JSON-RPC over HTTP and WebSocket)')
    .option('--port <port>', 'TCP port on loopback; 0 = any free one', '8545')
    .option('--block-ms <ms>', 'milliseconds between blocks', '1000')
    .option('--chain-id <id>', 'chain id', '901313')
    .addHelpText('after', `\nExit codes of its own: ${EXIT_CODES}`)
    .action(
      async (options: { port: string; blockMs: string; chainId: string }, command: Command) => {
        await runChainProcess({
          dataDir: globals(command).dataDir,
          port: Number(options.port),
          blockMs: Number(options.blockMs),
          chainId: Number(options.chainId),
        });
        onExit(Number(process.exitCode ?? 0));
      },
    );
}
