// SPDX-License-Identifier: Apache-2.0
//
// From unlinked to freed: the retired stack, the scan, and tables that end before the pins on them do.
#include "core.hpp"

#include <malloc.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace tiercache::l1 {

namespace {
/// Cores of tables that ended while entries were pinned.
std::atomic<Core*> abandoned{nullptr};

using Retired = RetiredStack<StdSync, std::uint64_t>;
using Ready = ReadyStack<StdSync, std::uint64_t>;
using Abandoned = RetiredStack<StdSync, Core*>;

constexpr unsigned ready_at_a_time = 8;  // freed by an operation that has to

void push_abandoned(Core* core) noexcept {
  Abandoned::push(abandoned, core, [core](Core* next) noexcept { core->next_abandoned = next; });
}

// These two may read memory of the arena that another thread has freed, or is building an entry in: what comes of that is not
// used, or only keeps an entry longer. Checkers must not see it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TIERCACHE_UNCHECKED [[gnu::no_sanitize("address", "thread"), gnu::noinline]]
#else
#define TIERCACHE_UNCHECKED
#endif
TIERCACHE_UNCHECKED std::uint64_t next_of(std::uint64_t handle) noexcept {
  return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(&Access::link(handle)), __ATOMIC_RELAXED);
}
TIERCACHE_UNCHECKED bool marked_retired(const Entry* entry) noexcept {
  const auto* flags = reinterpret_cast<const std::uint8_t*>(&Access::flags(*entry));
  return (__atomic_load_n(flags, __ATOMIC_RELAXED) & Access::flag_retired) != 0;
}
#undef TIERCACHE_UNCHECKED
}  // namespace

std::uint64_t Core::external_cost(const Entry& entry) const noexcept {
  return chunk_bytes(malloc_usable_size(external_memory(entry)));
}

void Core::free_memory(Entry* entry) noexcept {
  const unsigned granules = Access::granules(*entry);
  if (granules != 0) arena.free(entry, granules);
  else std::free(external_memory(*entry));
}

void* Core::external_memory(const Entry& entry) const noexcept {
  const auto address = Access::address(&entry) - external_front(ops(entry.view())->align);
  return Access::at(address);
}

/// Of a chain all are in the arena, or none.
void Core::push_retired(std::uint64_t first, std::uint64_t last, Lane lane) noexcept {
  Part& part = parts[lane.index];
  Retired::push(Access::in_arena(first) ? part.retired : part.retired_large, first,
                [last](std::uint64_t next) noexcept { Access::link(last).store(next, std::memory_order_relaxed); });
}

void Core::retire(Entry* entry, Lane lane) noexcept {
  const std::uint64_t costs = cost(*entry);
  eviction.left(*this, *entry, costs, lane);
  leave_view(*entry, costs, lane);
  detail::Hazards::mark_retired(Access::flags(*entry), Access::flag_retired);
  budget.retire(costs, lane);
  if (lane.own) ++parts[lane.index].owed;
  const std::uint64_t handle = Access::handle(*entry);
  push_retired(handle, handle, lane);
}

void Core::unlinked(Entry* entry, std::atomic<std::uint64_t> Counters::*counter, Lane lane) noexcept {
  count(counter, lane);
  budget.release_object(lane);
  retire(entry, lane);
}

/// Ends the value of an entry that nobody sees. What its memory is charged, which it stays.
std::uint64_t Core::destroy(Entry& entry, Lane lane) noexcept {
  const std::uint64_t memory = memory_cost(entry);
  const std::uint64_t heap = Access::has_heap_charge(entry) ? Access::heap_charge(entry) : 0;
  ops(entry.view())->destroy(const_cast<void*>(entry.value()));
  budget.free_retired(memory + heap, heap, lane);
  return memory;
}

void Core::release(Entry& entry, Lane lane) noexcept {
  const std::uint64_t bytes = destroy(entry, lane);
  free_memory(&entry);
  budget.give_used(bytes, lane);
}

Entry* Core::pop_ready(Lane lane) noexcept {
  Part& part = parts[lane.index];
  for (;;) {
    const std::uint64_t handle = Ready::pop(part.ready, next_of);
    if (handle == 0) return nullptr;
    if (const std::uint64_t next = part.ready.load(std::memory_order_relaxed); next != 0) {
      // The whole of it, and of no other: readers of a neighbour would miss.
      const char* memory = reinterpret_cast<const char*>(Access::of_handle(next));
      for (unsigned at = 0; at < Access::granules_of_handle(next) * Arena::granule_bytes; at += 64)
        prefetch_to_write(memory + at);
    }
    Entry* const entry = Access::of_handle(handle);
    if (part.pinned_count == 0 || !std::binary_search(part.pinned, part.pinned + part.pinned_count, entry)) return entry;
    push_retired(handle, handle, lane);
  }
}

void* Core::reuse(unsigned granules, Lane lane) noexcept {
  if (!lane.own) return nullptr;
  for (unsigned tries = 0; tries < 2; ++tries) {
    Entry* const entry = pop_ready(lane);
    if (entry == nullptr) return nullptr;
    --parts[lane.index].owed;
    const unsigned has = Access::granules(*entry);
    if (has < granules) {
      release(*entry, lane);
      continue;
    }
    budget.give_used(destroy(*entry, lane), lane);
    if (has > granules) arena.free(reinterpret_cast<char*>(entry) + granules * Arena::granule_bytes, has - granules);
    return entry;
  }
  return nullptr;
}

void Core::settle_now(Lane lane) noexcept {
  Part& part = parts[lane.index];
  if (!lane.own) {
    if (reclaim_due(lane)) static_cast<void>(reclaim(lane.index, lane));
    return;
  }
  // As many go as came, but for a few: what stores did not use again is freed here, so that never many go at a time.
  for (; part.owed > owed_max; --part.owed) {
    Entry* const entry = pop_ready(lane);
    if (entry == nullptr) {
      part.owed = 0;
      break;
    }
    release(*entry, lane);
  }
  if (!reclaim_due(lane)) return;
  // A batch that was due by its bytes may come before one that was due by its number is used up: then the scan waits.
  for (unsigned n = 0; n < ready_at_a_time; ++n) {
    Entry* const entry = pop_ready(lane);
    if (entry == nullptr) break;
    release(*entry, lane);
  }
  if (part.ready.load(std::memory_order_relaxed) != 0) return;
  // What is retired now counts as looked at, also what is pinned: pinned entries must not make every call scan.
  budget.looked_at(lane.index);
  const std::uint64_t sealed = Ready::take(part.sealed);
  const detail::Seal seal = part.seal;
  const std::uint64_t retired = Retired::take(part.retired);
  const std::uint64_t large = Retired::take(part.retired_large);
  // The new batch waits until all threads have come by, or for a barrier, perhaps another thread's. The one sealed before has
  // waited for as long as a batch takes: if neither has been, this thread runs one. Outside the arena one entry may be a batch:
  // those wait for nobody.
  if (retired != 0) part.seal = detail::seal();
  Ready::put(part.sealed, retired);
  if (sealed == 0 && large == 0) return;
  detail::pass();
  detail::HazardScan hazards;
  const bool scanned = ((large == 0 && detail::served(seal)) || detail::run_barrier()) && hazards.collect();
  // Of what is held those that can lie in this batch: live entries, which most hazards are on, cannot.
  const auto retired_here = [this](const Entry* entry) noexcept { return arena.contains(entry) && marked_retired(entry); };
  if (scanned && hazards.copy(part.pinned, pinned_max, part.pinned_count, retired_here)) {
    // Nobody can take a hazard on them any more, and those who had one are known. So they need not be gone through.
    Ready::put(part.ready, sealed);
  } else {
    static_cast<void>(free_unpinned(sealed, scanned ? &hazards : nullptr, lane));
  }
  static_cast<void>(free_unpinned(large, scanned ? &hazards : nullptr, lane));
}

bool Core::free_unpinned(std::uint64_t retired, const detail::HazardScan* hazards, Lane lane) noexcept {
  std::uint64_t kept = 0;
  std::uint64_t kept_last = 0;
  bool freed = false;
  while (retired != 0) {
    const std::uint64_t handle = retired;
    retired = next_of(handle);
    Entry* const entry = Access::of_handle(handle);
    if (hazards == nullptr || hazards->holds(entry)) {
      Access::link(handle).store(kept, std::memory_order_relaxed);
      kept = handle;
      if (kept_last == 0) kept_last = handle;
      continue;
    }
    release(*entry, lane);
    freed = true;
  }
  if (kept != 0) push_retired(kept, kept_last, lane);
  return freed;
}

bool Core::reclaim(std::uint32_t index, Lane lane) noexcept {
  Part& part = parts[index];
  const auto heads = part.unlinked();
  if (std::ranges::all_of(heads, [](const auto* head) { return head->load(std::memory_order_relaxed) == 0; })) return false;
  // As in settle_now(): also a thread that is stopped with what it took must not make every later call scan.
  budget.looked_at(index);
  std::array<std::uint64_t, std::tuple_size_v<decltype(heads)>> chains{};
  std::ranges::transform(heads, chains.begin(), [](auto* head) { return Retired::take(*head); });
  detail::HazardScan hazards;
  const bool scanned = detail::run_barrier() && hazards.collect();
  bool freed = false;
  for (const std::uint64_t chain : chains) {
    if (free_unpinned(chain, scanned ? &hazards : nullptr, lane)) freed = true;
  }
  return freed;
}

bool Core::reclaim_any(Lane lane) noexcept {
  if (lane.own) {
    // What lies ready here needs no scan.
    unsigned freed = 0;
    for (; freed < ready_at_a_time; ++freed) {
      Entry* const entry = pop_ready(lane);
      if (entry == nullptr) break;
      release(*entry, lane);
    }
    if (freed != 0) return true;
  }
  for (std::uint32_t n = 0; n < lanes.count(); ++n) {
    if (reclaim((lane.index + n) % lanes.count(), lane)) return true;
  }
  return false;
}

void Core::reclaim_all() noexcept {
  const Lane lane = this->lane();
  for (std::uint32_t i = 0; i < lanes.count(); ++i) static_cast<void>(reclaim(i, lane));
}

void Core::abandon(Core* core) noexcept {
  const Lane lane = core->lane();
  for (std::uint64_t b = 0; b < core->bucket_count; ++b) {
    for (unsigned i = 0; i < words_per_bucket; i = next_slot(i)) {
      auto& slot_word = core->buckets[b].slot(i);
      const std::uint64_t word = slot_word.load(std::memory_order_acquire);
      if (!slot::taken(word)) continue;
      slot_word.store(slot::empty(0), std::memory_order_relaxed);
      core->budget.release_object(lane);
      core->retire(Access::at(slot::address(word)), lane);
      core->settle(lane);
    }
  }
  push_abandoned(core);
  sweep_abandoned();
}

void Core::sweep_abandoned() noexcept {
  Core* list = Abandoned::take(abandoned);
  while (list != nullptr) {
    Core* core = list;
    list = core->next_abandoned;
    core->reclaim_all();
    if (core->budget.retired_count() == 0) delete core;
    else push_abandoned(core);
  }
}

}  // namespace tiercache::l1
