// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>
#include <tiercache/base/stats.hpp>
#include <tiercache/core/config.hpp>
#include <tiercache/core/options.hpp>

#include <chrono>
#include <memory>
#include <string_view>

namespace tiercache {

template <class V, class C>
class Cache;
template <class V>
struct Msgpack;

namespace detail {
class StoreCore;
}

/// One cache of one process: one L1 table and byte budget, one pool of Redis connections, one bus. Several stores may live in a
/// process; they share nothing but the hazard-pointer records.
///
/// Threads: tc-l2, tc-bus, tc-beat, tc-keep; all signals blocked in them; no user code runs on them except the log sink and the
/// destructors of values that an invalidation or eviction frees (any thread that calls the cache may run those, too: a value's
/// destructor must not call the cache and should not block). Loaders and visitors run on the caller's thread.
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

  /// Ends the threads and connections by the deadline; calls in progress end with Errc::closed or unavailable. Idempotent.
  void close(std::chrono::milliseconds deadline);

  /// Recounts L1. REQUIRES: no concurrent calls. For tests.
  [[nodiscard]] Result<void> validate() const;

 private:
  explicit Store(std::shared_ptr<detail::StoreCore> core) noexcept;
  std::shared_ptr<detail::StoreCore> core_;
};

}  // namespace tiercache
