// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>

namespace tiercache::l2 {

/// A word that one thread waits on and others change. Unlike a condition variable it may be gone when it is woken: unpark() hands
/// the kernel an address and touches nothing there, so the waiter need not outlive the waking.
using ParkWord = std::atomic<std::uint32_t>;
static_assert(ParkWord::is_always_lock_free && sizeof(ParkWord) == sizeof(std::uint32_t));

/// Sleeps while the word is `seen`, until `until` at the latest. May return early: look again.
inline void park(const ParkWord& word, std::uint32_t seen, SteadyTime until) noexcept {
  timespec at{};
  timespec* limit = nullptr;
  if (until != SteadyTime::max()) {
    const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(until.time_since_epoch()).count();
    at = {static_cast<std::time_t>(since / 1'000'000'000), static_cast<long>(since % 1'000'000'000)};
    limit = &at;  // absolute, on the monotonic clock, which steady_clock is
  }
  syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, seen, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
}

inline void unpark(const ParkWord* word) noexcept { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace tiercache::l2
