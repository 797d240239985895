// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>

namespace tiercache {

/// Deadlines and timers run on the monotonic clock; no wall clock takes part in any decision (race 16 in docs/guarantees.md).
using SteadyTime = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

/// One tick of CLOCK_MONOTONIC_COARSE is at most this long (CONFIG_HZ >= 100). Coherence windows are shortened by it,
/// because a coarse reading may lag the true time by one tick.
inline constexpr std::int64_t coarse_tick_ms = 10;

/// Milliseconds of CLOCK_MONOTONIC_COARSE: the clock of every hit. Wait-free, no system call (vdso), about 5 ns. Never cached
/// by a thread: a thread that was stopped and resumed must notice (race 17 in docs/guarantees.md). Same epoch as steady_clock.
[[nodiscard]] inline std::int64_t coarse_now_ms() noexcept {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
  // 32 bits: a division that is one multiplication.
  return static_cast<std::int64_t>(ts.tv_sec) * 1000 + static_cast<std::uint32_t>(ts.tv_nsec) / 1'000'000U;
}

/// Milliseconds of steady_clock since its epoch (CLOCK_MONOTONIC on Linux).
[[nodiscard]] inline std::int64_t steady_ms(SteadyTime t) noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
}

/// The time source of everything off the hit path. Tests inject their own; production uses SystemClock.
/// Implementations are thread-safe and never go back.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual SteadyTime now() const noexcept = 0;
};

class SystemClock final : public Clock {
 public:
  [[nodiscard]] SteadyTime now() const noexcept override { return std::chrono::steady_clock::now(); }
  /// The process-wide instance; never destroyed.
  static const SystemClock& instance() noexcept {
    static const SystemClock clock;
    return clock;
  }
};

/// A point in time by which a call must have ended. A plain value.
class Deadline {
 public:
  constexpr explicit Deadline(SteadyTime at) noexcept : at_(at) {}
  static Deadline after(Duration d) noexcept {
    const auto now = std::chrono::steady_clock::now();
    return Deadline(d >= SteadyTime::max() - now ? SteadyTime::max() : now + std::chrono::duration_cast<SteadyTime::duration>(d));
  }
  static constexpr Deadline never() noexcept { return Deadline(SteadyTime::max()); }

  [[nodiscard]] constexpr SteadyTime at() const noexcept { return at_; }
  [[nodiscard]] bool passed() const noexcept { return std::chrono::steady_clock::now() >= at_; }
  /// Time left, never negative.
  [[nodiscard]] Duration left() const noexcept {
    if (at_ == SteadyTime::max()) return Duration::max();
    return std::max<Duration>(Duration::zero(), at_ - std::chrono::steady_clock::now());
  }
  /// Time left in whole milliseconds, rounded up, capped for poll(2).
  [[nodiscard]] int left_poll_ms() const noexcept {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::min<Duration>(left(), std::chrono::hours(1)) +
                                                                          std::chrono::microseconds(999))
                        .count();
    return static_cast<int>(ms);
  }
  [[nodiscard]] Deadline sooner(Deadline other) const noexcept { return Deadline(std::min(at_, other.at_)); }

 private:
  SteadyTime at_;
};

}  // namespace tiercache
