/** Foundry's programs from npm. They live in the cache, because they have no build for every platform we run on. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const VERSION = '1.7.1';
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const CACHE = join(ROOT, '.cache', 'forge');

/** A program's path; installs it without scripts where it is missing. */
export function foundryBinary(program: 'forge' | 'anvil'): string {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const name = `@foundry-rs/${program}-${process.platform}-${arch}`;
  // npm removes what it does not know of from a folder that it installs into, so each has its own.
  const folder = program === 'forge' ? CACHE : join(ROOT, '.cache', program);
  const binary = join(folder, 'node_modules', name, 'bin', program);
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  const args = [
    'install',
    '--no-save',
    '--ignore-scripts',
    '--prefix',
    folder,
    `${name}@${VERSION}`,
  ];
  const { status, stderr } = spawnSync('npm', args, { encoding: 'utf8' });
  if (status !== 0 || !existsSync(binary)) {
    throw new Error(`Expected npm to give ${name}@${VERSION}; it said:\n${stderr}`);
  }
  return binary;
}
