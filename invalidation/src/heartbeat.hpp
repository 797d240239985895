// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/log.hpp>
#include <tiercache/base/ports.hpp>
#include <tiercache/invalidation/machine.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tiercache::invalidation {

struct HeartbeatOptions {
  std::uint32_t shards = 1;
  Duration interval{};
  Duration timeout{};  ///< of one heartbeat
  Duration budget{};   ///< how long after it L1 may answer
};

/// The thread "tc-beat": every interval it writes one heartbeat a shard through `remote`, the path of all writes. That a write
/// comes back on the bus is what a heartbeat proves; PING or a bare PUBLISH would be answered by a demoted master too.
/// start() and stop() once each, from one thread; the rest thread-safe.
class Heartbeat {
 public:
  struct Sent {
    ShardId shard;
    std::uint64_t number;
    SteadyTime at;
  };

  Heartbeat(const HeartbeatOptions& options, RemotePort& remote, Log log);

  void start();
  /// Makes the thread end; join() waits for it: at most as long as the heartbeat under way may take.
  void request_stop() noexcept;
  /// True: ended by then.
  [[nodiscard]] bool wait_ended(Deadline deadline) noexcept;
  void join() noexcept;

  /// One heartbeat now: a fresh subscription becomes coherent after a round trip instead of an interval.
  void hurry() noexcept;
  /// What the next heartbeat of the shard says that this instance has applied. After it was.
  void applied(ShardId shard, Position position) noexcept;
  /// Hands out what was sent since the last call, oldest first. A heartbeat is here before it is on its way, so whoever calls
  /// this after reading an echo finds its send time.
  template <class F>
  void drain(F&& each) {
    const std::lock_guard lock(mutex_);
    for (const Sent& s : sent_) each(s);
    sent_.clear();
  }
  /// Heartbeats that Redis acknowledged.
  [[nodiscard]] std::uint64_t acknowledged() const noexcept { return acknowledged_.load(std::memory_order_relaxed); }

  /// Lab: called every few ms while waiting. Set before start().
  std::function<void()> lab_poll;

 private:
  void run() noexcept;
  bool wait_until(SteadyTime next);
  void beat();
  void beat_shard(ShardId shard);

  const HeartbeatOptions options_;
  RemotePort& remote_;
  Log log_;
  OncePer log_failure_{std::chrono::seconds(10)};
  std::atomic<std::uint64_t> acknowledged_{0};
  std::uint64_t number_ = 0;    // the thread's own
  std::uint64_t failures_ = 0;  // in a row; the thread's own
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Sent> sent_;  // guarded by mutex_, as are the rest
  std::vector<Position> applied_;
  bool hurry_ = false;
  bool stopping_ = false;
  bool ended_ = true;
  std::thread thread_;
};

}  // namespace tiercache::invalidation
