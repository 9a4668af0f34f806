// The time that the local chain lives by: it follows the wall clock forwards, never backwards.

/** Time and a single alarm; tests drive their own. */
export type ChainClock = {
  nowMs(): number;
  /** Calls `run` once at or after `atMs`; returns how to call it off. */
  wakeAt(atMs: number, run: () => void): () => void;
};

/** The system's clock, not before `floorMs`: a wall clock set back only stops being followed. */
export function systemChainClock(floorMs: number): ChainClock {
  const offsetMs = Math.max(Date.now(), floorMs) - performance.now();
  const nowMs = () => Math.floor(Math.max(performance.now() + offsetMs, Date.now(), floorMs));
  return {
    nowMs,
    wakeAt(atMs, run) {
      const timer = setTimeout(run, Math.max(0, atMs - nowMs()));
      return () => clearTimeout(timer);
    },
  };
}
