// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>

#include <chrono>
#include <cstdint>

namespace tiercache::invalidation {

/// Who tells a store which keys changed.
enum class Source : std::uint8_t {
  bus,       ///< the writers, by announcements: what other clients write to Redis is seen at the entry's ttl only
  tracking,  ///< Redis, by server-assisted client tracking: every write to Redis, whoever made it, expiry, eviction, FLUSHALL
  both,      ///< each of them
};

struct Options {
  bool enabled = true;                               ///< false: no bus; L1 of this store is not kept coherent with others
  std::chrono::milliseconds staleness_budget{2000};  ///< D: past it L1 is bypassed; 250 ms .. 1 h
  std::chrono::milliseconds heartbeat{0};            ///< H; 0: a fifth of the budget; at most a third of it
  /// How many announcements Redis keeps at least for instances that missed them; each takes its keys and some 100 bytes there, at
  /// most 4 KiB. 0: none are kept, and every reconnect voids L1. One value for all instances; 0 or 64 .. 1048576.
  std::uint32_t log_entries = 16384;
  /// tracking, both: needs Redis 6 or newer, and in an ACL client|tracking and the channel __redis__:invalidate. A load or put
  /// is told of like any write, so it may cost each instance one more read of Redis; after a lost link L1 begins anew.
  Source source = Source::bus;
  [[nodiscard]] Result<void> validate() const;
  [[nodiscard]] std::chrono::milliseconds heartbeat_interval() const {
    return heartbeat.count() ? heartbeat : staleness_budget / 5;
  }
};

}  // namespace tiercache::invalidation
