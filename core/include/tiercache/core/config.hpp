// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/log.hpp>
#include <tiercache/base/result.hpp>
#include <tiercache/invalidation/options.hpp>
#include <tiercache/l1/options.hpp>
#include <tiercache/l1/pressure.hpp>
#include <tiercache/l2/options.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace tiercache {

/// What a store is made of. A plain struct: fill it, hand it to Store::open. Each module owns its options; their headers document
/// every field. Nothing here is read again after open().
struct Config {
  std::string env = "dev";          ///< first part of every key; 1..64 of A-Za-z0-9._-
  std::string resource = "app";     ///< second part: the service whose instances share the cache; same alphabet
  l1::Options l1;                   ///< but is_void, accesses and their contexts, which the store sets
  l1::PressureOptions l1_pressure;  ///< l1_pressure.enabled = true: L1 gives memory back when the machine runs short of it
  l2::Options l2;                   ///< l2.enabled = false: L1 only
  invalidation::Options bus;        ///< bus.enabled = false: L1 is bounded by its ttl alone (needs l2 to matter)

  std::chrono::milliseconds default_deadline{1000};  ///< of a call that names none; > 0
  std::chrono::milliseconds lease_ttl{800};          ///< how long a dead loader can hold others up; renewed at half; >= 100 ms
  /// How long an update() whose process died keeps its key out of the caches; >= 100 ms. Must exceed the time in which the
  /// database can still commit what a dead client began (its own enforced transaction timeout), and the longest database write.
  std::chrono::milliseconds gate_ttl{30'000};
  /// How long the version of an erase or update survives it; at least as long as a put or a database replica may be late. 0: not
  /// at all.
  std::chrono::milliseconds tombstone_ttl{600'000};
  std::chrono::milliseconds open_timeout{500};  ///< how long open() waits for its first attempt to connect; 0: not at all
  std::uint64_t max_value_bytes = 64ULL << 20;  ///< encoded; larger ones are refused with too_large; > 0
  std::uint32_t shadow_reads = 0;               ///< 1 in so many L1 hits of a thread and view is compared with Redis in the
                                                ///< background (thread tc-shadow); rounded up to a power of two; 0: none
  bool distrust_other_epochs = false;           ///< true: values stored before Redis last restarted are a miss

  std::string instance_name;  ///< what errors call this instance; 1..64 of A-Za-z0-9._-; empty: a random number
  LogSink log_sink;           ///< empty: spdlog to stderr
  LogLevel log_level = LogLevel::warn;

  /// The first bad field by name ("l2.pool_size: must be 1 .. 256, is 0").
  [[nodiscard]] Result<void> validate() const;

  /// Defaults overridden by the environment: REDIS_URL, or REDIS_HOST, REDIS_PORT, REDIS_USERNAME, REDIS_PASSWORD, REDIS_DB;
  /// REDIS_ENABLED (false, 0, no, off: l2.enabled = false); TIERCACHE_ENV, TIERCACHE_RESOURCE, TIERCACHE_L1_BYTES,
  /// TIERCACHE_L1_MAX_BYTES (l1.resize_max_bytes), TIERCACHE_L1_PRESSURE (true or false), TIERCACHE_BUDGET_MS,
  /// TIERCACHE_BUS_SOURCE (bus, tracking, both), TIERCACHE_LOG (debug, info, warn, error, off). An error names the variable.
  [[nodiscard]] static Result<Config> from_env();
};

}  // namespace tiercache
