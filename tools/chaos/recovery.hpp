// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kinds.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace tiercache::chaos {

/// How long each instance took, after the last fault that met it had healed, until its L1 was valid again. A fault that begins
/// meanwhile ends the measurement without a result.
class Recovery {
 public:
  explicit Recovery(unsigned instances) : instances_(instances) {}

  void fault_began(unsigned instance) noexcept {
    Instance& i = instances_[instance];
    ++i.faults;
    if (std::exchange(i.pending, false)) ++interrupted_;
  }
  void fault_ended(unsigned instance, FaultKind kind, std::int64_t now) noexcept {
    Instance& i = instances_[instance];
    if (--i.faults != 0) return;
    i = {0, true, kind, now};
  }
  /// The instance looked at itself at `seen`, and its L1 was valid without interruption since `since` (0: it is not).
  void observe(unsigned instance, std::int64_t since, std::int64_t seen) {
    Instance& i = instances_[instance];
    if (!i.pending || seen <= i.healed || since == 0) return;
    i.pending = false;
    times_[static_cast<std::size_t>(i.kind)].push_back(since > i.healed ? since - i.healed : 0);
  }
  [[nodiscard]] bool pending(unsigned instance) const noexcept { return instances_[instance].pending; }
  /// How long ago the longest pending one healed, in ns; 0: none is pending.
  [[nodiscard]] std::int64_t longest_pending(std::int64_t now) const noexcept {
    std::int64_t longest = 0;
    for (const Instance& i : instances_) {
      if (i.pending) longest = std::max(longest, now - i.healed);
    }
    return longest;
  }
  [[nodiscard]] const std::vector<std::int64_t>& times(FaultKind kind) const noexcept {
    return times_[static_cast<std::size_t>(kind)];
  }
  [[nodiscard]] std::uint64_t interrupted() const noexcept { return interrupted_; }

 private:
  struct Instance {
    unsigned faults = 0;
    bool pending = false;
    FaultKind kind{};
    std::int64_t healed = 0;
  };
  std::vector<Instance> instances_;
  std::array<std::vector<std::int64_t>, fault_count> times_;
  std::uint64_t interrupted_ = 0;
};

}  // namespace tiercache::chaos
