// SPDX-License-Identifier: Apache-2.0
//
// What eviction does beside making room for one newcomer: the sweep, quotas of views, shrinking, and its report.
#include "core.hpp"
#include "eviction.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace tiercache::l1 {

namespace {

// Bounds of work.
constexpr std::uint64_t coldest_buckets = 256;
constexpr unsigned quota_buckets = 64;
constexpr unsigned sweep_patience = 4;
constexpr unsigned sweep_more = 16;  // slots looked at by one store while void entries are found
// A search: so many stores sweep as if void entries had been found, once in so many, as long as searches find any. So a store
// looks at one slot more in the mean, and as many entries go as come.
constexpr std::uint64_t search_stores = 16;
constexpr std::uint64_t search_interval = 64;

}  // namespace

bool Eviction::search_due(const Work& work, std::uint64_t tick) noexcept {
  Turn& own = turn(work.lane());
  if (own.expires.load(std::memory_order_relaxed) > work.now_ms || own.search_from.load(std::memory_order_relaxed) > tick) {
    return false;
  }
  own.expires.store(Turn::never, std::memory_order_relaxed);
  own.search_from.store(tick + search_interval, std::memory_order_relaxed);
  return true;
}

void Eviction::will_expire(const Entry& entry, Lane lane) noexcept {
  const std::int64_t at = entry.hard_expiry_ms();
  std::atomic<std::int64_t>& expires = turn(lane).expires;
  if (at != 0 && at < expires.load(std::memory_order_relaxed)) expires.store(at, std::memory_order_relaxed);
}

/// Looks at a slot or a few: so void entries go although nobody asks for them, in the time of four stores a slot; sooner where
/// there are many, or where an expiry has passed; and what was lost from the small queue is found.
void Eviction::sweep(Work& work) noexcept {
  const Lane lane = work.lane();
  Turn& own = turn(lane);
  const std::uint64_t slots = work.core.bucket_count * words_per_bucket;
  const bool searching = own.search_from.load(std::memory_order_relaxed) >
                         own.stores.load(std::memory_order_relaxed) + search_interval - search_stores;
  unsigned patience = searching || voids_near_.load(std::memory_order_relaxed) ? sweep_patience : 1;  // live ones to look at
  const unsigned freed_before = work.freed;
  for (unsigned n = 0; n < sweep_more; ++n) {
    const std::uint64_t at = sweep_.take(own.sweep) % slots;
    const std::uint64_t ahead = (at + 1) % slots;
    if (ahead % words_per_bucket != control_index) {
      const std::uint64_t word =
          work.core.buckets[ahead / words_per_bucket].slot(ahead % words_per_bucket).load(StdSync::relaxed);
      if (slot::taken(word)) __builtin_prefetch(Access::at(slot::address(word)));
    }
    if (at % words_per_bucket == control_index) continue;
    Held held;
    held.index = at / words_per_bucket;
    held.slot = static_cast<unsigned>(at % words_per_bucket);
    if (!hold(work, work.op.other_hazard(), held.index, held.slot, held)) {
      mend_stamp(held, lane);
      continue;
    }
    if (!work.core.is_void(*held.entry, work.now_ms)) {
      // An entry of the small queue whose cell was lost.
      if (Access::queue(*held.entry).load(std::memory_order_relaxed) == QueueOf::small &&
          age(held.index, held.slot, lane) > 2 * entries(work.core)) {
        to_main(work, held);
      }
      mend_stamp(held, lane);
      will_expire(*held.entry, lane);
      if (--patience == 0) break;
      continue;
    }
    will_expire(*held.entry, lane);  // where one is, more may be
    drop(work, held, true);
  }
  const bool found = work.freed != freed_before || searching;
  if (found != voids_near_.load(std::memory_order_relaxed)) voids_near_.store(found, std::memory_order_relaxed);
  work.freed = freed_before;
  work.op.unprotect();
}

/// The least used, of those the oldest, of a view's entries in the next bucket that has any. False: none near.
bool Eviction::evict_of_view(Work& work, std::uint16_t view) noexcept {
  for (unsigned n = 0; n < quota_buckets; ++n) {
    const std::uint64_t index = quota_hand_.fetch_add(1, std::memory_order_relaxed) % work.core.bucket_count;
    unsigned worst = words_per_bucket;
    std::uint64_t worst_rank = 0;
    Held held;
    for (unsigned i = 0; i < words_per_bucket; i = next_slot(i)) {
      if (!hold(work, work.op.other_hazard(), index, i, held) || held.entry->view() != view) continue;
      const std::uint64_t spare = std::uint64_t{16} - Access::freq(*held.entry);
      const std::uint64_t rank = (spare << 32) | age(index, i, work.lane());
      if (rank <= worst_rank) continue;
      worst_rank = rank;
      worst = i;
    }
    if (worst != words_per_bucket && hold(work, work.op.other_hazard(), index, worst, held) && held.entry->view() == view &&
        drop(work, held, work.core.is_void(*held.entry, work.now_ms))) {
      return true;
    }
  }
  return false;
}

void Eviction::shrink(Core& core, Op& op) noexcept {
  Work work{core, op, core.options.now_ms()};
  const Newcomer nobody;
  if (policy_ == Policy::adaptive) count_asked(op.lane());
  std::uint64_t idle = 0;
  while (core.budget.live() > core.budget.live_max() && idle <= 64 + core.bucket_count) {
    work.freed = 0;
    work.dropped = 0;
    static_cast<void>(evict_one(work, nobody));
    idle = work.dropped == 0 ? idle + 1 : 0;
    core.settle(op.lane());
  }
  op.unprotect();
  detail::clear(op.key_hazard());
}

std::vector<KeyAge> Eviction::coldest(Core& core, std::uint32_t k) {
  std::vector<KeyAge> all;
  detail::Record* record = detail::this_record();
  if (record == nullptr || k == 0) return all;
  Op op(core, record->hazards);
  Work work{core, op, core.options.now_ms()};
  const std::uint64_t from = hand_.next();
  for (std::uint64_t n = 0; n < std::min<std::uint64_t>(core.bucket_count, coldest_buckets); ++n) {
    const std::uint64_t index = (from + n) % core.bucket_count;
    Held held;
    for (unsigned i = 0; i < words_per_bucket; i = next_slot(i)) {
      if (!hold(work, op.other_hazard(), index, i, held) || core.is_void(*held.entry, work.now_ms)) continue;
      all.push_back({held.entry->view(), std::string(held.entry->key()), core.cost(*held.entry), Access::freq(*held.entry),
                     age(index, i, op.lane())});
    }
  }
  std::sort(all.begin(), all.end(),
            [](const KeyAge& a, const KeyAge& b) { return a.uses != b.uses ? a.uses < b.uses : a.arrivals > b.arrivals; });
  if (all.size() > k) all.resize(k);
  return all;
}

void Eviction::adapt(std::uint64_t entries) noexcept {
  const std::uint64_t before = adapted_.load(std::memory_order_relaxed);
  if (policy_ == Policy::lru || (entries < before + before / 8 && entries > before - before / 8)) return;
  adapted_.store(entries, std::memory_order_relaxed);
  ghost_.scale(entries);
  shadows_.resize(entries);
}

}  // namespace tiercache::l1
