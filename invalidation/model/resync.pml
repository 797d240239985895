// SPDX-License-Identifier: Apache-2.0
//
// The subscription of one shard and the log in Redis: numbers, epochs, links that break, replay or void, claims of coherence.
// README.md maps the steps to the code and says what is left out. Every remedy below is a macro; -DX=0 takes it out.
//
// There is no time here. A claim ("L1 is valid until s + D") is replaced by what it stands for: everything that was published
// before the heartbeat was sent at s has been applied or voided. bus.pml shows, with time, that the promise follows from that.
//
// One write is watched, of the key that L1 caches; it is any of the writes. `value` is 1 before it and 2 after it; `claimed` is 2
// once a heartbeat was believed that had been sent after it: from then on L1 may not hold, nor be filled with, 1. More writes of
// the key would add nothing: of a run that serves a value older than its newest claimed successor, the run in which all other
// writes name other keys does the same, with fewer erasures.

#ifndef WRITES
#define WRITES 3      // writes by anyone, to the watched key or to another
#endif
#ifndef QUEUE
#define QUEUE 3       // messages on the way to the subscriber; one more and Redis drops the link
#endif
#ifndef TRIMS
#define TRIMS 1       // 1: the log may lose its oldest entry at any time
#endif
#ifndef HOLES
#define HOLES 0       // messages that get no number, or no place in the log
#endif
#ifndef RESTARTS
#define RESTARTS 0    // of Redis: with its data, from an older snapshot, or empty; also FLUSHALL
#endif
#ifndef EVICTIONS
#define EVICTIONS 0   // of a bookkeeping key, or of counter and log together
#endif
#ifndef DROPS
#define DROPS 0       // numbered messages that vanish from a link that stands (one server does not do that, a cluster's bus does)
#endif
#ifndef LOSSLESS
#define LOSSLESS 0    // 1: a resync may not void anything. For runs without trims, holes, restarts, evictions and drops
#endif
#ifndef BREAKS
#define BREAKS 0      // links that break, 0: any number
#endif
#ifndef BEATS
#define BEATS 0       // own heartbeats sent, 0: any number
#endif

#ifndef FENCE
#define FENCE 1               // a fill is refused once its key was invalidated since the ticket was taken
#endif
#ifndef GENERATION
#define GENERATION 1          // a gap voids entries and fills under way
#endif
#ifndef REPLAY
#define REPLAY 1              // a subscription that begins anew replays the log (0: takes for granted that nothing was missed)
#endif
#ifndef REPLAY_OVERLAP
#define REPLAY_OVERLAP 1      // the log must hold the number from which it is asked (0: the one after it, or nothing, will do)
#endif
#ifndef REPLAY_CONTIGUOUS
#define REPLAY_CONTIGUOUS 1   // number by number, without holes (0: whatever the log holds)
#endif
#ifndef REPLAY_REACH
#define REPLAY_REACH 1        // the replay ends when it reaches the first live number, not before
#endif
#ifndef REPLAY_EPOCH
#define REPLAY_EPOCH 1        // the log is of the baseline's epoch, and Redis of the run that noted it
#endif
#ifndef LIVE_EPOCH
#define LIVE_EPOCH 1          // a live number of another epoch than the baseline's is a gap
#endif
#ifndef REPLAY_CURRENT
#define REPLAY_CURRENT 1      // an answer to a replay asked for under an earlier subscription is ignored
#endif
#ifndef REPLAY_CURSOR
#define REPLAY_CURSOR 1       // a replay that ran ahead of the stream does not make the stream look regressed
#endif
#ifndef CLAIM_AFTER_REPLAY
#define CLAIM_AFTER_REPLAY 1  // no heartbeat is believed before the replay is done
#endif
#ifndef LOG_HOLE
#define LOG_HOLE 1            // what cannot be numbered or logged deletes the log
#endif
#ifndef EPOCH_OF_COUNTER
#define EPOCH_OF_COUNTER 1    // a counter that is found missing starts a new epoch and log
#endif
#ifndef EPOCH_OF_RUN
#define EPOCH_OF_RUN 1        // a heartbeat on another run of Redis starts a new epoch and log
#endif
#ifndef BASELINE
#define BASELINE 1            // live numbers must follow each other
#endif

mtype = { CONFIRMED, MESSAGE, HEARTBEAT };

// Redis
byte value = 1;
bit watched = 0;                 // the watched write happened
byte epoch = 1, epochs = 1, server = 1, server_noted = 1;
byte seq = 0;
bit counter = 1;                 // the sequence key exists
byte in_log = 1, log_touch = 0;  // bit n: number n is in the log; it names the watched key. An epoch's log begins with entry 0
byte log_top = 0;                // the stream's last id; meaningless while log_there == 0
bit log_there = 1;
bit subscribed = 0;              // Redis's side of the link

// the snapshot to restart from
bit saved = 0, s_counter, s_log_there;
byte s_value, s_epoch, s_server_noted, s_seq, s_in_log, s_log_touch, s_log_top;

// the link; fields: kind, epoch, number (0: none), announces the watched write
chan stream = [QUEUE] of { mtype, byte, byte, bit };

// the machine
bit linked = 0, confirmed = 0;
bit has_base = 0;          // a baseline: all up to `base` of epoch `base_epoch` was applied or voided
byte base_epoch = 0, base = 0;
bit has_live = 0;          // a number was heard on this link
byte live = 0, before_live = 0;  // the last; while replaying also: the one before the first
bit replaying = 0;
byte asked = 0;            // the replay request: 0 none, 1 under way, 2 answered: one entry, 3 answered: nothing new, 4 refused
byte from = 0, from_epoch = 0, to = 0;
bit to_touch = 0, to_end = 0;

// the own heartbeat under way. One that is believed too early to be believed at all stands for another instance's as well
byte sent = 0;             // 0 none, 1 sent, 2 in the stream
byte sent_value = 0;       // Redis's when it was sent
bit sent_late = 0;         // sent after the confirmation of this subscription

// L1 and one fill
byte entry = 0;            // 0: none
byte claimed = 0;
bit fill = 0;              // ticket taken, L2 answered
byte fill_value = 0;
bit fill_fenced = 0, fill_old = 0;

byte writes = 0, holes = 0, restarts = 0, evictions = 0, drops = 0, breaks = 0, beats = 0;

#define BIT(set, n) (((set) >> (n)) & 1)

// --- Redis ------------------------------------------------------------------------------------------------------------------

inline publish(kind, e, n, x) {
  if
  :: subscribed && len(stream) < QUEUE -> stream!kind,e,n,x
  :: else -> subscribed = 0;  // nobody there, or the output buffer's limit: the link goes with all that follows
  fi
}

inline delete_log() { in_log = 0; log_touch = 0; log_top = 0; log_there = 0 }

inline new_epoch() { epochs++; epoch = epochs; delete_log() }

inline log_add(n, touch) {
  if
  :: !log_there || n > log_top ->
     in_log = in_log | (1 << n);
     log_touch = (log_touch & ~(1 << n)) | (touch << n);
     log_top = n;
     log_there = 1
  :: else -> if :: LOG_HOLE -> delete_log() :: else fi
  fi
}

// How: 0 as usual, 1 the number could not be had, 2 the log refused the entry.
inline write(touch, how) {
  writes++;
  if :: touch -> value = 2; watched = 1 :: else fi;
  if
  :: how == 1 ->
     if :: LOG_HOLE -> delete_log() :: else fi;
     publish(MESSAGE, epoch, 0, touch)
  :: else ->
     if
     :: epoch == 0 -> epochs++; epoch = epochs  // the log stays: its numbers go on
     :: epoch != 0 && !counter && EPOCH_OF_COUNTER -> new_epoch()
     :: else
     fi;
     counter = 1;
     seq++;
     if
     :: how == 0 -> log_add(seq, touch)
     :: else -> if :: LOG_HOLE -> delete_log() :: else fi
     fi;
     publish(MESSAGE, epoch, seq, touch)
  fi
}

inline beat_script() {
  if
  :: (EPOCH_OF_RUN && server_noted != server) || epoch == 0 || (EPOCH_OF_COUNTER && !counter) ->
     new_epoch();
     seq = 0;
     counter = 1;
     log_add(0, 0);
     server_noted = server
  :: else
  fi;
  publish(HEARTBEAT, epoch, seq, 0)
}

// One page holds one entry: so every place between two pages is looked at.
inline page_script() {
  to = from + 1;
  do
  :: to <= WRITES && !BIT(in_log, to) -> to++
  :: else -> break
  od;
  if
  :: REPLAY_EPOCH && (epoch != from_epoch || server_noted != server) -> asked = 4
  :: else ->
     if
     :: REPLAY_CONTIGUOUS && REPLAY_OVERLAP && !BIT(in_log, from) -> asked = 4
     :: else ->
        if
        :: to > WRITES -> if :: REPLAY_CONTIGUOUS && seq != from -> asked = 4 :: else -> asked = 3 fi
        :: else -> if :: REPLAY_CONTIGUOUS && to != from + 1 -> asked = 4 :: else -> asked = 2 fi
        fi
     fi
  fi;
  if
  :: asked == 2 -> to_touch = BIT(log_touch, to); to_end = (to == seq)
  :: asked == 3 -> to = from; to_touch = 0; to_end = 1
  :: else -> to = 0; to_touch = 0; to_end = 0
  fi
}

// --- the machine ------------------------------------------------------------------------------------------------------------

inline forget_request() { asked = 0; from = 0; from_epoch = 0; to = 0; to_touch = 0; to_end = 0 }

inline erase() {
  entry = 0;
  if :: fill -> fill_fenced = 1 :: else fi
}

inline bump() {
  assert(!LOSSLESS || !has_base);
  if
  :: GENERATION ->
     entry = 0;
     if :: fill -> fill_old = 1 :: else fi
  :: else
  fi
}

inline gap(e, n) {
  bump();
  has_base = 1; base_epoch = e; base = n;
  has_live = 1; live = n; before_live = 0;
  replaying = 0;
  forget_request()
}

inline follow(n, beat) {
  before_live = (has_live || !replaying -> before_live : (beat -> n : n - 1));
  has_live = 1;
  live = n;
  if :: !replaying && base < n -> base = n :: else fi
}

inline number(e, n, beat) {
  if
  :: !has_base -> has_base = 1; base_epoch = e; base = n; has_live = 1; live = n
  :: has_base && BASELINE && LIVE_EPOCH && e != base_epoch -> gap(e, n)
  :: else ->
     if
     :: has_live ->
        if
        :: BASELINE && n != (beat -> live : live + 1) -> gap(e, n)
        :: else -> follow(n, beat)
        fi
     :: else ->
        if
        :: BASELINE && !replaying && n > (beat -> base : base + 1) -> gap(e, n)
        :: else -> follow(n, beat)
        fi
     fi
  fi
}

inline claim(v) {
  if :: v > claimed -> claimed = v :: else fi;
  assert(entry == 0 || entry >= claimed)
}

inline ask() { asked = 1; from = base; from_epoch = base_epoch; to = 0; to_touch = 0; to_end = 0 }

inline on_confirmed() {
  confirmed = 1;
  sent_late = 0;
  has_live = 0; live = 0; before_live = 0;
  if
  :: has_base && REPLAY -> replaying = 1; if :: asked == 0 -> ask() :: else fi
  :: has_base && !REPLAY -> skip
  :: else -> bump()
  fi
}

inline on_page() {
  if
  :: !replaying -> forget_request()
  :: else ->
     if
     :: asked == 4 ->
        bump();
        replaying = 0; before_live = 0;
        if :: has_live -> base = live :: else -> has_base = 0; base = 0; base_epoch = 0 fi;
        forget_request()
     :: else ->
        if :: to_touch -> erase() :: else fi;
        base = to;
        if
        :: !REPLAY_REACH || (has_live && base >= before_live) || (!has_live && to_end) ->
           replaying = 0; before_live = 0;
           if :: has_live && base < live -> base = live :: else fi;
           if :: !REPLAY_CURSOR -> has_live = 1; live = base :: else fi;
           forget_request()
        :: else -> ask()
        fi
     fi
  fi
}

inline free_beat() { sent = 0; sent_value = 0; sent_late = 0 }

inline drop_stream() {
  do
  :: len(stream) > 0 -> stream?_,_,_,_
  :: else -> break
  od;
  if :: sent == 2 -> free_beat() :: else fi
}

inline lost_link() {
  linked = 0; confirmed = 0;
  drop_stream();
  has_live = 0; live = 0; before_live = 0; replaying = 0;
  if :: REPLAY_CURRENT -> forget_request() :: else fi
}

active proctype subscriber() {
  mtype kind;
  byte e, n, x;
end:
  do
  :: d_step { !linked -> linked = 1; subscribed = 1; stream!CONFIRMED,0,0,0 }
  :: d_step { linked && !subscribed -> lost_link() }  // at any time after the break: a half-open link is one noticed late
  :: d_step {
       linked && len(stream) > 0 ->
       stream?kind,e,n,x;
       if
       :: kind == CONFIRMED -> on_confirmed()
       :: kind == MESSAGE ->
          if :: n > 0 -> number(e, n, 0) :: else fi;
          if :: x -> erase() :: else fi
       :: else ->
          number(e, n, 1);
          if
          :: sent_late && (!replaying || !CLAIM_AFTER_REPLAY) -> claim(sent_value)
          :: else
          fi;
          free_beat()
       fi;
       kind = 0; e = 0; n = 0; x = 0
     }
  :: d_step { asked == 1 -> page_script() }  // Redis's part; at any time after it was asked for
  :: d_step { asked > 1 -> on_page() }
  od
}

active proctype heartbeat() {
end:
  do
  :: d_step {
       sent == 0 && (BEATS == 0 || beats < BEATS) ->
       sent = 1; sent_value = value; sent_late = confirmed;
       if :: BEATS > 0 -> beats++ :: else fi
     }
  :: d_step { sent == 1 -> sent = 2; beat_script(); if :: !subscribed -> free_beat() :: else fi }
  :: d_step { sent == 1 -> free_beat() }  // never arrived
  od
}

// Ticket and L2 read in one step: an invalidation between the two would only refuse the fill.
active proctype filler() {
end:
  do
  :: d_step { !fill -> fill = 1; fill_value = value }
  :: d_step {
       fill ->
       if
       :: (FENCE && fill_fenced) || fill_old
       :: else -> assert(fill_value >= claimed); entry = fill_value
       fi;
       fill = 0; fill_value = 0; fill_fenced = 0; fill_old = 0
     }
  od
}

// Anybody's writes.
active proctype writers() {
end:
  do
  :: d_step { writes < WRITES -> write(0, 0) }
  :: d_step { writes < WRITES && !watched -> write(1, 0) }
#if HOLES > 0
  :: d_step { writes < WRITES && holes < HOLES -> holes++; write(0, 1) }
  :: d_step { writes < WRITES && holes < HOLES && !watched -> holes++; write(1, 1) }
  :: d_step { writes < WRITES && holes < HOLES -> holes++; write(0, 2) }
  :: d_step { writes < WRITES && holes < HOLES && !watched -> holes++; write(1, 2) }
#endif
  od
}

inline lowest(set, bit_number) {
  bit_number = 0;
  do
  :: !BIT(set, bit_number) -> bit_number++
  :: else -> break
  od
}

inline no_snapshot() {
  saved = 0; s_value = 0; s_epoch = 0; s_server_noted = 0; s_seq = 0; s_counter = 0; s_in_log = 0; s_log_touch = 0; s_log_top = 0;
  s_log_there = 0
}

inline restart() {
  restarts++;
  server++;
  subscribed = 0
}

inline wipe() { epoch = 0; seq = 0; counter = 0; server_noted = 0; delete_log() }

active proctype faults() {
  byte b;
end:
  do
  :: d_step { subscribed && (BREAKS == 0 || breaks < BREAKS) -> subscribed = 0; if :: BREAKS > 0 -> breaks++ :: else fi }
  :: d_step { TRIMS && in_log != 0 -> lowest(in_log, b); in_log = in_log & ~(1 << b); log_touch = log_touch & ~(1 << b); b = 0 }
  :: d_step { !LOSSLESS && asked == 1 -> asked = 4 }  // the request failed
#if RESTARTS > 0
  :: d_step {
       !saved && restarts < RESTARTS ->
       saved = 1; s_value = value; s_epoch = epoch; s_server_noted = server_noted; s_seq = seq; s_counter = counter;
       s_in_log = in_log; s_log_touch = log_touch; s_log_top = log_top; s_log_there = log_there
     }
  :: d_step {  // from the snapshot: what was written since is lost, and nobody is to blame for not knowing it
       saved && restarts < RESTARTS ->
       restart();
       value = s_value; epoch = s_epoch; server_noted = s_server_noted; seq = s_seq; counter = s_counter;
       in_log = s_in_log; log_touch = s_log_touch; log_top = s_log_top; log_there = s_log_there;
       if :: claimed > value -> claimed = value :: else fi;
       if :: sent_value > value -> sent_value = value :: else fi;
       if :: restarts == RESTARTS -> no_snapshot() :: else fi
     }
  :: d_step { restarts < RESTARTS -> restart() }          // with all its data
  :: d_step { restarts < RESTARTS -> restart(); wipe() }  // empty; the watched key is loaded again from the database
  :: d_step { restarts < RESTARTS -> restarts++; wipe() }  // FLUSHALL
#endif
#if EVICTIONS > 0
  :: d_step { evictions < EVICTIONS && counter -> evictions++; seq = 0; counter = 0 }
  :: d_step { evictions < EVICTIONS && log_there -> evictions++; delete_log() }
  :: d_step { evictions < EVICTIONS && counter && log_there -> evictions++; seq = 0; counter = 0; delete_log() }
  :: d_step { evictions < EVICTIONS && epoch != 0 -> evictions++; epoch = 0 }
  :: d_step { evictions < EVICTIONS && server_noted != 0 -> evictions++; server_noted = 0 }
#endif
#if DROPS > 0
  // Only after a number was heard: the first one of a void subscription is believed unseen. And only what has a number.
  :: d_step {
       drops < DROPS && has_live && stream?[MESSAGE,_,_,_] && !(stream?[MESSAGE,_,0,_]) ->
       drops++;
       stream?_,_,_,_
     }
#endif
  od
}

#if BEATS > 0
// With everything bounded the end is reached: nobody may be stuck there.
active proctype the_end() {
  timeout -> assert(linked && confirmed && !replaying && asked == 0 && !fill)
}
#endif
