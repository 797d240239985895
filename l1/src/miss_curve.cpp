// SPDX-License-Identifier: Apache-2.0
#include "miss_curve.hpp"

#include <algorithm>
#include <cmath>
#include <new>

namespace tiercache::l1 {

bool MissCurve::create(const ProfileOptions& options) noexcept {
  samples_max_ = options.samples_max;
  positions_ = 2 * samples_max_;
  threshold_max_ = static_cast<std::uint64_t>(std::clamp(options.rate_max, 1e-9, 1.0) * 4294967296.0);
  threshold_ = threshold_max_;
  line_.reset(new (std::nothrow) Position[positions_]());
  sums_.reset(new (std::nothrow) std::uint64_t[blocks(positions_)]());
  index_.reset(new (std::nothrow) std::uint32_t[positions_]());
  for (std::size_t i = 0; i < sizes; ++i) {
    edges_[i] = static_cast<double>(options.capacity_bytes) * std::exp2((static_cast<double>(i) - 32) / 8);
  }
  half_life_ = options.curve_half_life != 0 ? options.curve_half_life : 8.0 * samples_max_;
  accesses_ = options.accesses;
  accesses_context_ = options.accesses_context;
  if (accesses_ != nullptr) accesses_seen_ = accesses_(accesses_context_);
  return line_ != nullptr && sums_ != nullptr && index_ != nullptr;
}

std::uint32_t* MissCurve::look_up(std::uint64_t hash) noexcept {
  // The sampled hashes' mixed bits are all small; other bits choose the place.
  for (std::uint64_t i = (hash ^ (hash >> 29)) * 0xd6e8feb86659fd93ULL >> 32;; ++i) {
    std::uint32_t& entry = index_[i & (positions_ - 1)];
    if (entry == 0 || line_[entry - 1].hash == hash) return &entry;
  }
}

std::uint64_t MissCurve::bytes_after(std::uint32_t position) const noexcept {
  const unsigned shift = block_shift(positions_);
  const std::uint32_t block = position >> shift;
  std::uint64_t sum = 0;
  // Nothing lies at or past next_.
  for (std::uint32_t i = position + 1, end = std::min((block + 1) << shift, next_); i < end; ++i) sum += line_[i].bytes;
  for (std::uint32_t i = block + 1; i << shift < next_; ++i) sum += sums_[i];
  return sum;
}

void MissCurve::vacate(std::uint32_t position) noexcept {
  sums_[position >> block_shift(positions_)] -= line_[position].bytes;
  line_[position] = {};
}

void MissCurve::append(std::uint32_t* indexed, std::uint64_t hash, std::uint32_t bytes) noexcept {
  line_[next_] = {hash, bytes, live};
  sums_[next_ >> block_shift(positions_)] += bytes;
  *indexed = ++next_;
}

void MissCurve::count(double distance, double times) noexcept {
  const auto edge = std::lower_bound(edges_.begin(), edges_.end(), distance);
  histogram_[static_cast<std::size_t>(edge - edges_.begin())] += times;
  counted_ += times;
  since_halved_ += times;
  if (since_halved_ < half_life_) return;
  settle();
  scale(0.5);
  since_halved_ = 0;
}

void MissCurve::access(std::uint64_t hash, std::uint32_t bytes) noexcept {
  if (next_ == positions_ || keys_ == samples_max_) rebuild();
  if (Profile::mixed(hash) >= threshold_) return;  // sampled before the threshold sank
  if (bytes != 0) average_bytes_ += (bytes - average_bytes_) / 256;
  std::uint32_t* indexed = look_up(hash);
  if (*indexed == 0) {
    ++keys_;
    append(indexed, hash, bytes != 0 ? bytes : static_cast<std::uint32_t>(average_bytes_));
    return count(HUGE_VAL, 1);
  }
  const std::uint32_t position = *indexed - 1;
  const Position known = line_[position];
  const std::uint32_t own = bytes != 0 ? bytes : known.bytes;
  const double distance =
      known.state == live ? static_cast<double>(bytes_after(position)) / rate() + static_cast<double>(own) : HUGE_VAL;
  vacate(position);
  append(indexed, hash, own);
  count(distance, 1);
}

void MissCurve::repeat(std::uint64_t hash, std::uint32_t times) noexcept {
  if (next_ == positions_) rebuild();
  if (Profile::mixed(hash) >= threshold_) return;
  std::uint32_t* indexed = look_up(hash);
  if (*indexed == 0) return lose(times);  // the access itself was lost
  const std::uint32_t position = *indexed - 1;
  const std::uint32_t own = line_[position].bytes;
  vacate(position);
  append(indexed, hash, own);
  count(own, times);
}

void MissCurve::resize(std::uint64_t hash, std::uint32_t bytes) noexcept {
  const std::uint32_t indexed = *look_up(hash);
  if (indexed == 0 || line_[indexed - 1].state != live) return;
  average_bytes_ += (bytes - average_bytes_) / 256;
  std::uint64_t& sum = sums_[(indexed - 1) >> block_shift(positions_)];
  sum -= line_[indexed - 1].bytes;
  sum += bytes;
  line_[indexed - 1].bytes = bytes;
}

void MissCurve::remove(std::uint64_t hash) noexcept {
  const std::uint32_t indexed = *look_up(hash);
  if (indexed == 0 || line_[indexed - 1].state != live) return;
  vacate(indexed - 1);
  line_[indexed - 1] = {hash, 0, removed};
}

void MissCurve::settle() noexcept {
  if (accesses_ == nullptr) return;
  const std::uint64_t now = accesses_(accesses_context_);
  expected_ += static_cast<double>(now - accesses_seen_) * rate();
  accesses_seen_ = now;
}

void MissCurve::scale(double factor) noexcept {
  for (double& n : histogram_) n *= factor;
  counted_ *= factor;
  expected_ *= factor;
}

std::uint32_t MissCurve::first_in_range() const noexcept {
  const double range = edges_.back() * rate();
  std::uint64_t sum = 0;
  for (std::uint32_t i = next_; i != 0; --i) {
    sum += line_[i - 1].bytes;
    if (static_cast<double>(sum) > range) return i - 1;
  }
  return 0;
}

void MissCurve::rebuild() noexcept {
  const std::uint64_t before = threshold_;
  settle();  // under the rate that was in force
  std::uint32_t first = first_in_range();
  for (;;) {
    std::uint32_t kept = 0;
    for (std::uint32_t i = first; i < next_; ++i) {
      if (line_[i].state != live || Profile::mixed(line_[i].hash) >= threshold_) continue;
      line_[kept++] = line_[i];
    }
    next_ = keys_ = kept;
    first = 0;
    if (kept <= samples_max_ / 4 * 3) break;
    threshold_ -= threshold_ / 4 + 1;
  }
  if (keys_ < samples_max_ / 4) threshold_ = std::clamp<std::uint64_t>(2 * threshold_, 1, threshold_max_);
  std::fill(line_.get() + next_, line_.get() + positions_, Position{});

  std::fill_n(sums_.get(), blocks(positions_), 0);
  std::fill_n(index_.get(), positions_, 0);
  for (std::uint32_t i = 0; i < next_; ++i) {
    sums_[i >> block_shift(positions_)] += line_[i].bytes;
    *look_up(line_[i].hash) = i + 1;
  }
  // What was counted stays comparable to what will be.
  if (threshold_ != before) scale(static_cast<double>(threshold_) / static_cast<double>(before));
}

std::vector<MissCurvePoint> MissCurve::curve() {
  settle();
  std::vector<MissCurvePoint> points;
  if (counted_ <= 0) return points;
  // SHARDS-adj: what the sample has too little (or too much) are accesses to the hottest keys, which hit at any size.
  const double missing = accesses_ != nullptr ? expected_ - counted_ : 0;
  const double all = counted_ + missing;
  if (all <= 0) return points;
  points.reserve(sizes);
  double hits = missing;
  for (std::size_t i = 0; i < sizes; ++i) {
    hits += histogram_[i];
    points.push_back({static_cast<std::uint64_t>(edges_[i]), std::clamp(hits / all, 0.0, 1.0)});
  }
  return points;
}

}  // namespace tiercache::l1
