/**
 * Adapters that no task of the network trained: imported weights, and the base alone. Nothing on chain
 * stands for them, so their id is a hash of what they are, and whoever sees it can tell.
 */
import { type Bytes32, fromHex, keccak256, taggedHash, toHex, uint256 } from '#crypto';
import type { AdapterAnchor } from './anchors.ts';

const ZERO: Bytes32 = toHex(new Uint8Array(32));
/** What stands for the base alone where an adapter's id is expected. */
export const NO_ADAPTER: Bytes32 = ZERO;

/**
 * The hash of imported weights, scale included: the same numbers with another alpha answer otherwise.
 * @param parameters float32, little-endian, in the order of the adapter's layout
 */
export function importedHashOf(
  { rank, alpha }: { readonly rank: number; readonly alpha: number },
  parameters: Uint8Array,
): Bytes32 {
  const scale = new Uint8Array(32);
  new DataView(scale.buffer).setFloat64(24, alpha);
  const words = [uint256(rank), scale, keccak256(parameters)];
  return toHex(taggedHash('openledger/imported-weights/1', ...words));
}

/** How an imported adapter stands in a receipt: it learned from no datanet, so it names nobody. */
export function importedAnchor(baseHash: Bytes32, adapterHash: Bytes32): AdapterAnchor {
  const words = [fromHex(baseHash), fromHex(adapterHash)];
  const adapterId = toHex(taggedHash('openledger/imported-adapter/1', ...words));
  return { ...nothing(baseHash), adapterId, adapterHash };
}

/** The base alone as an adapter that learned from nothing. */
export const baseAloneAnchor = (baseHash: Bytes32): AdapterAnchor => nothing(baseHash);

/** Whether an adapter in a receipt is the base alone or imported, by its id alone. */
export function isUnregistered({ adapterId, baseHash, adapterHash }: AdapterAnchor): boolean {
  return adapterId === NO_ADAPTER || adapterId === importedAnchor(baseHash, adapterHash).adapterId;
}

/** Whether that is all the receipt says of it; a registered adapter's data cannot be left out so. */
export const isPlainlyUnregistered = (adapter: AdapterAnchor): boolean =>
  isUnregistered(adapter) &&
  adapter.datanetId === ZERO &&
  adapter.version === 0 &&
  adapter.sketchRoot === ZERO &&
  adapter.sketchCount === 0;

const nothing = (baseHash: Bytes32): AdapterAnchor => ({
  adapterId: NO_ADAPTER,
  baseHash,
  datanetId: ZERO,
  version: 0,
  adapterHash: ZERO,
  sketchRoot: ZERO,
  sketchCount: 0,
});
