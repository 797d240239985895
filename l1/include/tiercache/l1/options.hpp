// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/result.hpp>

#include <cstdint>

namespace tiercache::l1 {

class Entry;

/// How L1 chooses what to keep.
enum class Policy : std::uint8_t {
  adaptive,  ///< keeps what is asked for often or at short distances; resists scans and loops; tunes itself
  lru,       ///< keeps what was used last, to within a thirtieth of the cache's turnover
};

struct Options {
  std::uint64_t capacity_bytes = 256ULL << 20;  ///< budget for everything; at least 32 KiB
  std::uint64_t resize_max_bytes = 0;        ///< the largest budget that resize() may give; 0: capacity_bytes. Sizes the tables
  std::uint32_t expected_entry_bytes = 256;  ///< sizes the tables: key, value and 44 bytes, rounded up to 32; 32 .. 1 MiB
  std::uint64_t capacity_objects = 0;        ///< also limit the number of entries; 0: no limit
  std::uint64_t max_entry_bytes = 0;         ///< larger entries are refused; 0: an eighth of the capacity
  Policy policy = Policy::adaptive;
  bool huge_pages = true;  ///< ask for pages of 2 MiB for tables and entries that are as large, where the system offers them
  bool profile = true;     ///< follow the workload: hottest keys and the miss-ratio curve; takes up to a 64th of the capacity
  /// All accesses so far, if the owner counts them: a correction of the miss-ratio curve. Null: none.
  std::uint64_t (*accesses)(const void* context) noexcept = nullptr;
  const void* accesses_context = nullptr;  ///< outlives the table
  /// Tells void entries (of a generation that is no longer in force) from others: those are reclaimed first. Called with a hazard
  /// on the entry, off the hit path, from any thread; must be quick, must not throw or call the table. Null: expiry alone counts.
  bool (*is_void)(const void* context, const Entry& entry) noexcept = nullptr;
  const void* void_context = nullptr;  ///< outlives the table
  /// The clock of expiry outside find(), which is given the time; the same epoch.
  std::int64_t (*now_ms)() noexcept = &coarse_now_ms;
  [[nodiscard]] Result<void> validate() const;
};

}  // namespace tiercache::l1
