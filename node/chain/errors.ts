// The failures of the local chain, its client and its outbox: one class, one code per reaction, typed
// details. Messages say what was expected, what came and what to do, in one line.

/** What each code carries; a code exists because some caller or operator reacts to it. */
export type ChainErrorDetails = {
  readonly CHAIN_PORT_IN_USE: { readonly port: number };
  readonly CHAIN_LOCKED: { readonly path: string; readonly pid: number };
  readonly CHAIN_ID_MISMATCH: {
    readonly expected: string;
    readonly found: string;
    readonly where: string;
  };
  readonly CHAIN_DISK_FULL: { readonly path: string };
  readonly CHAIN_JOURNAL_CORRUPT: { readonly path: string; readonly entry: number };
  readonly CHAIN_REPLAY_DIVERGED: {
    readonly blockNumber: number;
    readonly expected: string;
    readonly found: string;
  };
  readonly CHAIN_UNREACHABLE: { readonly rpcUrl: string; readonly patienceMs: number };
  readonly CHAIN_REVERTED: {
    readonly contract: string;
    readonly error: string;
    readonly args: readonly string[];
    /** The transaction that reverted in a block, or null when only the estimate reverted. */
    readonly hash: string | null;
  };
  readonly CHAIN_UNFUNDED: {
    readonly address: string;
    readonly balanceWei: bigint;
    readonly neededWei: bigint;
  };
  readonly CHAIN_KEY_REUSED: { readonly key: string };
  readonly CHAIN_REFUSED: {
    readonly rpcCode: number;
    readonly reason: string;
    /** Revert data, if the refusal is a revert. */
    readonly data: string | null;
  };
  readonly CHAIN_CLOSED: { readonly what: string };
};

export type ChainErrorCode = keyof ChainErrorDetails;

/** A failed chain operation. `details` has the shape that belongs to `code`. */
export class ChainError<Code extends ChainErrorCode = ChainErrorCode> extends Error {
  override readonly name = 'ChainError';
  readonly code: Code;
  readonly details: ChainErrorDetails[Code];

  constructor(code: Code, message: string, details: ChainErrorDetails[Code], cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

/** Whether `error` is a ChainError with this code; narrows its details. */
export function isChainError<Code extends ChainErrorCode>(
  error: unknown,
  code: Code,
): error is ChainError<Code> {
  return error instanceof ChainError && error.code === code;
}

/** Exit codes of the chain process, one per failure that an operator can act on. */
export const CHAIN_EXIT_CODES = {
  CHAIN_PORT_IN_USE: 20,
  CHAIN_LOCKED: 21,
  CHAIN_ID_MISMATCH: 22,
  CHAIN_DISK_FULL: 23,
  CHAIN_JOURNAL_CORRUPT: 24,
  CHAIN_REPLAY_DIVERGED: 25,
} as const satisfies Partial<Record<ChainErrorCode, number>>;

/** The exit code of the chain process for this error; 1 for anything unforeseen. */
export function chainExitCode(error: unknown): number {
  if (!(error instanceof ChainError)) return 1;
  const codes: Partial<Record<string, number>> = CHAIN_EXIT_CODES;
  return codes[error.code] ?? 1;
}
