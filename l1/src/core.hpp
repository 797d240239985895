// SPDX-License-Identifier: Apache-2.0
//
// What is behind a Table: everything that has to outlive it while entries are pinned.
#pragma once

#include "arena.hpp"
#include "budget.hpp"
#include "domain.hpp"
#include "eviction.hpp"
#include "lanes.hpp"

#include <tiercache/l1/profile.hpp>
#include <tiercache/l1/table.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace tiercache::l1 {

using Access = detail::EntryAccess;
using BucketKernel = Kernel<StdSync>;

/// The two hazards of an operation, and the kernel's view of the table. Clears them at its end, and then reclaims if it is time:
/// never inside a step of the protocol, for destructors are user code.
class Op {
 public:
  Op(Core& core, detail::HazardSlot* hazards) noexcept;
  ~Op();
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;

  [[nodiscard]] Lane lane() const noexcept { return lane_; }
  [[nodiscard]] detail::HazardSlot& key_hazard() const noexcept { return hazards_[0]; }
  [[nodiscard]] detail::HazardSlot& other_hazard() const noexcept { return hazards_[1]; }

  // The kernel's Env.
  [[nodiscard]] static BasicDescriptor<StdSync>& descriptor(std::uint32_t op) noexcept {
    return detail::records[op - 1].descriptor;
  }
  void protect(std::uint64_t address) const noexcept { detail::publish(other_hazard(), address); }
  void unprotect() const noexcept { detail::clear(other_hazard()); }
  void retire(std::uint64_t address) const noexcept;

 private:
  Core& core_;
  detail::HazardSlot* hazards_;
  Lane lane_;
};

/// The hazards of an erase: the thread's own, or borrowed ones when it has no record.
class EraseHazards {
 public:
  EraseHazards() noexcept : record_(detail::this_record()) {
    if (record_ == nullptr) overflow_ = detail::overflow_acquire();
  }
  ~EraseHazards() {
    if (overflow_ != nullptr) detail::overflow_release(*overflow_);
  }
  EraseHazards(const EraseHazards&) = delete;
  EraseHazards& operator=(const EraseHazards&) = delete;
  [[nodiscard]] detail::HazardSlot* get() const noexcept { return record_ != nullptr ? record_->hazards : overflow_->hazards; }

 private:
  detail::Record* record_;
  detail::OverflowRecord* overflow_ = nullptr;
};

/// A lane's.
struct Counters {
  std::atomic<std::uint64_t> inserts{0}, evictions{0}, expirations{0}, invalidations{0};
  std::atomic<std::uint64_t> refused_no_room{0}, refused_too_large{0}, refused_fence{0};
  std::atomic<std::uint64_t> promoted{0}, demoted{0}, not_promoted{0}, crowded_out{0};
  std::atomic<std::uint64_t> payload{0};  // keys and values in the table, with the values' heap: wraps, the sum counts
};

struct Core {
  // A lane's share of what may be unlinked and not free yet: so much is retired, waits for a barrier, and lies ready.
  static constexpr std::uint64_t retired_part = 3;
  // So many more may an own lane retire than it uses again before it frees some, and the reverse. A store over an old value that
  // had to evict leaves room for one that then need not: freed at once, that one's memory would lie ready no more.
  static constexpr std::int32_t owed_max = 8;
  static constexpr std::uint32_t pinned_max = 22;
  static constexpr std::uint64_t retired_shared_max = 256;  // a shared lane's batch is freed by one operation

  explicit Core(const Options& o) noexcept : options(o) {}
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  [[nodiscard]] bool allocate_tables() noexcept;
  [[nodiscard]] Result<ViewId> add_view(const TypeOps* ops);
  [[nodiscard]] const TypeOps* ops(ViewId view) const noexcept { return part(view).ops.load(std::memory_order_acquire); }
  /// A view's type and its part of the budget.
  struct ViewPart {
    std::atomic<const TypeOps*> ops{nullptr};
    std::atomic<std::uint64_t> bytes{0};  // of the entries that came since there was a quota
    std::atomic<std::uint64_t> quota{0};  // 0: none
    std::atomic<bool> counts{false};      // there was one
  };
  [[nodiscard]] ViewPart& part(ViewId view) const noexcept {
    // Whoever uses a view was handed its id after the stores; entries of it are published by the slot.
    return (*views[view / views_per_chunk].load(std::memory_order_acquire))[view % views_per_chunk];
  }
  /// An entry counts for its view from just before its link to its unlinking.
  void enter_view(Entry& entry, ViewPart& view, std::uint64_t cost, std::uint64_t payload, Lane lane) noexcept {
    if (view.counts.load(std::memory_order_relaxed)) {
      Access::set_counted(entry);
      view.bytes.fetch_add(cost, std::memory_order_relaxed);
    }
    count(&Counters::payload, lane, payload);
  }
  void leave_view(const Entry& entry, std::uint64_t cost, Lane lane) noexcept {
    ViewPart& view = part(entry.view());
    if (Access::counted(entry)) view.bytes.fetch_sub(cost, std::memory_order_relaxed);
    const std::uint64_t payload = entry.key().size() + view.ops.load(std::memory_order_relaxed)->size +
                                  (Access::has_heap_charge(entry) ? Access::heap_charge(entry) : 0);
    count(&Counters::payload, lane, 0 - payload);
  }

  // store.cpp
  struct Sizes {
    std::size_t value_offset = 0;
    std::size_t bytes = 0;  // of the allocation
    unsigned granules = 0;  // 0: from the system allocator
    std::uint64_t heap = 0;
    std::uint64_t cost = 0;  // an upper bound of what is charged
  };
  [[nodiscard]] static Sizes sizes(const TypeOps& type, std::string_view key, const void* value) noexcept;
  [[nodiscard]] Entry* allocate(Sizes& sizes, const TypeOps& type, Lane lane) noexcept;
  /// What has to be true of the key for a store to be done.
  struct Expectation {
    const Ticket* ticket = nullptr;  // that it was not invalidated since
    When when = When::always;
    const Entry* same = nullptr;
    [[nodiscard]] bool met(const Core& core, const Entry* present, std::uint32_t generation, std::int64_t now_ms) const noexcept;
  };
  /// What a look at the bucket found, under a control word that had no op in it. As long as the control word stays, nothing was
  /// installed or invalidated: what was absent is absent, and a slot that holds the same word holds the same entry.
  struct Sight {
    std::uint64_t control = 0;
    detail::Match match;  // its entry is not protected any more
  };
  PutStatus store(ViewId view, std::string_view key, std::uint64_t hash, void* value, const EntryMeta& meta,
                  const Expectation& expectation, Pin* pin) noexcept;
  [[nodiscard]] PutStatus link(Bucket& bucket, ViewId view, std::string_view key, std::uint64_t hash, Entry* entry,
                               const Expectation& expectation, const Sight& sight, Newcomer& newcomer, detail::Record& record,
                               Op& op) noexcept;
  [[nodiscard]] detail::Match look(Bucket& bucket, ViewId view, std::string_view key, std::uint64_t hash, std::uint64_t seen,
                                   const Sight& sight, Op& op) const noexcept;
  [[nodiscard]] bool fenced(const Ticket& ticket, std::uint64_t hash, std::uint64_t control_word) const noexcept;

  /// The calling thread's.
  [[nodiscard]] Lane lane() const noexcept { return lanes.of(thread_index()); }
  void count(std::atomic<std::uint64_t> Counters::*which, Lane lane, std::uint64_t by = 1) const noexcept {
    bump(parts[lane.index].counters.*which, by, lane);
  }
  [[nodiscard]] std::uint64_t sum(std::atomic<std::uint64_t> Counters::*which) const noexcept {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < lanes.count(); ++i) sum += (parts[i].counters.*which).load(std::memory_order_relaxed);
    return sum;
  }

  /// Kernel::unlink, with the policy told. The caller holds a hazard; unlinked() is next.
  [[nodiscard]] bool unlink(std::uint64_t bucket, const detail::Match& match, Lane lane) noexcept;

  // reclaim.cpp
  void retire(Entry* entry, Lane lane) noexcept;
  /// The step after a successful Kernel::unlink.
  void unlinked(Entry* entry, std::atomic<std::uint64_t> Counters::*counter, Lane lane) noexcept;
  /// Whether the lane has a batch. Beyond what the last scan had to leave: pinned entries must not make every call scan.
  [[nodiscard]] bool reclaim_due(Lane lane) const noexcept {
    const std::uint64_t count = lane.own ? retire_count_max : std::min(retire_count_max, retired_shared_max);
    return budget.retired_since(count, retire_bytes.load(std::memory_order_relaxed) / retired_part, lane);
  }
  /// At the end of an operation: frees as much as it has retired, if there is any that may be, and looks for more when it is
  /// time. A batch costs one scan and at most one barrier, and is not gone through: it lies ready, and goes one by one.
  void settle(Lane lane) noexcept {
    Part& part = parts[lane.index];
    if (!lane.own || part.owed > owed_max || reclaim_due(lane)) [[unlikely]]
      settle_now(lane);
    else part.owed = std::max(part.owed, -owed_max);
  }
  void settle_now(Lane lane) noexcept;
  /// Memory for an entry: of one that lies ready, whose lines this thread touched lately. In memory that nobody touched lately a
  /// new entry is three misses. Null: there is none.
  [[nodiscard]] void* reuse(unsigned granules, Lane lane) noexcept;
  /// Frees what no hazard holds of one lane's, with a barrier and a scan. True if anything was freed. Never of all lanes at a
  /// time: a thread that is stopped in here keeps what it took, and the others would have to make do without.
  bool reclaim(std::uint32_t index, Lane lane) noexcept;
  /// One lane after the other, its own first, until something was freed.
  bool reclaim_any(Lane lane) noexcept;
  void reclaim_all() noexcept;
  bool free_unpinned(std::uint64_t retired, const detail::HazardScan* hazards, Lane lane) noexcept;
  [[nodiscard]] Entry* pop_ready(Lane lane) noexcept;
  std::uint64_t destroy(Entry& entry, Lane lane) noexcept;
  void release(Entry& entry, Lane lane) noexcept;
  [[nodiscard]] std::uint64_t cost(const Entry& entry) const noexcept {
    return memory_cost(entry) + (Access::has_heap_charge(entry) ? Access::heap_charge(entry) : 0);
  }
  [[nodiscard]] std::uint64_t memory_cost(const Entry& entry) const noexcept {
    const unsigned granules = Access::granules(entry);
    return granules != 0 ? granules * Arena::granule_bytes : external_cost(entry);
  }
  [[nodiscard]] std::uint64_t external_cost(const Entry& entry) const noexcept;
  void free_memory(Entry* entry) noexcept;
  /// Where the allocation of an entry outside the arena begins: its cold part is in front of it.
  [[nodiscard]] void* external_memory(const Entry& entry) const noexcept;
  [[nodiscard]] static constexpr std::size_t external_front(std::size_t align) noexcept {
    return std::max<std::size_t>(align, 32);
  }
  void push_retired(std::uint64_t first, std::uint64_t last, Lane lane) noexcept;
  /// Takes a table's core at its end; deletes it, now or once the last pin on it is gone.
  static void abandon(Core* core) noexcept;
  static void sweep_abandoned() noexcept;

  // eviction.cpp
  [[nodiscard]] bool is_void(const Entry& entry, std::int64_t now_ms) const noexcept {
    return entry.expired(now_ms) || (options.is_void != nullptr && options.is_void(options.void_context, entry));
  }

  // As in Table.
  [[nodiscard]] std::uint64_t line_index(std::uint64_t hash) const noexcept {
    return detail::share_of(lines_per_bucket * bucket_count, hash);
  }
  [[nodiscard]] std::uint64_t bucket_index(std::uint64_t hash) const noexcept { return line_index(hash) / lines_per_bucket; }
  [[nodiscard]] unsigned home(std::uint64_t hash) const noexcept {
    return static_cast<unsigned>(line_index(hash) % lines_per_bucket) * words_per_line;
  }
  /// What the eviction policy knows a key by, 32 bits: told by where an entry lies and by its tag, so that no entry need be read
  /// and no key hashed for it. Two keys are one to it if they share bucket and tag, which is 1 in 32768 of those of a bucket, or
  /// by chance one in 2^32.
  [[nodiscard]] static std::uint32_t identity(std::uint64_t bucket, std::uint16_t tag) noexcept {
    std::uint64_t x = (bucket << 16 | tag) * 0x9e3779b97f4a7c15ULL;
    x ^= x >> 32;
    return static_cast<std::uint32_t>((x * 0xd6e8feb86659fd93ULL) >> 32);
  }
  [[nodiscard]] std::uint32_t identity_of(std::uint64_t hash) const noexcept {
    return identity(bucket_index(hash), slot::tag_of_hash(hash));
  }
  [[nodiscard]] static std::uint64_t hash_of(const Entry& entry) noexcept { return keyed_hash(entry.key(), entry.view()); }
  [[nodiscard]] Result<void> validate() const;
  [[nodiscard]] Result<void> resize(std::uint64_t capacity_bytes) noexcept;
  void set_limits(std::uint64_t capacity_bytes) noexcept;

  static constexpr std::size_t views_per_chunk = 16;
  using ViewChunk = std::array<ViewPart, views_per_chunk>;
  static constexpr std::uint64_t malloc_overhead = 16;  // at most
  /// What the allocator takes for memory of which so much is usable. glibc: a word more, in steps of 16; two where it mapped
  /// pages.
  [[nodiscard]] static constexpr std::uint64_t chunk_bytes(std::uint64_t usable) noexcept {
    return (usable + 8 + 15) & ~std::uint64_t{15};
  }

  Options options;
  std::uint64_t bucket_count = 0;
  std::atomic<std::uint64_t> max_entry_bytes{0};
  std::uint64_t retire_count_max = 64;
  std::atomic<std::uint64_t> wanted_bytes{0};  // the capacity that was asked for last
  std::atomic<std::uint64_t> retire_bytes{0};  // what may be unlinked and not free, a half of it
  Pages bucket_pages;
  Bucket* buckets = nullptr;
  std::array<std::atomic<ViewChunk*>, max_views / views_per_chunk> views{};
  std::atomic<std::uint32_t> view_count{0};
  Arena arena;
  Budget budget;
  Eviction eviction;
  Profile profile;
  struct alignas(64) Part {
    Counters counters;
    std::atomic<std::uint64_t> retired{0};        // handles, linked: unlinked since the last batch, or found pinned
    std::atomic<std::uint64_t> retired_large{0};  // the same of those outside the arena, whose memory may vanish
    // Of an own lane: what was sealed and waits for a scan, and what lies ready, in the arena.
    std::atomic<std::uint64_t> sealed{0}, ready{0};
    std::atomic<std::uint64_t> cursor{0};  // in the arena
    // The owner's alone.
    std::int32_t owed = 0;  // so many more were retired than used again or freed
    std::uint32_t pinned_count = 0;
    detail::Seal seal;
    const Entry* pinned[pinned_max] = {};  // retired entries with hazards at the last scan, in order

    /// All that is unlinked and not freed.
    [[nodiscard]] std::array<std::atomic<std::uint64_t>*, 4> unlinked() noexcept {
      return {&ready, &sealed, &retired, &retired_large};
    }
  };
  Lanes lanes;
  std::unique_ptr<Part[]> parts;
  Core* next_abandoned = nullptr;
};

inline Op::Op(Core& core, detail::HazardSlot* hazards) noexcept : core_(core), hazards_(hazards), lane_(core.lane()) {}
inline void Op::retire(std::uint64_t address) const noexcept {
  core_.budget.release_object(lane_);
  core_.retire(Access::at(address), lane_);
}
inline Op::~Op() {
  detail::clear(hazards_[0]);
  detail::clear(hazards_[1]);
  detail::pass();
  core_.settle(lane_);
}

}  // namespace tiercache::l1
