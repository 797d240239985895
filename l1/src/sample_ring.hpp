// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace tiercache::l1 {

/// A ring from many threads to one that loses rather than waits. A pusher claims the next cell and owns it by a CAS from empty to
/// writing, so the payload needs no atomics: a pusher that was stopped for a whole lap keeps its one cell, and those that come to
/// it later lose their sample. Wait-free. N: a power of two.
template <class T, std::uint32_t N>
class SampleRing {
 public:
  /// Copies `sample` in, unless the cell is taken. `index` counts all pushes.
  bool push(const T& sample, std::uint32_t& index) noexcept {
    index = next_.fetch_add(1, std::memory_order_relaxed);
    Cell& cell = cells_[index % N];
    std::uint32_t expected = empty;
    // (40) acquire: pairs with (43), the consumer has read what lay here.
    if (!cell.state.compare_exchange_strong(expected, writing, std::memory_order_acquire, std::memory_order_relaxed)) {
      return false;
    }
    cell.sample = sample;
    cell.state.store(full, std::memory_order_release);  // (41)
    return true;
  }

  /// The oldest sample. Passes over cells whose pusher is not done; they are found a lap later. One thread at a time.
  bool pop(T& sample) noexcept {
    const std::uint32_t next = next_.load(std::memory_order_relaxed);
    if (next - head_ > N) head_ = next - N;
    while (head_ != next) {
      Cell& cell = cells_[head_++ % N];
      if (cell.state.load(std::memory_order_acquire) != full) continue;  // (42) acquire: pairs with (41)
      sample = cell.sample;
      cell.state.store(empty, std::memory_order_release);  // (43)
      return true;
    }
    return false;
  }

 private:
  static constexpr std::uint32_t empty = 0;
  static constexpr std::uint32_t writing = 1;
  static constexpr std::uint32_t full = 2;
  struct Cell {
    std::atomic<std::uint32_t> state{empty};
    T sample{};
  };

  std::atomic<std::uint32_t> next_{0};
  std::uint32_t head_ = 0;  // the consumer's
  Cell cells_[N];
};

}  // namespace tiercache::l1
