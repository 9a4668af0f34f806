/**
 * Spares a service the reading of what has not changed: its tick runs when its contract has emitted
 * something since the last tick that succeeded, and at least every `atLeastMs`, because time passes
 * and fetches fail without events.
 */
import type { ChainClient } from '../chain/client.ts';

export function whenChanged(
  client: Pick<ChainClient, 'logs'>,
  contract: string,
  atLeastMs: number,
  nowMs: () => number,
  tick: (signal: AbortSignal) => Promise<void>,
): (signal: AbortSignal) => Promise<void> {
  let fromBlock = 0;
  let ranAtMs = Number.NEGATIVE_INFINITY;
  return async (signal) => {
    const { logs, nextBlock } = await client.logs({ address: contract }, fromBlock);
    const isDue = nowMs() - ranAtMs >= atLeastMs;
    if (logs.length > 0 || isDue) {
      await tick(signal);
      ranAtMs = nowMs();
    }
    fromBlock = nextBlock;
  };
}
