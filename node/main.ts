/**
 * The command line's root: the only file that reads argv and the environment. Each command lives in
 * `cli/`; results go to standard output, everything else to standard error.
 */
import { Command, CommanderError } from 'commander';
import { adapterCommand } from './cli/adapter.ts';
import { chainCommand } from './cli/chain.ts';
import { chatCommand } from './cli/chat.ts';
import { datanetCommand } from './cli/datanet.ts';
import { infoCommand } from './cli/info.ts';
import { mergeCommand } from './cli/merge.ts';
import { modelCommand } from './cli/model.ts';
import { receiptCommand } from './cli/receipt.ts';
import { stakeCommand } from './cli/stake.ts';
import { testnetCommand } from './cli/testnet.ts';
import { trainCommand } from './cli/train.ts';
import { upCommand } from './cli/up.ts';
import { walletCommand } from './cli/wallet.ts';
import { workerCommand } from './cli/worker.ts';
import { describe, EXIT } from './errors.ts';

const EXIT_CODES = `
Exit codes: 0 done · 1 failed · 2 wrong usage · 3 no swarm is running · 4 not funded · 5 unreachable ·
20 port in use · 21 data directory or store in use · 22 wrong chain · 23 disk full · 24 damaged beyond repair ·
26 another key works in this one's place`;

/** Runs one command line and returns the exit code. Never throws. */
export async function main(args: readonly string[]): Promise<number> {
  endQuietly();
  let exitCode: number = EXIT.ok;
  const program = new Command('openledger')
    .description('Train and serve LoRA adapters on community data, and pay whose data answered.')
    .version('0.1.0')
    .option(
      '--data-dir <dir>',
      'where everything is kept',
      process.env['OPENLEDGER_HOME'] ?? '.openledger/local',
    )
    .option('--json', 'print one JSON object instead of text', false)
    .addHelpText('after', EXIT_CODES)
    .exitOverride()
    .configureOutput({
      writeErr: (text) => process.stderr.write(text),
      outputError: (text, write) =>
        write(text.replace(/^error: (.*)\n$/s, (_all, said: string) => `${usage(said)}\n`)),
    });
  for (const command of [
    upCommand(),
    testnetCommand((code) => {
      exitCode = code;
    }),
    datanetCommand(),
    trainCommand(),
    mergeCommand(),
    modelCommand(),
    adapterCommand(),
    chatCommand(),
    receiptCommand(),
    walletCommand(),
    stakeCommand(),
    workerCommand(),
    infoCommand(),
    chainCommand((code) => {
      exitCode = code;
    }),
  ])
    program.addCommand(command);
  inheritSettings(program);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const told = describe(error);
    process.stderr.write(`${told.line}\n`);
    if (program.opts<{ json: boolean }>().json)
      process.stdout.write(`${JSON.stringify({ ok: false, code: told.code, error: told.line })}\n`);
    if (told.code === 'INTERNAL' && error instanceof Error)
      process.stderr.write(`${error.stack ?? ''}\n`);
    return told.exitCode;
  }
}

/**
 * A reader that has seen enough (`openledger --help | head`) is no failure: what runs until it is told
 * to end ends in order, everything else at once. Nobody is left to tell when standard error is gone.
 */
function endQuietly(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    if (!process.emit('SIGTERM')) process.exit(EXIT.ok);
  });
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

const usage = (said: string): string =>
  `error[USAGE]: ${said.replaceAll('\n', ' ')} fix: \`openledger --help\` lists commands, \`openledger COMMAND --help\` options`;

/** Commands that are added keep settings of their own: without this they would end the process. */
function inheritSettings(parent: Command): void {
  for (const command of parent.commands) {
    command.copyInheritedSettings(parent);
    inheritSettings(command);
  }
}
