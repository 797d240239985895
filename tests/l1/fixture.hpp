// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/footprint.hpp>
#include <tiercache/l1/table.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace tiercache::l1::test {

inline std::int64_t fake_now_ms = 1000;
inline std::int64_t fake_now() noexcept { return fake_now_ms; }

/// Values that know whether they are alive: a read of a destroyed one, or a leak, shows.
struct Tracked {
  static inline std::atomic<std::int64_t> living{0};
  static constexpr std::uint64_t alive = 0x600dca11;
  std::uint64_t key = 0;
  std::uint64_t version = 0;
  std::uint64_t mark = alive;

  Tracked(std::uint64_t k, std::uint64_t v) : key(k), version(v) { living.fetch_add(1, std::memory_order_relaxed); }
  Tracked(Tracked&& o) noexcept : key(o.key), version(o.version), mark(o.mark) { living.fetch_add(1, std::memory_order_relaxed); }
  Tracked(const Tracked&) = delete;
  Tracked& operator=(const Tracked&) = delete;
  ~Tracked() {
    mark = 0;
    living.fetch_sub(1, std::memory_order_relaxed);
  }
};

/// A table with one view of V and short forms of its members.
template <class V>
struct Typed {
  std::unique_ptr<Table> table;
  ViewId view = 0;

  explicit Typed(const Options& options) {
    auto made = Table::create(options);
    if (!made) {
      ADD_FAILURE() << made.error().message;
      std::abort();
    }
    table = std::move(*made);
    view = *table->add_view(type_ops<V>());
  }
  [[nodiscard]] std::uint64_t hash(std::string_view key) const { return table->hash(view, key); }
  PutStatus put(std::string_view key, std::type_identity_t<V>&& value, EntryMeta meta = {}, Pin* pin = nullptr) {
    return table->put(view, key, hash(key), &value, meta, pin);
  }
  PutStatus fill(const Ticket& ticket, std::string_view key, std::type_identity_t<V>&& value, EntryMeta meta = {}) {
    return table->fill(ticket, view, key, hash(key), &value, meta);
  }
  Ticket ticket(std::string_view key) { return table->ticket(hash(key)); }
  Pin find(std::string_view key, std::uint32_t generation = 0) {
    return table->find(view, key, hash(key), generation, fake_now_ms);
  }
  bool erase(std::string_view key) { return table->erase(view, key, hash(key)); }
  const V& value(const Pin& pin) { return *static_cast<const V*>(pin.value()); }
};

/// The first `n` keys, counting up, that share the bucket of "0".
template <class V>
std::vector<std::string> keys_of_one_bucket(Typed<V>& t, std::size_t n) {
  std::vector<std::string> keys;
  const std::uint64_t bucket = t.ticket("0").bucket;
  for (std::uint64_t i = 0; keys.size() < n; ++i) {
    std::string key = std::to_string(i);
    if (t.ticket(key).bucket == bucket) keys.push_back(std::move(key));
  }
  return keys;
}

inline Options small_options(std::uint64_t capacity = 1 << 20) {
  fake_now_ms = 1000;
  Options o;
  o.capacity_bytes = capacity;
  o.expected_entry_bytes = 128;
  o.now_ms = &fake_now;
  return o;
}

/// Random, printed, and repeatable: TIERCACHE_SEED sets it.
inline std::uint64_t test_seed() {
  const char* given = std::getenv("TIERCACHE_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  ::testing::Test::RecordProperty("seed", std::to_string(seed));
  std::printf("seed %llu (TIERCACHE_SEED repeats it)\n", static_cast<unsigned long long>(seed));
  return seed;
}

/// How often the longer tests repeat their rounds: TIERCACHE_ROUNDS.
inline unsigned rounds(unsigned usual) {
  const char* given = std::getenv("TIERCACHE_ROUNDS");
  return given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 0)) : usual;
}

#define EXPECT_VALID(table)                             \
  do {                                                  \
    auto valid_ = (table).validate();                   \
    EXPECT_TRUE(valid_.ok()) << valid_.error().message; \
  } while (false)

}  // namespace tiercache::l1::test
