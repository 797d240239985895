// SPDX-License-Identifier: Apache-2.0
#include "eviction.hpp"

#include "core.hpp"

#include <algorithm>

namespace tiercache::l1 {

namespace {
constexpr unsigned entries_looked_at = 32;        // by one pick, before it takes the least used of the last bucket
constexpr std::uint64_t buckets_per_pick = 4096;  // of a sparsely filled table
}  // namespace

bool Eviction::admitted(const Core& core, std::uint64_t candidate, const Entry& victim) noexcept {
  const unsigned wanted = core.sketch.estimate(candidate);
  const unsigned held = core.sketch.estimate(core.hash_of(victim));
  // Equals: a key seen once must not push out another seen once, or a scan would wash the table; seen twice, the newer one wins.
  return wanted > held || (wanted == held && wanted >= 2);
}

bool Eviction::hold(Op& op, Bucket& bucket, unsigned slot, Victim& out) noexcept {
  std::uint64_t word = bucket.slot(slot).load(StdSync::relaxed);
  while (slot::taken(word)) {
    op.protect(slot::address(word));
    StdSync::light_barrier();
    const std::uint64_t again = bucket.slot(slot).load(StdSync::hazard_check);  // as (14)
    if (again == word) {
      out = {&bucket, Access::at(slot::address(word)), word, slot};
      return true;
    }
    word = again;
  }
  return false;
}

bool Eviction::evict(Core& core, const Victim& victim) noexcept {
  if (!BucketKernel::unlink(*victim.bucket, victim.slot, victim.word, Access::seq(*victim.entry))) return false;
  core.unlinked(Access::at(slot::address(victim.word)), core.counters.evictions);
  return true;
}

/// The least used entry of a bucket, held. Void ones are freed on the way. `age`: the hand passes.
Eviction::Victim Eviction::coldest(Core& core, Op& op, Bucket& bucket, unsigned first, bool age, std::int64_t now_ms,
                                   unsigned& freed) noexcept {
  unsigned best_slot = words_per_bucket;
  std::uint8_t best_freq = Access::freq_max + 1;
  for (unsigned n = 0; n < words_per_bucket; ++n) {
    const unsigned i = (first + n) % words_per_bucket;
    if (i == control_index) continue;
    Victim seen;
    if (!hold(op, bucket, i, seen)) continue;
    if (core.is_void(*seen.entry, now_ms)) {
      if (BucketKernel::unlink(bucket, i, seen.word, Access::seq(*seen.entry))) {
        core.unlinked(Access::at(slot::address(seen.word)), core.counters.expirations);
        ++freed;
      }
      continue;
    }
    const std::uint8_t freq = Access::freq(*seen.entry);
    if (freq < best_freq) {
      best_freq = freq;
      best_slot = i;
    }
    if (age && freq > 0) Access::set_freq(*seen.entry, static_cast<std::uint8_t>(freq - 1));
  }
  Victim victim;
  if (best_slot == words_per_bucket || !hold(op, bucket, best_slot, victim)) return {};
  victim.freq = best_freq;
  return victim;
}

Eviction::Victim Eviction::pick(Core& core, Op& op, std::int64_t now_ms, unsigned& freed) noexcept {
  const std::uint64_t buckets_max = std::min(core.bucket_count, buckets_per_pick);
  unsigned looked_at = 0;
  for (std::uint64_t step = 0; step < buckets_max; ++step) {
    const std::uint64_t at = hand_.fetch_add(1, std::memory_order_relaxed);
    Bucket& bucket = core.buckets[at % core.bucket_count];
    // Another first slot each round, or the low slots would always lose.
    const auto first = static_cast<unsigned>(at / core.bucket_count % slots_per_bucket);
    const Victim victim = coldest(core, op, bucket, first, true, now_ms, freed);
    if (freed != 0) return {};
    if (victim.entry == nullptr) continue;
    looked_at += slots_per_bucket;
    if (victim.freq == 0 || looked_at >= entries_looked_at) return victim;
  }
  return {};
}

Room Eviction::make_room(Core& core, Op& op, std::uint64_t bytes, const std::uint64_t* candidate) noexcept {
  Budget& budget = core.budget;
  bool object = false;
  // Bounded work: an eviction gains at least 64 bytes, and a round of the hand that gains nothing is not repeated for ever. When
  // so much was evicted and the bytes are still not there, they are pinned, or other threads take them.
  const std::uint64_t evictions_max = 256 + bytes / 32;
  const std::uint64_t idle_max = 4 + core.bucket_count / buckets_per_pick;
  std::uint64_t evictions = 0;
  std::uint64_t idle = 0;
  const std::int64_t now_ms = core.options.now_ms();
  Room refusal = Room::none;
  while (evictions <= evictions_max && idle <= idle_max) {
    if (!object) object = budget.reserve_object();
    if (object && budget.live() + bytes <= live_max_) {
      if (budget.reserve(bytes)) return Room::made;
      // Enough is unlinked, but not freed yet.
      if (core.reclaim() && budget.reserve(bytes)) return Room::made;
    }
    unsigned freed = 0;
    const Victim victim = pick(core, op, now_ms, freed);
    if (victim.entry == nullptr) {
      op.unprotect();
      idle += freed == 0 ? 1 : 0;
    } else {
      if (candidate != nullptr && !admitted(core, *candidate, *victim.entry)) {
        refusal = Room::not_hot;
        break;
      }
      evict(core, victim);
      op.unprotect();
    }
    ++evictions;
    if (core.reclaim_due()) core.reclaim();
  }
  op.unprotect();
  if (object) budget.release_object();
  return refusal;
}

Room Eviction::make_slot(Core& core, Op& op, Bucket& bucket, const std::uint64_t* candidate) noexcept {
  unsigned freed = 0;
  const auto first = static_cast<unsigned>(hand_.load(std::memory_order_relaxed) % slots_per_bucket);
  const Victim victim = coldest(core, op, bucket, first, false, core.options.now_ms(), freed);
  Room room = Room::made;
  if (victim.entry != nullptr && freed == 0) {
    if (candidate != nullptr && !admitted(core, *candidate, *victim.entry)) room = Room::not_hot;
    else evict(core, victim);
  }
  op.unprotect();
  return room;
}

}  // namespace tiercache::l1
