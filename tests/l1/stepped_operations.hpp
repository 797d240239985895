// SPDX-License-Identifier: Apache-2.0
//
// The operations of a table as lines of two tables: what is stepped and held (victims, here), and what others do meanwhile
// (rivals, stepped_rivals.hpp). A new operation is one line in each.
#pragma once

#include "stepped_rivals.hpp"

namespace tiercache::l1::test {

namespace operations {

inline void nothing(Scene&) {}
inline void one_entry(Scene& s) { s.put(0, Scene::before); }
inline const char* nothing_to_say(Scene&, bool, bool) { return nullptr; }
inline const char* read_it(Scene& s, bool writes, bool) {
  if (!writes && s.seen != Scene::before) return "an entry that nobody touched was not found";
  return s.seen == Scene::victims ? "a version that was never stored" : nullptr;
}
inline const char* found_nothing(Scene& s, bool writes, bool) {
  return !writes && s.seen != 0 ? "found what nobody stored" : nullptr;
}
inline const char* stored_it(Scene& s, bool writes, bool) {
  if (s.status != PutStatus::stored && s.status != PutStatus::no_room) return "a put was refused as if it were a fill";
  if (writes) return nullptr;
  if (s.status != PutStatus::stored) return "a put found no room";
  return s.look(0) != Scene::victims ? "a put that nobody disturbed is not there" : nullptr;
}
inline const char* filled_it(Scene& s, bool writes, bool invalidates) {
  const std::uint64_t now = s.look(0);
  if (invalidates && now == Scene::victims) return "a fill outlived the erase or put that came after its ticket";
  if (!writes && (s.status != PutStatus::stored || now != Scene::victims)) return "a fill that nobody disturbed was refused";
  return nullptr;
}
inline const char* stored_conditionally(Scene& s, bool writes, bool) {
  if (s.status == PutStatus::not_hot || s.status == PutStatus::fenced)
    return "a conditional put was refused as if it were a fill";
  if (writes) return nullptr;
  if (s.status != PutStatus::stored) return "a conditional put was refused though its condition held";
  return s.look(0) != Scene::victims ? "a conditional put that nobody disturbed is not there" : nullptr;
}
inline const char* did_not_match(Scene& s, bool writes, bool) {
  if (writes) return nullptr;
  if (s.status != PutStatus::unmatched) return "a conditional put was stored though its condition did not hold";
  return s.look(0) == Scene::victims ? "a value that was not stored is there" : nullptr;
}
inline const char* was_fenced(Scene& s, bool, bool) {
  return s.status != PutStatus::fenced || s.look(0) == Scene::victims ? "a fill with an outdated ticket was let in" : nullptr;
}
inline const char* removed_it(Scene& s, bool writes, bool) {
  if (writes) return nullptr;
  return !s.answered || s.look(0) != 0 ? "an erase that nobody disturbed left the entry" : nullptr;
}
inline const char* pinned_it(Scene& s, bool, bool) {
  if (!s.pin || s.read(s.pin, 0) != Scene::before) return "the original pin lost its value";
  return s.seen != Scene::before ? "the copied pin lost its value" : nullptr;
}
/// The copy goes where it was made: pins that another thread gave back are fetched once in a while, on another way.
inline void duplicate_it(Scene& s) {
  const Pin copy = s.pin.duplicate();
  s.seen = copy ? s.read(copy, 0) : 0;
}

}  // namespace operations

inline const VictimOperation victim_operations[] = {
    {"find a hit", operations::one_entry, operations::nothing, [](Scene& s) { s.seen = s.look(0); }, operations::read_it},
    {"find a hit on a hot entry",
     [](Scene& s) {
       s.put(0, Scene::before);
       for (unsigned use = 0; use < 4; ++use) s.look(0);
     },
     operations::nothing, [](Scene& s) { s.seen = s.look(0); }, operations::read_it},
    {"find a hit that ages the sketch",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.count_misses(25);  // the hit is the 26th
     },
     operations::nothing, [](Scene& s) { s.seen = s.look(0); }, operations::read_it},
    {"find a hit that pushes an idle ttl out", [](Scene& s) { s.put_idle(0, Scene::before); }, operations::nothing,
     [](Scene& s) { s.seen = s.look_later(0, 1000); }, operations::read_it},
    {"find an entry that idled too long", [](Scene& s) { s.put_idle(0, Scene::before); }, operations::nothing,
     [](Scene& s) { s.seen = s.look_later(0, 2 * Scene::idle_ttl_ms); },
     [](Scene& s, bool, bool) -> const char* { return s.seen == Scene::before ? "found what idled too long" : nullptr; }},
    {"find many",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.put(2, Scene::before);
     },
     operations::nothing, [](Scene& s) { s.seen = s.look_at_many(); }, operations::read_it},
    {"find a miss", operations::nothing, operations::nothing, [](Scene& s) { s.seen = s.look(0); }, operations::found_nothing},
    {"find an expired entry",
     [](Scene& s) {
       EntryMeta expired;
       expired.hard_expiry_ms = 1;
       s.t.put(s.keys[0], Marked(0, Scene::before), expired);
     },
     operations::nothing, [](Scene& s) { s.seen = s.look(0); }, operations::found_nothing},
    {"visit", operations::one_entry, operations::nothing, [](Scene& s) { s.seen = s.visited(0); }, operations::read_it},
    {"duplicate a pin and release",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.pin = s.t.find(s.keys[0]);
     },
     operations::nothing, operations::duplicate_it, operations::pinned_it},
    {"duplicate a pin on a retired entry and release",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.pin = s.t.find(s.keys[0]);
       s.t.erase(s.keys[0]);
     },
     operations::nothing, operations::duplicate_it, operations::pinned_it},
    {"release a pin", operations::one_entry, [](Scene& s) { s.pin = s.t.find(s.keys[0]); }, [](Scene& s) { s.pin.reset(); },
     operations::nothing_to_say},
    {"release another thread's pin",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.pin = s.t.find(s.keys[0]);
     },
     operations::nothing, [](Scene& s) { s.pin.reset(); }, operations::nothing_to_say},
    {"put a new key", operations::nothing, operations::nothing, [](Scene& s) { s.status = s.put(0, Scene::victims); },
     operations::stored_it},
    {"put a new key while the shadows have samples to see", [](Scene& s) { s.count_misses(60); }, operations::nothing,
     [](Scene& s) { s.status = s.put(0, Scene::victims); }, operations::stored_it},
    {"put over an old value", operations::one_entry, operations::nothing, [](Scene& s) { s.status = s.put(0, Scene::victims); },
     operations::stored_it},
    {"put, pin and release", operations::one_entry, operations::nothing,
     [](Scene& s) {
       Pin pin;
       s.status = s.t.put(s.keys[0], Marked(0, Scene::victims), {}, &pin);
       s.seen = pin ? s.read(pin, 0) : Scene::victims;
     },
     [](Scene& s, bool writes, bool invalidates) {
       return s.seen != Scene::victims ? "a put's pin is on another value" : operations::stored_it(s, writes, invalidates);
     }},
    {"put into a full bucket",
     [](Scene& s) {
       for (std::size_t k = 1; k < s.keys.size(); ++k) s.put(k, Scene::before);
     },
     operations::nothing, [](Scene& s) { s.status = s.put(0, Scene::victims); }, operations::stored_it},
    {"put that evicts", [](Scene& s) { s.fill_up(); }, operations::nothing, [](Scene& s) { s.status = s.put(0, Scene::victims); },
     operations::stored_it},
    {"put that reclaims",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.make_reclaim_due();
     },
     operations::nothing, [](Scene& s) { s.status = s.put(0, Scene::victims); }, operations::stored_it},
    {"put if absent", operations::nothing, operations::nothing,
     [](Scene& s) { s.status = s.put_when(When::absent, 0, Scene::victims); }, operations::stored_conditionally},
    {"put if absent what is present", operations::one_entry, operations::nothing,
     [](Scene& s) { s.status = s.put_when(When::absent, 0, Scene::victims); }, operations::did_not_match},
    {"put if present", operations::one_entry, operations::nothing,
     [](Scene& s) { s.status = s.put_when(When::present, 0, Scene::victims); }, operations::stored_conditionally},
    {"compare and swap",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.pin = s.t.find(s.keys[0]);
     },
     operations::nothing, [](Scene& s) { s.status = s.swap(s.pin, 0, Scene::victims); },
     [](Scene& s, bool writes, bool invalidates) {
       if (!s.pin || s.read(s.pin, 0) != Scene::before) return "the expected entry's pin lost its value";
       return operations::stored_conditionally(s, writes, invalidates);
     }},
    {"compare and swap with what was replaced",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.pin = s.t.find(s.keys[0]);
       s.put(0, Scene::before);
     },
     operations::nothing, [](Scene& s) { s.status = s.swap(s.pin, 0, Scene::victims); },
     // The pin keeps the address from being used again: whatever the rival does, it cannot match.
     [](Scene& s, bool, bool) -> const char* {
       return s.status != PutStatus::unmatched || s.look(0) == Scene::victims ? "a swap with an entry that was replaced"
                                                                              : nullptr;
     }},
    {"fill", [](Scene& s) { s.ticket = s.t.ticket(s.keys[0]); }, operations::nothing,
     [](Scene& s) { s.status = s.fill(s.ticket, 0, Scene::victims); }, operations::filled_it},
    {"fill over an old value",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.ticket = s.t.ticket(s.keys[0]);
     },
     operations::nothing, [](Scene& s) { s.status = s.fill(s.ticket, 0, Scene::victims); }, operations::filled_it},
    {"fill that is fenced",
     [](Scene& s) {
       s.ticket = s.t.ticket(s.keys[0]);
       s.t.erase(s.keys[0]);
     },
     operations::nothing, [](Scene& s) { s.status = s.fill(s.ticket, 0, Scene::victims); }, operations::was_fenced},
    {"erase", operations::one_entry, operations::nothing, [](Scene& s) { s.answered = s.t.erase(s.keys[0]); },
     operations::removed_it},
    {"erase what is absent", operations::nothing, operations::nothing, [](Scene& s) { s.answered = s.t.erase(s.keys[0]); },
     operations::nothing_to_say},
    {"expire", operations::one_entry, operations::nothing, [](Scene& s) { s.answered = s.expire(0, fake_now_ms + 1000); },
     [](Scene& s, bool writes, bool) -> const char* {
       if (writes) return nullptr;
       if (!s.answered) return "an entry that nobody touched could not be given an expiry";
       return s.look_later(0, 999) != Scene::before || s.look_later(0, 1000) != 0 ? "the new expiry is not kept" : nullptr;
     }},
    {"evict",
     [](Scene& s) {
       s.put(0, Scene::before);
       s.ticket = s.t.ticket(s.keys[0]);
     },
     operations::nothing, [](Scene& s) { s.answered = s.evict(0); },
     [](Scene& s, bool writes, bool invalidates) {
       if (const char* wrong = operations::removed_it(s, writes, invalidates)) return wrong;
       const bool fenced = !writes && s.fill(s.ticket, 0, Scene::before) != PutStatus::stored;
       return fenced ? "an eviction spoilt a ticket" : nullptr;
     }},
    {"resize down and up", [](Scene& s) { s.fill_up(); }, operations::nothing,
     [](Scene& s) { s.answered = s.shrink_and_grow(s.capacity - 512); },
     [](Scene& s, bool, bool) -> const char* {
       const bool grown = s.t.table->stats().capacity_bytes == s.capacity;
       return s.answered && grown ? nullptr : "a size in range was refused";
     }},
    {"drain",
     [](Scene& s) {
       for (std::size_t k = 0; k < 4; ++k) s.put(k, Scene::before);
       for (std::size_t k = 0; k < 4; ++k) s.t.erase(s.keys[k]);
     },
     operations::nothing, [](Scene& s) { s.t.table->drain(); }, operations::nothing_to_say},
    {"stats, ticket, counts", operations::nothing, operations::nothing,
     [](Scene& s) {
       if (s.t.table->stats().used_bytes > s.capacity) s.wrong = "over the budget";
       s.ticket = s.t.ticket(s.keys[0]);
       s.t.table->count_miss(s.counted);
     },
     operations::nothing_to_say},
    {"add a view in a new chunk",
     [](Scene& s) {
       for (ViewId last = 0; last % 64 != 63;) last = *s.t.table->add_view(type_ops<Marked>());
     },
     operations::nothing, [](Scene& s) { s.answered = s.t.table->add_view(type_ops<Marked>()).ok(); },
     [](Scene& s, bool, bool) -> const char* { return s.answered ? nullptr : "a view was refused"; }},
    {"add a view", operations::nothing, operations::nothing,
     [](Scene& s) { s.answered = s.t.table->add_view(type_ops<Marked>()).ok(); },
     [](Scene& s, bool, bool) -> const char* { return s.answered ? nullptr : "a view was refused"; }},
};

}  // namespace tiercache::l1::test
