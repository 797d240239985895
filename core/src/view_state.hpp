// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/stats.hpp>
#include <tiercache/core/options.hpp>
#include <tiercache/core/view.hpp>
#include <tiercache/l1/table.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace tiercache::detail {

/// Counts hits without a shared write: a cell of its own for each thread that hits, by the thread's hazard-record index.
class HitCounter {
 public:
  ~HitCounter() {
    for (auto& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
  }
  /// The thread's count after this hit. Wait-free, no allocation but at the first hit of 64 threads. Without memory for it:
  /// uncounted.
  std::uint64_t add() noexcept {
    const std::uint32_t i = l1::thread_index();
    std::atomic<Cell*>& slot = chunks_[(i / chunk_cells) % chunks];
    Cell* cells = slot.load(std::memory_order_acquire);  // (2) pairs with (1)
    if (cells == nullptr) [[unlikely]] {
      cells = grow(slot);
      if (cells == nullptr) return 1;
    }
    std::atomic<std::uint64_t>& n = cells[i % chunk_cells].n;
    const std::uint64_t now = n.load(std::memory_order_relaxed) + 1;  // only this thread writes the cell
    n.store(now, std::memory_order_relaxed);
    return now;
  }
  [[nodiscard]] std::uint64_t sum() const noexcept {
    std::uint64_t total = 0;
    for (const auto& chunk : chunks_)
      if (const Cell* cells = chunk.load(std::memory_order_acquire))  // (2) pairs with (1)
        for (std::size_t i = 0; i < chunk_cells; ++i) total += cells[i].n.load(std::memory_order_relaxed);
    return total;
  }

 private:
  struct alignas(64) Cell {
    std::atomic<std::uint64_t> n{0};
  };
  static constexpr std::size_t chunk_cells = 64;
  static constexpr std::size_t chunks = 16;

  static Cell* grow(std::atomic<Cell*>& slot) noexcept {
    Cell* fresh = new (std::nothrow) Cell[chunk_cells];
    Cell* there = nullptr;
    if (fresh == nullptr ||
        slot.compare_exchange_strong(there, fresh, std::memory_order_acq_rel, std::memory_order_acquire))  // (1), (2)
      return fresh;
    delete[] fresh;
    return there;
  }

  std::array<std::atomic<Cell*>, chunks> chunks_{};
};

/// A view as the store keeps it. Lives as long as the store's memory.
struct ViewState {
  std::string name;
  ViewOptions options;
  const ValueOps* ops = nullptr;
  l1::ViewId l1_id = 0;
  std::atomic<std::uint32_t> clears{0};      ///< added to the shard's generation: clear() is O(1)
  std::atomic<std::uint32_t> tag_erases{0};  ///< likewise, of flights only: none that began before is joined

  HitCounter l1_hits;
  std::atomic<std::uint64_t> l1_misses{0}, l2_hits{0}, misses{0}, loads{0}, load_failures{0}, flight_joins{0}, puts{0}, erases{0},
      l1_bypassed{0}, bad_envelopes{0}, foreign_values{0}, l1_stale_hits{0}, l1_behind{0};

  [[nodiscard]] ViewStats stats(const l1::Table& table) const;
};

}  // namespace tiercache::detail
