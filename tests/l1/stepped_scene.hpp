// SPDX-License-Identifier: Apache-2.0
//
// What the operations of stepped_operations.hpp and stepped_rivals.hpp work on, and what they are.
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
  explicit Scene(Typed<Marked>& table, const char* first = "0", std::size_t count = 36) : t(table) {
    const std::uint64_t bucket = t.ticket(first).bucket;
    for (std::uint64_t i = 0; keys.size() < count; ++i) {
      std::string key = i == 0 ? first : std::to_string(i);
      if (t.ticket(key).bucket == bucket) keys.push_back(std::move(key));
    }
    capacity = t.table->stats().capacity_bytes;
    for (std::size_t k = 0; k < 4; ++k) {
      some.emplace_back(keys[k]);
      hashes.push_back(t.hash(keys[k]));
    }
  }

  static constexpr std::uint64_t before = 1;  ///< the version that stands when an operation begins
  static constexpr std::int64_t idle_ttl_ms = 10'000;
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

  PutStatus put_when(When when, std::size_t k, std::uint64_t version) {
    Marked value(k, version);
    return t.table->put_when(when, t.view, keys[k], t.hash(keys[k]), &value, {});
  }
  PutStatus swap(const Pin& expected, std::size_t k, std::uint64_t version) {
    Marked value(k, version);
    return t.table->compare_and_swap(expected, t.view, keys[k], t.hash(keys[k]), &value, {});
  }
  PutStatus put_idle(std::size_t k, std::uint64_t version) {
    EntryMeta idle;
    idle.idle_ttl_ms = idle_ttl_ms;
    return t.put(keys[k], Marked(k, version), idle);
  }
  std::uint64_t look_later(std::size_t k, std::int64_t by_ms) {
    const Pin found = t.table->find(t.view, keys[k], t.hash(keys[k]), 0, fake_now_ms + by_ms);
    return found ? read(found, k) : 0;
  }
  bool expire(std::size_t k, std::int64_t hard_expiry_ms) {
    return t.table->expire(t.view, keys[k], t.hash(keys[k]), 0, fake_now_ms, hard_expiry_ms);
  }
  bool evict(std::size_t k) { return t.table->evict(t.view, keys[k], t.hash(keys[k])); }
  /// Four keys in one batch; the version of the first, 0: absent.
  std::uint64_t look_at_many() {
    Pin pins[4];
    const std::size_t hits = t.table->find_many(t.view, some, hashes.data(), 0, fake_now_ms, pins);
    std::size_t counted_hits = 0;
    for (std::size_t k = 0; k < some.size(); ++k) {
      if (!pins[k]) continue;
      ++counted_hits;
      read(pins[k], k);
    }
    if (hits != counted_hits) wrong = "a batch's number of hits is not that of its pins";
    return pins[0] ? read(pins[0], 0) : 0;
  }
  bool shrink_and_grow(std::uint64_t least) {
    const bool smaller = t.table->resize(least).ok();
    return t.table->resize(capacity).ok() && smaller;
  }

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
  /// Each for another key, and by turns other ones: counters that are full are not written.
  void count_misses(unsigned n) {
    for (unsigned i = 0; i < n; ++i) t.table->count_miss(counted = mix64(counted + 1));
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
  std::vector<std::string_view> some;  ///< keys of a batch, and their hashes
  std::vector<std::uint64_t> hashes;
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

inline void must(Scene& s, bool right, const char* otherwise) {
  if (!right) s.wrong = otherwise;
}
inline void put_and_look(Scene& s, std::size_t k, std::uint64_t version) {
  must(s, s.put(k, version) == PutStatus::stored, "a put was refused");
  const std::uint64_t now = s.look(k);
  must(s, now == 0 || now == version, "another value after a put");
}

}  // namespace operations

}  // namespace tiercache::l1::test
