// SPDX-License-Identifier: Apache-2.0
#include "shadow_reads.hpp"

#include "store_core.hpp"
#include "value.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/hash.hpp>
#include <tiercache/base/thread.hpp>

#include <algorithm>
#include <string>
#include <utility>

namespace tiercache::detail {
namespace {

constexpr std::chrono::milliseconds poll{20};  // polled, not woken: a hit must not enter the kernel

void bump(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }

std::uint64_t digest(const ViewState& view, const void* value, std::uint64_t version) {
  std::string bytes;
  append_be<8>(bytes, version);
  view.ops->encode(value, bytes);
  return local_hash(bytes, 0);
}

}  // namespace

ShadowReads::ShadowReads(StoreCore& core) : core_(core), ring_(std::make_unique<Slot[]>(slots)) {}

void ShadowReads::start() {
  thread_ = start_thread("tc-shadow", [this] { run(); });
}

void ShadowReads::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void ShadowReads::note(ViewState& view, std::string_view id) noexcept {
  Slot& slot = ring_[next_.fetch_add(1, std::memory_order_relaxed) % slots];
  std::uint32_t expected = Slot::free;
  if (id.size() > slot.id.size() ||
      !slot.state.compare_exchange_strong(expected, Slot::writing, std::memory_order_acquire))  // (4) pairs with (3)
    return bump(dropped_);
  slot.view = &view;
  slot.length = static_cast<std::uint32_t>(id.size());
  id.copy(slot.id.data(), id.size());
  slot.state.store(Slot::ready, std::memory_order_release);  // (1)
}

void ShadowReads::run() noexcept {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, poll, [this] { return stopping_; })) {
    lock.unlock();
    try {
      turn(std::chrono::steady_clock::now());
    } catch (...) {  // want of memory, or a codec that throws: this turn's samples are lost
      bump(dropped_);
    }
    lock.lock();
  }
}

void ShadowReads::turn(SteadyTime now) {
  for (std::size_t i = 0; i < slots; ++i) {
    Slot& slot = ring_[i];
    if (slot.state.load(std::memory_order_acquire) != Slot::ready) continue;  // (2) pairs with (1)
    ViewState& view = *slot.view;
    const std::string id(slot.id.data(), slot.length);
    slot.state.store(Slot::free, std::memory_order_release);  // (3)
    first_look(view, id, now);
  }
  const auto due = std::partition(suspects_.begin(), suspects_.end(), [now](const Suspect& s) { return s.due > now; });
  const std::vector<Suspect> ripe(std::make_move_iterator(due), std::make_move_iterator(suspects_.end()));
  suspects_.erase(due, suspects_.end());
  for (const Suspect& suspect : ripe) second_look(suspect);
}

/// The digest of what L1 would answer now.
std::optional<std::uint64_t> ShadowReads::held_by_l1(ViewState& view, std::string_view id) {
  const ShardId shard = core_.keys.sharded() ? core_.keys.shard_of(view.name, id) : ShardId{0};
  const std::int64_t now = core_.coherence.valid_now(shard);  // in the order of a hit: validity, generation, probe
  if (now < 0) return std::nullopt;
  const std::uint32_t generation = core_.coherence.generation(shard) + view.clears.load(std::memory_order_acquire);
  std::optional<std::uint64_t> held;
  core_.table->visit(view.l1_id, id, core_.table->hash(view.l1_id, id), generation, now,
                     [&](const void* value, const l1::Entry& entry) { held = digest(view, value, entry.version()); });
  return held;
}

ShadowReads::Finding ShadowReads::compare_with_l2(ViewState& view, std::string_view id, std::uint64_t held) {
  const PhysicalKey key = core_.keys.physical(view.name, id);
  RemoteRequest request;
  request.op = RemoteOp::get;
  request.shard = key.shard;
  request.keys = {&key.text, 1};
  request.deadline = Deadline::after(core_.config.l2.call_timeout);
  RemoteReply reply;
  core_.remote->start(request, reply, nullptr);
  if (reply.error) return Finding::unknown;
  if (reply.values.empty() || !reply.values.front()) return Finding::none;
  Fetched fetched;
  if (open_value(core_, view, key, *reply.values.front(), fetched) != Opened::good) return Finding::none;
  return digest(view, fetched.value.get(), fetched.version) == held ? Finding::same : Finding::other;
}

void ShadowReads::first_look(ViewState& view, std::string_view id, SteadyTime now) {
  const std::optional<std::uint64_t> held = held_by_l1(view, id);
  if (!held) return bump(dropped_);
  switch (compare_with_l2(view, id, *held)) {
    case Finding::same: return bump(checked_);
    case Finding::unknown: return bump(dropped_);
    case Finding::other:
    case Finding::none: break;
  }
  if (suspects_.size() == suspects_max) return bump(dropped_);
  // From when Redis has answered: only then is it known to be another value. Twice a tick for the clocks.
  const SteadyTime answered = std::max(now, std::chrono::steady_clock::now());
  suspects_.push_back({&view, std::string(id), *held,
                       answered + core_.config.bus.staleness_budget + std::chrono::milliseconds(2 * coarse_tick_ms)});
}

void ShadowReads::second_look(const Suspect& suspect) {
  const std::optional<std::uint64_t> held = held_by_l1(*suspect.view, suspect.id);
  const Finding finding =
      held == suspect.held ? compare_with_l2(*suspect.view, suspect.id, suspect.held) : Finding::same;  // L1 has caught up
  if (finding == Finding::unknown) return bump(dropped_);
  bump(checked_);
  bump(differing_);
  if (finding == Finding::other) bump(stale_);
  if (finding == Finding::none) bump(orphaned_);
}

ShadowStats ShadowReads::stats() const noexcept {
  const auto get = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };
  return {true, get(checked_), get(differing_), get(stale_), get(orphaned_), get(dropped_)};
}

}  // namespace tiercache::detail
