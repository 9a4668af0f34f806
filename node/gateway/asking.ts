/** How asking a provider can go wrong, in the four ways that call for another reaction. */
import type { Ask, Heard } from '../provider/exchange.ts';
import type { Offer } from './routing.ts';

export type AskProvider = (offer: Offer, ask: Ask, signal: AbortSignal) => AsyncIterable<Heard>;

/**
 * busy: it has no room now, nobody's fault. dead: it is gone or too slow. lied: what it sent is
 * wrong. asker: it refuses the request itself, and so would any other.
 */
export type AskFailureKind = 'busy' | 'dead' | 'lied' | 'asker';

export class AskFailure extends Error {
  override readonly name = 'AskFailure';
  readonly kind: AskFailureKind;
  /** The provider's or the receipt check's code, for logs and counters. */
  readonly code: string;

  constructor(kind: AskFailureKind, code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.kind = kind;
    this.code = code;
  }
}
