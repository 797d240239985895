// SPDX-License-Identifier: Apache-2.0
#include "return_watch.hpp"

#include "clock.hpp"

namespace tiercache::demo {

bool ReturnWatch::due(std::int64_t now) const noexcept {
  constexpr std::int64_t apart = 50 * ns_per_ms;
  return now >= begin_ && (samples_.empty() || now - samples_.back().at >= apart);
}

void ReturnWatch::look(std::int64_t now, std::uint64_t reads, std::uint64_t by_l1) {
  if (!due(now)) return;
  samples_.push_back({now, reads, by_l1});
  while (samples_.size() > 2 && now - samples_[1].at >= window_) samples_.pop_front();
  const Sample& first = samples_.front();
  if (now - first.at < window_) return;
  share_ = reads == first.reads ? 0 : static_cast<double>(by_l1 - first.by_l1) / static_cast<double>(reads - first.reads);
}

}  // namespace tiercache::demo
