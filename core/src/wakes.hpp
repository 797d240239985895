// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string_view>

namespace tiercache::detail {

/// Where those wait who found a lease held, until the bus says that the key should be looked at again. Counters by the key's
/// hash: a waiter notes its counter before it asks Redis, so a word that comes between Redis's answer and the wait is not lost,
/// and a load that need not wait pays one read. Rejected: a map of waiters by key, which every load would have to enter before
/// it asks. The price: keys that share a counter wake each other's waiters, who then ask once in vain.
///
/// Thread-safe. wake() takes a lock that is held for a few instructions, and none while it notifies.
class Wakes {
 public:
  struct Ticket {
    std::uint32_t place = 0;
    std::uint32_t count = 0;
  };

  /// Wait-free.
  [[nodiscard]] Ticket ticket(std::string_view key) const noexcept {
    const std::uint32_t place = place_of(key);
    return {place, counter(place).load(std::memory_order_relaxed)};
  }
  /// Whether a word came since.
  [[nodiscard]] bool moved(const Ticket& since) const noexcept {
    return counter(since.place).load(std::memory_order_relaxed) != since.count;
  }

  void wake(std::string_view key) noexcept {
    if (lab::ablated(lab::Remedy::wake)) return;
    const std::uint32_t place = place_of(key);
    Stripe& stripe = stripes_[place % stripe_count];
    {
      // Under the lock: a waiter is before its look at the counter or in its wait, not between.
      const std::lock_guard lock(stripe.mutex);
      stripe.counters[place / stripe_count].fetch_add(1, std::memory_order_relaxed);
      if (stripe.waiting == 0) return;
    }
    stripe.changed.notify_all();
  }
  void wake_all() noexcept {
    for (Stripe& stripe : stripes_) {
      {
        const std::lock_guard lock(stripe.mutex);
        for (auto& n : stripe.counters) n.fetch_add(1, std::memory_order_relaxed);
      }
      stripe.changed.notify_all();
    }
  }

  /// Blocks until a word came since, at most so long.
  void wait(const Ticket& since, Duration at_most) {
    Stripe& stripe = stripes_[since.place % stripe_count];
    std::unique_lock lock(stripe.mutex);
    ++stripe.waiting;
    stripe.changed.wait_for(lock, at_most, [&] { return moved(since); });
    --stripe.waiting;
  }

 private:
  static constexpr std::uint32_t stripe_count = 64;
  static constexpr std::uint32_t counters_a_stripe = 64;
  struct alignas(64) Stripe {
    std::mutex mutex;
    std::condition_variable changed;
    std::uint32_t waiting = 0;                                             // guarded by mutex
    std::array<std::atomic<std::uint32_t>, counters_a_stripe> counters{};  // written under mutex
  };

  static std::uint32_t place_of(std::string_view key) noexcept {
    return static_cast<std::uint32_t>(local_hash(key, 0) % (stripe_count * counters_a_stripe));
  }
  [[nodiscard]] const std::atomic<std::uint32_t>& counter(std::uint32_t place) const noexcept {
    return stripes_[place % stripe_count].counters[place / stripe_count];
  }

  std::array<Stripe, stripe_count> stripes_;
};

}  // namespace tiercache::detail
