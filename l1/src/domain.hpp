// SPDX-License-Identifier: Apache-2.0
//
// The hazard domain as the reclaimer sees it.
#pragma once

#include <tiercache/l1/hazard.hpp>

namespace tiercache::l1::detail {

[[nodiscard]] OverflowRecord* overflow_acquire() noexcept;
void overflow_release(OverflowRecord& record) noexcept;

/// What was unlinked before, told by the process's heavy barriers (BarrierShare) and by its threads (Passing).
struct Seal {
  std::uint64_t barriers = 0;  // begun so far
  std::uint64_t number = 0;
};
[[nodiscard]] Seal seal() noexcept;
/// Whether a scan for what was sealed needs no barrier more: one was run since, or all threads have come by. O(threads) at most.
[[nodiscard]] bool served(const Seal& seal) noexcept;
/// False when the barrier could not be run.
[[nodiscard]] bool run_barrier() noexcept;

/// On a line of its own: all threads read it, and it seldom changes.
struct alignas(64) Seals {
  std::atomic<std::uint64_t> last{0};
};
extern Seals seals;
/// The calling thread comes by, if it has a record.
inline void pass() noexcept {
  if (Record* record = tls_record) [[likely]]
    Passing<StdSync>::pass(seals.last, record->passed);
}

/// All hazards of the process at once, without allocating. Between the unlinking of what is asked for and collect() a barrier is
/// run, or all threads come by.
class HazardScan {
 public:
  /// False: pins on retired entries kept being copied meanwhile, so a hazard may have been missed. Free nothing this time.
  [[nodiscard]] bool collect() noexcept;
  [[nodiscard]] bool holds(const Entry* entry) const noexcept;
  /// Those found that are `wanted`, in order. False: they are more than `most`.
  template <class Wanted>
  [[nodiscard]] bool copy(const Entry** to, std::uint32_t most, std::uint32_t& count, Wanted&& wanted) const noexcept {
    count = 0;
    if (overflowed_) return false;
    for (unsigned i = 0; i < count_; ++i) {
      if (!wanted(found_[i])) continue;
      if (count == most) return false;
      to[count++] = found_[i];
    }
    return true;
  }

 private:
  static constexpr unsigned room = 512;  // on the stack; with more hazards than this each question walks the records

  const Entry* found_[room];
  unsigned count_ = 0;
  bool overflowed_ = false;
};

/// For validate(): nobody is inside an operation.
[[nodiscard]] bool operation_hazards_clear() noexcept;

}  // namespace tiercache::l1::detail
