// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lanes.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace tiercache::l1 {

/// The one count of bytes held: fixed tables, entries, value heap, in-flight, pinned, retired. Bytes are reserved before they are
/// allocated and given back after they are freed, so what is used never passes the capacity. Beside it a count of the live ones,
/// which eviction can still act on: all but the retired. Lock-free.
///
/// A thread takes from what its lane has to spare, and gives back to it; the common counts are moved by a batch at a time. So
/// where each store evicts what it needs, no line is written by two threads in turn. What lies spare is not held.
class Budget {
 public:
  /// False: no memory.
  [[nodiscard]] bool open(std::uint64_t objects_max, const Lanes& lanes) noexcept {
    objects_max_ = objects_max;
    lanes_ = lanes;
    parts_.reset(new (std::nothrow) Part[lanes.count()]);
    return parts_ != nullptr;
  }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return lanes_.count() * sizeof(Part); }

  /// What is held above smaller limits stays until it is released; nothing more is taken before. `batch`: half of the bytes that
  /// a lane may have to spare.
  void set_limits(std::uint64_t capacity, std::uint64_t live_max, std::uint64_t batch) noexcept {
    used_.most.store(capacity, std::memory_order_relaxed);
    live_.most.store(live_max, std::memory_order_relaxed);
    wanted_batch_.store(batch, std::memory_order_relaxed);
    batch_.store(over() ? 0 : batch, std::memory_order_relaxed);
    for (const Spare spare : {&Part::used, &Part::live}) collect(spare);
  }
  /// Bytes that are there for good.
  void charge_fixed(std::uint64_t bytes) noexcept {
    used_.taken.fetch_add(bytes, std::memory_order_relaxed);
    live_.taken.fetch_add(bytes, std::memory_order_relaxed);
    fixed_.fetch_add(bytes, std::memory_order_relaxed);
  }

  /// take_live() and take_used(), where the lane has both to spare. False: nothing was taken.
  [[nodiscard]] bool take_both(std::uint64_t bytes, Lane lane) noexcept {
    Part& part = parts_[lane.index];
    const std::uint64_t live = part.live.load(std::memory_order_relaxed);
    const std::uint64_t used = part.used.load(std::memory_order_relaxed);
    if (!lane.own || live < bytes || used < bytes || part.recalled.load(std::memory_order_relaxed)) return false;
    part.live.store(live - bytes, std::memory_order_relaxed);
    part.used.store(used - bytes, std::memory_order_relaxed);
    return true;
  }
  /// False: something has to be evicted first.
  [[nodiscard]] bool take_live(std::uint64_t bytes, Lane lane) noexcept { return take(&Part::live, bytes, lane); }
  void give_live(std::uint64_t bytes, Lane lane) noexcept { give(&Part::live, bytes, lane); }
  void give_used(std::uint64_t bytes, Lane lane) noexcept { give(&Part::used, bytes, lane); }
  /// Memory for what is live. False: something retired has to be freed first.
  [[nodiscard]] bool take_used(std::uint64_t bytes, Lane lane) noexcept { return take(&Part::used, bytes, lane); }
  /// take_used() with what others have to spare: at once what shared lanes have, later what is others' own.
  [[nodiscard]] bool take_last(std::uint64_t bytes, Lane lane) noexcept {
    collect(&Part::used);
    return take_used(bytes, lane);
  }
  /// So much more than was taken for an entry that is being made.
  [[nodiscard]] bool take_more(std::uint64_t bytes, Lane lane) noexcept {
    if (!take_used(bytes, lane)) return false;
    live_.taken.fetch_add(bytes, std::memory_order_relaxed);
    return true;
  }
  /// Of an entry that was never linked.
  void release(std::uint64_t bytes, Lane lane) noexcept {
    give_live(bytes, lane);
    give(&Part::used, bytes, lane);
  }

  void retire(std::uint64_t bytes, Lane lane) noexcept {
    Part& part = parts_[lane.index];
    bump(part.retired_bytes, bytes, lane);
    bump(part.retired_count, 1, lane);
    give_live(bytes, lane);
  }
  /// A retired entry, whoever retired it, is none any more, and so much of what it held is free.
  void free_retired(std::uint64_t bytes, std::uint64_t free, Lane lane) noexcept {
    Part& part = parts_[lane.index];
    bump(part.freed_bytes, bytes, lane);
    bump(part.freed_count, 1, lane);
    if (free != 0) give(&Part::used, free, lane);
  }
  /// What was retired in a lane counts as looked at. For any thread: a hint.
  void looked_at(std::uint32_t lane) noexcept {
    Part& part = parts_[lane];
    part.seen_bytes.store(part.retired_bytes.load(std::memory_order_relaxed), std::memory_order_relaxed);
    part.seen_count.store(part.retired_count.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
  /// Whether so many entries or so many bytes were retired in the lane since it was looked at.
  [[nodiscard]] bool retired_since(std::uint64_t count, std::uint64_t bytes, Lane lane) const noexcept {
    const Part& part = parts_[lane.index];
    // Signed: of a shared lane another thread may have looked at later ones already.
    const auto since = [](const auto& now, const auto& seen) noexcept {
      return static_cast<std::int64_t>(now.load(std::memory_order_relaxed) - seen.load(std::memory_order_relaxed));
    };
    return since(part.retired_bytes, part.seen_bytes) >= static_cast<std::int64_t>(bytes) ||
           since(part.retired_count, part.seen_count) >= static_cast<std::int64_t>(count);
  }

  /// Room for one more linked entry when the number of entries is limited; else only counted, by lanes.
  [[nodiscard]] bool reserve_object(Lane lane) noexcept {
    if (objects_max_ == 0) {
      bump(parts_[lane.index].objects, 1, lane);
      return true;
    }
    std::uint64_t objects = objects_.load(std::memory_order_relaxed);
    do {
      if (objects >= objects_max_) return false;
    } while (!objects_.compare_exchange_weak(objects, objects + 1, std::memory_order_relaxed));
    return true;
  }
  void release_object(Lane lane) noexcept {
    if (objects_max_ == 0) bump(parts_[lane.index].objects, ~std::uint64_t{0}, lane);
    else objects_.fetch_sub(1, std::memory_order_relaxed);
  }
  [[nodiscard]] bool objects_limited() const noexcept { return objects_max_ != 0; }

  // Sums over the lanes, which are not read at one instant.
  [[nodiscard]] std::uint64_t capacity() const noexcept { return used_.most.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t live_max() const noexcept { return live_.most.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t used() const noexcept { return held(used_, &Part::used); }
  [[nodiscard]] std::uint64_t live() const noexcept { return held(live_, &Part::live); }
  [[nodiscard]] std::uint64_t fixed() const noexcept { return fixed_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t retired() const noexcept { return left_of(&Part::retired_bytes, &Part::freed_bytes); }
  [[nodiscard]] std::uint64_t retired_count() const noexcept { return left_of(&Part::retired_count, &Part::freed_count); }
  [[nodiscard]] std::uint64_t objects() const noexcept {
    if (objects_max_ != 0) return objects_.load(std::memory_order_relaxed);
    return not_below_0(sum(&Part::objects));
  }

 private:
  struct alignas(64) Pool {
    std::atomic<std::uint64_t> taken{0};  // what the lanes have to spare included
    std::atomic<std::uint64_t> most{0};
  };
  struct alignas(64) Part {
    std::atomic<std::uint64_t> used{0}, live{0};                    // to spare
    std::atomic<std::uint64_t> objects{0};                          // wraps where it falls below 0: the sum counts
    std::atomic<std::uint64_t> retired_bytes{0}, retired_count{0};  // since ever
    std::atomic<std::uint64_t> freed_bytes{0}, freed_count{0};      // by this lane, of all lanes' retired ones
    std::atomic<bool> recalled{false};                              // others want what it has to spare
    std::atomic<std::uint64_t> seen_bytes{0}, seen_count{0};        // retired_* when it was last looked at
  };
  using Spare = std::atomic<std::uint64_t> Part::*;

  [[nodiscard]] Pool& pool(Spare spare) noexcept { return spare == &Part::used ? used_ : live_; }
  [[nodiscard]] static bool grow(Pool& pool, std::uint64_t bytes) noexcept {
    const std::uint64_t most = pool.most.load(std::memory_order_relaxed);
    std::uint64_t taken = pool.taken.load(std::memory_order_relaxed);
    do {
      if (bytes > most || taken > most - bytes) return false;
      // A CAS, not add-and-undo: a sum that is over for an instant would refuse others, and show.
    } while (!pool.taken.compare_exchange_weak(taken, taken + bytes, std::memory_order_relaxed));
    return true;
  }

  [[nodiscard]] bool take(Spare spare, std::uint64_t bytes, Lane lane) noexcept {
    Part& part = parts_[lane.index];
    if (!lane.own) return take_shared(spare, bytes, part);
    if (part.recalled.load(std::memory_order_relaxed)) [[unlikely]]
      give_back(part);
    auto& own = part.*spare;
    const std::uint64_t have = own.load(std::memory_order_relaxed);
    if (have >= bytes) [[likely]] {
      own.store(have - bytes, std::memory_order_relaxed);
      return true;
    }
    const std::uint64_t rest = bytes - have;
    const std::uint64_t batch = batch_.load(std::memory_order_relaxed);
    if (batch != 0 && grow(pool(spare), rest + batch)) {
      own.store(batch, std::memory_order_relaxed);
      return true;
    }
    if (!grow(pool(spare), rest)) return false;
    own.store(0, std::memory_order_relaxed);
    return true;
  }
  void give(Spare spare, std::uint64_t bytes, Lane lane) noexcept {
    Part& part = parts_[lane.index];
    const std::uint64_t batch = batch_.load(std::memory_order_relaxed);
    if (!lane.own) return give_shared(spare, bytes, batch, part);
    auto& own = part.*spare;
    const std::uint64_t have = own.load(std::memory_order_relaxed) + bytes;
    if (have <= 2 * batch) [[likely]] {
      own.store(have, std::memory_order_relaxed);
      if (part.recalled.load(std::memory_order_relaxed)) [[unlikely]]
        give_back(part);
      return;
    }
    own.store(batch, std::memory_order_relaxed);
    give_up(spare, have - batch, batch);
  }
  void give_up(Spare spare, std::uint64_t bytes, std::uint64_t batch) noexcept {
    pool(spare).taken.fetch_sub(bytes, std::memory_order_relaxed);
    const std::uint64_t wanted = wanted_batch_.load(std::memory_order_relaxed);
    if (batch != wanted && !over()) batch_.store(wanted, std::memory_order_relaxed);
  }
  /// Above a limit, since that was lowered: then nobody has anything to spare.
  [[nodiscard]] bool over() const noexcept {
    const auto above = [](const Pool& p) noexcept {
      return p.taken.load(std::memory_order_relaxed) > p.most.load(std::memory_order_relaxed);
    };
    return above(used_) || above(live_);
  }
  void give_back(Part& part) noexcept {
    part.recalled.store(false, std::memory_order_relaxed);
    for (const Spare spare : {&Part::used, &Part::live}) {
      const std::uint64_t have = (part.*spare).load(std::memory_order_relaxed);
      (part.*spare).store(0, std::memory_order_relaxed);
      pool(spare).taken.fetch_sub(have, std::memory_order_relaxed);
    }
  }

  [[nodiscard]] bool take_shared(Spare spare, std::uint64_t bytes, Part& part) noexcept {
    auto& own = part.*spare;
    std::uint64_t have = own.load(std::memory_order_relaxed);
    while (have >= bytes) {
      if (own.compare_exchange_weak(have, have - bytes, std::memory_order_relaxed)) return true;
    }
    if (have != 0) have = own.exchange(0, std::memory_order_relaxed);
    const std::uint64_t rest = bytes - std::min(have, bytes);
    std::uint64_t left = have + rest - bytes;
    bool taken = false;
    if (const std::uint64_t batch = batch_.load(std::memory_order_relaxed); batch != 0 && grow(pool(spare), rest + batch)) {
      left += batch;
      taken = true;
    } else if (grow(pool(spare), rest)) {
      taken = true;
    } else {
      left = have;
    }
    if (left != 0) own.fetch_add(left, std::memory_order_relaxed);
    return taken;
  }
  void give_shared(Spare spare, std::uint64_t bytes, std::uint64_t batch, Part& part) noexcept {
    if (batch == 0) return give_up(spare, bytes, batch);
    auto& own = part.*spare;
    std::uint64_t have = own.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    while (have > 2 * batch) {
      if (!own.compare_exchange_weak(have, batch, std::memory_order_relaxed)) continue;
      return give_up(spare, have - batch, batch);
    }
  }
  /// Fetches what shared lanes have to spare, and asks those that threads own for theirs: they bring it with their next take. A
  /// thread that never comes again keeps it, at most two batches of then.
  void collect(Spare spare) noexcept {
    std::uint64_t all = 0;
    for (std::uint32_t i = 0; i < lanes_.count(); ++i) {
      auto& own = parts_[i].*spare;
      if (own.load(std::memory_order_relaxed) == 0) continue;
      if (!lanes_.is_own(i)) all += own.exchange(0, std::memory_order_relaxed);
      else if (!parts_[i].recalled.load(std::memory_order_relaxed)) parts_[i].recalled.store(true, std::memory_order_relaxed);
    }
    if (all != 0) pool(spare).taken.fetch_sub(all, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t sum(Spare part) const noexcept {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < lanes_.count(); ++i) sum += (parts_[i].*part).load(std::memory_order_relaxed);
    return sum;
  }
  /// Lane by lane, since most is freed in the lane in which it was retired: a thread that has to wait for its turn between two
  /// reads would see what came meanwhile and not what went.
  [[nodiscard]] std::uint64_t left_of(Spare came, Spare went) const noexcept {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < lanes_.count(); ++i) {
      const std::uint64_t gone = (parts_[i].*went).load(std::memory_order_relaxed);
      sum += (parts_[i].*came).load(std::memory_order_relaxed) - gone;
    }
    return not_below_0(sum);
  }
  [[nodiscard]] std::uint64_t held(const Pool& pool, Spare spare) const noexcept {
    const std::uint64_t taken = pool.taken.load(std::memory_order_relaxed);
    return not_below_0(taken - sum(spare));
  }
  [[nodiscard]] static std::uint64_t not_below_0(std::uint64_t x) noexcept { return static_cast<std::int64_t>(x) < 0 ? 0 : x; }

  Pool used_, live_;
  Lanes lanes_;
  std::unique_ptr<Part[]> parts_;
  std::atomic<std::uint64_t> wanted_batch_{0};
  std::atomic<std::uint64_t> batch_{0};  // 0 while over()
  std::uint64_t objects_max_ = 0;
  std::atomic<std::uint64_t> fixed_{0};
  std::atomic<std::uint64_t> objects_{0};  // linked entries, and inserts under way; where their number is limited
};

}  // namespace tiercache::l1
