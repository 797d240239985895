// SPDX-License-Identifier: Apache-2.0
//
// One instance's L1 with time: fills, hits step by step, the subscription, heartbeats, links that break or go half-open, one write.
// README.md maps the steps to the code and says what is left out. Every remedy is a macro; -DX=0 takes it out.
//
// Time is in ticks and has no end: what is kept are ages, up to one past the budget D. All steps may fall between two ticks, or none.
// A subscription voids here; resync.pml has the replay. One write of the key is watched: `value` is 1 before it, 2 after it.

#ifndef D
#define D 2           // the staleness budget, in ticks
#endif
#ifndef CONNECTS
#define CONNECTS 3    // subscriptions, and so generations
#endif
#ifndef FENCE
#define FENCE 1              // a fill is refused once its key was invalidated since the ticket was taken
#endif
#ifndef FENCE_BEFORE_READ
#define FENCE_BEFORE_READ 1  // the ticket is taken before L2 is read
#endif
#ifndef GENERATION
#define GENERATION 1         // a subscription begins a new generation
#endif
#ifndef ATOMIC_WRITE
#define ATOMIC_WRITE 1       // announced and stored in one step
#endif
#ifndef HEARTBEAT
#define HEARTBEAT 1          // validity lapses D after the send of the last heartbeat that came back
#endif
#ifndef SEND_TIME
#define SEND_TIME 1          // after its send, not after its receipt
#endif
#ifndef READ_ORDER
#define READ_ORDER 1         // a hit loads the validity before the generation
#endif
#ifndef CLOCK_ON_READ
#define CLOCK_ON_READ 1      // a hit reads the clock (0: takes a reading of before)
#endif
#ifndef OWN_ERASE
#define OWN_ERASE 1          // an own write erases locally before its echo may be skipped
#endif

#define OVER (D + 1)
#define QUEUE 3

mtype = { CONFIRMED, MESSAGE, HEARTBEAT_ECHO };

byte value = 1;              // in Redis
bit acked = 0;
byte acked_ago = 0;
bit subscribed = 0, linked = 0, confirmed = 0;
byte connects = 0;
chan stream = [QUEUE] of { mtype };

byte as_of = OVER;           // age of the send of the heartbeat that validity rests on; OVER: not valid
byte generation = 1;
byte entry = 0, entry_generation = 0;

byte beat = 0, beat_ago = 0; // 0 none, 1 sent, 2 in the stream
bit beat_late = 0;           // sent after the confirmation

byte fill = 0, fill_generation = 0, fill_value = 0;
bit fill_ticket = 0;         // stands

byte read = 0, read_as_of = 0, read_generation = 0;
bit read_wants_new = 0;      // the write was acknowledged more than D before the read began

byte write = 0;              // 0 not begun, 1 announced, 2 stored, 3 answered and erased, 4 over
bit own = 0, answered = 0;

#define OLDER(age) age = (age < OVER -> age + 1 : OVER)

inline publish(kind) {
  if
  :: subscribed && len(stream) < QUEUE -> stream!kind
  :: else -> subscribed = 0
  fi
}

inline erase() { entry = 0; entry_generation = 0; fill_ticket = 0 }

inline no_beat() { beat = 0; beat_ago = 0; beat_late = 0 }

active proctype clock() {
end:
  do
  :: d_step {
       as_of < OVER || (acked && acked_ago < OVER) || (beat > 0 && beat_ago < OVER) || (read > 0 && read_as_of < OVER) ->
       if :: HEARTBEAT || as_of == OVER -> OLDER(as_of) :: else fi;
       if :: acked -> OLDER(acked_ago) :: else fi;
       if :: beat > 0 -> OLDER(beat_ago) :: else fi;
       if :: read > 0 && HEARTBEAT -> OLDER(read_as_of) :: else fi
     }
  od
}

active proctype link() {
end:
  do
  :: d_step { !linked && connects < CONNECTS -> connects++; linked = 1; subscribed = 1; stream!CONFIRMED }
  :: d_step { subscribed -> subscribed = 0 }  // Redis's side is gone; ours may notice now, late or never: half-open
  :: d_step {
       linked && !subscribed ->
       linked = 0; confirmed = 0;
       do :: len(stream) > 0 -> stream?_ :: else -> break od;
       if :: beat == 2 -> no_beat() :: else fi
     }
  od
}

active proctype subscriber() {
  mtype kind;
end:
  do
  :: d_step {
       len(stream) > 0 ->
       stream?kind;
       if
       :: kind == CONFIRMED ->
          confirmed = 1;
          beat_late = 0;
          if :: GENERATION -> generation++; as_of = OVER :: else fi;
          if :: !HEARTBEAT -> as_of = 0 :: else fi
       :: kind == MESSAGE -> if :: own && answered :: else -> erase() fi
       :: else ->
          if
          :: beat_late -> if :: !SEND_TIME -> as_of = 0 :: SEND_TIME && beat_ago < as_of -> as_of = beat_ago :: else fi
          :: else
          fi;
          no_beat()
       fi;
       kind = 0
     }
  od
}

active proctype heartbeat() {
end:
  do
  :: d_step { beat == 0 -> beat = 1; beat_ago = 0; beat_late = confirmed }
  :: d_step { beat == 1 -> beat = 2; publish(HEARTBEAT_ECHO); if :: !subscribed -> no_beat() :: else fi }
  :: d_step { beat == 1 -> no_beat() }
  od
}

active proctype filler() {
end:
  do
  :: d_step { fill == 0 -> fill = 1; fill_generation = generation }
  :: d_step {
       fill == 1 -> fill = 2;
       if :: FENCE_BEFORE_READ -> fill_ticket = 1 :: else -> fill_value = value fi
     }
  :: d_step {
       fill == 2 -> fill = 3;
       if :: FENCE_BEFORE_READ -> fill_value = value :: else -> fill_ticket = 1 fi
     }
  :: d_step {
       fill == 3 ->
       if :: !FENCE || fill_ticket -> entry = fill_value; entry_generation = fill_generation :: else fi;
       fill = 0; fill_generation = 0; fill_value = 0; fill_ticket = 0
     }
  od
}

inline stop_read() { read = 0; read_as_of = 0; read_generation = 0; read_wants_new = 0 }

active proctype reader() {
end:
  do
  :: d_step { read == 0 -> read = 1; read_wants_new = (acked && acked_ago > D); read_as_of = OVER }
  :: d_step { read == 1 && READ_ORDER -> read = 2; read_as_of = as_of }
  :: d_step { read == 1 && !READ_ORDER -> read = 2; read_generation = generation }
  :: d_step { read == 2 && !READ_ORDER -> read = 3; read_as_of = as_of }
  :: d_step {  // the clock
       read == (READ_ORDER -> 2 : 3) ->
       if
       :: (CLOCK_ON_READ && read_as_of <= D) || (!CLOCK_ON_READ && confirmed) -> read++; read_as_of = OVER
       :: else -> stop_read()
       fi
     }
  :: d_step { read == 3 && READ_ORDER && read_as_of == OVER -> read = 4; read_generation = generation }
  :: d_step {  // the probe
       read == 4 ->
       assert(!(entry == 1 && entry_generation == read_generation && read_wants_new));
       stop_read()
     }
  od
}

active proctype writer() {
end:
  do
  :: d_step { write == 0 -> own = 0; write = 1; publish(MESSAGE); if :: ATOMIC_WRITE -> value = 2; write = 2 :: else fi }
  :: d_step { write == 0 -> own = 1; write = 1; publish(MESSAGE); if :: ATOMIC_WRITE -> value = 2; write = 2 :: else fi }
  :: d_step { write == 1 -> value = 2; write = 2 }
  :: d_step { write == 2 && own && OWN_ERASE -> erase(); write = 3 }        // the answer came, or did not
  :: d_step { write == 2 && (!own || !OWN_ERASE) -> answered = own; acked = 1; write = 4 }
  :: d_step { write == 3 -> answered = 1; acked = 1; write = 4 }
  :: d_step { write == 3 -> write = 4 }                                     // no answer: nothing is acknowledged, the echo counts
  od
}
