// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kinds.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

namespace tiercache::chaos {

/// How long each instance took, after the last fault that met it had healed, until its L1 was valid again, and stayed so for
/// `settle` ns: what is lost only by the reconnect that follows the heal counts as well. A fault that begins meanwhile ends the
/// measurement without a result.
class Recovery {
 public:
  explicit Recovery(unsigned instances, std::int64_t settle = 0) : instances_(instances), settle_(settle) {}

  void fault_began(unsigned instance) noexcept {
    Instance& i = instances_[instance];
    ++i.faults;
    if (std::exchange(i.pending, false)) ++interrupted_;
  }
  void fault_ended(unsigned instance, FaultKind kind, std::int64_t now) noexcept {
    Instance& i = instances_[instance];
    if (--i.faults != 0) return;
    i = {0, true, kind, now, 0};
  }
  /// The instance looked at itself at `seen`, and its L1 was valid without interruption since `since` (0: it is not).
  void observe(unsigned instance, std::int64_t since, std::int64_t seen) {
    Instance& i = instances_[instance];
    if (!i.pending || seen <= i.healed) return;
    i.since = since;
    if (since == 0 || seen - std::max(since, i.healed) < settle_) return;
    i.pending = false;
    times_[static_cast<std::size_t>(i.kind)].push_back(since > i.healed ? since - i.healed : 0);
  }
  [[nodiscard]] bool pending(unsigned instance) const noexcept { return instances_[instance].pending; }
  /// How long the longest pending one has taken so far, in ns; 0: none is pending.
  [[nodiscard]] std::int64_t longest_pending(std::int64_t now) const noexcept {
    std::int64_t longest = 0;
    for (const Instance& i : instances_) {
      if (i.pending) longest = std::max(longest, (i.since == 0 ? now : i.since) - i.healed);
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
    std::int64_t since = 0;  // valid since then, as was last seen; 0: not
  };
  std::vector<Instance> instances_;
  std::int64_t settle_;
  std::array<std::vector<std::int64_t>, fault_count> times_;
  std::uint64_t interrupted_ = 0;
};

}  // namespace tiercache::chaos
