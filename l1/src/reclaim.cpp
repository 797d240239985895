// SPDX-License-Identifier: Apache-2.0
//
// From unlinked to freed: the retired stack, the scan, and tables that end before the pins on them do.
#include "core.hpp"

#include <malloc.h>

#include <cstdlib>

namespace tiercache::l1 {

namespace {
/// Cores of tables that ended while entries were pinned.
std::atomic<Core*> abandoned{nullptr};

using Retired = RetiredStack<StdSync, Entry>;
using Abandoned = RetiredStack<StdSync, Core>;

void push_abandoned(Core* core) noexcept {
  Abandoned::push(abandoned, core, core, [](Core& last, Core* next) noexcept { last.next_abandoned = next; });
}
}  // namespace

std::uint64_t Core::memory_cost(const Entry& entry) const noexcept {
  const unsigned granules = Access::granules(entry);
  if (granules != 0) return granules * Arena::granule_bytes;
  return chunk_bytes(malloc_usable_size(external_memory(entry)));
}

std::uint64_t Core::cost(const Entry& entry) const noexcept {
  return memory_cost(entry) + (Access::has_heap_charge(entry) ? Access::heap_charge(entry) : 0);
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

void Core::push_retired(std::atomic<Entry*>& stack, Entry* first, Entry* last) noexcept {
  Retired::push(stack, first, last, [](Entry& entry, Entry* next) { Access::set_next(entry, next); });
}

void Core::retire(Entry* entry) noexcept {
  eviction.left(*this, *entry);
  leave_view(*entry);
  detail::Hazards::mark_retired(Access::flags(*entry), Access::flag_retired);
  budget.retire(cost(*entry), thread_index());
  push_retired(stripe().retired, entry, entry);
}

void Core::unlinked(Entry* entry, std::atomic<std::uint64_t>& counter) noexcept {
  Counters::one(counter);
  release_object();
  retire(entry);
}

bool Core::reclaim_due() const noexcept {
  // Beyond what the last scan had to leave: pinned entries must not make every call scan.
  return budget.retired_since(retire_count_max, retire_bytes.load(std::memory_order_relaxed), thread_index());
}

bool Core::reclaim() noexcept {
  // The whole stacks at once: a thread that is stopped in here keeps what it took, which is about one threshold's worth.
  std::array<Entry*, stripes> lists{};
  bool any = false;
  for (std::size_t i = 0; i < stripes; ++i) {
    if (striped[i].retired.load(std::memory_order_relaxed) == nullptr) continue;
    lists[i] = Retired::take(striped[i].retired);
    any = any || lists[i] != nullptr;
  }
  if (!any) return false;
  detail::HazardScan hazards;
  const bool scanned = StdSync::heavy_barrier() && hazards.collect();
  Entry* kept = nullptr;
  Entry* kept_last = nullptr;
  std::uint64_t kept_bytes = 0;
  std::uint64_t kept_count = 0;
  std::uint64_t freed_bytes = 0;
  for (std::uint32_t stripe = 0; stripe < stripes; ++stripe) {
    std::uint64_t bytes = 0;
    std::uint64_t count = 0;
    for (Entry* list = lists[stripe]; list != nullptr;) {
      Entry* entry = list;
      list = Access::next(*entry);
      const std::uint64_t costs = cost(*entry);
      bytes += costs;
      ++count;
      if (!scanned || hazards.holds(entry)) {
        Access::set_next(*entry, kept);
        kept = entry;
        if (kept_last == nullptr) kept_last = entry;
        kept_bytes += costs;
        ++kept_count;
        continue;
      }
      freed_bytes += costs;
      ops(entry->view())->destroy(const_cast<void*>(entry->value()));
      free_memory(entry);
    }
    if (count != 0) budget.unretire(bytes, count, stripe);
  }
  const std::uint32_t own = thread_index();
  if (freed_bytes != 0) budget.free_retired(freed_bytes, own);
  if (kept != nullptr) budget.keep_retired(kept_bytes, kept_count, own);
  // All that is retired now counts as looked at: what is pinned, and what other threads have taken. A thread that is stopped with
  // its batch must not make every later call scan.
  budget.looked_at();
  if (kept != nullptr) push_retired(stripe().retired, kept, kept_last);
  return freed_bytes != 0;
}

void Core::abandon(Core* core) noexcept {
  for (std::uint64_t b = 0; b < core->bucket_count; ++b) {
    for (unsigned i = 0; i < words_per_bucket; i = next_slot(i)) {
      auto& slot_word = core->buckets[b].slot(i);
      const std::uint64_t word = slot_word.load(std::memory_order_acquire);
      if (!slot::taken(word)) continue;
      slot_word.store(slot::empty(0), std::memory_order_relaxed);
      core->release_object();
      core->retire(Access::at(slot::address(word)));
      if (core->reclaim_due()) core->reclaim();
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
    core->reclaim();
    if (core->budget.retired_count() == 0) delete core;
    else push_abandoned(core);
  }
}

}  // namespace tiercache::l1
