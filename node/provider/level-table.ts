/** A `Table` on LevelDB: one directory, one process, every write synced to disk before it counts. */
import { ClassicLevel } from 'classic-level';
import type { Table } from './ports.ts';

/** A table that must be closed. */
export type OpenTable = Table & { readonly close: () => Promise<void> };

/** Opens or creates the table in `directory`; fails when another process holds it. */
export async function openLevelTable(directory: string): Promise<OpenTable> {
  const level = new ClassicLevel<string, Uint8Array>(directory, {
    keyEncoding: 'utf8',
    valueEncoding: 'view',
  });
  await level.open();
  return {
    get: (key) => level.get(key),
    write: (changes) =>
      level.batch(
        changes.map(({ key, value }) =>
          value === null ? { type: 'del', key } : { type: 'put', key, value },
        ),
        { sync: true },
      ),
    entries: (prefix, start = prefix) => level.iterator({ gte: start, lt: `${prefix}\u{10ffff}` }),
    close: () => level.close(),
  };
}
