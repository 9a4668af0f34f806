/** Keys chosen by a test so that a node of its choice is the first to claim a task. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Address, addressOfPrivateKey, toHex } from '#crypto';
import { isTurn } from '#protocol';

/** Whether `self` is the first of the providers in the order in which they claim a task. */
const isFirst = (taskId: number, providers: readonly Address[], self: Address): boolean =>
  isTurn(`task/${taskId}/claim/1`, providers, self, 0, 0, 1);

/** Random keys of `count` providers of which the one at `index` claims task `taskId` first. */
export function keysWithFirst(taskId: number, count: number, index: number): Uint8Array[] {
  for (;;) {
    const keys = Array.from({ length: count }, () => new Uint8Array(randomBytes(32)));
    const addresses = keys.map((key) => addressOfPrivateKey(key));
    if (isFirst(taskId, addresses, addresses[index] as Address)) return keys;
  }
}

/** A random key that claims task `taskId` before the providers there are. */
export function keyBefore(taskId: number, others: readonly Address[]): Uint8Array {
  for (;;) {
    const key = new Uint8Array(randomBytes(32));
    const self = addressOfPrivateKey(key);
    if (isFirst(taskId, [...others, self], self)) return key;
  }
}

/** Writes a bare key, as a node of the local preset keeps its own. */
export function writeBareKey(file: string, key: Uint8Array): void {
  mkdirSync(dirname(file), { recursive: true });
  const body = { address: addressOfPrivateKey(key), privateKey: toHex(key) };
  writeFileSync(file, JSON.stringify(body), { mode: 0o600 });
}
