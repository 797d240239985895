// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/lab.hpp>
#include <tiercache/base/ports.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>

namespace tiercache::detail {

/// Whether L1 may answer, a shard. Written by the bus thread, read by every hit.
///
/// The promise rests on the order of a read: (2) validity first, then the clock and the generation, then the probe. Suppose the
/// check passes at clock reading t' (the call began at t <= t'). Then some own heartbeat sent at s > t' - D was applied, and with
/// it, since the stream is a gapless prefix, every invalidation announced before s; the unlinks happened before the release (1).
/// A value found after that cannot have a successor announced before s, so none acknowledged before t - D. A thread stopped
/// between the check and the probe finds only newer state. A clock read before the validity would let a stopped thread use an old
/// reading against a new window.
class Coherence {
 public:
  struct alignas(64) Shard {
    std::atomic<std::uint32_t> generation{1};
    std::atomic<std::int64_t> valid_until_ms{0};  // on the coarse clock, one tick already taken off
    std::atomic<std::int64_t> coherent_as_of_ms{-1};
    std::atomic<std::uint64_t> epoch{0};
    // Written with each message: a line of its own, which hits without a token do not read. The stamp is odd while stream and
    // sequence belong to different messages.
    struct alignas(64) Applied {
      std::atomic<std::uint64_t> stamp{0}, stream{0}, sequence{0};
    } applied;
#ifdef TIERCACHE_LAB
    std::atomic<std::int64_t> cached_clock_ms{0};  // what a careless reader would use instead of the clock
#endif
  };

  /// Without a bus nothing can be missed, or nothing is promised: L1 is always valid.
  Coherence(std::uint32_t shards, bool always_valid)
      : shards_(std::make_unique<Shard[]>(shards)), count_(shards), always_valid_(always_valid) {
    if (always_valid)
      for (std::uint32_t i = 0; i < shards; ++i) shards_[i].valid_until_ms = std::numeric_limits<std::int64_t>::max();
  }

  [[nodiscard]] std::uint32_t generation(ShardId shard) const noexcept {
    return shards_[shard].generation.load(std::memory_order_acquire);  // (2) pairs with (1)
  }

  /// Now if L1 may answer for the shard, else -1. To be called before generation(): a generation that was read first could be an
  /// old one under a validity that was won back after it, and old entries still lie in the table.
  [[nodiscard]] std::int64_t valid_now(ShardId shard) const noexcept {
    const std::int64_t until = shards_[shard].valid_until_ms.load(std::memory_order_acquire);  // (2) pairs with (1)
    std::int64_t now = coarse_now_ms();
    // The coarse clock lags by a tick, and by more where a hypervisor holds the ticks back: near the end the exact one decides.
    if (until - now < exact_margin_ms && !always_valid_) [[unlikely]]
      now = steady_ms(std::chrono::steady_clock::now());
#ifdef TIERCACHE_LAB
    if (lab::ablated(lab::Remedy::clock_on_read) && !always_valid_) now = shards_[shard].cached_clock_ms.load();
#endif
    return now <= until ? now : -1;
  }

  /// Everything of the shard is void, and every fill asked for before.
  void bump(ShardId shard) noexcept {
    shards_[shard].generation.fetch_add(1, std::memory_order_acq_rel);                      // (1)
    if (!always_valid_) shards_[shard].valid_until_ms.store(0, std::memory_order_release);  // (1)
  }

  /// The validity is over, if it was not; nothing is void. The bus thread's alone.
  void lapse(ShardId shard) noexcept {
    const std::int64_t now = steady_ms(std::chrono::steady_clock::now());
    std::atomic<std::int64_t>& until = shards_[shard].valid_until_ms;
    if (!always_valid_ && until.load(std::memory_order_relaxed) >= now) until.store(now - 1, std::memory_order_release);  // (1)
  }

  /// Everything of the shard was cleared: entries and fills asked for before are void, what is filled from here on is not.
  void clear(ShardId shard) noexcept { shards_[shard].generation.fetch_add(1, std::memory_order_acq_rel); }  // (1)

  /// L1 answers nobody any more. REQUIRES: nobody extends.
  void end() noexcept {
    for (std::uint32_t i = 0; i < count_; ++i) {
      shards_[i].generation.fetch_add(1, std::memory_order_acq_rel);   // (1)
      shards_[i].valid_until_ms.store(-1, std::memory_order_release);  // (1)
    }
  }

  void extend(ShardId shard, SteadyTime until, Duration budget) noexcept {
    Shard& s = shards_[shard];
    const std::int64_t until_ms =
        until == SteadyTime::max() ? std::numeric_limits<std::int64_t>::max() : steady_ms(until) - coarse_tick_ms;
#ifdef TIERCACHE_LAB
    s.cached_clock_ms.store(coarse_now_ms());
#endif
    if (until_ms <= s.valid_until_ms.load(std::memory_order_relaxed)) return;
    if (until != SteadyTime::max())
      s.coherent_as_of_ms.store(steady_ms(until - std::chrono::duration_cast<SteadyTime::duration>(budget)),
                                std::memory_order_relaxed);
    s.valid_until_ms.store(until_ms, std::memory_order_release);  // (1) after all unlinks of the stream up to the heartbeat
  }

  void set_epoch(ShardId shard, std::uint64_t epoch) noexcept { shards_[shard].epoch.store(epoch, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t epoch(ShardId shard) const noexcept { return shards_[shard].epoch.load(std::memory_order_relaxed); }

  /// The instant as of which L1 is coherent, on the exact clock; -1: it is not known, or all is void. To be called before the
  /// clock is read, and both before generation(), as valid_now().
  [[nodiscard]] std::int64_t as_of_ms(ShardId shard, std::int64_t budget_ms) const noexcept {
    const std::int64_t until = shards_[shard].valid_until_ms.load(std::memory_order_acquire);  // (2) pairs with (1)
    if (until <= 0) return -1;
    return std::min(until, std::numeric_limits<std::int64_t>::max() / 2) + coarse_tick_ms - budget_ms;
  }
  [[nodiscard]] bool always_valid() const noexcept { return always_valid_; }

  /// All messages of the stream up to `sequence` are applied. The bus thread's alone, as forget_applied().
  void set_applied(ShardId shard, std::uint64_t stream, std::uint64_t sequence) noexcept {
    Shard::Applied& a = shards_[shard].applied;
    if (a.stream.load(std::memory_order_relaxed) == stream && a.sequence.load(std::memory_order_relaxed) <= sequence) {
      a.sequence.store(sequence, std::memory_order_release);  // (3) after the unlinks of these messages
      return;
    }
    const std::uint64_t stamp = a.stamp.load(std::memory_order_relaxed);
    a.stamp.store(stamp + 1, std::memory_order_relaxed);
    a.stream.store(stream, std::memory_order_release);      // (5) after the odd stamp
    a.sequence.store(sequence, std::memory_order_release);  // (3), (5)
    a.stamp.store(stamp + 2, std::memory_order_release);    // (7)
  }
  /// What was applied says nothing of what comes: the link is gone, and at its other end may be another past.
  void forget_applied(ShardId shard) noexcept { set_applied(shard, 0, 0); }
  /// Whether this L1 has the write of so high a number, to be asked before generation(). Wait-free: where a new stream is just
  /// being noted the answer is no, and Redis is asked.
  [[nodiscard]] bool has_applied(ShardId shard, std::uint64_t stream, std::uint64_t sequence) const noexcept {
    if (shard >= count_ || stream == 0 || sequence == 0) return false;
    const Shard::Applied& a = shards_[shard].applied;
    const std::uint64_t stamp = a.stamp.load(std::memory_order_acquire);             // (8) pairs with (7)
    const std::uint64_t seen_stream = a.stream.load(std::memory_order_acquire);      // (6) pairs with (5)
    const std::uint64_t seen_sequence = a.sequence.load(std::memory_order_acquire);  // (4) pairs with (3); (6) with (5)
    if (stamp % 2 != 0 || a.stamp.load(std::memory_order_relaxed) != stamp) return false;
    return seen_stream == stream && seen_sequence >= sequence;
  }

#ifdef TIERCACHE_LAB
  /// Another end of the validity, as if heartbeats had come back late or early.
  void set_valid_until(ShardId shard, std::int64_t until_ms) noexcept {
    shards_[shard].valid_until_ms = until_ms - coarse_tick_ms;
  }
#endif

  [[nodiscard]] bool all_valid() const noexcept {
    for (std::uint32_t i = 0; i < count_; ++i)
      if (valid_now(static_cast<ShardId>(i)) < 0) return false;
    return true;
  }
  /// Milliseconds since the instant as of which the oldest shard is coherent; -1: some shard never was.
  [[nodiscard]] std::int64_t age_ms() const noexcept {
    std::int64_t oldest = std::numeric_limits<std::int64_t>::max();
    for (std::uint32_t i = 0; i < count_; ++i)
      oldest = std::min(oldest, shards_[i].coherent_as_of_ms.load(std::memory_order_relaxed));
    return oldest < 0 ? -1 : std::max<std::int64_t>(0, coarse_now_ms() - oldest);
  }
  /// As age_ms(), of one shard.
  [[nodiscard]] std::int64_t age_ms(ShardId shard) const noexcept {
    const std::int64_t as_of = shards_[shard].coherent_as_of_ms.load(std::memory_order_relaxed);
    return as_of < 0 ? -1 : std::max<std::int64_t>(0, coarse_now_ms() - as_of);
  }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

 private:
  static constexpr std::int64_t exact_margin_ms = 100;

  std::unique_ptr<Shard[]> shards_;
  std::uint32_t count_;
  bool always_valid_;
};

}  // namespace tiercache::detail
