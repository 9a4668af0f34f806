/**
 * What a node wants done on chain, and whose turn it is to do what any node may do. A key stands for
 * one action for ever: the outbox sends it once, however often the same state makes a node want it
 * (docs/decisions/0004).
 */
import { type Address, addressWord, bytes32, keccak256, taggedHash, toHex, utf8 } from '#crypto';

export type ContractName =
  | 'DatanetRegistry'
  | 'EpochDisputes'
  | 'Epochs'
  | 'InferenceEscrow'
  | 'PaymentDisputes'
  | 'Referee'
  | 'TaskEscrow';
export type Intent<Name extends ContractName = ContractName> = {
  readonly key: string;
  readonly contract: Name;
  readonly fn: string;
  readonly args: readonly unknown[];
};

/**
 * A node's place in the order in which all try one action; the order differs from subject to
 * subject. Who is not among the actors comes last.
 */
function rankOf(subject: string, actors: readonly Address[], self: Address): number {
  if (!actors.includes(self)) return actors.length;
  const label = bytes32(keccak256(utf8(subject)));
  const orderOf = (account: Address) =>
    toHex(taggedHash('openledger/stagger/1', label, addressWord(account)));
  const mine = orderOf(self);
  return actors.filter((actor) => orderOf(actor) < mine).length;
}

/**
 * Whether it is a node's turn to do what may be done from a known instant on: the first in the order
 * at once, each next one `staggerMs` later, so that one transaction is sent and a dead node is soon
 * stood in for.
 * @param subject what is to be done: the same text for all nodes, another for another action
 * @param actors all who may do it, as the chain lists them
 */
export function isTurn(
  subject: string,
  actors: readonly Address[],
  self: Address,
  sinceMs: number,
  nowMs: number,
  staggerMs: number,
): boolean {
  if (nowMs < sinceMs) return false;
  return nowMs >= sinceMs + rankOf(subject, actors, self) * staggerMs;
}

/**
 * Whether it is a node's turn to do what may be done since nobody knows when: turns of `staggerMs`
 * go round, so that at any time one node may act, and each comes to it.
 */
export function isTurnInRound(
  subject: string,
  actors: readonly Address[],
  self: Address,
  nowMs: number,
  staggerMs: number,
): boolean {
  const turn = Math.floor(nowMs / staggerMs) % Math.max(1, actors.length);
  return rankOf(subject, actors, self) === turn;
}
