// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "pages.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace tiercache::l1 {

/// How often keys were asked for lately: a count-min sketch of 4 rows of 4-bit counters (TinyLFU, Einziger et al. 2017). The four
/// counters of a key share one cache line. Every 10 x entries additions all counters are halved, little by little: every
/// 27 additions two words, so that no call does the whole. Races lose increments, of a word's other counters too, or a halving of
/// it. Wait-free.
class Sketch {
 public:
  /// Memory: 6 bytes an expected entry: three counters an entry in each row (with two the hit ratio falls by .001 on average).
  /// False: no memory.
  [[nodiscard]] bool create(std::uint64_t expected_entries, bool huge_pages = true) noexcept {
    lines_ = std::max<std::uint64_t>(expected_entries * 3 / 32, 1);
    return table_.create(lines_, huge_pages);
  }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return lines_ * sizeof(Line); }

  [[nodiscard]] unsigned estimate(std::uint32_t identity) const noexcept {
    const std::uint64_t mixed = mix(identity);
    unsigned least = counter_max;
    for (unsigned row = 0; row < rows; ++row) {
      const Place place = at(mixed, row);
      least = std::min(least, counter(place.word->load(std::memory_order_relaxed), place.shift));
    }
    return least;
  }

  void prefetch(std::uint32_t identity) const noexcept { __builtin_prefetch(at(mix(identity), 0).word); }

  /// `additions`: the caller's count of them; threads that share one may lose some.
  void add(std::uint32_t identity, std::atomic<std::uint64_t>& additions) noexcept {
    const std::uint64_t mixed = mix(identity);
    Place places[rows];
    unsigned least = counter_max;
    for (unsigned row = 0; row < rows; ++row) {
      places[row] = at(mixed, row);
      least = std::min(least, counter(places[row].word->load(std::memory_order_relaxed), places[row].shift));
    }
    if (least == counter_max) return;  // saturated counters are not written: a hot key's line stays shared
    for (const Place place : places) {
      std::uint64_t word = place.word->load(std::memory_order_relaxed);
      // Conservative update: only the counters that bound the estimate grow. One try: a lost race loses one count.
      if (counter(word, place.shift) != least) continue;
      const std::uint64_t more = word + (std::uint64_t{1} << place.shift);
      // A locked step would wait here for all lines that the store has under way. Where two threads seldom write one word at a
      // time a store will do, which loses the other's counts; in a cache of 252 entries that cost a loop .04 of hits.
      if (lines_ >= seldom) place.word->store(more, std::memory_order_relaxed);
      else static_cast<void>(place.word->compare_exchange_strong(word, more, std::memory_order_relaxed));
    }
    // A load and a store, not one locked step: counts that races lose make the halving a little rarer, no more.
    const std::uint64_t count = additions.load(std::memory_order_relaxed) + 1;
    additions.store(count, std::memory_order_relaxed);
    if (count % aging_step == 0) age();
  }

 private:
  static constexpr unsigned rows = 4;
  static constexpr unsigned words_per_line = 8;
  static constexpr unsigned counter_max = 15;
  static constexpr std::uint64_t seldom = 2048;  // lines
  // 10 x entries = 107 x lines additions have to pass over 8 x lines words; two at a time.
  static constexpr std::uint64_t aging_step = 27;
  static constexpr std::uint64_t aged_words = 2;

  struct alignas(64) Line {
    std::atomic<std::uint64_t> words[words_per_line];
  };
  struct Place {
    std::atomic<std::uint64_t>* word;
    unsigned shift;
  };

  [[nodiscard]] static std::uint64_t mix(std::uint32_t identity) noexcept {
    const std::uint64_t mixed = identity * 0x9e3779b97f4a7c15ULL;
    return mixed ^ (mixed >> 32);
  }
  [[nodiscard]] static unsigned counter(std::uint64_t word, unsigned shift) noexcept {
    return static_cast<unsigned>(word >> shift) & counter_max;
  }
  /// Row r owns words 2r and 2r + 1 of the line: 32 counters.
  [[nodiscard]] Place at(std::uint64_t mixed, unsigned row) const noexcept {
    const std::uint64_t line = ((mixed >> 32) * lines_) >> 32;
    const auto index = static_cast<unsigned>(mixed >> (5 * row)) & 31U;
    return {&table_[line].words[row * 2 + index / 16], (index % 16) * 4};
  }
  void age() noexcept {
    const std::uint64_t total = lines_ * words_per_line;
    const std::uint64_t from = aging_.fetch_add(aged_words, std::memory_order_relaxed);
    for (std::uint64_t i = 0; i < aged_words; ++i) {
      auto& word = table_[(from + i) % total / words_per_line].words[(from + i) % words_per_line];
      std::uint64_t value = word.load(std::memory_order_relaxed);
      static_cast<void>(word.compare_exchange_strong(value, (value >> 1) & 0x7777777777777777ULL, std::memory_order_relaxed));
    }
  }

  std::uint64_t lines_ = 0;
  ZeroedArray<Line> table_;
  alignas(64) std::atomic<std::uint64_t> aging_{0};
};

}  // namespace tiercache::l1
