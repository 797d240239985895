// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/hash.hpp>

#include <cassert>
#include <cmath>
#include <cstdint>
#include <vector>

namespace tiercache::demo {

/// A small, fast, seeded generator: the same seed gives the same workload. Not for secrets. One thread.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(mix64(seed)) {}
  [[nodiscard]] std::uint64_t next() noexcept { return mix64(state_ += 0x9e3779b97f4a7c15ULL); }
  /// Uniform below `n`. The bias of the multiplication is below n / 2^64.
  [[nodiscard]] std::uint64_t below(std::uint64_t n) noexcept {
    return static_cast<std::uint64_t>((static_cast<Wide>(next()) * n) >> 64);
  }
  /// Uniform in [0, 1).
  [[nodiscard]] double unit() noexcept { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

 private:
  __extension__ using Wide = unsigned __int128;
  std::uint64_t state_;
};

/// Ranks 0 .. n-1, rank r with weight 1 / (r + 1)^s, by Walker's alias method: exact, O(1), one random number and one table
/// entry a sample. Immutable once built: threads share one.
class ZipfSampler {
 public:
  /// REQUIRES: 0 < n < 2^32, s >= 0 (0: uniform). O(n).
  ZipfSampler(std::uint64_t n, double s) : cells_(n) {
    assert(n > 0);
    double total = 0;
    std::vector<double> share(n);
    for (std::uint64_t r = 0; r < n; ++r) total += share[r] = std::pow(static_cast<double>(r + 1), -s);
    std::vector<std::uint32_t> poor;
    std::vector<std::uint32_t> rich;
    for (std::uint64_t r = 0; r < n; ++r) {
      share[r] *= static_cast<double>(n) / total;
      (share[r] < 1 ? poor : rich).push_back(static_cast<std::uint32_t>(r));
    }
    while (!poor.empty() && !rich.empty()) {
      const std::uint32_t p = poor.back();
      const std::uint32_t r = rich.back();
      poor.pop_back();
      cells_[p] = {share[p], r};
      share[r] -= 1 - share[p];
      if (share[r] < 1) {
        rich.pop_back();
        poor.push_back(r);
      }
    }
    // What is left is 1 up to rounding.
    for (const std::uint32_t r : poor) cells_[r] = {1, r};
    for (const std::uint32_t r : rich) cells_[r] = {1, r};
  }

  [[nodiscard]] std::uint32_t operator()(Random& random) const noexcept {
    const double at = random.unit() * static_cast<double>(cells_.size());
    const auto i = static_cast<std::size_t>(at);
    return at - static_cast<double>(i) < cells_[i].keep ? static_cast<std::uint32_t>(i) : cells_[i].alias;
  }

 private:
  struct Cell {
    double keep = 1;
    std::uint32_t alias = 0;
  };
  std::vector<Cell> cells_;
};

}  // namespace tiercache::demo
