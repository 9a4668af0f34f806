/**
 * What keeps an audit from an answer. A figure that disagrees is no error: it is the audit's result.
 */
type Failures = {
  readonly USAGE: { readonly expected: string; readonly came: string };
  readonly NO_DATA_DIR: { readonly dataDir: string };
  readonly STORY_UNFINISHED: { readonly file: string; readonly reason: string };
  readonly FILE_UNREADABLE: { readonly file: string; readonly reason: string };
  readonly CHAIN_UNAVAILABLE: { readonly chain: string; readonly reason: string };
  readonly BLOCK_MISSING: { readonly cid: string; readonly holds: string };
  readonly CONTENT_WRONG: { readonly what: string; readonly reason: string };
  readonly BASE_DIFFERS: { readonly shipped: string; readonly trainedOn: string };
};
export type AuditErrorCode = keyof Failures;

/** What the person at the keyboard can do about each of them. */
const FIXES: Record<AuditErrorCode, string> = {
  USAGE: 'npm run audit -- DATA_DIR [--json]',
  NO_DATA_DIR: 'name the folder that the run printed as its data directory',
  STORY_UNFINISHED: 'run `npm start -- --once` on that folder until it ends well, then audit it',
  FILE_UNREADABLE: 'put the file back as the run left it, or tell the story again with --fresh',
  CHAIN_UNAVAILABLE: 'stop what holds the chain of that folder, or start the swarm, and try again',
  BLOCK_MISSING: 'put the block back into the blocks folder of any node, or start the swarm',
  CONTENT_WRONG: 'somebody published something else than stands on chain; do not trust that figure',
  BASE_DIFFERS:
    'audit with the version of the project that told the story: tokens are counted anew',
};

/** A failed operation of the audit: `code`, what it was about, and what to do. */
export class AuditError<Code extends AuditErrorCode = AuditErrorCode> extends Error {
  override readonly name = 'AuditError';
  readonly code: Code;
  readonly details: Failures[Code];
  readonly fix: string;

  constructor(code: Code, details: Failures[Code], cause?: unknown) {
    const named = Object.entries(details).map(([key, value]) => `${key} ${String(value)}`);
    super(
      `${code.toLowerCase().replaceAll('_', ' ')}: ${named.join(', ')}`,
      cause === undefined ? {} : { cause },
    );
    this.code = code;
    this.details = details;
    this.fix = FIXES[code];
  }
}

/** Why something failed, in one line. */
export const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
