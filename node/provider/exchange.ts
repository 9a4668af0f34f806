/**
 * What passes between a gateway and a provider about one answer, apart from who is asked and for
 * how much. The frames themselves are the protocol's.
 */
import type { InferEnd, InferOrder, InferTokens } from '#protocol';

/** One attempt at a question, complete enough that any provider gives the same answer. */
export type Ask = Omit<InferOrder, 'client' | 'price' | 'baseHash'>;
/** An attempt as the provider gets it: on which base, who pays, at which price. */
export type Order = InferOrder;

export type FinishReason = 'stop' | 'length';

/** What a provider says: tokens with their text, at last the end with the receipt. */
export type Heard = InferTokens | InferEnd;
