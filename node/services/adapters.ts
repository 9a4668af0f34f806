/**
 * What an operator can do with adapters: see which this node serves, import one, take one out as a
 * PEFT directory, and pin those that are to stay in memory.
 */
import { join } from 'node:path';
import { z } from 'zod';
import type { Bytes32 } from '#crypto';
import { adapterHashOf } from '#protocol';
import {
  type Adapter,
  type AdapterBase,
  BATCH_SIZES,
  decodeAdapter,
  encodeAdapter,
} from '#runtime';
import type { AdapterFiles } from '../adapter-files.ts';
import { NodeError } from '../errors.ts';
import type { ListedAdapter } from '../gateway/models.ts';
import type { OwnAdapters } from '../provider/provider.ts';
import { type ImportedAdapter, openImported } from '../store/imported.ts';
import { openStateFile } from '../store/state-file.ts';

/** One line of `openledger adapter list`. */
export type AdapterView = {
  readonly adapterId: Bytes32;
  readonly name: string;
  readonly registered: boolean;
  readonly pinned: boolean;
};

export type Adapters = {
  readonly own: OwnAdapters;
  /** Of the chain and imported ones. */
  readonly listed: () => Promise<readonly ListedAdapter[]>;
  readonly list: () => Promise<readonly AdapterView[]>;
  /** @throws ModelError or NodeError; nothing is kept then. `isTrial`: nothing is kept anyway. */
  readonly add: (name: string, files: AdapterFiles, isTrial: boolean) => Promise<AdapterView>;
  /** Only imported ones can be removed. @throws NodeError NOT_FOUND */
  readonly remove: (which: string) => Promise<AdapterView>;
  readonly files: (which: string) => Promise<AdapterFiles>;
  readonly pin: (which: string, isPinned: boolean) => Promise<AdapterView>;
};

export type AdaptersParts = {
  readonly dataDir: string;
  readonly base: AdapterBase;
  readonly baseHash: Bytes32;
  /** Those of the chain that are trained on this base. */
  readonly registered: () => Promise<readonly ListedAdapter[]>;
  /** Tells the engine that answers. */
  readonly pin: (adapterId: Bytes32, isPinned: boolean) => void;
  /** The factors of one of the chain. */
  readonly load: (adapterId: Bytes32) => Promise<Adapter>;
  readonly nowMs: () => number;
};

export function openAdapters(parts: AdaptersParts): Adapters {
  const { base, baseHash, nowMs } = parts;
  const folder = join(parts.dataDir, 'adapters');
  const rankMax = BATCH_SIZES.rankMax;
  const imported = openImported({ folder, base, baseHash, rankMax, nowMs });
  const pins = openStateFile<string[]>(join(parts.dataDir, 'pinned-adapters'), [], (body) =>
    z.array(z.string()).parse(body),
  );
  const pinned = new Set(pins.state);
  for (const adapterId of pinned) parts.pin(adapterId as Bytes32, true);

  const listed = async () => [
    ...(await parts.registered()),
    ...imported.list().map((one) => listedOf(one)),
  ];
  const viewOf = ({ adapterId, name, isRegistered }: ListedAdapter): AdapterView => ({
    adapterId,
    name,
    registered: isRegistered,
    pinned: pinned.has(adapterId),
  });
  const find = async (which: string): Promise<ListedAdapter> => {
    const found = (await listed()).find(
      ({ adapterId, name }) => name === which || adapterId === which.toLowerCase(),
    );
    if (found !== undefined) return found;
    const fix = '`openledger adapter list` names all';
    throw new NodeError('NOT_FOUND', { what: 'adapter', name: which }, fix);
  };
  const setPin = (adapterId: Bytes32, isPinned: boolean): void => {
    if (isPinned) pinned.add(adapterId);
    else pinned.delete(adapterId);
    pins.save([...pinned].sort());
    parts.pin(adapterId, isPinned);
  };
  return {
    own: {
      imported: (adapterId) => {
        const one = imported.get(adapterId);
        if (one === undefined) return undefined;
        return { handle: { id: adapterId, fetch: () => imported.load(adapterId) }, ...one };
      },
      importedIds: () => imported.list().map(({ anchor }) => anchor.adapterId),
      isPinned: (adapterId) => pinned.has(adapterId),
    },
    listed,
    list: async () => (await listed()).map(viewOf),
    add: async (name, files, isTrial) => {
      refuseKnown(name, files, await parts.registered(), base, rankMax);
      return viewOf(listedOf(isTrial ? imported.check(name, files) : imported.add(name, files)));
    },
    remove: async (which) => {
      const one = await find(which);
      if (one.isRegistered)
        throw new NodeError(
          'NOT_FOUND',
          { what: 'imported adapter', name: which },
          'what stands on chain stays; `openledger adapter list` tells which were imported',
        );
      if (pinned.has(one.adapterId)) setPin(one.adapterId, false);
      imported.remove(one.adapterId);
      return viewOf(one);
    },
    files: async (which) => {
      const { adapterId, isRegistered } = await find(which);
      return encodeAdapter(await (isRegistered ? parts : imported).load(adapterId), base);
    },
    pin: async (which, isPinned) => {
      const one = await find(which);
      setPin(one.adapterId, isPinned);
      return viewOf(one);
    },
  };
}

const listedOf = ({ anchor, name, importedAt }: ImportedAdapter): ListedAdapter => ({
  adapterId: anchor.adapterId,
  adapterHash: anchor.adapterHash,
  name,
  owner: null,
  registeredAt: importedAt,
  isRegistered: false,
});

/** An adapter of the chain, imported, would answer without its contributors: it is served as what it is. */
function refuseKnown(
  name: string,
  files: AdapterFiles,
  registered: readonly ListedAdapter[],
  base: AdapterBase,
  rankMax: number,
): void {
  const { buffer, byteOffset, byteLength } = decodeAdapter(
    files.config,
    files.weights,
    base,
    rankMax,
  ).parameters;
  const hash = adapterHashOf(new Uint8Array(buffer, byteOffset, byteLength));
  const same = registered.find(({ adapterHash }) => adapterHash === hash);
  const named = registered.find((one) => one.name === name);
  const known = same ?? named;
  if (known === undefined) return;
  throw new NodeError(
    'ADAPTER_KNOWN',
    { name, as: `${known.name} (on chain as ${known.adapterId})` },
    same === undefined ? 'choose another --name' : `ask for it as base:${known.name}`,
  );
}
