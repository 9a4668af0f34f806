// One process per data directory: a lock file naming its holder. The lock of a process that no longer
// lives is taken over, also when its pid has meanwhile been given to another program.
import { randomBytes } from 'node:crypto';
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { ChainError } from './errors.ts';

/**
 * Takes the lock at `path`; the returned function gives it back.
 * @throws ChainError CHAIN_LOCKED while a living process holds it.
 */
export async function takeLock(path: string): Promise<() => Promise<void>> {
  const own = JSON.stringify({ pid: process.pid, born: await bornAt(process.pid), id: randomId() });
  const draft = `${path}.${randomId()}`;
  await writeFile(draft, own, { mode: 0o600 });
  try {
    // A link appears whole or not at all, so nobody ever reads a half-written lock.
    while (!(await linked(draft, path))) await removeIfStale(path);
  } finally {
    await unlink(draft);
  }
  return async () => {
    if ((await readIfThere(path)) === own) await unlink(path);
  };
}

async function linked(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function removeIfStale(path: string): Promise<void> {
  const found = await readIfThere(path);
  if (found === null) return;
  const holder = parseHolder(found);
  if (holder !== null && (await isAlive(holder))) {
    throw new ChainError(
      'CHAIN_LOCKED',
      `${path} is held by process ${holder.pid}: stop that process, or use another directory.`,
      { path, pid: holder.pid },
    );
  }
  // Two may find the same stale lock; the one whose rename catches a fresh lock puts it back.
  const aside = `${path}.stale-${randomId()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if ((await readIfThere(aside)) !== found) await linked(aside, path);
  await unlink(aside);
}

type Holder = { readonly pid: number; readonly born: string | null };

function parseHolder(text: string): Holder | null {
  try {
    const value = JSON.parse(text) as Partial<Holder>;
    return typeof value.pid === 'number' ? { pid: value.pid, born: value.born ?? null } : null;
  } catch {
    return null;
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  return holder.born === null || holder.born === (await bornAt(holder.pid));
}

/**
 * Boot id and start time of a process where the system tells them (Linux), else null. One that was
 * killed and that nobody has waited for yet still has a pid, but holds nothing: it is 'ended'.
 */
async function bornAt(pid: number): Promise<string | null> {
  const stat = await readIfThere(`/proc/${pid}/stat`);
  const boot = await readIfThere('/proc/sys/kernel/random/boot_id');
  if (stat === null || boot === null) return null;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? 'ended' : `${boot.trim()}:${fields[19]}`;
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ESRCH') return null;
    throw error;
  }
}

function randomId(): string {
  return randomBytes(6).toString('hex');
}
