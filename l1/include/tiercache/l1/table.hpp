// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/hash.hpp>
#include <tiercache/base/result.hpp>
#include <tiercache/base/stats.hpp>
#include <tiercache/l1/entry.hpp>
#include <tiercache/l1/hazard.hpp>
#include <tiercache/l1/options.hpp>
#include <tiercache/l1/pin.hpp>
#include <tiercache/l1/profile.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::l1 {

using ViewId = std::uint16_t;
inline constexpr std::size_t max_views = 1024;
inline constexpr std::size_t max_key_bytes = 65535;

/// What the table must know of a value type. One static object a type. None of the functions may throw or call the cache.
/// destroy runs on whichever thread reclaims: inside any thread's put, fill, erase, drain, a find that meets an expired entry, or
/// a table's creation or end.
struct TypeOps {
  std::size_t size = 0;
  std::size_t align = 1;  ///< a power of two, at most 32768; above 32 the entries come from the system allocator
  void (*move_construct)(void* to, void* from) noexcept = nullptr;
  void (*destroy)(void* value) noexcept = nullptr;
  std::uint64_t (*heap_bytes)(const void* value) noexcept = nullptr;  ///< bytes the value owns outside itself; null: none
};

/// What an entry carries beside key and value. Frozen: later releases fill it, they do not widen it.
struct EntryMeta {
  std::uint64_t version = 0;     ///< the value's version; 0: none
  std::uint32_t generation = 0;  ///< the entry is void unless it equals the generation that find() is given
  std::uint16_t shard = 0;
  std::int64_t hard_expiry_ms = 0;  ///< coarse_now_ms() at which it expires; 0: never; below 2^48
  std::uint32_t soft_lead_ms = 0;   ///< how long before hard expiry it goes soft-stale; 0: never
  std::int64_t idle_ttl_ms = 0;  ///< expires when not read for so long, late by less than 128 ms or (from 17 minutes on) 1 part
                                 ///< in 500; 0: never; at most 49 days
};

/// Captured BEFORE the L2 read is sent; a fill with it is refused once the key was erased, invalidated or put. A plain value.
/// Keys that share a bucket share the fence, so a refusal may be a neighbour's. The fence has 21 bits: a stale fill would pass
/// only if exactly a multiple of 2,097,152 erases and puts fell on the bucket between ticket and fill.
struct Ticket {
  std::uint64_t bucket = ~std::uint64_t{0};
  std::uint64_t fence = 0;
};

enum class PutStatus : std::uint8_t {
  stored,
  fenced,     ///< the key was invalidated since the ticket
  not_hot,    ///< a fill: what it would drive out is asked for more often
  no_room,    ///< nothing could be freed in bounded work
  unmatched,  ///< the key was not as the store wants it to be (put_when, compare_and_swap)
  too_large,  ///< over max_entry_bytes, or a key over max_key_bytes
};

/// When put_when() stores. A void entry (expired, of another generation) is absent.
enum class When : std::uint8_t { always, absent, present, same };

/// An entry that is likely to go soon.
struct KeyAge {
  ViewId view = 0;
  std::string key;
  std::uint64_t bytes = 0;     ///< charged
  std::uint32_t uses = 0;      ///< its use counter, 0 to 3
  std::uint64_t arrivals = 0;  ///< keys stored since it came or was last found in use
};

struct Core;  // src/core.hpp

/// The lock-free in-process table: one byte budget for the entries of all views. Values are type-erased; views tell them apart.
///
/// All members are thread-safe. No operation takes a lock: a thread stopped at any instruction of this library (outside the
/// system allocator and the members of the user's types) keeps no other thread from finishing. Entries of at most 2 KiB whose
/// value has no heap of its own come from the table's arena; larger ones, and those for which the arena is too fragmented, from
/// the system allocator. At most 1022 threads may be inside the tables of a process at once; past that find() misses, put() and
/// fill() answer no_room, and erase() works as ever.
///
/// Keys: any bytes. `hash` is always hash(view, key) of this table. `now_ms` is coarse_now_ms(), read after the generation.
class Table {
 public:
  /// invalid_argument when the options are refused; unavailable when the memory cannot be mapped.
  static Result<std::unique_ptr<Table>> create(const Options& options);
  /// REQUIRES: no operation is running or follows. Entries pinned by living pins stay readable: the memory of such a table goes
  /// to a process-wide list and is freed when a later table is created or destroyed after the last pin went.
  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  /// A view more; at most max_views a table, and views are never removed. `ops` outlives the table and its pins. Lock-free but
  /// for one small allocation now and then. invalid_argument when the registry is full or `ops` is incomplete.
  Result<ViewId> add_view(const TypeOps* ops);

  /// Keyed by the process's random secret, salted by the view. Wait-free.
  [[nodiscard]] std::uint64_t hash(ViewId view, std::string_view key) const noexcept { return keyed_hash(key, view); }
  /// Starts loading the bucket, for batches. Wait-free.
  void prefetch(std::uint64_t hash) const noexcept { __builtin_prefetch(home_line(hash)); }

  /// The key's entry, pinned. Empty: a miss, or the thread's pins are used up (then pins_exhausted(); use visit). Entries of
  /// another generation or past hard expiry are misses; outdated ones are unlinked. Lock-free; a hit takes no lock, allocates
  /// nothing, makes no system call and writes no shared line once the entry's use counter is at its maximum.
  [[nodiscard]] Pin find(ViewId view, std::string_view key, std::uint64_t hash, std::uint32_t generation,
                         std::int64_t now_ms) noexcept {
    if (detail::Record* record = detail::quick_record(); record != nullptr && record->has_free()) [[likely]] {
      detail::HazardSlot& hazard = detail::free_pin(*record);
      if (const Entry* entry = quick(view, key, hash, generation, now_ms, hazard); entry != nullptr) [[likely]] {
        detail::take_pin(*record, hazard);
        return {entry, &hazard};
      }
    }
    return Pin(find_slow(view, key, hash, generation, now_ms));
  }

  /// Calls f(const void* value, const Entry&) if the key is present. Needs no pin; `f` may call this or another table for other
  /// keys, and visits nest up to six deep: past that, false. A throw of `f` passes through. Progress as find().
  template <class F>
  bool visit(ViewId view, std::string_view key, std::uint64_t hash, std::uint32_t generation, std::int64_t now_ms, F&& f) {
    detail::Record* record = detail::this_record();
    if (record == nullptr || record->visit_depth == detail::visit_hazards) [[unlikely]]
      return false;
    const Visit held(*record);
    const Entry* entry = nullptr;
    if (detail::quick_record() != nullptr) [[likely]] {
      entry = quick(view, key, hash, generation, now_ms, held.hazard);
    }
    if (entry == nullptr) [[unlikely]] {
      entry = probe(view, key, hash, generation, now_ms, held.hazard);
      if (entry == nullptr) return false;
    }
    static_cast<F&&>(f)(entry->value(), *entry);
    return true;
  }

  /// find() for many keys, with the lines of all under way at a time: two to three times as fast where they are not in the
  /// processor's cache. out[i] is the pin of keys[i], empty where find() would be, and hashes[i] its hash(); both are as long as
  /// `keys`. What `out` holds is given back first: no key may lie in it. Returns how many are there. A thread has
  /// pins_per_thread() pins: the rest of a longer batch is empty. Progress as find().
  std::size_t find_many(ViewId view, std::span<const std::string_view> keys, std::uint64_t* hashes, std::uint32_t generation,
                        std::int64_t now_ms, Pin* out) noexcept;

  /// The key's fence now. Wait-free; one load.
  [[nodiscard]] Ticket ticket(std::uint64_t hash) const noexcept {
    std::uint64_t fence = 0;
    if (!Kernel<StdSync>::open_fence(bucket(hash), fence)) [[unlikely]]
      return {};
    return {bucket_index(hash), fence};
  }

  /// Inserts or replaces, without an admission test, and invalidates older tickets of the key. `value` is moved from only when
  /// stored (otherwise it may have been moved out and back). `pin`, if given, receives a pin on what was stored; it stays empty
  /// when the thread has none left. Lock-free; evicts in bounded work. no_room also when the process has more threads than
  /// records.
  PutStatus put(ViewId view, std::string_view key, std::uint64_t hash, void* value, const EntryMeta& meta,
                Pin* pin = nullptr) noexcept;
  /// As put, for what was read from L2: `fenced` unless the ticket still stands at the very step that installs the entry, and
  /// `not_hot` when an entry would have to go that is used more. Other fills' tickets stay valid. A key that is present is
  /// replaced without an admission test.
  PutStatus fill(const Ticket& ticket, ViewId view, std::string_view key, std::uint64_t hash, void* value, const EntryMeta& meta,
                 Pin* pin = nullptr) noexcept;
  /// put(), if the key is absent or present, as `when` says; else `unmatched` and nothing is stored. The test and the install are
  /// one step, in order with all other stores of the key; an eviction between them counts as one after.
  PutStatus put_when(When when, ViewId view, std::string_view key, std::uint64_t hash, void* value, const EntryMeta& meta,
                     Pin* pin = nullptr) noexcept;
  /// put(), if the key's entry still is the pinned one (an empty pin: if the key is absent); else `unmatched`.
  PutStatus compare_and_swap(const Pin& expected, ViewId view, std::string_view key, std::uint64_t hash, void* value,
                             const EntryMeta& meta, Pin* pin = nullptr) noexcept;
  /// Gives a present entry another hard expiry (0: never); false when the key is absent. Lock-free.
  bool expire(ViewId view, std::string_view key, std::uint64_t hash, std::uint32_t generation, std::int64_t now_ms,
              std::int64_t hard_expiry_ms) noexcept;
  /// Unlinks, without invalidating: tickets stay valid. True if this call removed an entry. Lock-free.
  bool evict(ViewId view, std::string_view key, std::uint64_t hash) noexcept;
  /// Unlinks and invalidates older tickets, as one step among the stores of the key; true if this call removed an entry. When it
  /// returns, no find that starts later returns a value that was stored, and no fill succeeds whose ticket was taken, before it
  /// began; nor does a swap of an entry that it removed. Never refused. Lock-free: stores to the bucket meanwhile make it look
  /// again.
  bool erase(ViewId view, std::string_view key, std::uint64_t hash) noexcept;

  /// Another budget, between twice what the tables take and max(capacity_bytes, resize_max_bytes); invalid_argument otherwise.
  /// Others go on meanwhile. Shrinking evicts before it returns, one entry after the other, and gives free pages back; what is
  /// pinned, or held by stopped threads, stays over the new budget until it is released. Lock-free, O(entries that go).
  Result<void> resize(std::uint64_t capacity_bytes) noexcept;
  /// The most that a view's entries may take of the budget (0: no limit): a store that would pass it evicts entries of that view,
  /// or is refused (no_room) when none are near. To within one entry a thread. Wait-free. Bytes are counted
  /// for entries that come after the first quota; view_bytes() is theirs.
  void set_quota(ViewId view, std::uint64_t bytes) noexcept;
  [[nodiscard]] std::uint64_t view_bytes(ViewId view) const noexcept;

  // The workload. These allocate; not for hot paths. Blocking for up to 100 ms (profile.hpp).
  /// What count_hit() was told of most. Empty without Options::profile, or in tables below 3 MiB.
  [[nodiscard]] std::vector<KeyHeat> hottest(std::uint32_t k);
  /// Those of the next few thousand entries before the hand that would go first.
  [[nodiscard]] std::vector<KeyAge> coldest(std::uint32_t k);
  /// What more or less memory would bring. Empty as hottest(), or as long as nothing was sampled.
  [[nodiscard]] std::vector<MissCurvePoint> miss_curve();
  /// A hit, for the two above only. Wait-free, writes the thread's own lines but for sampled ones.
  void count_hit(ViewId view, std::string_view key, std::uint64_t hash, const Entry& entry) noexcept {
    if (profile_ == nullptr) return;
    // Both of the profile's questions, so that the call and the entry's cost are for the few hits that are sampled.
    std::uint32_t& gap = detail::tls_sampling.gap;
    if (gap <= 1 || profile_->samples(hash)) [[unlikely]] {
      count_sampled_hit(view, key, hash, entry);
    } else {
      --gap;
    }
  }
  /// To be told of a key that was asked for and not found: what is asked for often is kept. (Hits count themselves.) Wait-free.
  void count_miss(std::uint64_t hash) noexcept;

  /// Each number is exact when nothing goes on; they are not of one instant. Wait-free.
  [[nodiscard]] L1Stats stats() const noexcept;
  /// Counts everything again and compares: bitmap, budget, tags, keys, hazards, control words. REQUIRES quiescence: no thread is
  /// inside any table. Living pins are fine. internal, with what differs, otherwise. O(table).
  [[nodiscard]] Result<void> validate() const;
  /// Frees whatever is unlinked and not pinned. Lock-free.
  void drain() noexcept;

 private:
  explicit Table(Core* core) noexcept;

  struct Visit {
    explicit Visit(detail::Record& r) noexcept : record(r), hazard(r.hazards[detail::op_hazards + r.visit_depth++]) {}
    ~Visit() {
      detail::clear(hazard);
      --record.visit_depth;
    }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    detail::Record& record;
    detail::HazardSlot& hazard;
  };

  /// The line is told by the highest bits of the hash, the tag by the 16 lowest. Four lines a bucket.
  [[nodiscard]] std::uint64_t line_index(std::uint64_t hash) const noexcept { return detail::share_of(line_count_, hash); }
  [[nodiscard]] std::uint64_t bucket_index(std::uint64_t hash) const noexcept { return line_index(hash) / lines_per_bucket; }
  [[nodiscard]] Bucket& bucket(std::uint64_t hash) const noexcept { return buckets_[bucket_index(hash)]; }
  [[nodiscard]] const StdSync::atomic<std::uint64_t>* home_line(std::uint64_t hash) const noexcept {
    return buckets_->words + line_index(hash) * words_per_line;
  }

  [[nodiscard]] Held find_slow(ViewId view, std::string_view key, std::uint64_t hash, std::uint32_t generation,
                               std::int64_t now_ms) noexcept;
  /// The short way of a read: nothing is in the way. Null: take the long one.
  [[nodiscard, gnu::always_inline]] const Entry* quick(ViewId view, std::string_view key, std::uint64_t hash,
                                                       std::uint32_t generation, std::int64_t now_ms,
                                                       detail::HazardSlot& hazard) noexcept {
    unsigned at_slot = 0;
    const Entry* entry = detail::locate_quick(home_line(hash), view, key, hash, generation, now_ms, hazard, at_slot);
    if (entry == nullptr) [[unlikely]]
      return nullptr;
    if (!detail::EntryAccess::saturated(*entry)) [[unlikely]] {
      const unsigned home = static_cast<unsigned>(line_index(hash) % lines_per_bucket) * words_per_line;
      if (!touch(hash, *entry, home + at_slot, now_ms)) return nullptr;
    }
    return entry;
  }
  /// The long way of a read. The hazard is clear when it finds nothing.
  [[nodiscard]] const Entry* probe(ViewId view, std::string_view key, std::uint64_t hash, std::uint32_t generation,
                                   std::int64_t now_ms, detail::HazardSlot& hazard) noexcept;
  /// What a hit that is not yet known to be hot writes. False: the entry's idle ttl has passed.
  [[nodiscard]] bool touch(std::uint64_t hash, const Entry& entry, unsigned slot, std::int64_t now_ms) noexcept;
  void count_sampled_hit(ViewId view, std::string_view key, std::uint64_t hash, const Entry& entry) noexcept;
  /// Unlinks a void entry on which the caller holds a hazard, unless it is of a newer generation than the caller's.
  void reap(std::uint64_t hash, const detail::Match& match, std::uint32_t generation, std::int64_t now_ms) noexcept;

  Bucket* buckets_;
  std::uint64_t line_count_;
  Profile* profile_;  // null: none
  Core* core_;
};

}  // namespace tiercache::l1
