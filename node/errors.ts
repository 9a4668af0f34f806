/**
 * What can go wrong between the operator, the machine and the network, with the exit code the
 * command line ends with. Folders below (`network/`, `chain/`) have error classes of their own of
 * the same shape; `describe` prints any of them as one line with what to do.
 */
type Failures = {
  readonly USAGE: { readonly expected: string; readonly came: string };
  readonly NOT_RUNNING: { readonly dataDir: string };
  readonly DATA_DIR_LOCKED: { readonly dataDir: string; readonly pid: number };
  readonly STATE_CORRUPT: { readonly file: string; readonly reason: string };
  readonly DISK_FULL: { readonly path: string };
  readonly UNFUNDED: {
    readonly address: string;
    readonly haveWei: string;
    readonly needWei: string;
  };
  /** A curator's free stake is less than what a version locks. */
  readonly STAKE_SHORT: {
    readonly account: string;
    readonly freeWei: string;
    readonly neededWei: string;
    readonly missingWei: string;
  };
  /** A contributor's key that another one has replaced. */
  readonly KEY_RETIRED: { readonly account: string; readonly replacedBy: string };
  readonly KEY_INVALID: { readonly file: string; readonly reason: string };
  readonly API_FAILED: { readonly url: string; readonly reason: string };
  readonly STEP_FAILED: { readonly step: string; readonly reason: string };
  /** Another adapter answers to that name, or the weights are on chain already. */
  readonly ADAPTER_KNOWN: { readonly name: string; readonly as: string };
  readonly NOT_FOUND: { readonly what: string; readonly name: string };
  readonly FILE_UNREADABLE: { readonly file: string; readonly reason: string };
  readonly RECEIPT_INVALID: { readonly field: string; readonly reason: string };
  /** An owner's authorisation that the contract would refuse, or that is meant for somebody else. */
  readonly WORKER_KEY_WRONG_CHAIN: Expectation;
  readonly WORKER_KEY_WRONG_CONTRACT: Expectation;
  readonly WORKER_KEY_WRONG_WORKER: Expectation;
  readonly WORKER_KEY_WRONG_SIGNER: Expectation;
  readonly WORKER_KEY_WRONG_NONCE: Expectation;
  readonly WORKER_KEY_EXPIRED: Expectation;
  /** A key that works, or has worked, for somebody else. */
  readonly WORKER_KEY_TAKEN: { readonly worker: string; readonly owner: string };
  readonly WORKER_KEY_RETIRED: {
    readonly worker: string;
    readonly owner: string;
    readonly successor: string;
  };
  /** An owner's own key where its worker's is to run. */
  readonly WORKER_KEY_NAMED: { readonly owner: string; readonly worker: string };
  /** What is the owner's alone, asked for with its worker's key. */
  readonly OWNER_KEY_NEEDED: { readonly owner: string; readonly came: string };
};
type Expectation = { readonly expected: string; readonly came: string };
export type NodeErrorCode = keyof Failures;

/** A failed operation of the node or its command line. */
export class NodeError<Code extends NodeErrorCode = NodeErrorCode> extends Error {
  override readonly name = 'NodeError';
  readonly code: Code;
  readonly details: Failures[Code];
  /** What the operator can do about it, one imperative sentence. */
  readonly fix: string;

  constructor(code: Code, details: Failures[Code], fix: string, cause?: unknown) {
    super(
      `${sentence(code, details as Record<string, unknown>)}`,
      cause === undefined ? {} : { cause },
    );
    this.code = code;
    this.details = details;
    this.fix = fix;
  }
}

const sentence = (code: string, details: Record<string, unknown>): string =>
  `${code.toLowerCase().replaceAll('_', ' ')}: ${Object.entries(details)
    .map(([key, value]) => `${key} ${String(value)}`)
    .join(', ')}`;

/** Exit codes of the command line, as documented in `openledger --help`. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notRunning: 3,
  notFunded: 4,
  unreachable: 5,
  portInUse: 20,
  locked: 21,
  wrongChain: 22,
  diskFull: 23,
  corrupt: 24,
  // 25 is the chain's alone.
  replaced: 26,
} as const;

const EXIT_BY_CODE: Record<string, number> = {
  USAGE: EXIT.usage,
  TRAIN_OPTION: EXIT.usage,
  NOT_RUNNING: EXIT.notRunning,
  UNFUNDED: EXIT.notFunded,
  CHAIN_UNFUNDED: EXIT.notFunded,
  STAKE_SHORT: EXIT.notFunded,
  CHAIN_UNREACHABLE: EXIT.unreachable,
  NETWORK_PEER_UNREACHABLE: EXIT.unreachable,
  API_FAILED: EXIT.unreachable,
  CHAIN_PORT_IN_USE: EXIT.portInUse,
  NETWORK_PORT_IN_USE: EXIT.portInUse,
  API_PORT_IN_USE: EXIT.portInUse,
  CHAIN_LOCKED: EXIT.locked,
  NETWORK_STORE_LOCKED: EXIT.locked,
  DATA_DIR_LOCKED: EXIT.locked,
  CHAIN_ID_MISMATCH: EXIT.wrongChain,
  DISK_FULL: EXIT.diskFull,
  CHAIN_DISK_FULL: EXIT.diskFull,
  STORE_DISK_FULL: EXIT.diskFull,
  WORKER_KEY_RETIRED: EXIT.replaced,
  WORKER_KEY_NAMED: EXIT.replaced,
  STATE_CORRUPT: EXIT.corrupt,
  CHAIN_JOURNAL_CORRUPT: EXIT.corrupt,
  CHAIN_REPLAY_DIVERGED: EXIT.corrupt,
  NETWORK_STORE_CORRUPT: EXIT.corrupt,
};

/** One line for people, and the exit code: `error[CODE]: what came. fix: what to do`. */
export function describe(error: unknown): { line: string; code: string; exitCode: number } {
  if (!(error instanceof Error)) return describe(new Error(String(error)));
  const { code, fix } = error as { code?: unknown; fix?: unknown };
  const name = typeof code === 'string' ? code : 'INTERNAL';
  const advice = typeof fix === 'string' ? ` fix: ${fix}` : '';
  return {
    line: `error[${name}]: ${error.message}${advice}`,
    code: name,
    exitCode: EXIT_BY_CODE[name] ?? EXIT.failed,
  };
}
