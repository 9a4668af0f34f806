// Why a request was refused or could not go on: a code for programs, and what to do for people.

export type ServeErrorCode =
  | 'QUEUE_FULL'
  | 'CLIENT_QUEUE_FULL'
  | 'DEADLINE_UNREACHABLE'
  | 'REQUEST_INVALID'
  | 'POOL_TOO_SMALL'
  | 'RANK_TOO_LARGE'
  | 'ADAPTER_UNAVAILABLE'
  | 'SERVING_CLOSED';

/** A request that this machine does not take; others go on. */
export class ServeError extends Error {
  readonly code: ServeErrorCode;
  readonly details: { readonly expected: string; readonly found: string; readonly remedy: string };
  constructor(
    code: ServeErrorCode,
    expected: string,
    found: string | number,
    remedy: string,
    cause?: unknown,
  ) {
    super(`${code}: expected ${expected}, found ${found}; ${remedy}`, { cause });
    this.name = 'ServeError';
    this.code = code;
    this.details = { expected, found: String(found), remedy };
  }
}
