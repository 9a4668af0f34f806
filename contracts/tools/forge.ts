/** Forge from npm behind solcjs. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { foundryBinary, ROOT } from './foundry.ts';
import { writePlan } from './plan.ts';

const SOLC = join(ROOT, 'contracts', 'tools', 'solc.mjs');

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
  return spawnSync(foundryBinary('forge'), [...args, '--use', SOLC], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 1 << 28,
    ...(limitMs === undefined ? {} : { timeout: limitMs }),
  });
}
