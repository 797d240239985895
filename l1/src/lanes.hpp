// SPDX-License-Identifier: Apache-2.0
//
// Who writes what of a table's counts: cut up by threads, so that no store passes a line between processors.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <thread>

namespace tiercache::l1 {

/// A thread's part of whatever is cut up. `own`: no other thread writes its counts, so a load and a store will do where else a
/// locked step is needed: of those a store of a full cache would have some thirty, and each waits for all the stores before it to
/// reach the cache, missing ones included.
struct Lane {
  std::uint32_t index = 0;
  bool own = false;
};

/// Hands lanes out by the threads' numbers, which are unique among living threads: the first ones have one each, the others
/// share a few more. A lane goes from a thread that ended to the next with its number together with the record, whose hand-over
/// orders their accesses (16).
class Lanes {
 public:
  /// In small caches all threads share one: there the counts are to be exact.
  void open(std::uint64_t expected_entries) noexcept {
    const std::uint64_t most = std::bit_ceil(std::clamp(8 * std::thread::hardware_concurrency(), 16U, own_max));
    own_ = expected_entries < 2 * entries_per
               ? 0
               : static_cast<std::uint32_t>(std::bit_floor(std::clamp<std::uint64_t>(expected_entries / entries_per, 1, most)));
    shared_ = std::clamp(own_ / 4, 1U, shared_max);
  }
  [[nodiscard]] Lane of(std::uint32_t thread) const noexcept {
    if (thread < own_) [[likely]]
      return {thread, true};
    return {own_ + thread % shared_, false};
  }
  [[nodiscard]] std::uint32_t count() const noexcept { return own_ + shared_; }
  [[nodiscard]] bool is_own(std::uint32_t index) const noexcept { return index < own_; }

 private:
  static constexpr std::uint64_t entries_per = 1024;
  static constexpr std::uint32_t own_max = 64, shared_max = 8;
  std::uint32_t own_ = 0, shared_ = 1;
};

/// Adds to a lane's count; a decrease is the two's complement. What it was before.
inline std::uint64_t bump(std::atomic<std::uint64_t>& count, std::uint64_t by, Lane lane) noexcept {
  if (!lane.own) return count.fetch_add(by, std::memory_order_relaxed);
  const std::uint64_t before = count.load(std::memory_order_relaxed);
  count.store(before + by, std::memory_order_relaxed);
  return before;
}

}  // namespace tiercache::l1
