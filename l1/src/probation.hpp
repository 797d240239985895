// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>

namespace tiercache::l1 {

/// The small queue: where newcomers lie, in the order in which they came. A ring of slot positions. Lossy on purpose, so that
/// nobody waits for anybody: a cell whose pusher is stopped is skipped, one that is overrun is overwritten, and an entry that
/// left the table in between leaves a position that means nothing or another entry. Whoever pops looks at what really lies there;
/// entries whose cell was lost are found by the sweep (eviction.cpp). Both ends are wait-free.
class Probation {
 public:
  /// Memory: 2 bytes an expected entry: the queue never has more than 0.4 of all. False: no memory.
  [[nodiscard]] bool create(std::uint64_t expected_entries) noexcept {
    size_ = std::max<std::uint64_t>(expected_entries * 9 / 20, 16);
    cells_.reset(new (std::nothrow) std::atomic<std::uint32_t>[size_]());
    return cells_ != nullptr;
  }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return size_ * sizeof(std::uint32_t); }

  void push(std::uint32_t position) noexcept {
    const std::uint64_t at = tail_.fetch_add(1, std::memory_order_relaxed);
    cells_[at % size_].store(position + 1, std::memory_order_relaxed);
  }
  /// The oldest position; false: there is none. Skips empty cells.
  [[nodiscard]] bool pop(std::uint32_t& position) noexcept {
    for (unsigned skipped = 0; skipped < skip_max; ++skipped) {
      std::uint64_t head = head_.load(std::memory_order_relaxed);
      const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
      if (head >= tail) return false;
      // What was overrun is lost.
      const std::uint64_t at = std::max(head, tail > size_ ? tail - size_ : 0);
      if (!head_.compare_exchange_strong(head, at + 1, std::memory_order_relaxed)) continue;
      const std::uint32_t cell = cells_[at % size_].exchange(0, std::memory_order_relaxed);
      if (cell == 0) continue;
      position = cell - 1;
      return true;
    }
    return false;
  }

  /// What pop() may give after so many others; ~0: nothing is known.
  [[nodiscard]] std::uint32_t peek(std::uint64_t ahead) const noexcept {
    return cells_[(head_.load(std::memory_order_relaxed) + ahead) % size_].load(std::memory_order_relaxed) - 1;
  }

 private:
  static constexpr unsigned skip_max = 64;

  std::uint64_t size_ = 0;
  std::unique_ptr<std::atomic<std::uint32_t>[]> cells_;
  alignas(64) std::atomic<std::uint64_t> head_{0};
  alignas(64) std::atomic<std::uint64_t> tail_{0};
};

}  // namespace tiercache::l1
