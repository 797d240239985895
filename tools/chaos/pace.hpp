// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace tiercache::chaos {

/// When a session is to write: so many rows a second, evenly. What a fault kept it from is made up for, up to two seconds' worth.
class Pace {
 public:
  Pace(double a_second, std::int64_t now) noexcept : a_second_(a_second), last_(now) {}
  [[nodiscard]] bool due(std::int64_t now) noexcept {
    credit_ = std::min(credit_ + a_second_ * static_cast<double>(now - last_) / 1e9, 2 * a_second_);
    last_ = now;
    return credit_ > 0;
  }
  void wrote(std::size_t rows) noexcept { credit_ -= static_cast<double>(rows); }

 private:
  double a_second_;
  double credit_ = 0;
  std::int64_t last_;
};

}  // namespace tiercache::chaos
