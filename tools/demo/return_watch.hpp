// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>

namespace tiercache::demo {

/// Whether L1 answers again as before Redis was killed: its share of the reads in a window that is as long as the one before the
/// kill, begins when L1 is valid again everywhere, and moves on while the share is not reached. The kill emptied both tiers, so
/// how soon it is reached is a figure of the machine; that it is reached is what bypassing L1 could not show.
class ReturnWatch {
 public:
  /// Not before `begin`. All in ns.
  ReturnWatch(std::int64_t begin, std::int64_t window) : begin_(begin), window_(window) {}

  /// It is time to look again.
  [[nodiscard]] bool due(std::int64_t now) const noexcept;
  /// The counts up to `now`, which never go back.
  void look(std::int64_t now, std::uint64_t reads, std::uint64_t by_l1);
  /// The share in the last full window; 0 before there was one.
  [[nodiscard]] double share() const noexcept { return share_; }
  [[nodiscard]] std::int64_t begin() const noexcept { return begin_; }

 private:
  struct Sample {
    std::int64_t at;
    std::uint64_t reads, by_l1;
  };
  std::int64_t begin_;
  std::int64_t window_;
  std::deque<Sample> samples_;
  double share_ = 0;
};

}  // namespace tiercache::demo
