// SPDX-License-Identifier: Apache-2.0
//
// The operations of a table as lines of two tables: what is stepped and held (victims), and what others do meanwhile (rivals). A
// new operation is one line in each.
#pragma once

#include "fixture.hpp"

#include <tiercache/base/hash.hpp>

#include <algorithm>

namespace tiercache::l1::test {

struct Marked {
  std::uint64_t key = 0;
  std::uint64_t version = 0;
  std::uint64_t check = 0;
  std::uint64_t pad[3] = {};

  Marked() = default;
  Marked(std::uint64_t k, std::uint64_t v) : key(k), version(v), check(mix64(k * 31 + v)) {}
  [[nodiscard]] bool intact(std::uint64_t k) const { return key == k && check == mix64(k * 31 + version); }
};

/// One bucket of a table, and what an operation on it needs and leaves behind. keys[0] is the key operated on.
struct Scene {
  /// `count` keys of the bucket of `first`; by default more than a bucket holds.
  explicit Scene(Typed<Marked>& table, const char* first = "0", std::size_t count = 20) : t(table) {
    const std::uint64_t bucket = t.ticket(first).bucket;
    for (std::uint64_t i = 0; keys.size() < count; ++i) {
      std::string key = i == 0 ? first : std::to_string(i);
      if (t.ticket(key).bucket == bucket) keys.push_back(std::move(key));
    }
    capacity = t.table->stats().capacity_bytes;
  }

  static constexpr std::uint64_t before = 1;               ///< the version that stands when an operation begins
  static constexpr std::uint64_t loads = 1000;             ///< other keys, more than fit
  static constexpr std::uint64_t victims = 1'000'000'000;  ///< the version that the victim stores

  PutStatus put(std::size_t k, std::uint64_t version) { return t.put(keys[k], Marked(k, version)); }
  PutStatus fill(const Ticket& with, std::size_t k, std::uint64_t version) { return t.fill(with, keys[k], Marked(k, version)); }
  /// 0: absent.
  std::uint64_t look(std::size_t k) {
    const Pin found = t.find(keys[k]);
    return found ? read(found, k) : 0;
  }
  std::uint64_t read(const Pin& found, std::size_t k) {
    if (!t.value(found).intact(k)) wrong = "a broken value, or another key's";
    return t.value(found).version;
  }
  std::uint64_t visited(std::size_t k) {
    std::uint64_t version = 0;
    t.table->visit(t.view, keys[k], t.hash(keys[k]), 0, fake_now_ms, [&](const void* value, const Entry&) {
      const auto& found = *static_cast<const Marked*>(value);
      if (!found.intact(k)) wrong = "a broken value, or another key's";
      version = found.version;
    });
    return version;
  }
  PutStatus put_load() { return t.put("load" + std::to_string(++load % loads), Marked(0, before)); }

  /// As at the beginning: nothing of the bucket is there, nothing is retired.
  void clear() {
    pin.reset();
    for (const auto& key : keys) t.erase(key);
    for (; load != 0; --load) t.erase("load" + std::to_string(load % loads));
    t.table->drain();
    counted = mix64(counted + 1);
    seen = 0;
    answered = false;
    status = PutStatus::stored;
  }
  void fill_up() {
    const std::uint64_t evictions = t.table->stats().evictions;
    while (t.table->stats().evictions == evictions) put_load();
    for (unsigned i = 0; i < 16; ++i) put_load();
    t.table->drain();
  }
  /// The next entry that is retired makes a scan due: as many puts over as it takes to see some scans, less one. (Bounded: where
  /// other threads are held in a scan for ever, one may be due at each put.)
  void make_reclaim_due() {
    std::uint64_t last = 0, peak = 0;
    unsigned puts = 0;
    for (unsigned scans = 0; (scans < 3 || t.table->stats().retired_bytes < peak) && puts < 2000; ++puts) {
      put(1, before);
      const std::uint64_t retired = t.table->stats().retired_bytes;
      if (retired < last) {
        ++scans;
        peak = last;
      }
      last = retired;
    }
  }

  Typed<Marked>& t;
  std::vector<std::string> keys;
  std::uint64_t capacity = 0;
  std::uint64_t load = 0;
  std::uint64_t counted = 0;  ///< a hash for the sketch, another each time: counters that are full are not written
  Ticket ticket;
  Pin pin;
  const char* wrong = nullptr;
  // What the victim was answered.
  std::uint64_t seen = 0;
  bool answered = false;
  PutStatus status = PutStatus::stored;
};

struct VictimOperation {
  const char* name;
  void (*prepare)(Scene&);       ///< by the controller, in a cleared scene
  void (*prepare_here)(Scene&);  ///< by the victim itself, not stepped
  void (*run)(Scene&);           ///< stepped
  /// What must be true at the end; null when it is. `writes`: the rival changed the key or evicts, `invalidates`: it erased or
  /// put.
  const char* (*verdict)(Scene&, bool writes, bool invalidates);
};

struct RivalOperation {
  const char* name;
  bool writes;
  bool invalidates;
  void (*run)(Scene&, std::uint64_t version);  ///< sets Scene::wrong
};

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
inline void must(Scene& s, bool right, const char* otherwise) {
  if (!right) s.wrong = otherwise;
}
inline void put_and_look(Scene& s, std::size_t k, std::uint64_t version) {
  must(s, s.put(k, version) == PutStatus::stored, "a put was refused");
  const std::uint64_t now = s.look(k);
  must(s, now == 0 || now == version, "another value after a put");
}

}  // namespace operations

inline const VictimOperation victim_operations[] = {
    {"find a hit", operations::one_entry, operations::nothing, [](Scene& s) { s.seen = s.look(0); }, operations::read_it},
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
    {"add a view", operations::nothing, operations::nothing,
     [](Scene& s) { s.answered = s.t.table->add_view(type_ops<Marked>()).ok(); },
     [](Scene& s, bool, bool) -> const char* { return s.answered ? nullptr : "a view was refused"; }},
};

inline const RivalOperation rival_operations[] = {
    {"find", false, false, [](Scene& s, std::uint64_t) { static_cast<void>(s.look(0) + s.look(1)); }},
    {"visit", false, false, [](Scene& s, std::uint64_t) { static_cast<void>(s.visited(0) + s.visited(1)); }},
    {"pin, duplicate, release", false, false,
     [](Scene& s, std::uint64_t) {
       Pin found = s.t.find(s.keys[0]);
       const Pin second = found.duplicate();
       found.reset();
       if (second) s.read(second, 0);
     }},
    {"put", true, true, [](Scene& s, std::uint64_t version) { operations::put_and_look(s, 0, version); }},
    {"put of the bucket's other keys", true, true,
     [](Scene& s, std::uint64_t version) {
       for (std::size_t k = 1; k < s.keys.size(); ++k) operations::put_and_look(s, k, version);
     }},
    {"put that evicts", true, false,
     [](Scene& s, std::uint64_t) {
       for (unsigned n = 0; n < 4; ++n) operations::must(s, s.put_load() == PutStatus::stored, "an evicting put was refused");
     }},
    {"fill", true, false,
     [](Scene& s, std::uint64_t version) {
       // Refused once, where it met an install half done; that it helps to its end.
       PutStatus status = s.fill(s.t.ticket(s.keys[0]), 0, version);
       if (status == PutStatus::fenced) status = s.fill(s.t.ticket(s.keys[0]), 0, version);
       operations::must(s, status != PutStatus::fenced, "a fill was refused twice though nobody invalidated its ticket");
       operations::must(s, status != PutStatus::no_room && status != PutStatus::too_large, "a fill found no room");
       if (status != PutStatus::stored) return;
       const std::uint64_t now = s.look(0);
       operations::must(s, now == 0 || now == version, "another value after a fill");
     }},
    {"fill that is fenced", true, true,
     [](Scene& s, std::uint64_t version) {
       const Ticket ticket = s.t.ticket(s.keys[0]);
       s.t.erase(s.keys[0]);
       operations::must(s, s.fill(ticket, 0, version) == PutStatus::fenced, "an outdated fill was let in");
     }},
    {"erase", true, true,
     [](Scene& s, std::uint64_t) {
       s.t.erase(s.keys[0]);
       operations::must(s, s.look(0) == 0, "a value after an erase");
     }},
    {"erase and put", true, true,
     [](Scene& s, std::uint64_t version) {
       s.t.erase(s.keys[0]);
       operations::put_and_look(s, 0, version);
     }},
    {"drain", false, false, [](Scene& s, std::uint64_t) { s.t.table->drain(); }},
    {"stats, ticket, counts", false, false,
     [](Scene& s, std::uint64_t) {
       static_cast<void>(s.t.ticket(s.keys[0]));
       s.t.table->count_miss(s.counted);
     }},
};

}  // namespace tiercache::l1::test
