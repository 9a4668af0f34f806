/**
 * A provider's no. The code travels to the gateway, which decides by it whether to ask elsewhere.
 */
export type RefusalCode =
  | 'REQUEST_INVALID'
  | 'BASE_UNKNOWN'
  | 'ADAPTER_UNKNOWN'
  | 'CONTEXT_TOO_LONG'
  | 'PRICE_TOO_LOW'
  | 'QUEUE_FULL'
  | 'CANCELLED'
  | 'REQUEST_REPEATED'
  | 'PAYMENT_DUE'
  | 'DEPOSIT_TOO_LOW'
  | 'VOUCHER_INVALID'
  | 'VOUCHER_NOT_HIGHER'
  | 'ANSWER_FAILED';

export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: RefusalCode;

  constructor(code: RefusalCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

/** Another time, or after a payment, the same request may be answered. */
const TRANSIENT: readonly RefusalCode[] = [
  'ADAPTER_UNKNOWN',
  'QUEUE_FULL',
  'PAYMENT_DUE',
  'DEPOSIT_TOO_LOW',
];
export const isTransient = (code: RefusalCode): boolean => TRANSIENT.includes(code);
