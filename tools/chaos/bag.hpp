// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kinds.hpp"
#include "random.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace tiercache::chaos {

/// Draws kinds of one lane at random, each as often as any other: a kind comes again when all others have come.
class Bag {
 public:
  Bag(FaultSet kinds, Lane lane) {
    for (const FaultInfo& f : faults) {
      if (f.lane == lane && kinds.has(f.kind)) kinds_.push_back(f.kind);
    }
  }
  [[nodiscard]] bool empty() const noexcept { return kinds_.empty(); }

  /// One of those left for which `may(kind)`; none: nothing that is left may be drawn now.
  template <class May>
  [[nodiscard]] std::optional<FaultKind> draw(demo::Random& random, May&& may) {
    if (left_.empty()) {
      left_ = kinds_;
      repeated_.clear();
    }
    std::vector<std::size_t> candidates;
    for (std::size_t i = 0; i < left_.size(); ++i) {
      if (may(left_[i])) candidates.push_back(i);
    }
    if (candidates.empty()) return std::nullopt;
    const std::size_t at = candidates[random.below(candidates.size())];
    const FaultKind kind = left_[at];
    std::swap(left_[at], left_.back());
    left_.pop_back();
    return kind;
  }
  /// The one drawn came to nothing: it is put back, once before the others have all come.
  void put_back(FaultKind kind) {
    if (std::find(repeated_.begin(), repeated_.end(), kind) != repeated_.end()) return;
    repeated_.push_back(kind);
    left_.push_back(kind);
  }

 private:
  std::vector<FaultKind> kinds_;
  std::vector<FaultKind> left_;
  std::vector<FaultKind> repeated_;
};

}  // namespace tiercache::chaos
