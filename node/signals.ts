/**
 * When a process should end: on SIGTERM; on Ctrl-C, unless a parent looks after it, which then ends it
 * in the right order; and when that parent is gone, so that nothing outlives a killed supervisor.
 */

/** Resolves when the process should end; it is ended the hard way when it has not after `withinMs`. */
export function endSignal(withinMs: number): Promise<void> {
  return new Promise((resolve) =>
    onEnd(() => {
      resolve();
      // Closing waits for what is under way; what cannot be finished is found by the next start.
      setTimeout(() => process.exit(1), withinMs).unref();
    }),
  );
}

/** Calls `end` once, with what asked for it. */
export function onEnd(end: (why: 'SIGTERM' | 'SIGINT' | 'parent gone') => void): void {
  let asked = false;
  const once = (why: Parameters<typeof end>[0]) => () => {
    if (asked) return;
    asked = true;
    end(why);
  };
  process.on('SIGTERM', once('SIGTERM'));
  const hasParent = process.send !== undefined;
  process.on('SIGINT', hasParent ? () => undefined : once('SIGINT'));
  if (hasParent) process.on('disconnect', once('parent gone'));
}
