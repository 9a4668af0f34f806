/** Foundry's programs from npm. They live in the cache, because they have no build for every platform we run on. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const VERSION = '1.7.1';
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const CACHE = join(ROOT, '.cache', 'forge');

/**
 * Fills a folder that others may be filling too: `fill` works beside it, and what it made appears whole or not at all. Who
 * comes second takes what is there; a program that is still being written cannot be started (ETXTBSY).
 */
export function fillOnce(folder: string, fill: (beside: string) => void): void {
  if (existsSync(folder)) return;
  mkdirSync(dirname(folder), { recursive: true });
  const beside = mkdtempSync(`${folder}.`);
  try {
    fill(beside);
    renameSync(beside, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
}

/** A program's path; installs it without scripts where it is missing. */
export function foundryBinary(program: 'forge' | 'anvil'): string {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const name = `@foundry-rs/${program}-${process.platform}-${arch}`;
  const folder = join(ROOT, '.cache', `${program}-${VERSION}`);
  const inFolder = join('node_modules', name, 'bin', program);
  fillOnce(folder, (beside) => {
    const args = ['install', '--no-save', '--ignore-scripts', '--prefix', beside];
    const { status, stderr } = spawnSync('npm', [...args, `${name}@${VERSION}`], {
      encoding: 'utf8',
    });
    if (status !== 0 || !existsSync(join(beside, inFolder))) {
      throw new Error(`Expected npm to give ${name}@${VERSION}; it said:\n${stderr}`);
    }
  });
  return join(folder, inFolder);
}
