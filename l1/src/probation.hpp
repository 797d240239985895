// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lanes.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <new>

namespace tiercache::l1 {

/// The small queue: where newcomers lie, in the order in which they came. A ring of slot positions, filled and emptied by runs of
/// a few cells that a lane of threads has for itself (in small caches of one cell). Lossy on purpose, so that nobody waits for
/// anybody: a cell whose pusher is stopped is skipped, one that is overrun is overwritten, and an entry that left the table in
/// between leaves a position that means nothing or another entry. Whoever pops looks at what really lies there; entries whose
/// cell was lost are found by the sweep (eviction_upkeep.cpp). Both ends are wait-free.
class Probation {
 public:
  /// Memory: 2 bytes an expected entry: the queue never has more than 0.4 of all. False: no memory.
  [[nodiscard]] bool create(std::uint64_t expected_entries) noexcept {
    run_ = std::bit_floor(std::clamp<std::uint64_t>(expected_entries / run_per, 1, run_max));
    size_ = std::max<std::uint64_t>(expected_entries * 9 / 20 / run_ * run_, 16);
    lines_.reset(new (std::nothrow) Line[(size_ + line_cells - 1) / line_cells]());
    return lines_ != nullptr;
  }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return (size_ + line_cells - 1) / line_cells * sizeof(Line); }

  /// `own`: the lane's next cell of the run that it fills, a multiple of a run's length when it has none; and so with the run
  /// that it empties.
  void push(std::uint32_t position, std::atomic<std::uint64_t>& own, Lane lane) noexcept {
    std::uint64_t at = own.load(std::memory_order_relaxed);
    // The run is used up, or whoever pops has been there already.
    if (in_run(at) == 0 || head_.load(std::memory_order_relaxed) > at || !step(own, at, lane)) {
      at = tail_.fetch_add(run_, std::memory_order_relaxed);
      own.store(at + 1, std::memory_order_relaxed);
    }
    cell(at).store(position + 1, std::memory_order_relaxed);
  }
  /// The oldest position; false: there is none. Skips empty cells.
  [[nodiscard]] bool pop(std::uint32_t& position, std::atomic<std::uint64_t>& own, Lane lane) noexcept {
    for (unsigned skipped = 0; skipped < skip_max; ++skipped) {
      std::uint64_t at = own.load(std::memory_order_relaxed);
      if (in_run(at) != 0) {
        if (!step(own, at, lane)) continue;
      } else {
        std::uint64_t head = head_.load(std::memory_order_relaxed);
        const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
        if (head >= tail) return false;
        // What was overrun is lost.
        at = std::max(head, tail > size_ ? tail - size_ : 0);
        if (!head_.compare_exchange_strong(head, at + run_, std::memory_order_relaxed)) continue;
        own.store(at + 1, std::memory_order_relaxed);
      }
      // A load and a store: a slow pusher's position that comes in between is lost, as that of one who comes later.
      const std::uint32_t found = cell(at).load(std::memory_order_relaxed);
      if (found == 0) continue;
      cell(at).store(0, std::memory_order_relaxed);
      position = found - 1;
      return true;
    }
    return false;
  }

  /// What pop() may give after so many others; ~0: nothing is known.
  [[nodiscard]] std::uint32_t peek(std::uint64_t ahead, const std::atomic<std::uint64_t>& own) const noexcept {
    const std::uint64_t at = own.load(std::memory_order_relaxed);
    const std::uint64_t left = in_run(0 - at);  // of the run
    return cell(ahead < left ? at + ahead : head_.load(std::memory_order_relaxed) + ahead - left)
               .load(std::memory_order_relaxed) -
           1;
  }

 private:
  static constexpr unsigned skip_max = 64;
  static constexpr std::uint64_t line_cells = 16;
  static constexpr std::uint64_t run_max = line_cells;
  static constexpr std::uint64_t run_per = 4096;

  struct alignas(64) Line {
    std::atomic<std::uint32_t> cells[line_cells];
  };
  /// Takes the lane's next cell; false: another thread of a shared lane did.
  [[nodiscard]] static bool step(std::atomic<std::uint64_t>& own, std::uint64_t at, Lane lane) noexcept {
    if (!lane.own) return own.compare_exchange_strong(at, at + 1, std::memory_order_relaxed);
    own.store(at + 1, std::memory_order_relaxed);
    return true;
  }
  /// Where in its run a cell is. A run's length is a power of two, which a division would not know.
  [[nodiscard]] std::uint64_t in_run(std::uint64_t at) const noexcept { return at & (run_ - 1); }
  [[nodiscard]] std::atomic<std::uint32_t>& cell(std::uint64_t at) const noexcept {
    const std::uint64_t in = at % size_;
    return lines_[in / line_cells].cells[in % line_cells];
  }

  std::uint64_t run_ = 1;
  std::uint64_t size_ = 0;
  std::unique_ptr<Line[]> lines_;
  alignas(64) std::atomic<std::uint64_t> head_{0};
  alignas(64) std::atomic<std::uint64_t> tail_{0};
};

}  // namespace tiercache::l1
