// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace tiercache::l1 {

/// The one count of bytes held: fixed tables, entries, value heap, in-flight, pinned, retired. Bytes are reserved before they are
/// allocated and given back after they are freed, so `used` never passes the capacity. Lock-free.
class Budget {
 public:
  void open(std::uint64_t capacity, std::uint64_t objects_max) noexcept {
    set_capacity(capacity);
    objects_max_ = objects_max;
  }
  /// What is held above a smaller capacity stays until it is released; nothing more is reserved before.
  void set_capacity(std::uint64_t capacity) noexcept { capacity_.store(capacity, std::memory_order_relaxed); }
  /// Bytes that are there for good.
  void charge_fixed(std::uint64_t bytes) noexcept {
    used_.fetch_add(bytes, std::memory_order_relaxed);
    fixed_.fetch_add(bytes, std::memory_order_relaxed);
  }

  [[nodiscard]] bool reserve(std::uint64_t bytes) noexcept {
    const std::uint64_t max = capacity();
    std::uint64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (bytes > max || used > max - bytes) return false;
      // A CAS, not add-and-undo: a sum that is over for an instant would refuse others, and show.
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  void release(std::uint64_t bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }

  void retire(std::uint64_t bytes) noexcept { retired_.fetch_add(one_retired | bytes, std::memory_order_relaxed); }
  /// So many retired entries, of so many bytes together, were freed.
  void release_retired(std::uint64_t bytes, std::uint64_t count) noexcept {
    retired_.fetch_sub(one_retired * count + bytes, std::memory_order_relaxed);
    release(bytes);
  }

  /// Room for one more linked entry when the number of entries is limited; else only counted, by stripes.
  [[nodiscard]] bool reserve_object(std::uint32_t stripe) noexcept {
    if (objects_max_ == 0) {
      striped_[stripe % stripes].objects.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    std::uint64_t objects = objects_.load(std::memory_order_relaxed);
    do {
      if (objects >= objects_max_) return false;
    } while (!objects_.compare_exchange_weak(objects, objects + 1, std::memory_order_relaxed));
    return true;
  }
  void release_object(std::uint32_t stripe) noexcept {
    (objects_max_ == 0 ? striped_[stripe % stripes].objects : objects_).fetch_sub(1, std::memory_order_relaxed);
  }
  [[nodiscard]] bool objects_limited() const noexcept { return objects_max_ != 0; }

  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t fixed() const noexcept { return fixed_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t retired() const noexcept { return retired_.load(std::memory_order_relaxed) & (one_retired - 1); }
  [[nodiscard]] std::uint64_t retired_count() const noexcept { return retired_.load(std::memory_order_relaxed) / one_retired; }
  [[nodiscard]] std::uint64_t objects() const noexcept {
    if (objects_max_ != 0) return objects_.load(std::memory_order_relaxed);
    std::uint64_t sum = 0;
    for (const Stripe& stripe : striped_) sum += stripe.objects.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(sum) < 0 ? 0 : sum;  // the stripes are not read at one instant
  }
  /// Bytes of what is in the table or about to be.
  [[nodiscard]] std::uint64_t entry_bytes() const noexcept {
    const std::uint64_t others = retired() + fixed();
    const std::uint64_t used_bytes = used();
    return used_bytes > others ? used_bytes - others : 0;
  }
  /// Bytes that eviction can still act on: not retired yet.
  [[nodiscard]] std::uint64_t live() const noexcept {
    const std::uint64_t retired_bytes = retired();
    const std::uint64_t used_bytes = used();
    return used_bytes > retired_bytes ? used_bytes - retired_bytes : 0;
  }

 private:
  // retired_: count:20 | bytes:44.
  static constexpr std::uint64_t one_retired = std::uint64_t{1} << 44;
  static constexpr std::size_t stripes = 4;
  struct alignas(64) Stripe {
    std::atomic<std::uint64_t> objects{0};  // wraps where it falls below 0: the sum counts
  };

  std::atomic<std::uint64_t> capacity_{0};
  std::uint64_t objects_max_ = 0;
  std::atomic<std::uint64_t> fixed_{0};
  alignas(64) std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> retired_{0};
  std::atomic<std::uint64_t> objects_{0};  // linked entries, and inserts under way
  Stripe striped_[stripes];
};

}  // namespace tiercache::l1
