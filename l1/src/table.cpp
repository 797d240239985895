// SPDX-License-Identifier: Apache-2.0
#include <tiercache/l1/table.hpp>

#include "core.hpp"

#include <algorithm>
#include <bit>
#include <exception>
#include <new>
#include <string>

namespace tiercache::l1 {

namespace {

constexpr std::uint64_t capacity_min = 32 << 10;
constexpr std::uint64_t capacity_max = std::uint64_t{1} << 44;
constexpr std::uint64_t bucket_count_max = 1ULL << 27;  // slots have 32-bit positions
constexpr std::uint64_t tables_per_entry =
    38;  // bytes: slots and stamps 19, ghosts 8, sketch 6, queue and shadows 5 (of large caches)
// Of 31 slots. One newcomer in 80 finds its bucket full; in small tables, where space is cheap, next to none.
constexpr std::uint64_t expected_per_bucket = 20;
constexpr std::uint64_t expected_per_bucket_small = 14;
constexpr std::uint64_t expected_per_bucket_tiny = 17;
constexpr std::uint64_t small_table = 65536;  // entries
constexpr std::uint64_t tiny_table = 512;
constexpr std::uint64_t large_table = 64 << 20;  // bytes
constexpr std::uint64_t spare_parts = 16;  // of what may be retired, one at most is a batch of what a lane may have to spare

[[nodiscard]] Error refused(std::string message) { return {Errc::invalid_argument, std::move(message)}; }

}  // namespace

Result<void> Options::validate() const {
  if (capacity_bytes < capacity_min || capacity_bytes > capacity_max) {
    return refused("l1.capacity_bytes: must be 32 KiB to 16 TiB, is " + std::to_string(capacity_bytes));
  }
  if (expected_entry_bytes < 32 || expected_entry_bytes > (1U << 20)) {
    return refused("l1.expected_entry_bytes: must be 32 to 1048576, is " + std::to_string(expected_entry_bytes));
  }
  if (max_entry_bytes > capacity_bytes) return refused("l1.max_entry_bytes: over l1.capacity_bytes");
  if (resize_max_bytes > capacity_max) return refused("l1.resize_max_bytes: must be at most 16 TiB");
  if (std::max(capacity_bytes, resize_max_bytes) / expected_entry_bytes / expected_per_bucket_small >= bucket_count_max) {
    return refused("l1.expected_entry_bytes: too small for this capacity");
  }
  if (now_ms == nullptr) return refused("l1.now_ms: null");
  return {};
}

Core::~Core() {
  for (auto& chunk : views) delete chunk.load(std::memory_order_relaxed);
}

bool Core::allocate_tables() noexcept {
  // For the largest budget it may ever have: the tables do not grow.
  std::uint64_t expected =
      std::max(options.capacity_bytes, options.resize_max_bytes) / (options.expected_entry_bytes + tables_per_entry);
  if (options.capacity_objects != 0) expected = std::min(expected, options.capacity_objects);
  const std::uint64_t per_bucket = expected > small_table  ? expected_per_bucket
                                   : expected > tiny_table ? expected_per_bucket_small
                                                           : expected_per_bucket_tiny;
  bucket_count = std::max<std::uint64_t>((expected + per_bucket - 1) / per_bucket, 2);
  // A quarter more than the budget, so that runs are found; the budget bounds what is in use.
  const std::uint64_t most = std::max(options.capacity_bytes, options.resize_max_bytes);
  lanes.open(expected);
  parts.reset(new (std::nothrow) Part[lanes.count()]);
  if (parts == nullptr || !budget.open(options.capacity_objects, lanes) ||
      !bucket_pages.map(bucket_count * sizeof(Bucket), options.huge_pages) || !arena.map(most + most / 4, options.huge_pages) ||
      !eviction.create(options, expected, bucket_count, lanes)) {
    return false;
  }
  for (std::uint32_t i = 0; i < lanes.count(); ++i) {
    parts[i].cursor.store(arena.start_of(i, lanes.count()), std::memory_order_relaxed);
  }
  buckets = reinterpret_cast<Bucket*>(bucket_pages.data());  // zeroes are empty slots and a settled control word
  retire_count_max = std::clamp<std::uint64_t>(expected / 100, 16, 4096);
  budget.charge_fixed(sizeof(Table) + sizeof(Core) + lanes.count() * sizeof(Part) + budget.table_bytes() +
                      bucket_count * (sizeof(Bucket) + Eviction::stamps_bytes) + arena.table_bytes() + eviction.table_bytes());
  if (options.profile) {
    ProfileOptions profiled;
    profiled.capacity_bytes = options.capacity_bytes;
    profiled.accesses = [](const void* self) noexcept {
      const auto& core = *static_cast<const Core*>(self);
      return core.options.accesses != nullptr ? core.options.accesses(core.options.accesses_context) : 0;
    };
    profiled.accesses_context = this;
    if (options.accesses == nullptr) profiled.accesses = nullptr;
    if (!profile.create(profiled)) return false;
    budget.charge_fixed(profile.table_bytes());
  }
  set_limits(options.capacity_bytes);
  return true;
}

Result<ViewId> Core::add_view(const TypeOps* type) {
  if (type == nullptr || type->size == 0 || type->align == 0 || (type->align & (type->align - 1)) != 0 || type->align > 32768 ||
      type->move_construct == nullptr || type->destroy == nullptr) {
    return refused("view: incomplete type operations");
  }
  std::uint32_t id = view_count.load(std::memory_order_relaxed);
  do {
    if (id == max_views) return refused("view: a table holds at most " + std::to_string(max_views));
  } while (!view_count.compare_exchange_weak(id, id + 1, std::memory_order_relaxed));
  auto& place = views[id / views_per_chunk];
  ViewChunk* chunk = place.load(std::memory_order_acquire);
  if (chunk == nullptr) {
    auto made = std::make_unique<ViewChunk>();
    if (place.compare_exchange_strong(chunk, made.get(), std::memory_order_acq_rel)) {
      chunk = made.release();
      budget.charge_fixed(sizeof(ViewChunk));
    }
  }
  (*chunk)[id % views_per_chunk].ops.store(type, std::memory_order_release);
  return static_cast<ViewId>(id);
}

bool Core::unlink(std::uint64_t index, const detail::Match& match, Lane lane) noexcept {
  eviction.leaving(index, match.slot);
  if (BucketKernel::unlink(buckets[index], match.slot, match.word, Access::seq(*match.entry))) return true;
  eviction.stays(index, match.slot, lane);
  return false;
}

void Core::set_limits(std::uint64_t capacity_bytes) noexcept {
  max_entry_bytes = options.max_entry_bytes != 0 ? std::min(options.max_entry_bytes, capacity_bytes) : capacity_bytes / 8;
  // A scan frees what was sealed before: in small tables a larger share, or each store would run one.
  const std::uint64_t share = capacity_bytes / (capacity_bytes >= large_table ? 256 : 128);
  retire_bytes = std::min<std::uint64_t>(std::max<std::uint64_t>(share, 4096), capacity_bytes / 16);
  budget.set_limits(capacity_bytes, capacity_bytes - 2 * retire_bytes,
                    retire_bytes / std::max<std::uint64_t>(spare_parts, 2 * lanes.count()));
}

Result<void> Core::resize(std::uint64_t capacity_bytes) noexcept {
  const std::uint64_t most = std::max(options.capacity_bytes, options.resize_max_bytes);
  if (capacity_bytes < 2 * budget.fixed() || capacity_bytes > most) {
    return refused("l1.capacity_bytes: can be resized to " + std::to_string(2 * budget.fixed()) + " to " + std::to_string(most) +
                   " here, not to " + std::to_string(capacity_bytes));
  }
  const bool smaller = capacity_bytes < budget.capacity();
  // Several limits follow from one number: of resizes that meet, all must end with the last one's. (70) the fences pair with each
  // other: who wrote a limit over a later resize's sees that one's wish, and writes again.
  wanted_bytes.store(capacity_bytes, std::memory_order_relaxed);
  std::uint64_t set = 0;
  do {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    set = wanted_bytes.load(std::memory_order_relaxed);
    set_limits(set);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } while (wanted_bytes.load(std::memory_order_relaxed) != set);
  if (!smaller) return {};
  detail::Record* record = detail::this_record();
  if (record == nullptr) return {};  // the stores to come evict
  // Others go on meanwhile: what they store is made room for as ever, and what this call evicts it evicts one by one.
  Op op(*this, record->hazards);
  eviction.shrink(*this, op);
  reclaim_all();
  arena.trim();
  return {};
}

Result<std::unique_ptr<Table>> Table::create(const Options& options) {
  if (auto valid = options.validate(); !valid) return std::move(valid).error();
  Core::sweep_abandoned();
  try {
    static const bool prepared = (StdSync::prepare(), prepare_hash_secret(), true);
    static_cast<void>(prepared);
    auto core = std::make_unique<Core>(options);
    if (!core->allocate_tables()) return Error{Errc::unavailable, "l1: no memory for the tables"};
    if (core->budget.used() > options.capacity_bytes / 2) {
      return refused("l1.expected_entry_bytes: the tables would take over half of l1.capacity_bytes");
    }
    std::unique_ptr<Table> table(new Table(core.get()));
    static_cast<void>(core.release());
    return table;
  } catch (const std::exception& e) {
    return Error{Errc::unavailable, std::string("l1: ") + e.what()};
  }
}

Table::Table(Core* core) noexcept
    : buckets_(core->buckets),
      line_count_(core->bucket_count * lines_per_bucket),
      profile_(core->profile.enabled() ? &core->profile : nullptr),
      core_(core) {}

Table::~Table() { Core::abandon(core_); }

Result<ViewId> Table::add_view(const TypeOps* ops) { return core_->add_view(ops); }

PutStatus Table::put(ViewId view, std::string_view key, std::uint64_t hash, void* value, const EntryMeta& meta,
                     Pin* pin) noexcept {
  return core_->store(view, key, hash, value, meta, {}, pin);
}

PutStatus Table::fill(const Ticket& ticket, ViewId view, std::string_view key, std::uint64_t hash, void* value,
                      const EntryMeta& meta, Pin* pin) noexcept {
  return core_->store(view, key, hash, value, meta, {.ticket = &ticket}, pin);
}

PutStatus Table::put_when(When when, ViewId view, std::string_view key, std::uint64_t hash, void* value, const EntryMeta& meta,
                          Pin* pin) noexcept {
  return core_->store(view, key, hash, value, meta, {.when = when}, pin);
}

PutStatus Table::compare_and_swap(const Pin& expected, ViewId view, std::string_view key, std::uint64_t hash, void* value,
                                  const EntryMeta& meta, Pin* pin) noexcept {
  if (!expected) return core_->store(view, key, hash, value, meta, {.when = When::absent}, pin);
  return core_->store(view, key, hash, value, meta, {.when = When::same, .same = expected.entry()}, pin);
}

std::size_t Table::find_many(ViewId view, std::span<const std::string_view> keys, std::uint64_t* hashes, std::uint32_t generation,
                             std::int64_t now_ms, Pin* out) noexcept {
  constexpr std::size_t group = 16;  // lines under way at a time, about what a core's miss buffers hold
  std::size_t hits = 0;
  for (std::size_t begin = 0; begin < keys.size(); begin += group) {
    const std::size_t end = std::min(begin + group, keys.size());
    for (std::size_t i = begin; i < end; ++i) {
      hashes[i] = hash(view, keys[i]);
      prefetch(hashes[i]);
    }
    // What find() does, cut in two: first all are held that will most likely be the ones, so that their lines are under way as
    // well; then they are read.
    detail::Record* const record = detail::quick_record();
    for (std::size_t i = begin; i < end; ++i) {
      Pin& pin = out[i];
      pin.reset();
      if (record == nullptr || !record->has_free()) [[unlikely]]
        continue;
      detail::HazardSlot& hazard = detail::free_pin(*record);
      unsigned at_slot = 0;
      pin.slot_ = &hazard;
      const Entry* entry = detail::Hazards::hold_quick(home_line(hashes[i]), slot::tag_of_hash(hashes[i]), hazard, at_slot);
      if (entry == nullptr) [[unlikely]] {
        pin.slot_ = nullptr;
        detail::clear(hazard);
        continue;
      }
      detail::take_pin(*record, hazard);
      pin.entry_ = entry;
      __builtin_prefetch(entry);
      __builtin_prefetch(reinterpret_cast<const char*>(entry) + 128);
    }
    for (std::size_t i = begin; i < end; ++i) {
      Pin& pin = out[i];
      // One that is not known to be hot is counted where find_slow() counts.
      if (!pin || !detail::CurrentKey{view, keys[i], generation, now_ms}(*pin.entry()) || !Access::saturated(*pin.entry()))
          [[unlikely]] {
        pin = {};
        // Where pins run out it is the last ones that get none: those behind this one give back what they hold.
        if (record != nullptr && !detail::has_free_pin(*record)) {
          for (std::size_t later = i + 1; later < end; ++later) out[later] = {};
        }
        pin = Pin(find_slow(view, keys[i], hashes[i], generation, now_ms));
      }
      if (pin) ++hits;
    }
  }
  return hits;
}

bool Table::expire(ViewId view, std::string_view key, std::uint64_t hash, std::uint32_t generation, std::int64_t now_ms,
                   std::int64_t hard_expiry_ms) noexcept {
  const EraseHazards hazards;
  Op op(*core_, hazards.get());
  const detail::Match match = detail::locate(bucket(hash), core_->home(hash), view, key, hash, op.key_hazard());
  if (match.entry == nullptr || match.entry->generation() != generation || match.entry->expired(now_ms)) return false;
  Access::set_expiry(*Access::at(slot::address(match.word)), view, hard_expiry_ms);
  return true;
}

bool Table::evict(ViewId view, std::string_view key, std::uint64_t hash) noexcept {
  const EraseHazards hazards;
  Op op(*core_, hazards.get());
  const Lane lane = op.lane();
  Bucket& home = bucket(hash);
  const detail::Match match = detail::locate(home, core_->home(hash), view, key, hash, op.key_hazard());
  if (match.entry == nullptr || !core_->unlink(bucket_index(hash), match, lane)) return false;
  core_->unlinked(Access::at(slot::address(match.word)), &Counters::evictions, lane);
  return true;
}

Result<void> Table::resize(std::uint64_t capacity_bytes) noexcept { return core_->resize(capacity_bytes); }
void Table::set_quota(ViewId view, std::uint64_t bytes) noexcept {
  Core::ViewPart& part = core_->part(view);
  if (bytes != 0) part.counts.store(true, std::memory_order_relaxed);
  part.quota.store(bytes, std::memory_order_relaxed);
}
std::uint64_t Table::view_bytes(ViewId view) const noexcept { return core_->part(view).bytes.load(std::memory_order_relaxed); }

std::vector<KeyHeat> Table::hottest(std::uint32_t k) { return core_->profile.hottest(k); }
std::vector<MissCurvePoint> Table::miss_curve() { return core_->profile.miss_curve(); }
std::vector<KeyAge> Table::coldest(std::uint32_t k) { return core_->eviction.coldest(*core_, k); }

void Table::count_sampled_hit(ViewId view, std::string_view key, std::uint64_t hash, const Entry& entry) noexcept {
  core_->profile.found(view, key, hash, core_->cost(entry));
}

bool Table::erase(ViewId view, std::string_view key, std::uint64_t hash) noexcept {
  const EraseHazards hazards;
  Op op(*core_, hazards.get());
  const Lane lane = op.lane();
  Bucket& home = bucket(hash);
  core_->profile.removed(hash);
  bool removed = false;
  for (;;) {
    // What is in progress is in its slot now, and what begins later lets the bump fail: the key is gone when the fence moves.
    const std::uint64_t seen = BucketKernel::settled(home, op);
    const detail::Match match = detail::locate(home, core_->home(hash), view, key, hash, op.key_hazard());
    // A failure means that the entry is gone already.
    if (match.entry != nullptr && core_->unlink(bucket_index(hash), match, lane)) {
      core_->unlinked(Access::at(slot::address(match.word)), removed ? &Counters::evictions : &Counters::invalidations, lane);
      removed = true;
    }
    if (BucketKernel::bump_fence(home, seen)) return removed;
  }
}

void Table::reap(std::uint64_t hash, const detail::Match& match, std::uint32_t generation, std::int64_t now_ms) noexcept {
  // A caller that was held up may ask under a generation older than the entry's: then the entry is not for it, but not void.
  const bool older = static_cast<std::int32_t>(generation - match.entry->generation()) > 0;
  if (!older && !match.entry->expired(now_ms)) return;
  const Lane lane = core_->lane();
  if (core_->unlink(bucket_index(hash), match, lane)) {
    core_->unlinked(Access::at(slot::address(match.word)), &Counters::expirations, lane);
  }
  core_->settle(lane);
}

Held Table::find_slow(ViewId view, std::string_view key, std::uint64_t hash, std::uint32_t generation,
                      std::int64_t now_ms) noexcept {
  detail::Record* record = detail::this_record();
  if (record == nullptr || !detail::has_free_pin(*record)) return {};
  detail::HazardSlot& hazard = detail::free_pin(*record);
  const Entry* entry = probe(view, key, hash, generation, now_ms, hazard);
  if (entry == nullptr) return {};
  detail::take_pin(*record, hazard);
  return {entry, &hazard};
}

const Entry* Table::probe(ViewId view, std::string_view key, std::uint64_t hash, std::uint32_t generation, std::int64_t now_ms,
                          detail::HazardSlot& hazard) noexcept {
  const detail::Match match = detail::locate(bucket(hash), core_->home(hash), view, key, hash, hazard);
  const Entry* entry = match.entry;
  if (entry != nullptr) {
    if (Access::current(*entry, generation, now_ms) && (Access::saturated(*entry) || touch(hash, *entry, match.slot, now_ms)))
      return entry;
    reap(hash, match, generation, now_ms);
  }
  detail::clear(hazard);
  detail::pass();
  return nullptr;
}

bool Table::touch(std::uint64_t hash, const Entry& entry, unsigned slot, std::int64_t now_ms) noexcept {
  if (Access::has_idle(entry)) {
    if (entry.expired(now_ms)) return false;
    Access::touch_idle(entry, now_ms);
  }
  core_->eviction.used(*core_, hash, entry, slot, core_->lane());
  return true;
}

void Table::count_miss(std::uint64_t hash) noexcept {
  core_->eviction.missed(core_->identity_of(hash), core_->lane());
  core_->profile.missed(hash);
}

L1Stats Table::stats() const noexcept {
  L1Stats s;
  s.capacity_bytes = core_->budget.capacity();
  s.used_bytes = core_->budget.used();
  s.fixed_bytes = core_->budget.fixed();
  s.entries = core_->budget.objects();
  s.retired_bytes = core_->budget.retired();
  s.inserts = core_->sum(&Counters::inserts);
  s.evictions = core_->sum(&Counters::evictions);
  s.expirations = core_->sum(&Counters::expirations);
  s.invalidations = core_->sum(&Counters::invalidations);
  s.refused_no_room = core_->sum(&Counters::refused_no_room);
  s.refused_too_large = core_->sum(&Counters::refused_too_large);
  s.refused_fence = core_->sum(&Counters::refused_fence);
  s.promoted = core_->sum(&Counters::promoted);
  s.demoted = core_->sum(&Counters::demoted);
  s.crowded_out = core_->sum(&Counters::crowded_out);
  s.payload_bytes = core_->sum(&Counters::payload);
  s.small_queue_bytes = core_->options.capacity_objects == 0 ? core_->eviction.small_sum() : 0;
  s.small_queue_share = core_->eviction.small_share();
  s.not_promoted = core_->sum(&Counters::not_promoted);
  return s;
}

Result<void> Table::validate() const { return core_->validate(); }
void Table::drain() noexcept { core_->reclaim_all(); }

}  // namespace tiercache::l1
