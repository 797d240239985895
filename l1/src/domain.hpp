// SPDX-License-Identifier: Apache-2.0
//
// The hazard domain as the reclaimer sees it.
#pragma once

#include <tiercache/l1/hazard.hpp>

namespace tiercache::l1::detail {

[[nodiscard]] OverflowRecord* overflow_acquire() noexcept;
void overflow_release(OverflowRecord& record) noexcept;

/// The process's heavy barriers: see BarrierShare. run_barrier() is false when the barrier could not be run.
[[nodiscard]] std::uint64_t barrier_ticket() noexcept;
[[nodiscard]] bool barrier_passed(std::uint64_t ticket) noexcept;
[[nodiscard]] bool run_barrier() noexcept;

/// All hazards of the process at once, without allocating. A barrier passes between the unlinking of what is asked for and
/// collect().
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
