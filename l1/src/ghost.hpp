// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "pages.hpp"

#include <tiercache/l1/sync.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <optional>

namespace tiercache::l1 {

/// Who was evicted from the small queue, and when it had come: buckets of four 32-bit slots, a 16-bit fingerprint and a 16-bit
/// coarse tick each, the oldest replaced. Every slot is one relaxed word: a lost race forgets a key, no more. Wait-free.
///
/// A coarse tick is some thousandth of `entries` ticks, so the ticks wrap after 64 x entries or more: a slot that lived
/// through all of that may pass for young, and its fingerprint has to match besides.
class Ghost {
 public:
  /// Memory: 8 bytes an entry. False: no memory.
  [[nodiscard]] bool create(std::uint64_t entries, bool huge_pages = true) noexcept {
    buckets_ = std::max<std::uint64_t>(entries * slots_per_entry / ways, 1);
    scale(entries);
    return slots_.create(buckets_ * ways, huge_pages);
  }
  /// The cache holds another number of entries now. What is recorded keeps its coarse ticks, so it is misjudged until replaced.
  void scale(std::uint64_t entries) noexcept {
    shift_.store(static_cast<unsigned>(std::max(static_cast<int>(std::bit_width(entries)) - fine_bits, 0)),
                 std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return buckets_ * ways * sizeof(std::uint32_t); }

  void prefetch(std::uint32_t identity) const noexcept { prefetch_to_write(at(identity).bucket); }

  /// The key that came at `stamp` left without a hit. `tick`: now.
  void record(std::uint32_t identity, std::uint32_t stamp, std::uint32_t tick) noexcept {
    const unsigned shift = shift_.load(std::memory_order_relaxed);
    const Place place = at(identity);
    std::uint32_t oldest = 0;
    std::atomic<std::uint32_t>* into = place.bucket;
    for (unsigned way = 0; way < ways; ++way) {
      const std::uint32_t word = place.bucket[way].load(std::memory_order_relaxed);
      if (word == 0 || word >> 16 == place.fingerprint) {
        into = &place.bucket[way];
        break;
      }
      const std::uint32_t age = coarse_age(tick >> shift, word);
      if (age >= oldest) {
        oldest = age;
        into = &place.bucket[way];
      }
    }
    into->store(place.fingerprint << 16 | ((stamp >> shift) & 0xffffU), std::memory_order_relaxed);
  }

  /// How many ticks ago the key came that left without a hit; nothing if it is not remembered.
  [[nodiscard]] std::optional<std::uint32_t> age(std::uint32_t identity, std::uint32_t tick) const noexcept {
    const unsigned shift = shift_.load(std::memory_order_relaxed);
    const Place place = at(identity);
    for (unsigned way = 0; way < ways; ++way) {
      const std::uint32_t word = place.bucket[way].load(std::memory_order_relaxed);
      if (word >> 16 == place.fingerprint) return coarse_age(tick >> shift, word) << shift;
    }
    return std::nullopt;
  }

 private:
  static constexpr unsigned ways = 4;
  static constexpr unsigned slots_per_entry = 2;
  static constexpr int fine_bits = 10;

  /// 0 where the other's tick is a little ahead: threads do not see ticks at one instant.
  [[nodiscard]] static std::uint32_t coarse_age(std::uint32_t tick, std::uint32_t word) noexcept {
    const std::uint32_t age = (tick - word) & 0xffffU;
    return age < 0xff00U ? age : 0;
  }

  struct Place {
    std::atomic<std::uint32_t>* bucket;
    std::uint32_t fingerprint;  // never 0: an empty slot is 0
  };
  [[nodiscard]] Place at(std::uint32_t identity) const noexcept {
    const std::uint64_t mixed = identity * 0xd6e8feb86659fd93ULL;
    const auto bucket = ((mixed >> 32) * buckets_) >> 32;
    const auto fingerprint = static_cast<std::uint32_t>(mixed & 0xffffU);
    return {&slots_[bucket * ways], fingerprint == 0 ? 1 : fingerprint};
  }

  std::uint64_t buckets_ = 0;
  ZeroedArray<std::atomic<std::uint32_t>> slots_;
  std::atomic<unsigned> shift_{0};
};

}  // namespace tiercache::l1
