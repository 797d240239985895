// SPDX-License-Identifier: Apache-2.0
//
// l1::Table as the other structures have it, at an honest size: full of such entries, with no memory to spare.
#pragma once

#include "workload.hpp"

#include <tiercache/l1/footprint.hpp>
#include <tiercache/l1/table.hpp>

#include <array>
#include <memory>
#include <stdexcept>

namespace tiercache::bench {

/// What one entry takes of the arena: key, value and 44 bytes, rounded up to 32. Sizes the tables.
constexpr std::uint32_t entry_bytes = (key_bytes + sizeof(Value) + 44 + 31) / 32 * 32;

/// Bytes of one entry, everything included.
struct EntryCost {
  std::uint32_t bytes;
};

class Ours {
 public:
  /// A table whose budget is `keys` times `cost`.
  Ours(std::size_t keys, EntryCost cost) {
    l1::Options options;
    options.capacity_bytes = keys * cost.bytes;
    options.expected_entry_bytes = entry_bytes;
    auto made = l1::Table::create(options);
    if (!made) throw std::runtime_error(made.error().message);
    table_ = std::move(*made);
    view_ = *table_->add_view(l1::type_ops<Value>());
  }

  void put(std::string_view key, Value v) {
    static_cast<void>(table_->put(view_, key, table_->hash(view_, key), &v, {.generation = 1}));
  }
  template <class F>
  void read(std::string_view key, F&& f) {
    if (const l1::Pin pin = table_->find(view_, key, table_->hash(view_, key), 1, now_)) f(pin.value_as<Value>(key));
  }
  template <class F>
  void visit(std::string_view key, F&& f) {
    table_->visit(view_, key, table_->hash(view_, key), 1, now_,
                  [&](const void*, const l1::Entry& entry) { f(entry.value_as<Value>(key.size())); });
  }
  /// As a cache reads: the policy is told of misses.
  template <class F>
  void read_counted(std::string_view key, F&& f) {
    const std::uint64_t hash = table_->hash(view_, key);
    if (const l1::Pin pin = table_->find(view_, key, hash, 1, now_)) {
      f(pin.value_as<Value>(key));
    } else {
      table_->count_miss(hash);
    }
  }
  template <std::size_t N, class F>
  void read_batch(const Request* requests, F&& f) {
    std::array<std::string_view, N> keys;
    std::array<std::uint64_t, N> hashes;
    std::array<l1::Pin, N> pins;
    for (std::size_t i = 0; i < N; ++i) keys[i] = requests[i].key();
    static_cast<void>(table_->find_many(view_, keys, hashes.data(), 1, now_, pins.data()));
    for (std::size_t i = 0; i < N; ++i) {
      if (const l1::Pin& pin = pins[i]) f(requests[i], pin.value_as<Value>(keys[i]));
    }
  }
  [[nodiscard]] L1Stats stats() const { return table_->stats(); }

 private:
  std::unique_ptr<l1::Table> table_;
  l1::ViewId view_ = 0;
  std::int64_t now_ = coarse_now_ms();
};

/// A full table may lack keys whose buckets were full before the budget was spent: nobody is asked for them. More than this share
/// of them is a failure.
constexpr double absent_allowed = 0.05;

/// The least cost at which a table of `keys` entries keeps (to 1 in 1000) as many as with room to spare: so full it gets in
/// service.
[[nodiscard]] EntryCost fitting_cost(std::uint32_t keys);

struct Filled {
  std::unique_ptr<Ours> table;
  Ids present;
};
/// A table into which that many keys were put at that cost each. Throws when too many found no place.
[[nodiscard]] Filled fill_ours(std::uint32_t keys, EntryCost cost);

}  // namespace tiercache::bench
