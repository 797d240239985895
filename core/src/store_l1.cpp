// SPDX-License-Identifier: Apache-2.0
//
// What a store does with its L1 as a whole: opens it, sizes it, and tells its workload.
#include "store_core.hpp"

#include <algorithm>

namespace tiercache::detail {
namespace {

/// The hit ratio at a capacity, between the curve's points.
double ratio_at(const std::vector<l1::MissCurvePoint>& curve, double bytes) {
  const auto above = std::lower_bound(curve.begin(), curve.end(), bytes, [](const l1::MissCurvePoint& point, double wanted) {
    return static_cast<double>(point.capacity_bytes) < wanted;
  });
  if (above == curve.begin()) return curve.front().hit_ratio;
  if (above == curve.end()) return curve.back().hit_ratio;
  const auto below = above - 1;
  const auto low = static_cast<double>(below->capacity_bytes);
  const double way = (bytes - low) / (static_cast<double>(above->capacity_bytes) - low);
  return below->hit_ratio + way * (above->hit_ratio - below->hit_ratio);
}

}  // namespace

Result<void> StoreCore::open_table() {
  l1::Options options = config.l1;
  options.is_void = [](const void* self, const l1::Entry& entry) noexcept {
    const auto& core = *static_cast<const StoreCore*>(self);
    const ViewState* view =
        core.by_l1_id_[entry.view() % core.by_l1_id_.size()].load(std::memory_order_acquire);  // (4) pairs with (3)
    return view != nullptr &&
           entry.generation() != core.coherence.generation(entry.shard()) + view->clears.load(std::memory_order_relaxed);
  };
  options.void_context = this;
  // No lock: it is called inside some thread's hit. The views' ids in the table go up from 0.
  options.accesses = [](const void* self) noexcept {
    std::uint64_t sum = 0;
    for (const auto& place : static_cast<const StoreCore*>(self)->by_l1_id_) {
      const ViewState* view = place.load(std::memory_order_acquire);  // (4) pairs with (3)
      if (view == nullptr) break;
      sum += view->l1_hits.sum() + view->l1_misses.load(std::memory_order_relaxed);
    }
    return sum;
  };
  options.accesses_context = this;
  Result<std::unique_ptr<l1::Table>> made = l1::Table::create(options);
  if (!made) return std::move(made).error();
  table = std::move(*made);
  l1_bytes_.store(config.l1.capacity_bytes, std::memory_order_relaxed);
  return {};
}

Result<void> StoreCore::resize_l1(std::uint64_t capacity_bytes) {
  if (const char* why = unusable()) return Error{Errc::closed, why};
  const std::lock_guard lock(resize_mutex_);
  const std::uint64_t before = l1_bytes_.load(std::memory_order_relaxed);
  // What was asked for is judged as it is, not by what pressure leaves of it now.
  const std::uint64_t most = std::max(config.l1.capacity_bytes, config.l1.resize_max_bytes);
  const std::uint64_t least = 2 * table->stats().fixed_bytes;
  if (capacity_bytes < least || capacity_bytes > most)
    return Error{Errc::invalid_argument, "l1.capacity_bytes: can be resized to " + std::to_string(least) + " to " +
                                             std::to_string(most) + " here, not to " + std::to_string(capacity_bytes)};
  l1_bytes_.store(capacity_bytes, std::memory_order_relaxed);
  Result<void> r = resize_table();
  if (!r) l1_bytes_.store(before, std::memory_order_relaxed);
  return r;
}

void StoreCore::leave(double share) {
  const std::lock_guard lock(resize_mutex_);
  l1_share_ = share;
  if (Result<void> r = resize_table(); !r) log(LogLevel::warn, "memory pressure: " + r.error().message);
}

Result<void> StoreCore::resize_table() noexcept {
  // Never less than the table can be, whatever pressure.floor says of a small one.
  const std::uint64_t whole = l1_bytes_.load(std::memory_order_relaxed);
  const auto left = static_cast<std::uint64_t>(static_cast<double>(whole) * l1_share_);
  return table->resize(std::clamp(left, std::min(2 * table->stats().fixed_bytes, whole), whole));
}

std::string StoreCore::view_name(l1::ViewId id) const {
  const ViewState* view = by_l1_id_[id % by_l1_id_.size()].load(std::memory_order_acquire);  // (4) pairs with (3)
  return view != nullptr ? view->name : std::string();
}

std::vector<HotKey> StoreCore::hottest(std::uint32_t k) const {
  std::vector<HotKey> told;
  for (l1::KeyHeat& heat : table->hottest(k))
    told.push_back({view_name(heat.view), std::move(heat.key), heat.truncated, heat.share});
  return told;
}

std::vector<ColdKey> StoreCore::coldest(std::uint32_t k) const {
  std::vector<ColdKey> told;
  for (l1::KeyAge& age : table->coldest(k))
    told.push_back({view_name(age.view), std::move(age.key), age.bytes, age.uses, age.arrivals});
  return told;
}

L1Workload StoreCore::workload(const L1Stats& stats) const {
  L1Workload w;
  // The curve is about the bytes that entries take.
  const auto room = static_cast<double>(stats.capacity_bytes - std::min(stats.fixed_bytes, stats.capacity_bytes));
  if (const std::vector<l1::MissCurvePoint> curve = table->miss_curve(); !curve.empty()) {
    for (const double factor : {0.25, 0.5, 1.0, 2.0, 4.0}) w.hit_ratios.push_back({factor, ratio_at(curve, factor * room)});
  }
  const std::vector<l1::KeyHeat> hot = table->hottest(10);
  w.heat_known = !hot.empty();
  for (const l1::KeyHeat& heat : hot) w.hottest_10_share += heat.share;
  if (w.heat_known) w.hottest_1_share = hot.front().share;
  return w;
}

}  // namespace tiercache::detail
