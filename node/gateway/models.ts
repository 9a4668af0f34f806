/** Names of models as clients write them: `base`, `base:adapter`, `base:0x…` or `0x…` alone. */
import type { Address, Bytes32 } from '#crypto';

export type ListedAdapter = {
  readonly adapterId: Bytes32;
  readonly adapterHash: Bytes32;
  readonly name: string;
  /** null of an imported one. */
  readonly owner: Address | null;
  /** Seconds; of an imported one when it came. */
  readonly registeredAt: number;
  /** false: imported by the operator, without a history on chain; its answers name nobody. */
  readonly isRegistered: boolean;
};

/** The adapter of a model name; null: the base alone. */
export type Target = { readonly adapterId: Bytes32 | null; readonly isRegistered: boolean };

/** A line of `/v1/models`. */
export type ModelEntry = {
  /** `base` or `base:adapter`, as a client names it. */
  readonly id: string;
  readonly createdSeconds: number;
  readonly ownedBy: string;
  readonly adapterId: string | null;
  /** Whether the adapter has a history on chain, so that its answers can name contributors. */
  readonly isRegistered: boolean;
};

export type Models = {
  readonly list: () => Promise<readonly ModelEntry[]>;
  readonly resolve: (model: string) => Promise<Target | undefined>;
};

/**
 * @param baseName what clients call the base
 * @param adapters on that base; of several with one name the newest has it, registered ones first
 */
export function openModels(
  baseName: string,
  adapters: () => Promise<readonly ListedAdapter[]>,
): Models {
  const newestFirst = async () =>
    [...(await adapters())].sort(
      (left, right) =>
        Number(right.isRegistered) - Number(left.isRegistered) ||
        right.registeredAt - left.registeredAt,
    );
  return {
    list: async () => {
      const base = {
        id: baseName,
        createdSeconds: 0,
        ownedBy: 'openledger',
        adapterId: null,
        isRegistered: false,
      };
      const taken = new Set<string>();
      const entries = (await newestFirst()).map((adapter) => {
        const { adapterId, name, owner, registeredAt, isRegistered } = adapter;
        const id = taken.has(name) ? adapterId : name;
        taken.add(name);
        return {
          id: `${baseName}:${id}`,
          createdSeconds: registeredAt,
          ownedBy: owner ?? 'imported',
          adapterId,
          isRegistered,
        };
      });
      return [base, ...entries];
    },
    resolve: async (model) => {
      if (model === baseName) return { adapterId: null, isRegistered: false };
      const wanted = model.startsWith(`${baseName}:`) ? model.slice(baseName.length + 1) : model;
      const found = (await newestFirst()).find(
        ({ adapterId, name }) =>
          adapterId === wanted.toLowerCase() || (name === wanted && wanted !== model),
      );
      return found;
    },
  };
}
