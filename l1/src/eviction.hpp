// SPDX-License-Identifier: Apache-2.0
//
// Who has to go, and where a newcomer lies: the replaceable policy. Nothing else knows of use counters, queues, stamps or the
// hand.
#pragma once

#include "ghost.hpp"
#include "lanes.hpp"
#include "pages.hpp"
#include "policy.hpp"
#include "probation.hpp"
#include "shadow.hpp"
#include "sketch.hpp"
#include "turns.hpp"

#include <tiercache/l1/hazard.hpp>
#include <tiercache/l1/options.hpp>
#include <tiercache/l1/table.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace tiercache::l1 {

struct Core;
class Op;

enum class Room : std::uint8_t { made, not_hot, none };

/// What is about to be stored.
struct Newcomer {
  std::uint32_t identity = 0;  ///< Core::identity()
  std::uint16_t view = 0;
  bool fresh = true;              ///< the key is not there
  std::uint64_t replaces = 0;     ///< what the key's entry so far is charged
  bool has_to_earn = false;       ///< a fill: may be refused when it is so large that many others would have to go
  QueueOf queue = QueueOf::main;  ///< answered by make_room(): where it shall lie
  std::uint8_t uses = 0;          ///< its use counter to begin with
  std::uint64_t weight = 0;       ///< what make_room() has counted to that queue for it
};

/// Policy::adaptive: newcomers lie in a small queue (probation.hpp), whose share of the cache shadow caches choose (shadow.hpp);
/// what is used there, or comes back soon after it left, moves to the main queue if it was asked for more often, or at shorter
/// distances, than the main queue's victim. So a scan passes through the small queue, a loop longer than the cache keeps a part
/// of itself, and what is used again at once is kept at once. Reuse distance against age: LIRS (Jiang, Zhang 2002); frequency:
/// TinyLFU (Einziger et al. 2017); the small queue and the ghosts: 2Q (1994), S3-FIFO (Yang et al. 2023).
///
/// The main queue is no list. A hand goes over the buckets, and in each it looks at the entry with the oldest stamp: used since
/// -> its counter falls and its stamp is now; not used -> the victim, and it stays the victim until it goes or is used. Buckets
/// in which nothing is old enough are passed over. That is CLOCK in nearly the order of a list, without one.
///
/// Policy::lru: a hit renews the stamp when it is older than a part of the cache's turnover; the hand takes the oldest.
///
/// A little of the capacity is kept free of live entries, as much as may be retired at a time; so in the steady state each store
/// evicts what it needs, although memory comes back in batches.
///
/// All members are lock-free and for any thread, create() and open() apart. Stamps, the hand, the mean age and the victim are
/// hints: whoever acts on one holds the entry and looks again.
class Eviction {
 public:
  /// False: no memory.
  [[nodiscard]] bool create(const Options& options, std::uint64_t expected_entries, std::uint64_t buckets,
                            const Lanes& lanes) noexcept;
  [[nodiscard]] std::uint64_t table_bytes() const noexcept;
  /// Per bucket.
  static constexpr std::uint64_t stamps_bytes = words_per_bucket * sizeof(std::uint32_t);

  // What reads tell.
  void missed(std::uint32_t identity, Lane lane) noexcept;
  void used(const Core& core, std::uint64_t hash, const Entry& entry, unsigned slot, Lane lane) noexcept;

  /// Reserves `bytes` and one object in the budget, evicting in bounded work. On anything but `made` nothing is reserved.
  [[nodiscard]] Room make_room(Core& core, Op& op, std::uint64_t bytes, Newcomer& newcomer) noexcept;
  /// Empties a slot of a full bucket: of the oldest in the small queue there, or of the oldest in the main queue, if the newcomer
  /// need not earn its place or earns it. not_hot otherwise.
  [[nodiscard]] Room make_slot(Core& core, Op& op, std::uint64_t bucket, const Newcomer& newcomer) noexcept;

  /// Around the linking of an entry, after make_room() answered `made`: counted() before, or given_up(); linked() after it
  /// succeeded, left() when it did not or when the entry was unlinked, whoever did it.
  void counted(const Core& core, Entry& entry, std::uint64_t cost, const Newcomer& newcomer, Lane lane) noexcept;
  void given_up(const Newcomer& newcomer, Lane lane) noexcept { count(newcomer.queue, 0 - newcomer.weight, lane); }
  void linked(std::uint64_t bucket, unsigned slot, const Newcomer& newcomer, bool replaced, Lane lane) noexcept;
  void left(const Core& core, const Entry& entry, std::uint64_t cost, Lane lane) noexcept;
  /// Around the unlinking of what lies there: before, so that the stamp is not taken off a later entry; and when it failed.
  void leaving(std::uint64_t bucket, unsigned slot) noexcept { stamp_at(bucket, slot).store(absent, std::memory_order_relaxed); }
  /// Has the line under way that a store to that place writes.
  void prefetch(std::uint64_t bucket, unsigned home) const noexcept { prefetch_to_write(&stamp_at(bucket, home)); }
  /// And those that the store of a new key reads.
  void prefetch_newcomer(std::uint32_t identity, Lane lane) const noexcept {
    if (policy_ == Policy::lru) return;
    ghost_.prefetch(identity);
    // The victim that the last store met, if it still is.
    __builtin_prefetch(detail::EntryAccess::at(slot::address(turn(lane).victim_word.load(std::memory_order_relaxed))));
  }
  void stays(std::uint64_t bucket, unsigned slot, Lane lane) noexcept {
    stamp_at(bucket, slot).store(now(lane), std::memory_order_relaxed);
  }

  /// Evicts until the budget fits its capacity, or nothing more goes.
  void shrink(Core& core, Op& op) noexcept;
  [[nodiscard]] std::vector<KeyAge> coldest(Core& core, std::uint32_t k);

  [[nodiscard]] double small_share() const noexcept { return policy_ == Policy::adaptive ? shadows_.share() : 0; }
  [[nodiscard]] std::uint64_t small_weight(Lane lane) const noexcept { return small_.read(turn(lane).small); }
  /// With what the lanes have not told yet.
  [[nodiscard]] std::uint64_t small_sum() const noexcept;
  [[nodiscard]] std::uint64_t main_weight(Lane lane) const noexcept { return main_.read(turn(lane).main); }
  /// An entry's weight.
  [[nodiscard]] static std::uint64_t weight(const Core& core, std::uint64_t bytes) noexcept;
  [[nodiscard]] std::uint32_t age(std::uint64_t bucket, unsigned slot, Lane lane) const noexcept {
    return age_of(stamp(bucket, slot), lane);
  }
  /// Tells shadows and ghosts of another number of entries.
  void adapt(std::uint64_t entries) noexcept;

 private:
  struct Held {
    const Entry* entry = nullptr;
    std::uint64_t word = 0;
    std::uint64_t index = 0;
    unsigned slot = 0;
    explicit operator bool() const noexcept { return entry != nullptr; }
  };
  struct Place {
    std::uint64_t index = 0;
    unsigned slot = 0;
    std::uint32_t age = 0;
    bool any = false;
  };
  /// One store's work: its bounds and what it has done.
  struct Work {
    Core& core;
    Op& op;
    std::int64_t now_ms;
    unsigned freed = 0;    // void entries that went on the way
    unsigned dropped = 0;  // all that went
    [[nodiscard]] Lane lane() const noexcept;
  };

  [[nodiscard]] Turn& turn(Lane lane) const noexcept { return turns_[lane.index]; }

  // A stamp: in the small queue, or nowhere:1 | tick + 1:31. 0 was never used.
  static constexpr std::uint32_t small_bit = 1U << 31;
  static constexpr std::uint32_t absent = small_bit;
  static constexpr std::uint32_t tick_mask = small_bit - 1;
  using Stamp = std::atomic<std::uint32_t>;
  [[nodiscard]] Stamp& stamp_at(std::uint64_t bucket, unsigned slot) const noexcept {
    return stamps_[bucket * words_per_bucket + slot];
  }
  [[nodiscard]] std::uint32_t stamp(std::uint64_t bucket, unsigned slot) const noexcept {
    return stamp_at(bucket, slot).load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t now(Lane lane) const noexcept {
    return (static_cast<std::uint32_t>(tick_.read(turn(lane).tick)) + 1) & tick_mask;
  }
  /// Of a stamp of 31 bits. Not below 0: other threads' ticks may be a little ahead, and as a large number such a stamp would be
  /// the oldest of all.
  [[nodiscard]] static std::int32_t age_at(std::uint32_t tick, std::uint32_t stamp) noexcept {
    return std::max(static_cast<std::int32_t>((tick - stamp) << 1) >> 1, 0);
  }
  [[nodiscard]] std::uint32_t age_of(std::uint32_t stamp, Lane lane) const noexcept {
    return static_cast<std::uint32_t>(age_at(now(lane), stamp));
  }

  /// The weight that the small queue should have.
  [[nodiscard]] std::uint64_t target(const Core& core) const noexcept;
  /// What all entries together may weigh.
  [[nodiscard]] std::uint64_t weight_max(const Core& core) const noexcept;
  /// `all`: what the queues together may hold.
  [[nodiscard]] bool main_below_target(const Core& core, std::uint64_t more, std::uint64_t all, Lane lane) const noexcept;
  void count(QueueOf queue, std::uint64_t weight, Lane lane) noexcept {
    if (weight == 0 || queue == QueueOf::none) return;
    if (queue == QueueOf::small) small_.add(weight, turn(lane).small, lane);
    else main_.add(weight, turn(lane).main, lane);
  }

  [[nodiscard]] bool hold(Work& work, detail::HazardSlot& hazard, std::uint64_t bucket, unsigned slot, Held& out) noexcept;
  bool drop(Work& work, const Held& held, bool is_void) noexcept;
  void to_main(Work& work, const Held& held) noexcept;
  [[nodiscard]] Held turn_hand(Work& work) noexcept;
  [[nodiscard]] policy::Rival rival(const Held& held, Lane lane) const noexcept;
  [[nodiscard]] Place oldest_of(std::uint64_t index, Lane lane) const noexcept;
  /// The number of entries, or nearly.
  [[nodiscard]] std::uint64_t entries(const Core& core) const noexcept;
  void met(std::uint32_t age, Lane lane) noexcept;
  /// False: the newcomer itself would be the next to go.
  [[nodiscard]] bool evict_one(Work& work, const Newcomer& newcomer) noexcept;
  void evict_any(Work& work) noexcept;
  void mend_stamp(const Held& held, Lane lane) noexcept;
  /// Has the lines under way that the next evictions will read, the later ones' slots and the next one's entry.
  void look_ahead(const Core& core, Lane lane) const noexcept;
  void sweep(Work& work) noexcept;
  /// Whether some entry has expired by what this lane has met, and it may look for it.
  [[nodiscard]] bool search_due(const Work& work, std::uint64_t tick) noexcept;
  void will_expire(const Entry& entry, Lane lane) noexcept;
  [[nodiscard]] bool evict_of_view(Work& work, std::uint16_t view) noexcept;
  [[nodiscard]] bool displaces(const Core& core, const Held& held, const Newcomer& newcomer, Lane lane) const noexcept;
  [[nodiscard]] bool earns(Work& work, std::uint32_t identity) noexcept;
  /// Tells the sketch what was asked for since it was told last.
  void count_asked(Lane lane) noexcept;

  Policy policy_ = Policy::adaptive;
  std::uint64_t asked_limit_ = 1;  // how many may wait to be told to the sketch
  Sketch sketch_;
  Ghost ghost_;
  Shadows shadows_;
  Probation small_queue_;
  Pages stamp_pages_;
  Stamp* stamps_ = nullptr;
  std::atomic<std::uint64_t> entries_{0};  // a little old
  std::atomic<std::uint64_t> adapted_{0};  // the number of entries that shadows and ghosts were told of last
  Batched tick_;                           // stores of new keys
  Batched small_;                          // the queues' weights, with those of newcomers under way
  Batched main_;
  Runs hand_;   // buckets
  Runs sweep_;  // slots
  std::uint32_t lanes_ = 1;
  std::unique_ptr<Turn[]> turns_;
  std::atomic<std::uint64_t> quota_hand_{0};
  std::atomic<bool> voids_near_{false};  // the last sweep met some
};

}  // namespace tiercache::l1
