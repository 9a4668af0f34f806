/** Names of models as clients write them: `base`, `base:adapter`, `base:0x…` or `0x…` alone. */
import type { Address, Bytes32 } from '#crypto';
import type { ModelEntry } from './server.ts';

export type ListedAdapter = {
  readonly adapterId: Bytes32;
  readonly name: string;
  readonly owner: Address;
  readonly registeredAt: number;
};

export type Models = {
  readonly list: () => Promise<readonly ModelEntry[]>;
  readonly resolve: (model: string) => Promise<{ readonly adapterId: Bytes32 | null } | undefined>;
};

/**
 * @param baseName what clients call the base
 * @param adapters registered on that base; of several with one name the newest has it
 */
export function openModels(
  baseName: string,
  adapters: () => Promise<readonly ListedAdapter[]>,
): Models {
  const newestFirst = async () =>
    [...(await adapters())].sort((left, right) => right.registeredAt - left.registeredAt);
  return {
    list: async () => {
      const base = { id: baseName, createdSeconds: 0, ownedBy: 'openledger', adapterId: null };
      const taken = new Set<string>();
      const entries = (await newestFirst()).map(({ adapterId, name, owner, registeredAt }) => {
        const id = taken.has(name) ? adapterId : name;
        taken.add(name);
        return {
          id: `${baseName}:${id}`,
          createdSeconds: registeredAt,
          ownedBy: owner,
          adapterId,
        };
      });
      return [base, ...entries];
    },
    resolve: async (model) => {
      if (model === baseName) return { adapterId: null };
      const wanted = model.startsWith(`${baseName}:`) ? model.slice(baseName.length + 1) : model;
      const found = (await newestFirst()).find(
        ({ adapterId, name }) =>
          adapterId === wanted.toLowerCase() || (name === wanted && wanted !== model),
      );
      return found === undefined ? undefined : { adapterId: found.adapterId };
    },
  };
}
