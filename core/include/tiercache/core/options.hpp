// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/core/token.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tiercache {

/// What a read does where L1 is not coherent within the staleness asked for.
enum class WhenStale : std::uint8_t {
  revalidate,   ///< Redis is asked, as at a miss
  serve_stale,  ///< L1's value is answered all the same, marked Handle::stale(), also while Redis is away; what L1 lacks is asked
                ///< for. Never across a clear, nor what an instance held before it lost messages and was told so
  fail,         ///< Errc::stale at once; nobody is asked
};

/// Defaults of a view.
struct ViewOptions {
  std::chrono::milliseconds ttl{30'000};  ///< of values in Redis; 0: do not expire
  std::chrono::milliseconds l1_ttl{0};    ///< cap on the time a value stays in L1; 0: as long as in Redis
  std::chrono::milliseconds soft_ttl{0};  ///< age at which a value is soft-stale (carried, not acted on yet); 0: never
  /// A value leaves L1 when it was not read there for so long (to within 128 ms, or 1 part in 500); 0: never; at most 49 days. A
  /// hit on such a value may write to it, at most once in so many milliseconds.
  std::chrono::milliseconds l1_idle_ttl{0};
  std::uint64_t l1_quota_bytes = 0;  ///< the most that the view may take of L1's budget: past it, it evicts its own; 0: no limit
  double ttl_jitter = 0.1;   ///< L1 entries live this share shorter at random, so that they do not expire together; 0 .. 0.5
  std::uint16_t schema = 1;  ///< raise it when V's encoding changes: older values become misses, newer ones are left alone
  std::chrono::milliseconds deadline{0};         ///< of calls that name none; 0: the store's default_deadline
  std::chrono::milliseconds max_staleness{0};    ///< of reads that name none; 0: bus.staleness_budget
  WhenStale when_stale = WhenStale::revalidate;  ///< of reads that name none
  std::chrono::milliseconds stale_max{0};  ///< serve_stale: no values where L1 was last coherent longer ago; 0: as the ttl allows
};

/// Options of one read, over the view's.
struct ReadOptions {
  std::chrono::nanoseconds deadline{0};  ///< from the call on; 0: the view's. The loader's own time is not cut short by it.
  std::optional<std::chrono::milliseconds> ttl{};  ///< of a value that the loader brings; unset: the view's
  /// L1 answers only while it is known to hold every write acknowledged so long before the call; 0: the view's. Below the
  /// heartbeat's interval most reads ask Redis: L1 learns of that once an interval.
  std::chrono::milliseconds max_staleness{0};
  std::optional<WhenStale> when_stale{};  ///< and else; unset: the view's
  /// Of a write, of whatever instance: L1 answers only if it has applied that write, else Redis is asked. It must outlive the
  /// call. Not softened by when_stale.
  AfterToken after{};
};

/// Options of one write, over the view's.
struct WriteOptions {
  std::chrono::nanoseconds deadline{0};
  std::optional<std::chrono::milliseconds> ttl{};
  /// The row's version. put: > 0: stored only over an older one (or none); else superseded. 0: last write wins.
  /// erase, erase_many, update: > 0: is left behind for Config::tombstone_ttl, so that a put of it or of an older one is
  /// superseded and a load of an older one is not stored; for a row that is deleted, name a version above its last. 0: what
  /// version stood is forgotten.
  std::uint64_t version = 0;
  /// What Cache::erase_tag() finds the value by: at most 16 names of 1..64 of A-Za-z0-9._-. A key stays with a tag until it is
  /// erased by it, or a minute after the value's ttl, also when it is put without the tag.
  std::vector<std::string> tags{};
};

/// Options of a call on many keys.
struct BulkOptions {
  std::chrono::nanoseconds deadline{0};  ///< 0: 120 times l2.call_timeout for each shard
  /// Ok only when every instance that could answer from L1 has voided it, or can no more since its validity lapsed: after a
  /// round trip or two, at most bus.staleness_budget. Else unacknowledged, naming the instances. Needs bus.enabled.
  bool acknowledged = false;
};

}  // namespace tiercache
