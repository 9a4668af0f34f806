// The frames of a response: one kind byte, then data or an error.
import type { Stream } from '@libp2p/interface';

export const FRAME_DATA = 0;
export const FRAME_ERROR = 1;
export const FRAME_END = 2;

const ERROR_CODE = /^[A-Z][A-Z0-9_]{1,63}$/;
const ERROR_MESSAGE_LENGTH_MAX = 1_000;
/** How long a stream that has served its purpose may stay half open. */
const LINGER_MS = 5_000;

export function frame(kind: number, payload?: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + (payload?.length ?? 0));
  bytes[0] = kind;
  if (payload !== undefined) bytes.set(payload, 1);
  return bytes;
}

/** An error as its code and message; what has no code is ours to know and INTERNAL to others. */
export function encodeError(error: unknown): Uint8Array {
  const coded = error instanceof Error && 'code' in error && typeof error.code === 'string';
  const known = coded && ERROR_CODE.test(error.code as string);
  const code = known ? (error.code as string) : 'INTERNAL';
  const message = known ? error.message : 'the peer could not answer';
  const text = JSON.stringify({ code, message: message.slice(0, ERROR_MESSAGE_LENGTH_MAX) });
  return frame(FRAME_ERROR, new TextEncoder().encode(text));
}

/** The other side's error; a malformed one is an error all the same. */
export function decodeError(payload: Uint8Array): { code: string; message: string } {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(payload.subarray(0, 8_192)));
    if (typeof value === 'object' && value !== null && 'code' in value && 'message' in value) {
      const { code, message } = value;
      if (typeof code === 'string' && typeof message === 'string' && ERROR_CODE.test(code)) {
        return { code, message: message.slice(0, ERROR_MESSAGE_LENGTH_MAX) };
      }
    }
  } catch {
    // Not JSON: falls through to the nameless error.
  }
  return { code: 'INTERNAL', message: 'the peer sent an unreadable error' };
}

/** Whether it-length-prefixed refused a frame for its length. */
export function isTooLarge(error: unknown): boolean {
  return (
    error instanceof Error &&
    [
      'InvalidDataLengthError',
      'InvalidDataLengthLengthError',
      'InvalidMessageLengthError',
    ].includes(error.name)
  );
}

/** Whether the bytes ended in the middle of a frame. */
export function isCutOff(error: unknown): boolean {
  return error instanceof Error && error.name === 'UnexpectedEOFError';
}

/** Frees a finished stream even if the other side never closes its end. */
export function letGo(stream: Stream): void {
  if (stream.status !== 'open' && stream.status !== 'closing') return;
  const timer = setTimeout(() => stream.abort(new Error('the other end stayed open')), LINGER_MS);
  timer.unref();
  stream.addEventListener('close', () => clearTimeout(timer), { once: true });
}
