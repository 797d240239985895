// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tiercache::detail {

/// Numbers of own writes that were answered and erased locally: their echoes, which may come later, have nothing left to do, and
/// must not void what was filled since (race 15 in docs/guarantees.md). An echo whose write was never answered is applied like
/// any other's. Puts that went as a group have one announcement and so one number: its echo is done for only when the last of
/// their callers has erased. Lock-free; a number that was overwritten by a later one of the same slot counts as unanswered, which
/// is the safe side.
class AnsweredWrites {
 public:
  std::uint64_t next() noexcept { return last_.fetch_add(1, std::memory_order_relaxed) + 1; }
  void answered(std::uint64_t id) noexcept {
    slots_[id % size].store(id, std::memory_order_release);
  }  // (1) after the local erase
  /// One of `callers` whose puts the announcement `id` lists has erased; each calls this once. A caller that never does (its put
  /// was answered with an error, say) leaves the number unanswered.
  void answered(std::uint64_t id, std::uint32_t callers) noexcept {
    if (callers <= 1) return answered(id);
    std::atomic<std::uint64_t>& tally = tallies_[id % size];
    std::uint64_t seen = tally.load(std::memory_order_relaxed);
    std::uint64_t mine = 0;
    do {
      // Counts of another number are dropped: its callers come up short of their sum, never over it.
      mine = (seen >> count_bits) == (id & id_mask) ? seen + 1 : ((id & id_mask) << count_bits | 1);
    } while (!tally.compare_exchange_weak(seen, mine, std::memory_order_acq_rel, std::memory_order_relaxed));
    // (3) each caller's erase before its count, all counts before the last one's (1)
    if ((mine & count_mask) == callers) answered(id);
  }
  [[nodiscard]] bool was_answered(std::uint64_t id) const noexcept {
    return slots_[id % size].load(std::memory_order_acquire) == id;  // (2) pairs with (1)
  }

 private:
  static constexpr std::size_t size = 4096;
  static constexpr unsigned count_bits = 16;
  static constexpr std::uint64_t count_mask = (std::uint64_t{1} << count_bits) - 1;
  static constexpr std::uint64_t id_mask =
      ~std::uint64_t{0} >> count_bits;  // returns after nine years of a million writes a second
  std::atomic<std::uint64_t> last_{0};
  std::array<std::atomic<std::uint64_t>, size> slots_{};
  std::array<std::atomic<std::uint64_t>, size> tallies_{};  // id:48 | callers that have erased:16
};

}  // namespace tiercache::detail
