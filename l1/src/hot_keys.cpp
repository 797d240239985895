// SPDX-License-Identifier: Apache-2.0
#include "hot_keys.hpp"

#include <algorithm>
#include <new>

namespace tiercache::l1 {

bool HotKeys::create(std::uint32_t sets, std::uint32_t half_life) noexcept {
  sets_ = sets;
  half_life_ = std::max(half_life, 1U);
  counted_.reset(new (std::nothrow) Counted[std::size_t{sets} * ways]());
  return counted_ != nullptr;
}

void HotKeys::add(const HitSample& hit) noexcept {
  ++hits_;
  if (++since_halved_ >= half_life_) halve();
  Counted* const set = &counted_[Profile::mixed(hit.hash) % sets_ * ways];
  Counted* least = set;
  for (Counted* c = set; c != set + ways; ++c) {
    if (c->count != 0 && c->hit.hash == hit.hash) {
      ++c->count;
      return;
    }
    if (c->count < least->count) least = c;
  }
  if (least->count > 1) {
    --least->count;
  } else {
    *least = {hit, 1};
  }
}

void HotKeys::halve() noexcept {
  since_halved_ = 0;
  hits_ /= 2;
  for (std::size_t i = 0; i < std::size_t{sets_} * ways; ++i) counted_[i].count /= 2;
}

std::vector<KeyHeat> HotKeys::hottest(std::uint32_t k) const {
  std::vector<const Counted*> ranked;
  for (std::size_t i = 0; i < std::size_t{sets_} * ways; ++i) {
    if (counted_[i].count != 0) ranked.push_back(&counted_[i]);
  }
  const std::size_t n = std::min({std::size_t{k}, std::size_t{64}, ranked.size()});
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(n), ranked.end(),
                    [](const Counted* a, const Counted* b) { return a->count > b->count; });
  ranked.resize(n);
  std::vector<KeyHeat> heats;
  heats.reserve(n);
  for (const Counted* c : ranked) {
    heats.push_back({c->hit.view, std::string(c->hit.key, c->hit.length), c->hit.truncated,
                     static_cast<double>(c->count) / static_cast<double>(std::max<std::uint64_t>(hits_, 1))});
  }
  return heats;
}

}  // namespace tiercache::l1
