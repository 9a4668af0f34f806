// How peers stand with us: penalties for what they do outside gossip, and for how long a peer that
// was hung up on stays out. Gossip's own score adds the penalties as its application part.

/** Half of a penalty is forgotten in this time. */
const HALF_LIFE_MS = 60_000;
/** Peers remembered; ids are free to make, so the memory of them is bounded. */
const PEERS_MAX = 10_000;

/** Below this score a peer is not listened to; the value is gossipsub's graylist threshold. */
export const GRAYLIST_SCORE = -80;

/** Points of one offence; four malformed frames within a minute end the connection. */
export const PENALTY = { malformedFrame: 25, replay: 25, wrongBlock: 40 } as const;

export type Standing = {
  /** Adds points; returns the points that the peer has now. */
  penalise(peerId: string, points: number, nowMs: number): number;
  /** What the penalties add to the peer's gossip score; never above 0. */
  scoreOf(peerId: string, nowMs: number): number;
  ban(peerId: string, untilMs: number): void;
  isBanned(peerId: string, nowMs: number): boolean;
};

export function createStanding(): Standing {
  const penalties = new Map<string, { points: number; atMs: number }>();
  const bans = new Map<string, number>();
  const pointsOf = (peerId: string, nowMs: number) => {
    const known = penalties.get(peerId);
    if (known === undefined) return 0;
    const points = known.points * 0.5 ** ((nowMs - known.atMs) / HALF_LIFE_MS);
    return points < 1 ? 0 : points;
  };
  return {
    penalise(peerId, points, nowMs) {
      const total = pointsOf(peerId, nowMs) + points;
      remember(penalties, peerId, { points: total, atMs: nowMs });
      return total;
    },
    scoreOf: (peerId, nowMs) => -pointsOf(peerId, nowMs),
    ban(peerId, untilMs) {
      // A ban starts a new account, or the first offence after it would end the connection again.
      penalties.delete(peerId);
      remember(bans, peerId, untilMs);
    },
    isBanned(peerId, nowMs) {
      const untilMs = bans.get(peerId);
      if (untilMs === undefined) return false;
      if (nowMs < untilMs) return true;
      bans.delete(peerId);
      return false;
    },
  };
}

function remember<T>(memory: Map<string, T>, peerId: string, value: T): void {
  memory.delete(peerId);
  memory.set(peerId, value);
  if (memory.size <= PEERS_MAX) return;
  for (const oldest of memory.keys()) {
    memory.delete(oldest);
    return;
  }
}
