/** Forge from npm behind solcjs. It lives in the cache, because its package has no build for every platform we run on. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writePlan } from './plan.ts';

const VERSION = '1.7.1';
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const CACHE = join(ROOT, '.cache', 'forge');
const SOLC = join(ROOT, 'contracts', 'tools', 'solc.mjs');

/** The binary's path; installs it without scripts where it is missing. */
function forgeBinary(): string {
  const platform = process.platform === 'win32' ? 'win32' : process.platform;
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  const name = `@foundry-rs/forge-${platform}-${arch}`;
  const binary = join(CACHE, 'node_modules', name, 'bin', 'forge');
  if (existsSync(binary)) return binary;
  mkdirSync(CACHE, { recursive: true });
  const args = [
    'install',
    '--no-save',
    '--ignore-scripts',
    '--prefix',
    CACHE,
    `${name}@${VERSION}`,
  ];
  const { status, stderr } = spawnSync('npm', args, { encoding: 'utf8' });
  if (status !== 0 || !existsSync(binary)) {
    throw new Error(`Expected npm to give ${name}@${VERSION}; it said:\n${stderr}`);
  }
  return binary;
}

/**
 * Runs forge on the deployment plan of now; needs no network.
 * @param folder a checkout's root, this one unless given
 * @param limitMs after which it is ended, which its result's signal tells; no limit unless given
 */
export function forge(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  folder = ROOT,
  limitMs?: number,
): SpawnSyncReturns<string> {
  writePlan(join(folder, '.cache', 'forge', 'plan'));
  return spawnSync(forgeBinary(), [...args, '--use', SOLC], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 1 << 28,
    ...(limitMs === undefined ? {} : { timeout: limitMs }),
  });
}
