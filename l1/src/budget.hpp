// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tiercache::l1 {

/// The one count of bytes held: fixed tables, entries, value heap, in-flight, pinned, retired. Bytes are reserved before they are
/// allocated and given back after they are freed, so what is used never passes the capacity. Beside it a count of the live ones,
/// which eviction can still act on: all but the retired. Lock-free.
///
/// A thread takes from what its stripe has to spare, and gives back to it; the common counts are moved by a batch at a time. So
/// where each store evicts what it needs, no line is written by two threads in turn. What lies spare is not held.
class Budget {
 public:
  static constexpr std::size_t stripes = 8;

  void open(std::uint64_t objects_max) noexcept { objects_max_ = objects_max; }
  /// What is held above smaller limits stays until it is released; nothing more is taken before. `batch`: the bytes a stripe may
  /// have to spare, twice that for an instant.
  void set_limits(std::uint64_t capacity, std::uint64_t live_max, std::uint64_t batch) noexcept {
    batch_.store(batch, std::memory_order_relaxed);
    used_.most.store(capacity, std::memory_order_relaxed);
    live_.most.store(live_max, std::memory_order_relaxed);
    for (const Spare spare : {&Stripe::used, &Stripe::live}) static_cast<void>(collect(spare));
  }
  /// Bytes that are there for good.
  void charge_fixed(std::uint64_t bytes) noexcept {
    used_.taken.fetch_add(bytes, std::memory_order_relaxed);
    live_.taken.fetch_add(bytes, std::memory_order_relaxed);
    fixed_.fetch_add(bytes, std::memory_order_relaxed);
  }

  /// False: something has to be evicted first.
  [[nodiscard]] bool take_live(std::uint64_t bytes, std::uint32_t stripe) noexcept {
    return take(&Stripe::live, bytes, stripe % stripes);
  }
  void give_live(std::uint64_t bytes, std::uint32_t stripe) noexcept { give(&Stripe::live, bytes, stripe % stripes); }
  /// Memory for what is live. False: something retired has to be freed first.
  [[nodiscard]] bool take_used(std::uint64_t bytes, std::uint32_t stripe) noexcept {
    return take(&Stripe::used, bytes, stripe % stripes);
  }
  /// take_used() with what all stripes have to spare.
  [[nodiscard]] bool take_last(std::uint64_t bytes) noexcept { return collect(&Stripe::used) && grow(used_, bytes); }
  /// So much more than was taken for an entry that is being made.
  [[nodiscard]] bool take_more(std::uint64_t bytes, std::uint32_t stripe) noexcept {
    if (!take_used(bytes, stripe)) return false;
    live_.taken.fetch_add(bytes, std::memory_order_relaxed);
    return true;
  }
  /// Of an entry that was never linked.
  void release(std::uint64_t bytes, std::uint32_t stripe) noexcept {
    give_live(bytes, stripe);
    give(&Stripe::used, bytes, stripe % stripes);
  }

  void retire(std::uint64_t bytes, std::uint32_t stripe) noexcept {
    stripes_[stripe % stripes].retired.fetch_add(one_retired | bytes, std::memory_order_relaxed);
    give_live(bytes, stripe);
  }
  /// So many retired entries of a stripe, of so many bytes together, are not its own any more.
  void unretire(std::uint64_t bytes, std::uint64_t count, std::uint32_t stripe) noexcept {
    stripes_[stripe].retired.fetch_sub(one_retired * count + bytes, std::memory_order_relaxed);
  }
  void keep_retired(std::uint64_t bytes, std::uint64_t count, std::uint32_t stripe) noexcept {
    stripes_[stripe % stripes].retired.fetch_add(one_retired * count + bytes, std::memory_order_relaxed);
  }
  void free_retired(std::uint64_t bytes, std::uint32_t stripe) noexcept { give(&Stripe::used, bytes, stripe % stripes); }
  /// What is retired now counts as looked at.
  void looked_at() noexcept {
    for (Stripe& stripe : stripes_) {
      stripe.left.store(stripe.retired.load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
  }
  /// Whether so many entries or so many bytes were retired in the stripe since it was looked at.
  [[nodiscard]] bool retired_since(std::uint64_t count, std::uint64_t bytes, std::uint32_t stripe) const noexcept {
    const Stripe& own = stripes_[stripe % stripes];
    const std::uint64_t retired = own.retired.load(std::memory_order_relaxed);
    const std::uint64_t left = own.left.load(std::memory_order_relaxed);
    return (retired & bytes_mask) >= (left & bytes_mask) + bytes || retired / one_retired >= left / one_retired + count;
  }

  /// Room for one more linked entry when the number of entries is limited; else only counted, by stripes.
  [[nodiscard]] bool reserve_object(std::uint32_t stripe) noexcept {
    if (objects_max_ == 0) {
      stripes_[stripe % stripes].objects.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    std::uint64_t objects = objects_.load(std::memory_order_relaxed);
    do {
      if (objects >= objects_max_) return false;
    } while (!objects_.compare_exchange_weak(objects, objects + 1, std::memory_order_relaxed));
    return true;
  }
  void release_object(std::uint32_t stripe) noexcept {
    (objects_max_ == 0 ? stripes_[stripe % stripes].objects : objects_).fetch_sub(1, std::memory_order_relaxed);
  }
  [[nodiscard]] bool objects_limited() const noexcept { return objects_max_ != 0; }

  // Sums over the stripes, which are not read at one instant.
  [[nodiscard]] std::uint64_t capacity() const noexcept { return used_.most.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t live_max() const noexcept { return live_.most.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t used() const noexcept { return held(used_, &Stripe::used); }
  [[nodiscard]] std::uint64_t live() const noexcept { return held(live_, &Stripe::live); }
  [[nodiscard]] std::uint64_t fixed() const noexcept { return fixed_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t retired() const noexcept { return sum(&Stripe::retired) & bytes_mask; }
  [[nodiscard]] std::uint64_t retired_count() const noexcept { return sum(&Stripe::retired) / one_retired; }
  [[nodiscard]] std::uint64_t objects() const noexcept {
    if (objects_max_ != 0) return objects_.load(std::memory_order_relaxed);
    return not_below_0(sum(&Stripe::objects));
  }

 private:
  // retired, left: count:20 | bytes:44.
  static constexpr std::uint64_t one_retired = std::uint64_t{1} << 44;
  static constexpr std::uint64_t bytes_mask = one_retired - 1;

  struct alignas(64) Pool {
    std::atomic<std::uint64_t> taken{0};  // what the stripes have to spare included
    std::atomic<std::uint64_t> most{0};
  };
  struct alignas(64) Stripe {
    std::atomic<std::uint64_t> used{0}, live{0};     // to spare
    std::atomic<std::uint64_t> retired{0}, left{0};  // left: retired when it was last looked at
    std::atomic<std::uint64_t> objects{0};           // wraps where it falls below 0: the sum counts
  };
  using Spare = std::atomic<std::uint64_t> Stripe::*;

  [[nodiscard]] Pool& pool(Spare spare) noexcept { return spare == &Stripe::used ? used_ : live_; }
  [[nodiscard]] static bool grow(Pool& pool, std::uint64_t bytes) noexcept {
    const std::uint64_t most = pool.most.load(std::memory_order_relaxed);
    std::uint64_t taken = pool.taken.load(std::memory_order_relaxed);
    do {
      if (bytes > most || taken > most - bytes) return false;
      // A CAS, not add-and-undo: a sum that is over for an instant would refuse others, and show.
    } while (!pool.taken.compare_exchange_weak(taken, taken + bytes, std::memory_order_relaxed));
    return true;
  }
  [[nodiscard]] bool take(Spare spare, std::uint64_t bytes, std::uint32_t stripe) noexcept {
    auto& own = stripes_[stripe].*spare;
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
  void give(Spare spare, std::uint64_t bytes, std::uint32_t stripe) noexcept {
    Pool& of = pool(spare);
    const std::uint64_t batch = batch_.load(std::memory_order_relaxed);
    // Above the limit, since that was lowered: nothing is to spare.
    if (batch == 0 || of.taken.load(std::memory_order_relaxed) > of.most.load(std::memory_order_relaxed)) {
      of.taken.fetch_sub(bytes, std::memory_order_relaxed);
      return;
    }
    auto& own = stripes_[stripe].*spare;
    std::uint64_t have = own.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    while (have > 2 * batch) {
      if (!own.compare_exchange_weak(have, batch, std::memory_order_relaxed)) continue;
      of.taken.fetch_sub(have - batch, std::memory_order_relaxed);
      return;
    }
  }
  /// False: nobody has any to spare.
  [[nodiscard]] bool collect(Spare spare) noexcept {
    std::uint64_t all = 0;
    for (Stripe& stripe : stripes_) {
      if ((stripe.*spare).load(std::memory_order_relaxed) != 0) all += (stripe.*spare).exchange(0, std::memory_order_relaxed);
    }
    if (all != 0) pool(spare).taken.fetch_sub(all, std::memory_order_relaxed);
    return all != 0;
  }
  [[nodiscard]] std::uint64_t sum(Spare part) const noexcept {
    std::uint64_t sum = 0;
    for (const Stripe& stripe : stripes_) sum += (stripe.*part).load(std::memory_order_relaxed);
    return sum;
  }
  [[nodiscard]] std::uint64_t held(const Pool& pool, Spare spare) const noexcept {
    const std::uint64_t taken = pool.taken.load(std::memory_order_relaxed);
    return not_below_0(taken - sum(spare));
  }
  [[nodiscard]] static std::uint64_t not_below_0(std::uint64_t x) noexcept { return static_cast<std::int64_t>(x) < 0 ? 0 : x; }

  Pool used_, live_;
  std::array<Stripe, stripes> stripes_;
  std::atomic<std::uint64_t> batch_{0};
  std::uint64_t objects_max_ = 0;
  std::atomic<std::uint64_t> fixed_{0};
  std::atomic<std::uint64_t> objects_{0};  // linked entries, and inserts under way; where their number is limited
};

}  // namespace tiercache::l1
