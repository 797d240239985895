// SPDX-License-Identifier: Apache-2.0
//
// put and fill: reserve, build the entry where nobody sees it, then link it.
#include "core.hpp"

#include <tiercache/base/lab.hpp>

#include <malloc.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

namespace tiercache::l1 {

namespace {

constexpr std::size_t entry_align = Arena::granule_bytes;

/// What the allocator may add to a request: rounding, and a page for what it maps.
[[nodiscard]] constexpr std::uint64_t external_bound(std::uint64_t bytes, std::size_t align) noexcept {
  return bytes + Core::malloc_overhead + 3 * align + (bytes >= 64 * 1024 ? 8192 : 32);
}

/// A free slot, in the home line if there is one; words_per_bucket: full.
[[nodiscard]] unsigned free_slot(const Bucket& bucket, unsigned home, std::uint64_t& found) noexcept {
  for (unsigned turn = 0; turn < words_per_bucket; turn += words_per_line) {
    const unsigned line = home ^ turn;
    for (unsigned i = line; i < line + words_per_line; ++i) {
      if (i == control_index) continue;
      found = bucket.slot(i).load(StdSync::acquire);
      if (!slot::taken(found)) return i;
    }
  }
  return words_per_bucket;
}

}  // namespace

Core::Sizes Core::sizes(const TypeOps& type, std::string_view key, const void* value) noexcept {
  Sizes s;
  s.value_offset = Entry::value_offset(key.size(), type.align);
  s.bytes = s.value_offset + type.size;
  if (type.heap_bytes != nullptr) {
    s.bytes += sizeof(std::uint64_t);
    s.heap = type.heap_bytes(value);
  }
  s.bytes = ((s.bytes + 7) & ~std::size_t{7}) + Access::cold_bytes;
  const std::size_t granules = (s.bytes + Arena::granule_bytes - 1) / Arena::granule_bytes;
  if (granules <= Arena::block_granules && type.align <= entry_align) s.granules = static_cast<unsigned>(granules);
  s.cost =
      (s.granules != 0 ? s.granules * Arena::granule_bytes : external_bound(s.bytes, std::max(type.align, entry_align))) + s.heap;
  return s;
}

/// Memory for an entry whose s.cost is reserved; corrects the reservation, and s, to what was taken. Null: nothing is reserved.
Entry* Core::allocate(Sizes& s, const TypeOps& type, Lane lane) noexcept {
  if (s.granules != 0) {
    if (void* again = reuse(s.granules, lane)) return Access::create(again, s.granules);
    if (void* memory = arena.allocate(s.granules, parts[lane.index].cursor)) return Access::create(memory, s.granules);
    s.granules = 0;  // fragmented: no run of that length near
  }
  const std::size_t align = std::max(type.align, entry_align);
  // Not operator new: a program may replace that, and then malloc_usable_size would be asked about foreign memory.
  const std::size_t front = external_front(type.align);
  void* memory = std::aligned_alloc(align, (front + s.bytes + align - 1) & ~(align - 1));
  if (memory != nullptr) {
    const std::uint64_t cost = chunk_bytes(malloc_usable_size(memory)) + s.heap;
    if (cost <= s.cost || budget.take_more(cost - s.cost, lane)) {
      if (cost < s.cost) budget.release(s.cost - cost, lane);
      s.cost = cost;
      return Access::create(static_cast<char*>(memory) + front, 0);
    }
    std::free(memory);
  }
  budget.release(s.cost, lane);
  return nullptr;
}

bool Core::Expectation::met(const Core& core, const Entry* present, std::uint32_t generation,
                            std::int64_t now_ms) const noexcept {
  // A void entry is absent: also the very one that the caller holds, or its successor would outlive a clear().
  const bool there = present != nullptr && present->generation() == generation && !core.is_void(*present, now_ms);
  if (when == When::same) return there && present == same;
  return when == When::always || there == (when == When::present);
}

bool Core::fenced(const Ticket& ticket, std::uint64_t hash, std::uint64_t control_word) const noexcept {
#ifdef TIERCACHE_LAB
  if (lab::ablated(lab::Remedy::fence)) return false;
#endif
  return ticket.bucket != bucket_index(hash) || ticket.fence != control::fence(control_word);
}

/// The key's entry under the control word `seen`, protected; what was seen before is not searched for again.
detail::Match Core::look(Bucket& bucket, ViewId view, std::string_view key, std::uint64_t hash, std::uint64_t seen,
                         const Sight& sight, Op& op) const noexcept {
  if (seen == sight.control) [[likely]] {
    if (sight.match.entry == nullptr) return {};
    std::uint64_t word = sight.match.word;
    if (detail::Hazards::hold(bucket.slot(sight.match.slot), word, sight.match.entry, op.key_hazard())) return sight.match;
    if (!slot::taken(word)) return {};  // evicted since
  }
  return detail::locate(bucket, home(hash), view, key, hash, op.key_hazard());
}

PutStatus Core::link(Bucket& bucket, ViewId view, std::string_view key, std::uint64_t hash, Entry* entry,
                     const Expectation& expectation, const Sight& sight, Newcomer& newcomer, detail::Record& record,
                     Op& op) noexcept {
  const std::uint64_t word = slot::make(slot::tag_of_hash(hash), Access::address(entry));
  const Ticket* ticket = expectation.ticket;
#ifdef TIERCACHE_LAB
  // What a careless commit would do: look at the fence first and install afterwards.
  const bool careless = lab::ablated(lab::Remedy::fence_in_install);
  if (ticket != nullptr && careless && fenced(*ticket, hash, BucketKernel::settled(bucket, op))) return PutStatus::fenced;
  if (ticket != nullptr) TIERCACHE_LAB_POINT(fence_check_to_install, key);
#endif
  for (;;) {
    // All that is decided from here on holds only while the control word stays as it is: install() starts from it.
    const std::uint64_t seen = BucketKernel::settled(bucket, op);
#ifdef TIERCACHE_LAB
    if (!careless)
#endif
      if (ticket != nullptr && fenced(*ticket, hash, seen)) return PutStatus::fenced;
    const detail::Match match = look(bucket, view, key, hash, seen, sight, op);
    if (expectation.when != When::always && !expectation.met(*this, match.entry, entry->generation(), options.now_ms())) {
      return PutStatus::unmatched;
    }
    std::uint64_t found = match.word;
    std::uint32_t found_seq = 0;
    unsigned target = match.slot;
    if (match.entry != nullptr) {
      found_seq = Access::seq(*match.entry);
      // A fill that was begun under an older generation is void already.
      const auto newer = static_cast<std::int32_t>(match.entry->generation() - entry->generation());
      if (ticket != nullptr && newer > 0) return PutStatus::fenced;
    } else {
      target = free_slot(bucket, home(hash), found);
      if (target == words_per_bucket) {
        if (eviction.make_slot(*this, op, bucket_index(hash), newcomer) == Room::not_hot) return PutStatus::not_hot;
        continue;
      }
    }
    if (BucketKernel::collides(seen, found, found_seq)) {
      BucketKernel::skip_sequence(bucket, seen);
      continue;
    }
    Access::set_seq(*entry, control::seq(seen) + 1);
    if (BucketKernel::install(bucket, seen, target, word, record.id + 1, record.descriptor, ticket == nullptr, op)) {
      eviction.linked(bucket_index(hash), target, newcomer, match.entry != nullptr, op.lane());
      return PutStatus::stored;
    }
  }
}

PutStatus Core::store(ViewId view, std::string_view key, std::uint64_t hash, void* value, const EntryMeta& meta,
                      const Expectation& expectation, Pin* pin) noexcept {
  const Ticket* ticket = expectation.ticket;
  const Lane lane = this->lane();
  Bucket& bucket = buckets[bucket_index(hash)];
  eviction.prefetch(bucket_index(hash), home(hash));
  if (ticket == nullptr && expectation.when == When::always) {
    prefetch_to_write(&bucket.slot(home(hash)));
    prefetch_to_write(&bucket.control());
  } else {  // may be refused: not for that are hot lines taken from their readers
    __builtin_prefetch(&bucket.slot(home(hash)));
    __builtin_prefetch(&bucket.control());
  }
  if (ticket != nullptr) {
    // Relaxed: only spares the work. What counts is link()'s look at the fence.
    const std::uint64_t seen = bucket.control().load(StdSync::relaxed);
    if (fenced(*ticket, hash, seen)) {
      // While an install is pending no tickets are given. Whoever began it may have stopped: finish it, or no fill would get into
      // this bucket again until a put or an erase passes.
      detail::Record* own = control::op(seen) != 0 ? detail::this_record() : nullptr;
      if (own != nullptr) {
        Op op(*this, own->hazards);
        static_cast<void>(BucketKernel::settled(bucket, op));
      }
      count(&Counters::refused_fence, lane);
      return PutStatus::fenced;
    }
  }
  ViewPart& of = part(view);
  const TypeOps& type = *of.ops.load(std::memory_order_acquire);
  if (key.size() > max_key_bytes) {
    count(&Counters::refused_too_large, lane);
    return PutStatus::too_large;
  }
  Sizes s = sizes(type, key, value);
  if (s.cost > max_entry_bytes) {
    count(&Counters::refused_too_large, lane);
    return PutStatus::too_large;
  }
  detail::Record* record = detail::this_record();
  if (record == nullptr) {
    count(&Counters::refused_no_room, lane);
    return PutStatus::no_room;
  }

  Op op(*this, record->hazards);
  Newcomer newcomer;
  newcomer.identity = identity_of(hash);
  newcomer.has_to_earn = ticket != nullptr;
  Sight sight;
  sight.control = BucketKernel::settled(bucket, op);
  sight.match = detail::locate(bucket, home(hash), view, key, hash, op.key_hazard());
  const Entry* present = sight.match.entry;
  if (expectation.when != When::always && !expectation.met(*this, present, meta.generation, options.now_ms())) {
    return PutStatus::unmatched;
  }
  newcomer.view = view;
  if (present != nullptr) {
    Access::prefetch_cold(*present);  // link() will read its sequence
    newcomer.fresh = false;
    newcomer.replaces = cost(*present);
    newcomer.queue = Access::queue(*present).load(std::memory_order_relaxed);
    if (newcomer.queue == QueueOf::none) newcomer.queue = QueueOf::main;
    newcomer.uses = Access::freq(*present);
  } else {
    eviction.prefetch_newcomer(newcomer.identity, lane);
  }
  detail::clear(op.key_hazard());
  switch (eviction.make_room(*this, op, s.cost, newcomer)) {
    case Room::made: break;
    case Room::not_hot: count(&Counters::not_promoted, lane); return PutStatus::not_hot;
    case Room::none: count(&Counters::refused_no_room, lane); return PutStatus::no_room;
  }
  Entry* entry = allocate(s, type, lane);
  if (entry == nullptr) {
    budget.release_object(lane);
    eviction.given_up(newcomer, lane);
    count(&Counters::refused_no_room, lane);
    return PutStatus::no_room;
  }

  Access::set_meta(*entry, view, meta.hard_expiry_ms, meta.generation, meta.shard, meta.soft_lead_ms, meta.version);
  Access::set_shape(*entry, static_cast<std::uint16_t>(key.size()), static_cast<unsigned>(std::countr_zero(type.align)),
                    type.heap_bytes != nullptr, meta.idle_ttl_ms != 0 ? idle::make(meta.idle_ttl_ms, options.now_ms()) : 0);
  char* bytes = reinterpret_cast<char*>(entry);
  if (!key.empty()) std::memcpy(bytes + Entry::header_bytes, key.data(), key.size());
  type.move_construct(bytes + s.value_offset, value);
  if (type.heap_bytes != nullptr) Access::heap_charge(*entry) = s.heap;
  eviction.counted(*this, *entry, s.cost, newcomer, lane);
  enter_view(*entry, of, s.cost, key.size() + type.size + s.heap, lane);

  // Published before anyone can unlink the entry: no barrier, no re-check.
  detail::HazardSlot* pinned = nullptr;
  if (pin != nullptr && detail::has_free_pin(*record)) {
    pinned = &detail::free_pin(*record);
    detail::publish(*pinned, Access::address(entry));
  }
  const PutStatus status = link(bucket, view, key, hash, entry, expectation, sight, newcomer, *record, op);
  if (status == PutStatus::stored) {
    count(&Counters::inserts, lane);
    profile.stored(hash, s.cost);
    if (pinned != nullptr) {
      detail::take_pin(*record, *pinned);
      *pin = Pin(entry, pinned);
    }
    return status;
  }

  // Nobody saw the entry. The value goes back to the caller.
  if (pinned != nullptr) detail::clear(*pinned);
  eviction.left(*this, *entry, s.cost, lane);
  leave_view(*entry, s.cost, lane);
  type.destroy(value);
  type.move_construct(value, bytes + s.value_offset);
  type.destroy(bytes + s.value_offset);
  free_memory(entry);
  budget.release(s.cost, lane);
  budget.release_object(lane);
  if (status != PutStatus::unmatched) {
    count(status == PutStatus::fenced ? &Counters::refused_fence : &Counters::not_promoted, lane);
  }
  return status;
}

}  // namespace tiercache::l1
