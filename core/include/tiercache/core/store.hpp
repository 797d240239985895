// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>
#include <tiercache/base/stats.hpp>
#include <tiercache/core/config.hpp>
#include <tiercache/core/options.hpp>
#include <tiercache/l1/profile.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache {

template <class V, class C>
class Cache;
template <class V>
struct Msgpack;

namespace detail {
class StoreCore;
}

/// A key that is read often.
struct HotKey {
  std::string view;
  std::string key;         ///< as the view's calls name it; its first 64 bytes
  bool truncated = false;  ///< the key is longer
  double share = 0;        ///< of L1's hits, lately; rather too low than too high
};

/// A key that L1 will part with soon.
struct ColdKey {
  std::string view;
  std::string key;             ///< as the view's calls name it
  std::uint64_t bytes = 0;     ///< that it takes of the budget
  std::uint32_t uses = 0;      ///< its use counter, 0 to 3
  std::uint64_t arrivals = 0;  ///< keys stored since it came or was last found in use
};

/// What the hit ratio of L1 would be if its entries had so many bytes.
using MissCurvePoint = l1::MissCurvePoint;

/// One cache of one process: one L1 table and byte budget, one pool of Redis connections, one bus. Several stores may live in a
/// process; they share nothing but the hazard-pointer records.
///
/// Threads: tc-l2, tc-bus, tc-beat, tc-keep, with l1_pressure tc-mem, with shadow_reads tc-shadow; all signals blocked in them;
/// no user code runs on them except the log sink, the codec (tc-shadow) and the destructors of values that an invalidation or
/// eviction frees (any thread that calls the cache may run those, too: a value's destructor must not call the cache and should
/// not block). Loaders and visitors run on the caller's thread.
///
/// Lifetime: views keep what they need alive; after close() or the store's end their calls return Errc::closed. Handles outlive
/// all of it. After fork() the child's calls return Errc::closed beyond what L1 may still answer within the staleness budget.
class Store {
 public:
  /// Validates `config` and opens. Fails only for bad config or want of memory; without Redis it opens degraded and recovers by
  /// itself. Blocks up to config.open_timeout.
  [[nodiscard]] static Result<Store> open(Config config);
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();  ///< close() with 2 s

  /// The view `name`, made at the first call; later calls must name the same V and C and get the same view (the options of the
  /// first call stand). name: 1..64 of A-Za-z0-9._-. A mistake gives a view of which every call fails with that error; see
  /// Cache::error().
  template <class V, class C = Msgpack<V>>
  [[nodiscard]] Cache<V, C> cache(std::string_view name, ViewOptions options = {});

  /// Everything a scrape shows. Thread-safe; takes microseconds to a millisecond; not for hot paths.
  [[nodiscard]] StoreSnapshot stats() const;
  [[nodiscard]] Health health() const;

  /// Another budget of L1, from twice what its tables take up to max(l1.capacity_bytes, l1.resize_max_bytes). Others go on
  /// meanwhile; shrinking evicts before it returns, O(entries that go). With l1_pressure, the budget of which pressure leaves a
  /// share. Errors: invalid_argument, closed. Thread-safe; calls wait for each other.
  Result<void> resize_l1(std::uint64_t capacity_bytes);

  /// Cache::clear() of every view under env and resource, opened here or not: O(1) in every L1, SCAN in bounded batches in Redis
  /// (one walk a shard). Keys of other services, and the cache's own bookkeeping, stay.
  Result<WriteToken> clear(const BulkOptions& options = {});

  // The workload of L1, with Config::l1.profile and a capacity of 3 MiB at least; else the first and the last are empty.
  // Thread-safe; they allocate, and may wait for each other and for stats(), up to 100 ms, and are empty past that.
  /// The keys that most hits of lately go to, hottest first: at most k, and at most 64. An estimate from a sample.
  [[nodiscard]] std::vector<HotKey> hottest(std::uint32_t k) const;
  /// The keys that L1 would evict first, of the next few thousand: at most k.
  [[nodiscard]] std::vector<ColdKey> coldest(std::uint32_t k) const;
  /// The hit ratio that L1 would have at 65 capacities from a 16th of l1.capacity_bytes to 16 times it, rising. An estimate,
  /// by a model of LRU; empty as long as nothing was sampled.
  [[nodiscard]] std::vector<MissCurvePoint> miss_curve() const;

  /// Ends the threads and connections by the deadline; calls in progress end with Errc::closed or unavailable. Idempotent.
  void close(std::chrono::milliseconds deadline);

  /// Recounts L1. REQUIRES: no concurrent calls. For tests.
  [[nodiscard]] Result<void> validate() const;

 private:
  explicit Store(std::shared_ptr<detail::StoreCore> core) noexcept;
  std::shared_ptr<detail::StoreCore> core_;
};

}  // namespace tiercache
