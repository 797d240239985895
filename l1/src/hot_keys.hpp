// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/l1/profile.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace tiercache::l1 {

/// A sampled hit, with what is needed to name its key.
struct HitSample {
  static constexpr std::size_t key_bytes = 64;
  std::uint64_t hash = 0;
  std::uint16_t view = 0;
  std::uint8_t length = 0;
  bool truncated = false;
  char key[key_bytes];
};

/// The keys that fill most of a stream, in fixed memory: sets of eight counted keys. A key that is not counted and finds its set
/// full takes one off the least count there, and the place when none is left (Misra and Gries 1982, in sets). Counts are thereby
/// too low, never too high. Rejected: Space-Saving, whose counts inherit those of whom they displace, so that with a long tail
/// the last ranks are noise; wear that is the less likely the higher the count (HeavyGuardian): finds no more of the top 10 or
/// 64 of Zipf streams of exponents 0.6 to 1. Not thread-safe.
class HotKeys {
 public:
  static constexpr std::uint32_t ways = 8;

  static constexpr std::uint64_t bytes_needed(std::uint64_t sets) noexcept { return sets * ways * sizeof(Counted); }
  /// sets: a power of two. False: no memory.
  [[nodiscard]] bool create(std::uint32_t sets, std::uint32_t half_life) noexcept;
  void add(const HitSample& hit) noexcept;
  [[nodiscard]] std::vector<KeyHeat> hottest(std::uint32_t k) const;

 private:
  struct Counted {
    HitSample hit;
    std::uint32_t count = 0;  // 0: vacant
  };
  void halve() noexcept;

  std::unique_ptr<Counted[]> counted_;
  std::uint32_t sets_ = 0;
  std::uint32_t half_life_ = 0;
  std::uint32_t since_halved_ = 0;
  std::uint64_t hits_ = 0;
};

}  // namespace tiercache::l1
