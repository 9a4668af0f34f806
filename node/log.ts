/**
 * Logs: one message and its data as JSON per line, written to the node's log file; warnings and
 * errors also to standard error. Never bytes from the network as text above debug level.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { destination, type Logger, multistream, pino } from 'pino';

export type Log = {
  readonly debug: (message: string, data?: Record<string, unknown>) => void;
  readonly info: (message: string, data?: Record<string, unknown>) => void;
  readonly warn: (message: string, data?: Record<string, unknown>) => void;
  readonly error: (message: string, data?: Record<string, unknown>) => void;
  readonly child: (module: string) => Log;
};

/** Opens the log of one process. `level` is a pino level, `echo` repeats warnings on stderr. */
export function openLog(options: { file: string; level: string; echo: boolean }): Log {
  mkdirSync(dirname(options.file), { recursive: true });
  const file = destination({ dest: options.file, mkdir: true, sync: true });
  const streams = [
    { level: options.level as 'info', stream: file },
    ...(options.echo ? [{ level: 'warn' as const, stream: process.stderr }] : []),
  ];
  return wrap(
    pino(
      { level: options.level, base: null, serializers: { error: errorFields } },
      multistream(streams),
    ),
  );
}

function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  return { code, message: error.message, stack: error.stack };
}

function wrap(logger: Logger): Log {
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, data: Record<string, unknown> = {}) =>
      logger[level](data, message);
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (module) => wrap(logger.child({ module })),
  };
}
