/** One process per data directory: a lock file with the pid, taken over when that process is gone. */
import { closeSync, mkdirSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { NodeError } from '../errors.ts';

/** Takes the lock and returns what frees it. @throws NodeError DATA_DIR_LOCKED naming the holder. */
export function lockDataDir(dataDir: string): () => void {
  mkdirSync(dataDir, { recursive: true });
  const file = join(dataDir, 'node.lock');
  for (let attempt = 0; ; attempt += 1) {
    try {
      const handle = openSync(file, 'wx');
      writeSync(handle, String(process.pid));
      closeSync(handle);
      return () => {
        if (readPid(file) === process.pid) unlinkSync(file);
      };
    } catch (error) {
      if ((error as { code?: string }).code !== 'EEXIST') throw error;
      const pid = readPid(file);
      if (pid !== null && pid !== process.pid && isAlive(pid) && attempt < 3)
        throw new NodeError(
          'DATA_DIR_LOCKED',
          { dataDir, pid },
          `stop process ${pid}, or use another --data-dir`,
        );
      try {
        unlinkSync(file);
      } catch {
        // Its owner freed it in this moment; the next attempt takes it.
      }
    }
  }
}

function readPid(file: string): number | null {
  try {
    const pid = Number(readFileSync(file, 'utf8'));
    return Number.isInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !hasEnded(pid);
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM';
  }
}

/** Whether it was killed and only nobody has waited for it yet; told by Linux alone. */
function hasEnded(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return 'ZX'.includes(stat.charAt(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
