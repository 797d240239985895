// SPDX-License-Identifier: Apache-2.0
//
// The database behind the cache: two instances that load under a lease, writers that change the database and then Redis.
// README.md maps the steps to the code and says what is left out. Every remedy is a macro; -DX=0 takes it out.

#define ERASE 1   // commit, then erase
#define PUT 2     // commit, then a put with the row's version: two writers
#define UPDATE 3  // intent gate, commit, erase and ungate; the writer may die at any step
#ifndef MODE
#define MODE ERASE
#endif
#ifndef LEASE
#define LEASE 1      // a load is stored only while its lease stands
#endif
#ifndef DISPLACE
#define DISPLACE 1   // a write takes the lease away
#endif
#ifndef VERSION
#define VERSION 1    // a put never replaces a newer version
#endif
#ifndef GATE
#define GATE 1       // what stands in Redis is taken away, and loads are not stored, before the transaction
#endif
#ifndef GATE_LEASES
#define GATE_LEASES 1  // no lease is granted while the gate stands
#endif
#ifndef GATE_TTL
#define GATE_TTL 1   // the gate outlives the transaction
#endif

byte database = 1;
byte value = 0;      // in Redis; 0: none
byte lease = 0;      // whose
bit gate = 0;
byte acked = 1;      // the newest acknowledged version
byte committed = 0, died = 0, over = 0;

inline check() {
  assert(value == 0 || value >= acked);
  assert(MODE != UPDATE || value == 0 || value == database)
}
inline displace() { if :: DISPLACE -> lease = 0 :: else fi }

proctype loader(byte me) {
  byte got;
end:
  do
  :: d_step { value == 0 && lease == 0 && !(gate && GATE_LEASES) -> lease = me } ->
     d_step { got = database };
     d_step {
       if
       :: !LEASE || lease == me -> value = got; check()
       :: else
       fi;
       if :: lease == me -> lease = 0 :: else fi;
       got = 0
     }
  od
}

active proctype faults() {
end:
  do
  :: d_step { lease != 0 -> lease = 0 }                // it lapsed
  :: d_step { value != 0 && MODE != PUT -> value = 0 } // expired or evicted
  :: d_step { gate && died == 1 && (over || !GATE_TTL) -> gate = 0; check() }
  :: d_step { gate && !GATE_TTL -> gate = 0; check() }
  od
}

inline commit(v) { d_step { v = database + 1; database = v; committed++; if :: MODE == UPDATE -> check() :: else fi } }

proctype writer() {
  byte mine;
  if
  :: MODE == ERASE ->
     commit(mine);
     d_step { value = 0; displace() };
     d_step { acked = (mine > acked -> mine : acked); check() }
  :: MODE == PUT ->
     commit(mine);
     d_step { if :: VERSION && value >= mine :: else -> value = mine; displace(); check() fi };
     d_step { acked = (mine > acked -> mine : acked); check() }
  :: MODE == UPDATE ->
     if :: GATE -> d_step { gate = 1; value = 0; displace() } :: else fi;
     if
     :: commit(mine)
     :: skip  // the transaction is rolled back, or its time is up
     fi;
     over = 1;
     if
     :: d_step { value = 0; displace(); gate = 0 }; d_step { acked = database; check() }
     :: died = 1
     fi
  fi
}

init {
  atomic {
    run loader(1);
    run loader(2);
    run writer();
    if :: MODE == PUT -> run writer() :: else fi
  }
}
