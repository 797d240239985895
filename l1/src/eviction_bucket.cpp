// SPDX-License-Identifier: Apache-2.0
//
// Who has to go where a newcomer's bucket is full, whatever room the cache as a whole has.
#include "core.hpp"
#include "eviction.hpp"

namespace tiercache::l1 {

Room Eviction::make_slot(Core& core, Op& op, std::uint64_t index, const Newcomer& newcomer) noexcept {
  const Lane lane = op.lane();
  Work work{core, op, core.options.now_ms()};
  Held held;
  unsigned worst = words_per_bucket;
  std::uint64_t worst_rank = 0;
  for (unsigned i = 0; i < words_per_bucket; i = next_slot(i)) {
    if (!hold(work, op.other_hazard(), index, i, held)) continue;
    if (core.is_void(*held.entry, work.now_ms)) {
      drop(work, held, true);
      continue;
    }
    // The small queue before the main one, there the least used, of those the oldest.
    const std::uint32_t came = stamp(index, i);
    const std::uint64_t uses = policy_ == Policy::lru ? 0 : Access::freq(*held.entry);
    const std::uint64_t spare = ((came & small_bit) != 0 ? 16 : 8) - uses;
    const std::uint64_t rank = (spare << 32) | age_of(came, lane);
    if (rank > worst_rank) {
      worst_rank = rank;
      worst = i;
    }
  }
  Room room = Room::made;
  if (work.freed == 0 && worst != words_per_bucket && hold(work, op.other_hazard(), index, worst, held)) {
    const bool main = Access::queue(*held.entry).load(std::memory_order_relaxed) == QueueOf::main;
    if (policy_ == Policy::adaptive && main && newcomer.has_to_earn && !displaces(core, held, newcomer, lane)) {
      const std::uint8_t uses = Access::freq(*held.entry);
      if (uses > 0) Access::set_freq(*held.entry, static_cast<std::uint8_t>(uses - 1));
      ghost_.record(newcomer.identity, now(lane), now(lane));
      room = Room::not_hot;
    } else {
      if (policy_ == Policy::adaptive && !main)
        ghost_.record(rival(held, lane).identity, stamp(index, worst) & tick_mask, now(lane));
      if (drop(work, held, false)) core.count(&Counters::crowded_out, lane);
    }
  }
  op.unprotect();
  return room;
}

bool Eviction::displaces(const Core& core, const Held& held, const Newcomer& newcomer, Lane lane) const noexcept {
  const policy::Rival victim = rival(held, lane);
  const auto came = ghost_.age(newcomer.identity, now(lane));
  return (came && policy::returns(sketch_, {newcomer.identity, *came}, victim, entries(core))) ||
         policy::replaces(sketch_, {newcomer.identity, 0}, false, victim);
}

}  // namespace tiercache::l1
