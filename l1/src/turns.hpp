// SPDX-License-Identifier: Apache-2.0
//
// What of the eviction policy's state would pass between processors with every store, cut up by threads so that it does not.
#pragma once

#include "lanes.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <limits>

namespace tiercache::l1 {

/// A lane's part.
struct alignas(64) Turn {
  std::atomic<std::uint64_t> stores{0};                   // of new keys
  std::atomic<std::uint64_t> tick{0}, small{0}, main{0};  // changes that the common counts lack
  std::atomic<std::uint64_t> push{0}, pop{0};             // places in the small queue
  std::atomic<std::uint64_t> hand{0}, sweep{0};
  std::atomic<std::uint64_t> victim{0}, victim_word{0};  // 1 + its position, 0: none; and what lay there
  std::atomic<std::uint64_t> mean_age{0};                // of what the hand met, in 1/64 ticks
  std::atomic<std::uint64_t> additions{0};               // to the sketch
  std::atomic<std::int64_t> expires{never};              // when some entry does, of those that were met; a hint
  std::atomic<std::uint64_t> search_from{0};             // the store that may go and look for expired ones
  // What was asked for and is to be added to the sketch. Of an own lane.
  static constexpr std::uint64_t asked_max = 16;
  std::atomic<std::uint64_t> asked_count{0};
  std::atomic<std::uint32_t> asked[asked_max] = {};

  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
};

/// Numbers handed out in order, to a lane in runs of a power of two. Threads of a shared lane may be handed the same one: for
/// hints only. A lane that stops keeps the rest of its run. Wait-free.
class Runs {
 public:
  void open(std::uint64_t run) noexcept { run_ = std::bit_floor(std::clamp<std::uint64_t>(run, 1, run_max)); }
  [[nodiscard]] std::uint64_t take(std::atomic<std::uint64_t>& own) noexcept {
    if (run_ == 1) return next_.fetch_add(1, std::memory_order_relaxed);
    std::uint64_t at = own.load(std::memory_order_relaxed);
    if ((at & (run_ - 1)) == 0) at = next_.fetch_add(run_, std::memory_order_relaxed);
    own.store(at + 1, std::memory_order_relaxed);
    return at;
  }
  [[nodiscard]] std::uint64_t next() const noexcept { return next_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t run_max = 16;
  std::uint64_t run_ = 1;
  std::atomic<std::uint64_t> next_{0};
};

/// A count that is changed often and read nearly right: a lane's changes reach the common part a batch at a time; who reads
/// sees its own at once. With batch 0 it is exact. Wait-free.
class Batched {
 public:
  void open(std::uint64_t batch) noexcept { batch_ = static_cast<std::int64_t>(batch); }
  /// A decrease is the two's complement.
  void add(std::uint64_t change, std::atomic<std::uint64_t>& own, Lane lane) noexcept {
    if (batch_ == 0) {
      common_.fetch_add(change, std::memory_order_relaxed);
      return;
    }
    const auto sum = static_cast<std::int64_t>(bump(own, change, lane) + change);
    if (sum <= batch_ && sum >= -batch_) return;
    const std::uint64_t all = lane.own ? static_cast<std::uint64_t>(sum) : own.exchange(0, std::memory_order_relaxed);
    if (lane.own) own.store(0, std::memory_order_relaxed);
    common_.fetch_add(all, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t read(const std::atomic<std::uint64_t>& own) const noexcept {
    return common_.load(std::memory_order_relaxed) + own.load(std::memory_order_relaxed);
  }

 private:
  std::int64_t batch_ = 0;
  std::atomic<std::uint64_t> common_{0};
};

}  // namespace tiercache::l1
