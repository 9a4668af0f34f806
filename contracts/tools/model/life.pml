/*
 * Life and disputes of two tasks of one provider, for an exhaustive search by Spin.
 *
 * Nature chooses who is honest and whether each result is right. In every tick the adversary moves first and the honest
 * last. The tasks share the provider's stake: each has a lock of its own, what is free may leave at any time. Two chunks
 * of data per task can each be challenged once. Each of the two verifiers checks only the segment that it was given, and
 * a wrong result is wrong in one segment only. A watcher outside checks everything, but needs time for it.
 *
 * Each of these, if defined, removes a rule, and the search must then find a counter-example:
 *   DEFAULT_SLASHES_VOTERS  a provider's default counts as a proof against those who voted VALID
 *   VOTE_ATTESTS_ALL        a VALID vote answers for segments that its voter was not given
 *   ONE_CHALLENGE           one challenge per task, and losing it ends the dispute
 *   NO_EXTENSION            an answer to a data challenge leaves the window as it was
 *   EARLY_RELEASE           a lock is free when the votes are counted, before the window ends
 *   MAJORITY_JURY           the majority of a jury decides instead of the referee
 *   SHARED_LOCK             both tasks are backed by the same stake
 * NEVER and NEVER_SEAT claim that an outcome or a verifier's slash cannot be reached, which must be false.
 */
#define LOCK 2
#define ABANDON 1
#define TOTAL (2 * LOCK + 4 + 2)
#ifndef T_DA
#define T_DA 2
#endif
#define WINDOW 4
/* Ticks from having all data to knowing whether the result is right. */
#define RECOMPUTE 2
#define LEASE 2

#define ANNOUNCED 0
#define CLAIMED 1
#define VOTING 2
#define JUDGING 3
#define ACCEPTED 4
#define REJECTED 5
#define REFUNDED 6
#define FINAL(t) (phase[t] >= ACCEPTED)

#define UNASKED 0
#define ASKED 1
#define ANSWERED 2

#define SILENT 0
#define VALID 1
#define INVALID 2

bit honestProvider, honestWatcher;
bit honestVerifier[2];

byte phase[2];
byte clock[2];
bit good[2];
bit badSegment[2];
bit withheld[2];
bit escalated[2];
bit closed[2];
byte vote[4];
byte chunk[4];
byte chunkClock[4];
byte progress[2];

byte free_ = 2 * LOCK;
byte lock[2];
byte seat[4] = 1;
byte escrow[2] = 1;
byte burned, gone, paid;

byte ticks;

#define HAS_DATA(t) (!withheld[t] || (chunk[2 * t] == ANSWERED && chunk[2 * t + 1] == ANSWERED))
#define ANY_HONEST (honestWatcher || honestVerifier[0] || honestVerifier[1])
#define ASKED_ANY(t) (chunk[2 * t] == ASKED || chunk[2 * t + 1] == ASKED)
/* A wrong result that somebody honest can see. */
#define SEEN(t) (!good[t] && (honestWatcher || honestVerifier[badSegment[t]]))

inline funds() {
  assert(free_ + lock[0] + lock[1] + seat[0] + seat[1] + seat[2] + seat[3] + escrow[0] + escrow[1] + burned + gone + paid == TOTAL)
}

/* What a task that is over no longer needs would only tell equal states apart. */
inline forget(t) {
  if
  :: FINAL(t) ->
     good[t] = 0; badSegment[t] = 0; withheld[t] = 0; escalated[t] = 0; closed[t] = 0; clock[t] = 0; progress[t] = 0;
     vote[2 * t] = 0; vote[2 * t + 1] = 0; chunk[2 * t] = 0; chunk[2 * t + 1] = 0;
     chunkClock[2 * t] = 0; chunkClock[2 * t + 1] = 0
  :: else -> skip
  fi
}

inline takeLock(t) {
#ifdef SHARED_LOCK
  /* One lock answers for both; it is booked under the first. */
  if
  :: lock[0] == 0 -> lock[0] = LOCK; free_ = free_ - LOCK
  :: else -> skip
  fi
#else
  lock[t] = LOCK; free_ = free_ - LOCK
#endif
}

#ifdef SHARED_LOCK
#define LOCK_OF(t) lock[0]
#else
#define LOCK_OF(t) lock[t]
#endif

/* The provider loses its lock, and the requester gets its money back. */
inline reject(t) {
  assert(!honestProvider);
  burned = burned + LOCK_OF(t); LOCK_OF(t) = 0;
  paid = paid + escrow[t]; escrow[t] = 0;
  phase[t] = REJECTED
}

inline slashSeat(t, v) {
  assert(!honestVerifier[v]);
  burned = burned + seat[2 * t + v]; seat[2 * t + v] = 0
}

/* The referee has seen the fault: whoever vouched for that segment loses its seat's stake too. */
inline prove(t) {
  assert(LOCK_OF(t) == LOCK);
  if
  :: vote[2 * t + badSegment[t]] == VALID -> slashSeat(t, badSegment[t])
  :: else -> skip
  fi;
#ifdef VOTE_ATTESTS_ALL
  if
  :: vote[2 * t + 1 - badSegment[t]] == VALID -> slashSeat(t, 1 - badSegment[t])
  :: else -> skip
  fi;
#endif
  reject(t)
}

/* The provider did not answer, or gave up: it loses, and nothing is proven about anybody else. */
inline default_(t) {
#ifdef DEFAULT_SLASHES_VOTERS
  if
  :: vote[2 * t] == VALID -> slashSeat(t, 0)
  :: else -> skip
  fi;
  if
  :: vote[2 * t + 1] == VALID -> slashSeat(t, 1)
  :: else -> skip
  fi;
#endif
  reject(t)
}

inline answerChunk(t, c) {
  chunk[2 * t + c] = ANSWERED;
#ifndef NO_EXTENSION
  if
  :: clock[t] < RECOMPUTE + 1 -> clock[t] = RECOMPUTE + 1
  :: else -> skip
  fi
#endif
}

inline askChunk(t, c) {
  chunk[2 * t + c] = ASKED; chunkClock[2 * t + c] = T_DA
}

inline claim(t) {
  takeLock(t); phase[t] = CLAIMED; clock[t] = LEASE
}

inline deliver(t) {
  phase[t] = VOTING; clock[t] = 2
}

/* Each choice once per tick, in one order; what a tick forbids the next allows. */
inline adversary(t) {
  if
  :: phase[t] == ANNOUNCED && !honestProvider && free_ >= LOCK -> if :: claim(t) :: skip fi
#ifdef SHARED_LOCK
  :: phase[t] == ANNOUNCED && !honestProvider && free_ < LOCK && lock[0] == LOCK -> if :: claim(t) :: skip fi
#endif
  :: phase[t] == CLAIMED && !honestProvider ->
     if
     :: good[t] = 1; deliver(t)
     :: badSegment[t] = 0; deliver(t)
     /* Which verifier is the first makes no difference; whether it is the same one in both tasks does. */
     :: t == 1 -> badSegment[t] = 1; deliver(t)
     :: skip
     fi;
     if
     :: phase[t] == VOTING -> if :: withheld[t] = 1 :: skip fi
     :: else -> skip
     fi
  :: phase[t] == VOTING -> adversaryVote(t, 0); adversaryVote(t, 1)
  :: phase[t] == JUDGING -> adversaryChunk(t, 0); adversaryChunk(t, 1);
#ifdef ONE_CHALLENGE
     /* A friend of the provider takes the only place and loses on purpose. */
     if :: closed[t] = 1 :: skip fi;
#endif
#ifdef MAJORITY_JURY
     if :: reject(t) :: skip fi;
#endif
     if
     :: phase[t] == JUDGING && !honestProvider -> if :: default_(t) :: skip fi
     :: else -> skip
     fi
  :: else -> skip
  fi;
  /* Stake that no task may still need leaves as soon as it is free. */
  if
  :: !honestProvider && phase[0] != ANNOUNCED && phase[1] != ANNOUNCED -> gone = gone + free_; free_ = 0
  :: else -> skip
  fi
}

inline adversaryVote(t, v) {
  if
  :: honestVerifier[v] -> skip
  :: !honestVerifier[v] && vote[2 * t + v] == SILENT -> if :: vote[2 * t + v] = VALID :: vote[2 * t + v] = INVALID :: skip fi
  :: else -> skip
  fi
}

inline adversaryChunk(t, c) {
  if
  /* Asking is a nuisance for the honest only; what a dishonest one answers is public whoever asked. */
  :: chunk[2 * t + c] == UNASKED && honestProvider -> if :: askChunk(t, c) :: skip fi
  :: chunk[2 * t + c] == ASKED && !honestProvider -> if :: answerChunk(t, c) :: skip fi
  :: else -> skip
  fi
}

inline honestVote(t, v) {
  if
  :: honestVerifier[v] && vote[2 * t + v] == SILENT && !withheld[t] ->
     if
     :: !good[t] && badSegment[t] == v -> vote[2 * t + v] = INVALID
     :: else -> vote[2 * t + v] = VALID
     fi
  :: else -> skip
  fi
}

inline honest(t) {
  if
  :: phase[t] == ANNOUNCED && honestProvider -> claim(t)
  :: phase[t] == CLAIMED && honestProvider -> good[t] = 1; deliver(t)
  :: phase[t] == VOTING -> honestVote(t, 0); honestVote(t, 1)
  :: phase[t] == JUDGING ->
     if
     :: honestProvider && chunk[2 * t] == ASKED -> answerChunk(t, 0)
     :: else -> skip
     fi;
     if
     :: honestProvider && chunk[2 * t + 1] == ASKED -> answerChunk(t, 1)
     :: else -> skip
     fi;
     if
     :: ANY_HONEST && withheld[t] && chunk[2 * t] == UNASKED -> askChunk(t, 0)
     :: else -> skip
     fi;
     if
     :: ANY_HONEST && withheld[t] && chunk[2 * t + 1] == UNASKED -> askChunk(t, 1)
     :: else -> skip
     fi;
     /* A verifier proves a fault in its segment as soon as it has the data, the watcher once it has recomputed everything. */
     if
     :: !good[t] && !closed[t] && HAS_DATA(t) && honestVerifier[badSegment[t]] -> prove(t)
     :: else ->
        if
        :: honestWatcher && HAS_DATA(t) && progress[t] < RECOMPUTE -> progress[t]++
        :: honestWatcher && HAS_DATA(t) && progress[t] == RECOMPUTE && !good[t] && !closed[t] -> prove(t)
        :: else -> skip
        fi
     fi
  :: else -> skip
  fi
}

inline unlock(t) {
#ifdef SHARED_LOCK
  if
  :: FINAL(1 - t) -> free_ = free_ + lock[0]; lock[0] = 0
  :: else -> skip
  fi
#else
  free_ = free_ + lock[t]; lock[t] = 0
#endif
}

inline chunkTime(t, c) {
  if
  :: phase[t] == JUDGING && chunk[2 * t + c] == ASKED ->
     if
     :: chunkClock[2 * t + c] == 0 -> default_(t)
     :: else -> chunkClock[2 * t + c]--
     fi
  :: else -> skip
  fi
}

inline settle(t) {
  /* An INVALID vote escalated: the result does not stand, whatever was proven, and the requester is refunded. */
  if
  :: escalated[t] -> phase[t] = REFUNDED
  :: else -> assert(!SEEN(t)); phase[t] = ACCEPTED
  fi;
  unlock(t);
  paid = paid + escrow[t]; escrow[t] = 0
}

inline time(t) {
  chunkTime(t, 0);
  chunkTime(t, 1);
  if
  :: !FINAL(t) && clock[t] > 0 -> clock[t]--
  :: else -> skip
  fi;
  if
  :: phase[t] == ANNOUNCED && clock[t] == 0 ->
     phase[t] = REFUNDED; paid = paid + escrow[t]; escrow[t] = 0
  :: phase[t] == CLAIMED && clock[t] == 0 ->
     assert(!honestProvider);
     burned = burned + ABANDON; LOCK_OF(t) = LOCK_OF(t) - ABANDON;
     phase[t] = REFUNDED; unlock(t); paid = paid + escrow[t]; escrow[t] = 0
  :: phase[t] == VOTING && clock[t] == 0 ->
     escalated[t] = (vote[2 * t] == INVALID || vote[2 * t + 1] == INVALID);
     phase[t] = JUDGING; clock[t] = WINDOW
#ifdef EARLY_RELEASE
     ; unlock(t)
#endif
  :: phase[t] == JUDGING && clock[t] == 0 && !ASKED_ANY(t) -> settle(t)
  :: else -> skip
  fi;
  forget(t);
  funds()
}

init {
  atomic {
    if :: honestProvider = 1 :: honestProvider = 0 fi;
    if :: honestWatcher = 1 :: honestWatcher = 0 fi;
    if :: honestVerifier[0] = 1 :: honestVerifier[0] = 0 fi;
    if :: honestVerifier[1] = 1 :: honestVerifier[1] = 0 fi;
    clock[0] = 1; clock[1] = 2
  }
  do
  :: FINAL(0) && FINAL(1) -> break
  :: else ->
     atomic { adversary(0); adversary(1) }
     d_step {
       honest(0); honest(1); time(0); time(1);
       ticks++;
#ifdef NEVER
       assert(phase[0] != NEVER && phase[1] != NEVER);
#endif
#ifdef NEVER_SEAT
       assert(seat[0] == 1 && seat[1] == 1 && seat[2] == 1 && seat[3] == 1);
#endif
       /* No deadlock and no endless delay: everything ends, whatever anybody does. */
       assert(ticks < 30)
     }
  od;
  assert(lock[0] == 0 && lock[1] == 0 && escrow[0] == 0 && escrow[1] == 0)
}
