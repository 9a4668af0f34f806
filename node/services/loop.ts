/**
 * Runs a service's tick again and again, one at a time: the same work never overlaps with itself, a
 * failure is logged and tried again, and closing waits for the tick that is under way.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { Log } from '../log.ts';

type Loop = { readonly close: () => Promise<void> };

export function startLoop(
  name: string,
  everyMs: number,
  log: Log,
  tick: (signal: AbortSignal) => Promise<void>,
): Loop {
  const stop = new AbortController();
  const running = (async () => {
    while (!stop.signal.aborted) {
      try {
        await tick(stop.signal);
      } catch (error) {
        if (!stop.signal.aborted) log.warn(`${name} failed, will try again`, { error });
      }
      await wait(everyMs, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  })();
  return {
    close: async () => {
      stop.abort();
      await running;
    },
  };
}
