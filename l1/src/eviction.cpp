// SPDX-License-Identifier: Apache-2.0
#include "eviction.hpp"

#include "core.hpp"

#include <algorithm>
#include <bit>
#include <new>

namespace tiercache::l1 {

namespace {

// The policy's constants, found by simulation on recorded streams (docs/design.md).
constexpr unsigned hand_buckets = 8;    // that may be looked at before the oldest entry seen will do
constexpr unsigned lru_refreshes = 32;  // times in a turnover that a hit renews a stamp

// Bounds of work.
constexpr unsigned hand_steps_max = 96;
constexpr std::uint64_t entry_ahead = 128;  // where the cold part of a small entry is, more or less
constexpr std::uint64_t shadows_part = 16;  // of the budget at most, for the shadows
constexpr unsigned pops_max = 64;           // positions of the small queue that turn out to mean nothing
constexpr unsigned quota_evictions = 64;
constexpr std::uint64_t sweep_interval = 4;  // stores

// How finely what the threads share is counted: in small caches exactly.
constexpr std::uint64_t tick_per = 2048, tick_batch_max = 64;  // ticks
constexpr std::uint64_t asked_per = 4096;                      // expected entries for one that may wait to be told to the sketch
constexpr std::uint64_t weight_batch_per = 8192;
constexpr std::uint64_t clear_gap_per = 1024;  // see main_below_target()
constexpr std::uint64_t hand_per = 512;

[[nodiscard]] bool old_enough(std::uint32_t age, std::uint64_t mean_age) noexcept {
  return std::uint64_t{age} * 64 * 8 >= mean_age * 7;
}

}  // namespace

bool Eviction::create(const Options& options, std::uint64_t expected_entries, std::uint64_t buckets,
                      const Lanes& lanes) noexcept {
  policy_ = options.policy;
  lanes_ = lanes.count();
  turns_.reset(new (std::nothrow) Turn[lanes_]);
  if (turns_ == nullptr) return false;
  for (std::uint32_t i = 0; i < lanes_; ++i) turns_[i].mean_age.store(expected_entries * 64, std::memory_order_relaxed);
  tick_.open(std::min(expected_entries / tick_per, tick_batch_max));
  hand_.open(buckets / hand_per);
  sweep_.open(buckets / hand_per);
  const std::uint64_t all = options.capacity_objects != 0 ? options.capacity_objects : options.capacity_bytes;
  small_.open(all / weight_batch_per);
  main_.open(all / weight_batch_per);
  asked_limit_ = std::clamp<std::uint64_t>(expected_entries / asked_per, 1, Turn::asked_max);
  if (!stamp_pages_.map(buckets * stamps_bytes, options.huge_pages)) return false;
  stamps_ = reinterpret_cast<Stamp*>(stamp_pages_.data());  // zeroes are stamps
  if (!sketch_.create(expected_entries, options.huge_pages)) return false;
  if (policy_ == Policy::lru) return true;
  return ghost_.create(expected_entries, options.huge_pages) &&
         shadows_.create(expected_entries, options.capacity_bytes / shadows_part) && small_queue_.create(expected_entries);
}

std::uint64_t Eviction::table_bytes() const noexcept {
  const std::uint64_t common = sketch_.table_bytes() + lanes_ * sizeof(Turn);
  return policy_ == Policy::lru ? common : common + ghost_.table_bytes() + shadows_.table_bytes() + small_queue_.table_bytes();
}

std::uint64_t Eviction::weight(const Core& core, std::uint64_t bytes) noexcept {
  return core.options.capacity_objects != 0 ? 1 : bytes;
}

std::uint64_t Eviction::weight_max(const Core& core) const noexcept {
  if (core.options.capacity_objects != 0) return core.options.capacity_objects;
  const std::uint64_t live = core.budget.live_max();
  const std::uint64_t fixed = core.budget.fixed();
  return live > fixed ? live - fixed : 1;
}

std::uint64_t Eviction::small_sum() const noexcept {
  std::uint64_t sum = small_.read(std::atomic<std::uint64_t>(0));
  for (std::uint32_t i = 0; i < lanes_; ++i) sum += turns_[i].small.load(std::memory_order_relaxed);
  return sum;
}

std::uint64_t Eviction::target(const Core& core) const noexcept {
  return policy_ == Policy::adaptive ? shadows_.window(weight_max(core)) : 0;
}

/// Whether the main queue is clearly below its share, and would not pass it with so much more in it. Clearly: other lanes'
/// spare bytes and newcomers under way blur the sum, and a queue found short by one for ever would be given each oldest newcomer.
bool Eviction::main_below_target(const Core& core, std::uint64_t more, std::uint64_t all, Lane lane) const noexcept {
  return main_weight(lane) + target(core) + std::max(more, all / clear_gap_per) <= all;
}

void Eviction::missed(std::uint32_t identity, Lane lane) noexcept {
  if (policy_ == Policy::lru) return;
  Turn& own = turn(lane);
  if (lane.own) {
    // Its line is seldom near. So it is fetched now, and counted later, with others: to count takes a hundred instructions, and
    // with those behind each hit the processor could not begin the next read while this one waits for memory.
    sketch_.prefetch(identity);
    std::uint64_t waiting = own.asked_count.load(std::memory_order_relaxed);
    if (waiting == asked_limit_) {
      count_asked(lane);
      waiting = 0;
    }
    own.asked[waiting].store(identity, std::memory_order_relaxed);
    own.asked_count.store(waiting + 1, std::memory_order_relaxed);
  } else {
    sketch_.add(identity, own.additions);
  }
  if (shadows_.wants(identity)) shadows_.offer(identity);
}

void Eviction::count_asked(Lane lane) noexcept {
  Turn& own = turn(lane);
  const std::uint64_t waiting = own.asked_count.load(std::memory_order_relaxed);
  for (std::uint64_t i = 0; i < waiting; ++i) sketch_.add(own.asked[i].load(std::memory_order_relaxed), own.additions);
  own.asked_count.store(0, std::memory_order_relaxed);
}

std::uint64_t Eviction::entries(const Core& core) const noexcept {
  return core.budget.objects_limited() ? core.budget.objects() : entries_.load(std::memory_order_relaxed);
}

void Eviction::used(const Core& core, std::uint64_t hash, const Entry& entry, unsigned slot, Lane lane) noexcept {
  if (policy_ == Policy::lru) {
    Stamp& stamp = stamp_at(core.bucket_index(hash), slot);
    if (age_of(stamp.load(std::memory_order_relaxed), lane) > entries(core) / lru_refreshes) {
      stamp.store(now(lane), std::memory_order_relaxed);
    }
    return;
  }
  const std::uint8_t uses = Access::freq(entry);
  if (uses >= Access::freq_limit(entry)) return;
  Access::set_freq(entry, static_cast<std::uint8_t>(uses + 1));
  missed(core.identity_of(hash), lane);  // counted alike: the sketch and the shadows see what was asked for
}

void Eviction::counted(const Core& core, Entry& entry, std::uint64_t cost, const Newcomer& newcomer, Lane lane) noexcept {
  // Not what the entry before had, if this one has an idle ttl: saturated it would be taken for one that has none.
  Access::set_freq(entry, std::min(newcomer.uses, Access::freq_limit(entry)));
  Access::queue(entry).store(newcomer.queue, std::memory_order_relaxed);
  count(newcomer.queue, weight(core, cost) - newcomer.weight, lane);
  will_expire(entry, lane);
}

void Eviction::linked(std::uint64_t bucket, unsigned slot, const Newcomer& newcomer, bool replaced, Lane lane) noexcept {
  const bool small = newcomer.queue == QueueOf::small;
  stamp_at(bucket, slot).store(now(lane) | (small ? small_bit : 0U), std::memory_order_relaxed);
  if (small && !replaced) {
    small_queue_.push(static_cast<std::uint32_t>(bucket * words_per_bucket + slot), turn(lane).push, lane);
  }
}

void Eviction::left(const Core& core, const Entry& entry, std::uint64_t cost, Lane lane) noexcept {
  // Whoever changes it first: an entry that leaves while it moves to the main queue is counted once.
  count(Access::queue(entry).exchange(QueueOf::none, std::memory_order_relaxed), 0 - weight(core, cost), lane);
}

void Eviction::to_main(Work& work, const Held& held) noexcept {
  const Core& core = work.core;
  const Lane lane = work.lane();
  QueueOf expected = QueueOf::small;
  Access::set_freq(*held.entry, 0);
  if (!Access::queue(*held.entry).compare_exchange_strong(expected, QueueOf::main, std::memory_order_relaxed)) return;
  const std::uint64_t weighs = weight(core, core.cost(*held.entry));
  count(QueueOf::small, 0 - weighs, lane);
  count(QueueOf::main, weighs, lane);
  stamp_at(held.index, held.slot).store(now(lane), std::memory_order_relaxed);
  core.count(&Counters::promoted, lane);
}

Lane Eviction::Work::lane() const noexcept { return op.lane(); }

/// Publishes a hazard on what is in the slot. False: nothing.
bool Eviction::hold(Work& work, detail::HazardSlot& hazard, std::uint64_t index, unsigned slot, Held& out) noexcept {
  Bucket& bucket = work.core.buckets[index];
  std::uint64_t word = bucket.slot(slot).load(StdSync::relaxed);
  while (slot::taken(word)) {
    Entry* entry = Access::at(slot::address(word));
    if (!detail::Hazards::hold(bucket.slot(slot), word, entry, hazard)) continue;
    out = {entry, word, index, slot};
    return true;
  }
  return false;
}

bool Eviction::drop(Work& work, const Held& held, bool is_void) noexcept {
  Core& core = work.core;
  const Lane lane = work.lane();
  const bool main = Access::queue(*held.entry).load(std::memory_order_relaxed) == QueueOf::main;
  const std::uint32_t aged = age(held.index, held.slot, lane);
  if (!core.unlink(held.index, {held.entry, held.word, held.slot}, lane)) return false;
  ++work.dropped;
  if (is_void) {
    ++work.freed;
  } else if (main) {
    met(aged, lane);
    core.count(&Counters::demoted, lane);
  }
  core.unlinked(Access::at(slot::address(held.word)), is_void ? &Counters::expirations : &Counters::evictions, lane);
  return true;
}

/// The main queue's victim, held by the op's other hazard; none when the queue is empty, or when void entries were freed instead.
Eviction::Held Eviction::turn_hand(Work& work) noexcept {
  Core& core = work.core;
  const Lane lane = work.lane();
  detail::HazardSlot& hazard = work.op.other_hazard();
  const auto usable = [&](Held& held) noexcept {
    if (!hold(work, hazard, held.index, held.slot, held)) return false;
    if (core.is_void(*held.entry, work.now_ms)) {
      drop(work, held, true);
      return false;
    }
    return Access::queue(*held.entry).load(std::memory_order_relaxed) == QueueOf::main;
  };

  Turn& own = turn(lane);
  if (const std::uint64_t known = own.victim.load(std::memory_order_relaxed); known != 0) {
    const std::uint64_t word = own.victim_word.load(std::memory_order_relaxed);
    Held held;
    held.index = (known - 1) / words_per_bucket;
    held.slot = (known - 1) % words_per_bucket;
    // What came to lie there meanwhile is not the victim.
    if (held.index < core.bucket_count && core.buckets[held.index].slot(held.slot).load(StdSync::relaxed) == word &&
        usable(held) && held.word == word && Access::freq(*held.entry) == 0) {
      return held;
    }
    if (work.freed != 0) return {};
  }

  Place oldest;
  unsigned passed = 0;
  unsigned reinserted = 0;
  for (unsigned n = 0; n < hand_steps_max; ++n) {
    Place here = oldest_of(hand_.take(own.hand) % core.bucket_count, lane);
    if (!here.any || !old_enough(here.age, own.mean_age.load(std::memory_order_relaxed))) {
      if (here.any && (!oldest.any || here.age > oldest.age)) oldest = here;
      if (++passed < hand_buckets || !oldest.any) continue;
      here = oldest;
    }
    passed = 0;
    oldest = {};
    Held held;
    held.index = here.index;
    held.slot = here.slot;
    if (!usable(held)) {
      if (work.freed != 0) return {};
      mend_stamp(held, lane);
      continue;
    }
    const std::uint8_t uses = Access::freq(*held.entry);
    if (policy_ == Policy::lru || uses == 0 || reinserted == policy::hand_most) {
      own.victim.store(held.index * words_per_bucket + held.slot + 1, std::memory_order_relaxed);
      own.victim_word.store(held.word, std::memory_order_relaxed);
      return held;
    }
    ++reinserted;
    met(here.age, lane);
    Access::set_freq(*held.entry, static_cast<std::uint8_t>(uses - 1));
    stamp_at(held.index, held.slot).store(now(lane), std::memory_order_relaxed);
  }
  return {};
}

policy::Rival Eviction::rival(const Held& held, Lane lane) const noexcept {
  return {Core::identity(held.index, slot::tag(held.word)), age(held.index, held.slot, lane)};
}

/// Races leave stamps behind that are not of what lies there: of two threads that unlink an entry the loser restores the stamp of
/// an empty slot; a slow store stamps a later entry. Unmended they would hide what else lies in the bucket, or the entry itself.
void Eviction::mend_stamp(const Held& held, Lane lane) noexcept {
  Stamp& stamp = stamp_at(held.index, held.slot);
  const QueueOf queue = held ? Access::queue(*held.entry).load(std::memory_order_relaxed) : QueueOf::none;
  const std::uint32_t found = stamp.load(std::memory_order_relaxed);
  if (queue == QueueOf::none && found != absent) stamp.store(absent, std::memory_order_relaxed);
  if (queue == QueueOf::small && (found & small_bit) == 0) stamp.store(found | small_bit, std::memory_order_relaxed);
  if (queue == QueueOf::main && (found & small_bit) != 0) stamp.store(now(lane), std::memory_order_relaxed);
}

/// The entry of the main queue, by the stamps, that has been longest in a bucket.
Eviction::Place Eviction::oldest_of(std::uint64_t index, Lane lane) const noexcept {
  const std::uint32_t at = now(lane);
  const Stamp* stamps = stamps_ + index * words_per_bucket;
  // A word's order: below 0 and the lower the older, for those of the main queue; -1 or the most for all else. Other threads'
  // ticks may be a little ahead, so all are taken for so much older.
  constexpr std::uint32_t ahead = 4096;
  const std::uint32_t from = at + ahead;
  std::int32_t least = -1;
#ifdef TIERCACHE_SSE2_TAGS
  static_assert(words_per_bucket % 4 == 0 && std::atomic<std::uint32_t>::is_always_lock_free);
  const auto* words = reinterpret_cast<const __m128i*>(stamps);
  const __m128i origin = _mm_set1_epi32(static_cast<int>(from));
  const auto order4 = [origin](__m128i came) noexcept {
    const __m128i other = _mm_or_si128(_mm_srai_epi32(came, 31), _mm_cmpeq_epi32(came, _mm_setzero_si128()));
    return _mm_or_si128(_mm_slli_epi32(_mm_sub_epi32(came, origin), 1), _mm_srli_epi32(other, 1));
  };
  const auto less = [](__m128i a, __m128i b) noexcept {
    const __m128i above = _mm_cmpgt_epi32(a, b);
    return _mm_or_si128(_mm_and_si128(above, b), _mm_andnot_si128(above, a));
  };
  // Read once: where others stamp meanwhile a second look would find none that is the least.
  __m128i orders[words_per_bucket / 4];
  __m128i low = _mm_set1_epi32(-1);
  for (unsigned i = 0; i < words_per_bucket / 4; ++i) {
    orders[i] = order4(_mm_load_si128(words + i));
    low = less(low, orders[i]);
  }
  low = less(low, _mm_shuffle_epi32(low, _MM_SHUFFLE(1, 0, 3, 2)));
  low = less(low, _mm_shuffle_epi32(low, _MM_SHUFFLE(2, 3, 0, 1)));
  least = _mm_cvtsi128_si32(low);
  if (least == -1) return {};
  unsigned slot = 0;
  for (unsigned i = 0; i < words_per_bucket / 4; ++i) {
    const int mask = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(orders[i], low)));
    if (mask == 0) continue;
    slot = i * 4 + static_cast<unsigned>(std::countr_zero(static_cast<unsigned>(mask)));
    break;
  }
#else
  unsigned slot = 0;
  for (unsigned i = 0; i < words_per_bucket; ++i) {
    const std::uint32_t came = stamps[i].load(std::memory_order_relaxed);
    const std::uint32_t other = (came & small_bit) != 0 || came == 0 ? ~small_bit : 0;
    const auto here = static_cast<std::int32_t>(((came - from) << 1) | other);
    if (here >= least) continue;
    least = here;
    slot = i;
  }
  if (least == -1) return {};
#endif
  const std::uint32_t aged = (0 - static_cast<std::uint32_t>(least)) >> 1;
  return {index, slot, aged > ahead ? aged - ahead : 0, true};
}

void Eviction::met(std::uint32_t age, Lane lane) noexcept {
  auto& mean_age = turn(lane).mean_age;
  const auto mean = static_cast<std::int64_t>(mean_age.load(std::memory_order_relaxed));
  const std::int64_t step = (static_cast<std::int64_t>(age) * 64 - mean) / 32;
  mean_age.store(static_cast<std::uint64_t>(mean + step), std::memory_order_relaxed);
}

bool Eviction::evict_one(Work& work, const Newcomer& newcomer) noexcept {
  Core& core = work.core;
  const Lane lane = work.lane();
  Turn& own = turn(lane);
  if (policy_ == Policy::adaptive) {
    unsigned promoted = 0;
    unsigned pops = 0;
    for (unsigned step = 0; step <= policy::reinsertions_most && pops < pops_max;) {
      // The newcomer is counted already: of two threads that make room at a time neither sees the queue short of the other's, or
      // they would take from the main queue what is the small queue's to give.
      if (small_weight(lane) <= target(core) && main_weight(lane) != 0) break;
      std::uint32_t position = 0;
      if (!small_queue_.pop(position, own.pop, lane)) {
        // What the queue holds is under way in other threads. In its order this newcomer comes last; but the next one that finds
        // the queue full would drive it out at once, so it goes itself, rather than one of the main queue.
        if (newcomer.has_to_earn && newcomer.queue == QueueOf::small && small_weight(lane) > newcomer.weight) return false;
        break;
      }
      ++pops;
      Held candidate;
      const std::uint64_t index = position / words_per_bucket;
      if (index >= core.bucket_count || !hold(work, work.op.key_hazard(), index, position % words_per_bucket, candidate)) {
        continue;
      }
      if (Access::queue(*candidate.entry).load(std::memory_order_relaxed) != QueueOf::small) continue;
      if (core.is_void(*candidate.entry, work.now_ms)) {
        if (!drop(work, candidate, true))
          small_queue_.push(position, own.push, lane);  // replaced meanwhile: its cell is in our hands
        return true;
      }
      ++step;
      const std::uint64_t weighs = weight(core, core.cost(*candidate.entry));
      if (promoted < policy::free_promotions &&
          main_below_target(core, weighs, std::min(weight_max(core), small_weight(lane) + main_weight(lane) - newcomer.weight),
                            lane)) {
        ++promoted;
        to_main(work, candidate);
        continue;
      }
      const std::uint8_t uses = Access::freq(*candidate.entry);
      const std::uint32_t came = stamp(candidate.index, candidate.slot);
      const std::uint32_t identity = Core::identity(candidate.index, slot::tag(candidate.word));
      // Most were asked for once: they cannot be more frequent than any victim, so none is looked for.
      const bool hopeless = uses == 0 && sketch_.estimate(identity) <= policy::estimate_margin;
      const Held victim = hopeless ? Held{} : turn_hand(work);
      if (work.freed != 0) {
        small_queue_.push(position, own.push, lane);
        return true;
      }
      bool better = false;
      if (victim) {
        better = policy::replaces(sketch_, {identity, age_of(came, lane)}, uses > 0, rival(victim, lane));
      }
      if (better) {
        drop(work, victim, false);
        to_main(work, candidate);
        return true;
      }
      if (uses > 0 && step <= policy::reinsertions_most) {
        Access::set_freq(*candidate.entry, 0);
        stamp_at(candidate.index, candidate.slot).store(now(lane) | small_bit, std::memory_order_relaxed);
        small_queue_.push(position, own.push, lane);
        continue;
      }
      ghost_.record(identity, came & tick_mask, now(lane));
      if (!drop(work, candidate, false)) small_queue_.push(position, own.push, lane);
      return true;
    }
  }
  const Held victim = turn_hand(work);
  if (victim && work.freed == 0) drop(work, victim, false);
  // Only where the main queue is empty, or nearly: otherwise the hand has just met nothing old enough, and goes on next time.
  if (!victim && work.freed == 0 && main_weight(lane) <= weight_max(core) / 64) evict_any(work);
  return true;
}

/// Where neither queue has anything to give, what is left was lost from the small one: an entry that was replaced while its cell
/// was in another thread's hands. Any will do.
void Eviction::evict_any(Work& work) noexcept {
  for (unsigned n = 0; n < hand_steps_max; ++n) {
    const std::uint64_t index = hand_.take(turn(work.lane()).hand) % work.core.bucket_count;
    Held held;
    for (unsigned i = 0; i < words_per_bucket; i = next_slot(i)) {
      if (hold(work, work.op.other_hazard(), index, i, held) && drop(work, held, work.core.is_void(*held.entry, work.now_ms)))
        return;
    }
  }
}

void Eviction::look_ahead(const Core& core, Lane lane) const noexcept {
  const std::atomic<std::uint64_t>& own = turn(lane).pop;
  const auto in_table = [&](std::uint32_t position) noexcept { return position / words_per_bucket < core.bucket_count; };
  if (const std::uint32_t later = small_queue_.peek(2, own); in_table(later)) {
    prefetch_to_write(&core.buckets[later / words_per_bucket].slot(later % words_per_bucket));
    prefetch_to_write(stamps_ + later);
  }
  if (const std::uint32_t next = small_queue_.peek(1, own); in_table(next)) {
    const std::uint64_t word =
        core.buckets[next / words_per_bucket].words[next % words_per_bucket].load(std::memory_order_relaxed);
    if (!slot::taken(word)) return;
    prefetch_to_write(Access::at(slot::address(word)));
    __builtin_prefetch(Access::at(slot::address(word) + entry_ahead));  // to read: it may be another's
    const std::uint32_t identity = Core::identity(next / words_per_bucket, slot::tag(word));
    sketch_.prefetch(identity);
    ghost_.prefetch(identity);
  }
}

/// A fill that would drive out more than the small queue holds has to be asked for more often than what it drives out.
bool Eviction::earns(Work& work, std::uint32_t identity) noexcept {
  const Held victim = turn_hand(work);
  if (!victim) return work.freed != 0;
  const bool more = sketch_.estimate(identity) > sketch_.estimate(rival(victim, work.lane()).identity);
  if (more) drop(work, victim, false);
  return more;
}

Room Eviction::make_room(Core& core, Op& op, std::uint64_t bytes, Newcomer& newcomer) noexcept {
  Budget& budget = core.budget;
  Work work{core, op, core.options.now_ms()};
  const Lane lane = op.lane();
  const bool adaptive = policy_ == Policy::adaptive;
  const std::uint64_t weighs = weight(core, bytes);
  if (newcomer.fresh) {
    Turn& own = turn(lane);
    tick_.add(1, own.tick, lane);
    const std::uint64_t tick = own.stores.load(std::memory_order_relaxed);
    own.stores.store(tick + 1, std::memory_order_relaxed);
    if (tick % sweep_interval == 0 || voids_near_.load(std::memory_order_relaxed) || search_due(work, tick)) sweep(work);
    if (tick % 64 == 0) {
      const std::uint64_t entries = budget.objects();
      entries_.store(entries, std::memory_order_relaxed);
      // Not while it fills up: what it holds then is not what it can hold.
      if (small_weight(lane) + main_weight(lane) >= weight_max(core) - weight_max(core) / 8) adapt(entries);
    }
    if (adaptive) {
      look_ahead(core, lane);
      count_asked(lane);
      shadows_.drain(sketch_);
    }
  }
  bool object = false;
  const auto fits = [&]() noexcept {
    if (!object) object = budget.reserve_object(lane);
    if (!object) return false;
    if (budget.take_both(bytes, lane)) [[likely]]
      return true;
    if (!budget.take_live(bytes, lane)) return false;
    if (budget.take_used(bytes, lane)) return true;
    // Enough is unlinked, but not freed yet; or others have it to spare.
    if (core.reclaim_any(lane) && budget.take_used(bytes, lane)) return true;
    if (budget.take_last(bytes, lane)) return true;
    budget.give_live(bytes, lane);
    return false;
  };
  const auto done = [&](Room room) noexcept {
    op.unprotect();
    detail::clear(op.key_hazard());
    if (room != Room::made) {
      if (object) budget.release_object(lane);
      given_up(newcomer, lane);
    }
    return room;
  };
  const auto count_it = [&]() noexcept {
    newcomer.weight = weighs;
    count(newcomer.queue, weighs, lane);
  };

  // A view over its quota makes room among its own.
  const Core::ViewPart& part = core.part(newcomer.view);
  if (const std::uint64_t quota = part.quota.load(std::memory_order_relaxed); quota != 0) {
    const auto over = [&]() noexcept {
      const std::uint64_t held = part.bytes.load(std::memory_order_relaxed);
      return held > newcomer.replaces && held - newcomer.replaces > quota - std::min(bytes, quota);
    };
    for (unsigned n = 0; bytes > quota || over(); ++n) {
      if (n == quota_evictions || bytes > quota || !evict_of_view(work, newcomer.view)) return done(Room::none);
      core.settle(lane);
    }
    work.freed = 0;
  }
  if (fits()) {
    if (newcomer.fresh && adaptive)
      newcomer.queue = main_below_target(core, weighs, weight_max(core), lane) ? QueueOf::main : QueueOf::small;
    count_it();
    return done(Room::made);
  }
  if (adaptive && !newcomer.fresh) count_asked(lane);
  const bool has_to_earn = adaptive && newcomer.has_to_earn && newcomer.fresh && weighs > 1 && weighs > weight_max(core) / 64;
  if (newcomer.fresh && adaptive) {
    newcomer.queue = QueueOf::small;
    const auto came = ghost_.age(newcomer.identity, now(lane));
    if (came) {
      const Held victim = turn_hand(work);
      if (victim && policy::returns(sketch_, {newcomer.identity, *came}, rival(victim, lane), entries(core))) {
        drop(work, victim, false);
        newcomer.queue = QueueOf::main;
        core.count(&Counters::promoted, lane);
      }
    }
  }
  count_it();
  // Bounded work: an eviction gains at least 64 bytes, and turns that gain nothing are not repeated for ever. When so much was
  // evicted and the bytes are still not there, they are pinned, or other threads take them.
  const std::uint64_t evictions_max = 256 + bytes / 32;
  const std::uint64_t idle_max = 8 + core.bucket_count / hand_buckets;
  std::uint64_t idle = 0;
  for (std::uint64_t n = 0; n <= evictions_max && idle <= idle_max; ++n) {
    if (fits()) return done(Room::made);
    work.freed = 0;
    work.dropped = 0;
    if (has_to_earn) {
      if (!earns(work, newcomer.identity)) return done(Room::not_hot);
    } else {
      if (!evict_one(work, newcomer)) {
        ghost_.record(newcomer.identity, now(lane), now(lane));
        return done(Room::not_hot);
      }
    }
    if (work.dropped == 0) ++idle;
    // What was retired is not paid for here: the newcomer takes the place of one that lies ready.
    if (core.reclaim_due(lane)) core.settle(lane);
  }
  return done(fits() ? Room::made : Room::none);
}

}  // namespace tiercache::l1
