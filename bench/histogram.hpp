// SPDX-License-Identifier: Apache-2.0
//
// Latencies of operations of tens of nanoseconds: the processor's counter where there is one, and buckets of 3 %.
#pragma once

#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace tiercache::bench {

inline std::uint64_t ticks() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

/// Measured once, over 20 ms.
inline double ticks_per_microsecond() {
  static const double result = [] {
    using Clock = std::chrono::steady_clock;
    const auto began = Clock::now();
    const std::uint64_t first = ticks();
    while (Clock::now() - began < std::chrono::milliseconds(20)) {
    }
    const std::uint64_t last = ticks();
    return static_cast<double>(last - first) / std::chrono::duration<double, std::micro>(Clock::now() - began).count();
  }();
  return result;
}

class TickHistogram {
 public:
  void add(std::uint64_t value) { ++counts_[index(value)]; }
  TickHistogram& operator+=(const TickHistogram& o) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += o.counts_[i];
    return *this;
  }
  /// The value below which the share `q` lies, in microseconds, to its bucket's upper end; 0 when there are too few to tell.
  [[nodiscard]] double quantile_us(double q) const {
    std::uint64_t count = 0;
    for (const std::uint64_t c : counts_) count += c;
    if (static_cast<double>(count) * (1 - q) < 1) return 0;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (static_cast<double>(seen) >= q * static_cast<double>(count)) return upper(i) / ticks_per_microsecond();
    }
    return 0;
  }

 private:
  static constexpr std::uint64_t sub = 32;  // buckets for each power of two
  static constexpr unsigned sub_bits = 5;

  static std::size_t index(std::uint64_t v) {
    if (v < sub) return v;
    const unsigned shift = static_cast<unsigned>(std::bit_width(v)) - sub_bits - 1;
    return (shift + 1) * sub + ((v >> shift) - sub);
  }
  static double upper(std::size_t i) {
    if (i < sub) return static_cast<double>(i + 1);
    return static_cast<double>(sub + i % sub + 1) * static_cast<double>(std::uint64_t{1} << (i / sub - 1));
  }

  std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>((64 - sub_bits + 1) * sub);
};

}  // namespace tiercache::bench
