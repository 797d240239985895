// SPDX-License-Identifier: Apache-2.0
#include "shadow.hpp"

#include "policy.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <new>

namespace tiercache::l1 {
namespace {

constexpr std::uint64_t rate_least = 2, rate_most = 64;  // one key in so many is sampled, or less where a shadow is at its limit
constexpr std::uint64_t bytes_sampled = 72;              // for a key in all shadows, nearly
// Entries of a shadow, if the least rate gives as many. With 128 the choice depended on which keys were in the sample: in caches
// of 700 to 12,000 entries the hit ratio lay up to .07 lower in one process of four.
constexpr std::uint64_t sample_least = 660;
constexpr double keep = .8;  // of the past, an epoch

/// `most`: what a shadow has memory for.
std::uint64_t rate_for(std::uint64_t entries, std::uint64_t most) noexcept {
  return std::max(std::clamp(entries / sample_least, rate_least, rate_most), (entries + most - 1) / most);
}

}  // namespace

bool Shadow::create(std::uint32_t most_entries, double share) noexcept {
  most_ = std::clamp(most_entries, 4U, limit);
  index_size_ = std::bit_ceil(most_);
  share_ = share;
  nodes_.reset(new (std::nothrow) Node[most_ + 1]());
  index_.reset(new (std::nothrow) Index[index_size_]());
  if (nodes_ == nullptr || index_ == nullptr || !ghost_.create(most_)) return false;
  for (std::uint32_t node = 1; node < most_; ++node) nodes_[node].next = static_cast<Index>(node + 1);
  free_ = 1;
  resize(most_);
  return true;
}

void Shadow::resize(std::uint32_t entries) noexcept {
  entries_ = std::clamp(entries, 4U, most_);
  small_target_ = std::max(static_cast<std::uint32_t>(std::lround(share_ * entries_)), 1U);
  ghost_.scale(entries_);
}

std::uint64_t Shadow::table_bytes() const noexcept {
  return (most_ + std::uint64_t{1}) * sizeof(Node) + index_size_ * sizeof(Index) + ghost_.table_bytes();
}

Shadow::Index& Shadow::chain_of(std::uint32_t identity) noexcept {
  // The sample was drawn by the high bits of another product.
  return index_[((identity * 0x9e3779b97f4a7c15ULL) >> 32) & (index_size_ - 1)];
}

void Shadow::push(Queue& queue, Index node) noexcept {
  nodes_[node].next = 0;
  (queue.size == 0 ? queue.oldest : nodes_[queue.youngest].next) = node;
  queue.youngest = node;
  ++queue.size;
}

Shadow::Index Shadow::pop(Queue& queue) noexcept {
  const Index node = queue.oldest;
  queue.oldest = nodes_[node].next;
  --queue.size;
  return node;
}

void Shadow::drop(Index node) noexcept {
  Index* link = &chain_of(nodes_[node].identity);
  while (*link != node) link = &nodes_[*link].chain;
  *link = nodes_[node].chain;
  nodes_[node].next = free_;
  free_ = node;
}

void Shadow::store(Queue& queue, std::uint32_t identity) noexcept {
  const Index node = free_;
  free_ = nodes_[node].next;
  Index& chain = chain_of(identity);
  nodes_[node] = {identity, 0, tick_ & tick_mask, 0, chain};
  chain = node;
  push(queue, node);
}

Shadow::Index Shadow::turn_hand() noexcept {
  if (main_.size == 0) return 0;
  for (unsigned step = 0; step < policy::hand_most && nodes_[main_.oldest].used > 0; ++step) {
    const Index node = pop(main_);
    --nodes_[node].used;
    nodes_[node].stamp = tick_ & tick_mask;
    push(main_, node);
  }
  return main_.oldest;
}

void Shadow::promote(Index node) noexcept {
  nodes_[node].stamp = tick_ & tick_mask;
  nodes_[node].used = 0;
  push(main_, node);
}

void Shadow::evict_one(const Sketch& sketch) noexcept {
  unsigned promoted = 0;
  for (unsigned step = 0; small_.size > 0 && (small_.size >= small_target_ || main_.size == 0); ++step) {
    const Index candidate = pop(small_);
    Node& node = nodes_[candidate];
    if (main_.size + small_target_ < entries_ && promoted < policy::free_promotions) {
      ++promoted;
      promote(candidate);
      continue;
    }
    const Index victim = turn_hand();
    if (victim != 0 && policy::replaces(sketch, rival(candidate), node.used > 0, rival(victim))) {
      drop(pop(main_));
      promote(candidate);
      return;
    }
    if (node.used > 0 && step < policy::reinsertions_most) {
      node.used = 0;
      node.stamp = tick_ & tick_mask;
      push(small_, candidate);
      continue;
    }
    ghost_.record(node.identity, node.stamp, tick_ & tick_mask);
    drop(candidate);
    return;
  }
  if (turn_hand() != 0) drop(pop(main_));
}

bool Shadow::access(std::uint32_t identity, const Sketch& sketch) noexcept {
  for (Index node = chain_of(identity); node != 0; node = nodes_[node].chain) {
    if (nodes_[node].identity != identity) continue;
    if (nodes_[node].used < policy::used_most) nodes_[node].used = (nodes_[node].used + 1) & 3U;
    return true;
  }
  ++tick_;
  if (size() > entries_) evict_one(sketch);  // after a resize: one more than comes in, until it fits
  if (size() < entries_) {
    store(main_.size + small_target_ < entries_ ? main_ : small_, identity);
    return false;
  }
  if (const auto came = ghost_.age(identity, tick_ & tick_mask)) {
    const Index victim = turn_hand();
    if (victim != 0 && policy::returns(sketch, {identity, *came}, rival(victim), entries_)) {
      drop(pop(main_));
      store(main_, identity);
      return false;
    }
  }
  evict_one(sketch);
  store(small_, identity);
  return false;
}

bool Shadows::create(std::uint64_t entries, std::uint64_t bytes) noexcept {
  const std::uint64_t most = std::clamp<std::uint64_t>(bytes / bytes_sampled, 4, Shadow::limit);
  const std::uint64_t rate = rate_for(entries, most);
  most_ = static_cast<std::uint32_t>(std::max<std::uint64_t>((entries + rate - 1) / rate, 4));
  for (std::size_t i = 0; i < count; ++i) {
    if (!shadows_[i].create(most_, shares[i])) return false;
  }
  wanted_entries_.store(entries, std::memory_order_relaxed);
  apply_size();
  return true;
}

std::uint64_t Shadows::table_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const Shadow& shadow : shadows_) bytes += shadow.table_bytes();
  return bytes;
}

void Shadows::apply_size() noexcept {
  entries_ = wanted_entries_.load(std::memory_order_relaxed);
  const std::uint64_t rate = rate_for(entries_, most_);
  const auto each = static_cast<std::uint32_t>(entries_ / rate);
  for (Shadow& shadow : shadows_) shadow.resize(each);
  epoch_ = std::max(epoch_least, 2 * each);
  limit_.store(~std::uint64_t{0} / rate, std::memory_order_relaxed);
}

void Shadows::offer(std::uint32_t identity) noexcept {
  const std::uint64_t at = pushed_.fetch_add(1, std::memory_order_relaxed);
  ring_[at % ring_size].store(identity == 0 ? 1 : identity, std::memory_order_relaxed);  // 0 is an empty cell
}

void Shadows::drain(const Sketch& sketch) noexcept {
  if (pushed_.load(std::memory_order_relaxed) == drained_.load(std::memory_order_relaxed)) return;
  // (60) this acquire pairs with the release (61): the holder before is done with the shadows.
  if (draining_.load(std::memory_order_relaxed) || draining_.exchange(true, std::memory_order_acquire)) return;
  if (wanted_entries_.load(std::memory_order_relaxed) != entries_) apply_size();
  const std::uint64_t pushed = pushed_.load(std::memory_order_relaxed);
  std::uint64_t at = drained_.load(std::memory_order_relaxed);
  if (pushed - at > ring_size) at = pushed - ring_size;
  for (unsigned n = 0; n < drain_most && at != pushed; ++n, ++at) {
    auto& cell = ring_[at % ring_size];
    const std::uint32_t identity = cell.load(std::memory_order_relaxed);
    if (identity == 0) continue;  // its pusher has not written it yet: lost
    cell.store(0, std::memory_order_relaxed);
    see(identity, sketch);
  }
  drained_.store(at, std::memory_order_relaxed);
  // (61) this release pairs with the acquire (60).
  draining_.store(false, std::memory_order_release);
}

void Shadows::see(std::uint32_t identity, const Sketch& sketch) noexcept {
  std::array<bool, count> hit{};
  for (std::size_t i = 0; i < count; ++i) {
    hit[i] = shadows_[i].access(identity, sketch);
    hits_[i] += hit[i] ? 1U : 0U;
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < count; ++j) differed_[i][j] += hit[i] != hit[j] ? 1U : 0U;
  }
  if (++seen_ >= epoch_) judge();
}

void Shadows::judge() noexcept {
  asked_ = keep * asked_ + seen_;
  seen_ = 0;
  for (std::size_t i = 0; i < count; ++i) {
    score_[i] = keep * score_[i] + hits_[i];
    hits_[i] = 0;
    for (std::size_t j = 0; j < count; ++j) {
      differ_[i][j] = keep * differ_[i][j] + differed_[i][j];
      differed_[i][j] = 0;
    }
  }
  const std::size_t current = chosen_.load(std::memory_order_relaxed);
  const auto best = static_cast<std::size_t>(std::max_element(score_.begin(), score_.end()) - score_.begin());
  const double lead = score_[best] - score_[current];
  // The lead has to stand out of the noise of a sample; and twice so to widen the window, which a burst of recency may ask for
  // that is over before it pays.
  const double doubt = .005 * asked_ + .75 * std::sqrt(differ_[best][current]);
  if (lead > (best > current ? 2 : 1) * doubt) {
    chosen_.store(static_cast<std::uint32_t>(best), std::memory_order_relaxed);
  }
}

}  // namespace tiercache::l1
