// What can go wrong between this node and the network or its block store, as codes with typed
// details. A stranger's bad message is never one of these: it is counted and refused.

/** Details of each failed operation; the keys are the codes a caller may react to. */
export type NetworkFailure = {
  NETWORK_KEY_INVALID: { lengthBytes: number };
  NETWORK_PEER_ID_INVALID: { peerId: string };
  NETWORK_ADDRESS_INVALID: { address: string };
  NETWORK_PORT_IN_USE: { address: string };
  NETWORK_LISTEN_FAILED: { address: string };
  NETWORK_STORE_LOCKED: { directory: string };
  NETWORK_STORE_CORRUPT: { directory: string };
  NETWORK_CLOSED: { operation: string };
  NETWORK_PEER_UNREACHABLE: { peerId: string; protocol?: string };
  NETWORK_TIMEOUT: { peerId: string; protocol: string; timeoutMs: number };
  NETWORK_REMOTE_ERROR: {
    peerId: string;
    protocol: string;
    remoteCode: string;
    remoteMessage: string;
  };
  NETWORK_STREAM_BROKEN: { peerId: string; protocol: string };
  NETWORK_FRAME_TOO_LARGE: { peerId: string; protocol: string; maxBytes: number };
  GOSSIP_MESSAGE_TOO_LARGE: { topic: string; bytes: number; maxBytes: number };
  BLOCK_CID_INVALID: { cid: string };
  BLOCK_TOO_LARGE: { bytes: number; maxBytes: number };
  BLOCK_NOT_FOUND: { cid: string; timeoutMs: number };
  BLOCK_MANIFEST_INVALID: { cid: string };
  STORE_DISK_FULL: { directory: string };
};

export type NetworkErrorCode = keyof NetworkFailure;

/** A failed operation of the network or of the block store. */
export class NetworkError<Code extends NetworkErrorCode = NetworkErrorCode> extends Error {
  override readonly name = 'NetworkError';
  readonly code: Code;
  readonly details: NetworkFailure[Code];

  constructor(code: Code, details: NetworkFailure[Code], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

/** Whether `error` is the failure `code`; narrows the details with it. */
export function isNetworkError<Code extends NetworkErrorCode>(
  error: unknown,
  code: Code,
): error is NetworkError<Code> {
  return error instanceof NetworkError && error.code === code;
}

/**
 * The code (`ENOSPC`, `EADDRINUSE`, `LEVEL_LOCKED`, …) behind an error. The stores flatten their
 * causes into the message, so the message is searched when no cause carries a code.
 */
export function systemCodeOf(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (at.message.includes('No space left on device')) return 'ENOSPC';
    if ('code' in at && at.code === 'LEVEL_DATABASE_NOT_OPEN') continue;
    if ('code' in at && typeof at.code === 'string') return at.code;
    const named = /\b(E[A-Z]{4,}|LEVEL_[A-Z_]+)\b/.exec(at.message)?.[1];
    if (named !== undefined) return named;
  }
  return undefined;
}
