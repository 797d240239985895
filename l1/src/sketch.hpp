// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "pages.hpp"

#include <tiercache/l1/sync.hpp>

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
    const Line& line = line_of(mixed);
    unsigned least = counter_max;
    for (unsigned row = 0; row < rows; ++row) {
      const Place at = place(mixed, row);
      least = std::min(least, counter(line.words[at.word].load(std::memory_order_relaxed), at.shift));
    }
    return least;
  }

  void prefetch(std::uint32_t identity) const noexcept { prefetch_to_write(&line_of(mix(identity))); }

  /// `additions`: the caller's count of them; threads that share one may lose some.
  void add(std::uint32_t identity, std::atomic<std::uint64_t>& additions) noexcept {
    const std::uint64_t mixed = mix(identity);
    Line& line = line_of(mixed);
    std::uint64_t words[rows];
    unsigned least = counter_max;
    for (unsigned row = 0; row < rows; ++row) {
      const Place at = place(mixed, row);
      words[row] = line.words[at.word].load(std::memory_order_relaxed);
      least = std::min(least, counter(words[row], at.shift));
    }
    if (least == counter_max) return;  // saturated counters are not written: a hot key's line stays shared
    for (unsigned row = 0; row < rows; ++row) {
      const Place at = place(mixed, row);
      // Conservative update: only the counters that bound the estimate grow. One try: a lost race loses one count.
      const std::uint64_t more = words[row] + (std::uint64_t{counter(words[row], at.shift) == least} << at.shift);
      // A locked step would wait here for all lines that the store has under way. Where two threads seldom write one word at a
      // time a store will do, which loses the other's counts; in a cache of 252 entries that cost a loop .04 of hits.
      if (lines_ >= seldom) line.words[at.word].store(more, std::memory_order_relaxed);
      else if (more != words[row])
        static_cast<void>(line.words[at.word].compare_exchange_strong(words[row], more, std::memory_order_relaxed));
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
    unsigned word;  // of the line
    unsigned shift;
  };

  [[nodiscard]] static std::uint64_t mix(std::uint32_t identity) noexcept {
    const std::uint64_t mixed = identity * 0x9e3779b97f4a7c15ULL;
    return mixed ^ (mixed >> 32);
  }
  [[nodiscard]] static unsigned counter(std::uint64_t word, unsigned shift) noexcept {
    return static_cast<unsigned>(word >> shift) & counter_max;
  }
  [[nodiscard]] Line& line_of(std::uint64_t mixed) const noexcept { return table_[((mixed >> 32) * lines_) >> 32]; }
  /// Row r owns words 2r and 2r + 1 of the line: 32 counters.
  [[nodiscard]] static Place place(std::uint64_t mixed, unsigned row) noexcept {
    const auto index = static_cast<unsigned>(mixed >> (5 * row)) & 31U;
    return {row * 2 + index / 16, (index % 16) * 4};
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
