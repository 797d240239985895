// SPDX-License-Identifier: Apache-2.0
#include "heartbeat.hpp"

#include <tiercache/base/thread.hpp>

#include <tiercache/base/hash.hpp>
#include <tiercache/invalidation/machine.hpp>

#include <algorithm>
#include <string>

namespace tiercache::invalidation {

Heartbeat::Heartbeat(const HeartbeatOptions& options, RemotePort& remote, Log log)
    : options_(options), remote_(remote), log_(std::move(log)), applied_(options.shards) {}

void Heartbeat::start() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = false;
  }
  try {
    thread_ = start_thread("tc-beat", [this] { run(); });
  } catch (...) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    throw;
  }
}

void Heartbeat::request_stop() noexcept {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

bool Heartbeat::wait_ended(Deadline deadline) noexcept {
  std::unique_lock lock(mutex_);
  if (deadline.at() == SteadyTime::max()) return changed_.wait(lock, [this] { return ended_; }), true;
  return changed_.wait_until(lock, deadline.at(), [this] { return ended_; });
}

void Heartbeat::join() noexcept {
  if (thread_.joinable()) thread_.join();
}

void Heartbeat::hurry() noexcept {
  const std::lock_guard lock(mutex_);
  hurry_ = true;
  changed_.notify_all();
}

void Heartbeat::applied(ShardId shard, Position position) noexcept {
  const std::lock_guard lock(mutex_);
  if (shard < applied_.size()) applied_[shard] = position;
}

void Heartbeat::run() noexcept {
  // A random phase: instances that were started together must not beat together.
  const auto interval = static_cast<std::uint64_t>(options_.interval.count());
  SteadyTime next = std::chrono::steady_clock::now() + Duration(static_cast<std::int64_t>(random_u64() % interval));
  while (wait_until(next)) {
    try {
      beat();
    } catch (...) {  // out of memory, or a port that breaks its word: the next interval tries again
    }
    // From now, not from `next`: heartbeats that Redis held up must not follow in a burst.
    next = std::max(next + options_.interval, std::chrono::steady_clock::now() + options_.interval / 2);
  }
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

/// False: stop.
bool Heartbeat::wait_until(SteadyTime next) {
  std::unique_lock lock(mutex_);
  const auto woken = [this] { return stopping_ || hurry_; };
  while (!woken() && std::chrono::steady_clock::now() < next) {
    if (!lab_poll) {
      changed_.wait_until(lock, next, woken);
      continue;
    }
    changed_.wait_until(lock, std::min(next, std::chrono::steady_clock::now() + std::chrono::milliseconds(2)), woken);
    lock.unlock();
    lab_poll();
    lock.lock();
  }
  hurry_ = false;
  return !stopping_;
}

void Heartbeat::beat() {
  ++number_;
  for (std::uint32_t shard = 0; shard < options_.shards; ++shard) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    beat_shard(static_cast<ShardId>(shard));
  }
}

void Heartbeat::beat_shard(ShardId shard) {
  // The send time is read before anything else is done: it must be before the publication whatever happens in between.
  const SteadyTime at = std::chrono::steady_clock::now();
  Position applied;
  {
    const std::lock_guard lock(mutex_);
    // A bus thread that is held up must not make this grow; the machine would forget the older ones anyway.
    if (sent_.size() >= Machine::beats_kept * options_.shards) sent_.pop_front();
    sent_.push_back({shard, number_, at});
    applied = applied_[shard];
  }
  RemoteRequest request;
  request.op = RemoteOp::heartbeat;
  request.shard = shard;
  request.beat = number_;
  request.epoch = applied.epoch;
  request.sequence = applied.sequence;
  request.budget_ms = std::chrono::duration_cast<std::chrono::milliseconds>(options_.budget).count();
  // It is listed for as long as anybody may have to wait for it, and longer, so that a step of the server's clock does no harm.
  request.ttl_ms = std::max<std::int64_t>(60'000, 2 * request.budget_ms);
  request.deadline = Deadline(at + std::chrono::duration_cast<SteadyTime::duration>(options_.timeout));
  RemoteReply reply;
  remote_.start(request, reply, nullptr);
  if (!reply.error) {
    failures_ = 0;
    acknowledged_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ++failures_;
  if (log_failure_(at)) {
    log_(LogLevel::warn, "bus: heartbeat failed (" + std::string(name(reply.error->code)) + ": " + reply.error->message + "), " +
                             std::to_string(failures_) + " in a row");
  }
}

}  // namespace tiercache::invalidation
