/** What can be wrong with a receipt file, and where: the answer of a verification, not an error. */
import type { ReceiptFileFault } from './receipt-file.ts';

export type ReceiptFault =
  | ReceiptFileFault
  | 'DOMAIN_UNTRUSTED'
  | 'SIGNATURE_WRONG'
  | 'HASH_WRONG'
  | 'NOT_UTF8'
  | 'TOKENS_WRONG'
  | 'PRICE_WRONG'
  | 'FEE_UNEVEN'
  | 'NORM_WRONG'
  | 'LINEAGE_BROKEN'
  | 'ADAPTER_UNTRUSTED'
  | 'VERSION_UNTRUSTED'
  | 'RULES_UNTRUSTED'
  | 'RULES_WRONG'
  | 'COUNT_WRONG'
  | 'PROOF_WRONG'
  | 'DOT_WRONG'
  | 'SCORE_WRONG'
  | 'BELOW_THRESHOLD'
  | 'CLUSTER_TWICE'
  | 'ORDER_WRONG'
  | 'SPAN_NOT_THERE'
  | 'SPAN_RULE'
  | 'WEIGHT_WRONG'
  | 'RECORDS_WRONG'
  | 'DIVISION_WRONG'
  | 'ROOT_WRONG'
  | 'EPOCH_UNTRUSTED';

/** `field` names a field of the file and, where it can, the place in it: `scores[2].dot`. */
export type ReceiptInvalid = {
  readonly valid: false;
  readonly field: string;
  readonly code: ReceiptFault;
  readonly message: string;
};

export function receiptFault(field: string, code: ReceiptFault, message: string): ReceiptInvalid {
  return { valid: false, field, code, message };
}
