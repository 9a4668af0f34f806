/** The watch over versions of datanets, opened for a node. */
import { PRESETS, type ProtocolParameters } from '#protocol';
import type { Log } from '../log.ts';
import { watchVersions } from '../watch/versions.ts';
import type { Account } from './account.ts';
import type { Datanets } from './datanets.ts';
import { readStakers } from './staking.ts';

/** A node's tick over all versions that nobody has judged yet. */
export function openVersionWatch(
  { chain, client, chainSeconds }: Account,
  datanets: Datanets,
  config: { readonly preset: ProtocolParameters['preset']; readonly challenges: boolean },
  log: Log,
): (signal: AbortSignal) => Promise<void> {
  return watchVersions(
    {
      self: chain.self,
      chain,
      datanets,
      watchers: async () => (await readStakers(chain)).map(({ account }) => account),
      waitForBlock: (number, signal) => client.waitForBlock(number, signal),
      chainSeconds,
      nowMs: Date.now,
      log,
    },
    { staggerMs: PRESETS[config.preset].staggerMs, challenges: config.challenges },
  );
}
