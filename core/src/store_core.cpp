// SPDX-License-Identifier: Apache-2.0
#include "store_core.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>
#include <tiercache/base/thread.hpp>

#include <pthread.h>

#include <algorithm>
#include <limits>

namespace tiercache::detail {
namespace {

/// Forks of this process so far, counted in the child: a store opened before is a stranger there (its threads do not exist).
std::atomic<std::uint64_t> forks{0};
void watch_forks() {
  static const int installed = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  static_cast<void>(installed);
}

constexpr std::chrono::hours idle_ttl_max{49 * 24};

Duration join_age(const Config& config) {
  // Half the budget: the value was read at most that long before the joiner asked. Without a bus nothing is promised.
  return config.l2.enabled && config.bus.enabled ? Duration(config.bus.staleness_budget) / 2 : Duration::max();
}

}  // namespace

StoreCore::StoreCore(Config config_, Log log_)
    : config(std::move(config_)),
      log(std::move(log_)),
      keys(config.env, config.resource, config.l2.enabled ? config.l2.shards : 0),
      origin(random_u64() | 1U),
      coherence(keys.shard_count(), !(config.l2.enabled && config.bus.enabled)),
      flights(join_age(config)) {
  watch_forks();
  forks_at_open_ = forks.load(std::memory_order_relaxed);
}

void StoreCore::start() {
  connect_ports(*this);
  if (remote) keeper = std::make_unique<LeaseKeeper>(*remote, config.lease_ttl);
  if (remote && config.shadow_reads != 0) {
    shadow = std::make_unique<ShadowReads>(*this);
    try {
      shadow->start();
    } catch (const std::exception& e) {  // nothing but a measurement is missing
      log(LogLevel::warn, std::string("no hit is compared with Redis: ") + e.what());
      shadow.reset();
    }
  }
  if (bus) bus->start(*this);
  if (config.l1_pressure.enabled) {
    const std::uint64_t whole = config.l1.capacity_bytes;
    guard = std::make_unique<l1::PressureGuard>(config.l1_pressure, whole, [this, whole](std::uint64_t left) {
      leave(static_cast<double>(left) / static_cast<double>(whole));
    });
    // Without a thread to be had L1 keeps its budget; all else works.
    if (Result<void> r = guard->start(); !r) log(LogLevel::warn, "memory pressure is not followed: " + r.error().message);
  }
}

StoreCore::~StoreCore() {
  if (forks.load(std::memory_order_relaxed) != forks_at_open_) {
    // In a forked child the threads to join do not exist, and locks may have been held at the fork: leave all to the process's
    // end.
    static_cast<void>(bus.release());
    static_cast<void>(keeper.release());
    static_cast<void>(shadow.release());
    static_cast<void>(remote.release());
    static_cast<void>(guard.release());
    return;
  }
  close(Deadline::after(std::chrono::seconds(2)));
}

void StoreCore::close(Deadline deadline) noexcept {
  if (forks.load(std::memory_order_relaxed) != forks_at_open_) return;
  const std::lock_guard lock(close_mutex_);
  if (closed_.exchange(true)) return;
  // The remote first: it fails what is under way, so that the heartbeat and the renewals that the others join are over at once.
  // Without the bus L1 is not kept coherent: nothing in it may answer. The guard last, which needs none of them: it may be
  // evicting.
  if (remote) remote->close(deadline);
  wakes.wake_all();
  if (bus) bus->stop(deadline);
  coherence.end();
  if (keeper) keeper->stop();
  if (shadow) shadow->stop();
  if (guard) guard->stop();
}

const char* StoreCore::unusable() const noexcept {
  if (forks.load(std::memory_order_relaxed) != forks_at_open_) return "this process is a fork of the one that opened the store";
  if (closed_.load(std::memory_order_relaxed)) return "the store is closed";
  return nullptr;
}

void StoreCore::forget(ViewState& view, std::string_view id, const std::string& physical) noexcept {
  // L1 first: a reader that finds no flight takes a ticket after the fence was bumped.
  table->erase(view.l1_id, id, table->hash(view.l1_id, id));
  flights.detach(physical);
}

void StoreCore::on_invalidate(ShardId, std::string_view key, std::uint64_t, std::uint64_t from, std::uint64_t write_id) noexcept {
  // Whoever waits for a lease of the key has lost what it waited for, also where the echo is skipped. Last: a ticket taken before
  // the fence moved would be of no use.
  const struct WakeAtEnd {
    Wakes& wakes;
    std::string_view key;
    ~WakeAtEnd() { wakes.wake(key); }
  } wake{wakes, key};
  if (from == origin && writes.was_answered(write_id) && !lab::ablated(lab::Remedy::own_echo)) return;  // R5
  const auto parts = keys.parse(key);
  if (!parts) return;
  if (ViewState* view = find_view(parts->type)) {
    try {
      forget(*view, parts->id, std::string(key));
    } catch (...) {  // no memory for the key's copy: void everything rather than miss one
      for (std::uint32_t shard = 0; shard < coherence.count(); ++shard) coherence.bump(static_cast<ShardId>(shard));
    }
  }
}

void StoreCore::on_clear(ShardId shard, std::string_view type, std::uint64_t, std::uint64_t) noexcept {
  if (type.empty()) coherence.clear(shard);
  else if (ViewState* view = find_view(type)) view->clears.fetch_add(1, std::memory_order_acq_rel);
  wakes.wake_all();
}

void StoreCore::on_wake(ShardId, std::string_view key) noexcept { wakes.wake(key); }

void StoreCore::on_gap(ShardId shard, GapReason reason) noexcept {
  // A broken or silent link takes nothing back: L1 was coherent as of the last heartbeat that came back, and its validity runs
  // out by itself. So when Redis dies, L1 serves on within the budget. What is missed from here on is replayed from the log at
  // the next subscription, or voided by its gap, before anything can validate L1 again.
  wakes.wake_all();  // a word may have been lost, or will be
  coherence.forget_applied(shard);
  if (reason == GapReason::disconnected) return;
  // The last heartbeat came back a budget ago at least; what L1 holds may still be served to who takes it marked stale.
  if (reason == GapReason::silent) return coherence.lapse(shard);
  if (reason == GapReason::subscribed || reason == GapReason::epoch_changed)
    coherence.set_epoch(shard, 0);  // unknown: Redis may have come back from an older snapshot
  coherence.bump(shard);
}

void StoreCore::on_coherent(ShardId shard, SteadyTime until) noexcept {
  coherence.extend(shard, until, config.bus.staleness_budget);
}

void StoreCore::on_epoch(ShardId shard, std::uint64_t epoch) noexcept { coherence.set_epoch(shard, epoch); }

void StoreCore::on_server(std::uint64_t server) noexcept {
  if (bus_server.load(std::memory_order_relaxed) == server) return;
  for (std::uint32_t shard = 0; shard < coherence.count(); ++shard) coherence.set_epoch(static_cast<ShardId>(shard), 0);
  bus_server.store(server, std::memory_order_release);  // (4) pairs with open_value: who sees the server sees no elder epoch
}

void StoreCore::on_applied(ShardId shard, std::uint64_t stream, std::uint64_t sequence) noexcept {
  coherence.set_applied(shard, stream, sequence);
}

ViewState* StoreCore::find_view(std::string_view name) noexcept {
  for (std::size_t i = local_hash(name, 0), n = 0; n < by_slot_.size(); ++i, ++n) {
    ViewState* view = by_slot_[i % by_slot_.size()].load(std::memory_order_acquire);  // (2) pairs with (1)
    if (view == nullptr) return nullptr;
    if (view->name == name) return view;
  }
  return nullptr;
}

Result<ViewState*> StoreCore::open_view(std::string_view name, const ViewOptions& options, const ValueOps& ops) {
  if (Result<void> r = check_name("view name", name); !r) return std::move(r).error();
  const std::string field = "view " + std::string(name);
  if (options.ttl.count() < 0 || options.l1_ttl.count() < 0 || options.soft_ttl.count() < 0 || options.deadline.count() < 0)
    return Error{Errc::invalid_argument, field + ": ttl, l1_ttl, soft_ttl, deadline: must not be negative"};
  if (options.max_staleness.count() < 0 || options.stale_max.count() < 0)
    return Error{Errc::invalid_argument, field + ": max_staleness, stale_max: must not be negative"};
  if (!(options.ttl_jitter >= 0 && options.ttl_jitter <= 0.5))
    return Error{Errc::invalid_argument, field + ": ttl_jitter: must be 0 .. 0.5"};
  if (options.l1_idle_ttl.count() < 0 || options.l1_idle_ttl > idle_ttl_max)
    return Error{Errc::invalid_argument, field + ": l1_idle_ttl: must be 0 to 49 days"};
  if (const std::uint64_t most = std::max(config.l1.capacity_bytes, config.l1.resize_max_bytes); options.l1_quota_bytes > most)
    return Error{Errc::invalid_argument, field + ": l1_quota_bytes: over L1's own budget of " + std::to_string(most)};
  const std::lock_guard lock(views_mutex_);
  if (closed_.load(std::memory_order_relaxed)) return Error{Errc::closed, "the store is closed"};
  if (ViewState* there = find_view(name)) {
    if (there->ops == &ops) return there;
    return Error{Errc::invalid_argument, field + ": was opened with another value type or codec"};
  }
  if (views_.size() >= by_slot_.size() / 2) return Error{Errc::invalid_argument, field + ": more than 512 views"};
  Result<l1::ViewId> id = table->add_view(&ops.type);
  if (!id) return std::move(id).error();
  ViewState& view = views_.emplace_back();
  view.name = name;
  view.options = options;
  view.ops = &ops;
  view.l1_id = *id;
  // Without a quota of its own the bytes are counted all the same, for the metrics.
  table->set_quota(*id, options.l1_quota_bytes != 0 ? options.l1_quota_bytes : std::numeric_limits<std::uint64_t>::max());
  by_l1_id_[*id % by_l1_id_.size()].store(&view,
                                          std::memory_order_release);  // (3) the view is complete before the hand can see it
  for (std::size_t i = local_hash(name, 0);; ++i) {
    auto& slot = by_slot_[i % by_slot_.size()];
    if (slot.load(std::memory_order_relaxed) != nullptr) continue;
    slot.store(&view, std::memory_order_release);  // (1) the view is complete before the bus thread can see it
    return &view;
  }
}

Health StoreCore::health() const {
  Health h;
  h.l2_available = remote && remote->available();
  h.l1_coherent = coherence.all_valid();
  if (unusable() != nullptr) {
    h.state = HealthState::closed;
    h.reason = unusable();
  } else if (remote && !h.l2_available) {
    h.state = HealthState::degraded;
    h.reason = "Redis is away";
  } else if (!h.l1_coherent) {
    h.state = HealthState::degraded;
    h.reason = "L1 is not coherent within the budget: the bus is silent or just began";
  }
  return h;
}

StoreSnapshot StoreCore::snapshot() const {
  StoreSnapshot s;
  s.env = config.env;
  s.resource = config.resource;
  s.l1 = table->stats();
  s.l1_workload = workload(s.l1);
  s.l1_configured_bytes = l1_bytes_.load(std::memory_order_relaxed);
  {
    const std::lock_guard lock(views_mutex_);
    for (const ViewState& view : views_) s.views.push_back(view.stats(*table));
  }
  if (remote) s.l2 = remote->stats();
  if (bus) s.bus = bus->stats();
  s.leases.granted = leases.granted.load(std::memory_order_relaxed);
  s.leases.waited = leases.waited.load(std::memory_order_relaxed);
  s.leases.lost = leases.lost.load(std::memory_order_relaxed);
  s.leases.polled = leases.polled.load(std::memory_order_relaxed);
  s.leases.woken = leases.woken.load(std::memory_order_relaxed);
  if (keeper) s.leases.renewed = keeper->renewed();
  s.gates.updates = gates.updates.load(std::memory_order_relaxed);
  s.gates.lapsed = gates.lapsed.load(std::memory_order_relaxed);
  s.gates.gated = gates.gated.load(std::memory_order_relaxed);
  if (bus) {
    const std::int64_t age = coherence.age_ms();
    s.coherence_age_seconds = age < 0 ? -1 : static_cast<double>(age) / 1000;
    for (std::uint32_t shard = 0; shard < coherence.count(); ++shard) {
      const std::int64_t ms = coherence.age_ms(static_cast<ShardId>(shard));
      s.shard_coherence_age_seconds.push_back(ms < 0 ? -1 : static_cast<double>(ms) / 1000);
    }
    s.staleness_budget_seconds = std::chrono::duration<double>(config.bus.staleness_budget).count();
  }
  if (shadow) s.shadow = shadow->stats();
  s.errors = errors.snapshot();
  s.health = health();
  return s;
}

namespace {

std::chrono::milliseconds renewal(std::chrono::milliseconds ttl) {
#ifdef TIERCACHE_LAB
  if (const auto ms = lab::lease_renew_ms.load(std::memory_order_relaxed); ms != 0) return std::chrono::milliseconds(ms);
#endif
  return ttl / 2;
}

}  // namespace

void LeaseKeeper::hold(const std::string& token, const PhysicalKey& key) noexcept {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  try {
    // Without a thread to be had the load goes on unrenewed: a long one may lose its lease, and its fill is then refused.
    if (!thread_.joinable()) thread_ = start_thread("tc-keep", [this] { run(); });
    held_.emplace(token, Held{key, std::chrono::steady_clock::now() + renewal(ttl_)});
  } catch (...) {
    return;
  }
  if (held_.size() == 1) wake_.notify_one();
}

void LeaseKeeper::drop(const std::string& token) {
  const std::lock_guard lock(mutex_);
  held_.erase(token);
}

void LeaseKeeper::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void LeaseKeeper::run() noexcept {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (held_.empty()) {
      wake_.wait(lock, [this] { return stopping_ || !held_.empty(); });
      continue;
    }
    const auto first = std::min_element(held_.begin(), held_.end(),
                                        [](const auto& a, const auto& b) { return a.second.renew_at < b.second.renew_at; });
    const SteadyTime due = first->second.renew_at;
    if (std::chrono::steady_clock::now() < due) {
      wake_.wait_until(lock, due, [this] { return stopping_; });
      continue;
    }
    first->second.renew_at = std::chrono::steady_clock::now() + renewal(ttl_);
    try {
      const std::string token = first->first;
      const PhysicalKey key = first->second.key;
      lock.unlock();
      renew(token, key);
      lock.lock();
    } catch (...) {  // no memory for this turn: the next one may have it; at worst the lease lapses and its fill is refused
      if (!lock.owns_lock()) lock.lock();
    }
  }
}

void LeaseKeeper::renew(const std::string& token, const PhysicalKey& key) {
  RemoteRequest request;
  request.op = RemoteOp::lease_renew;
  request.shard = key.shard;
  request.keys = {&key.text, 1};
  request.token = token;
  request.lease_ms = ttl_.count();
  request.deadline = Deadline::after(std::min<Duration>(ttl_ / 4, std::chrono::milliseconds(500)));
  RemoteReply reply;
  remote_.start(request, reply, nullptr);
  if (reply.error) {
    // Well before the lease lapses: one lost renewal must not let a second loader in.
    const std::lock_guard lock(mutex_);
    if (const auto it = held_.find(token); it != held_.end()) it->second.renew_at = std::chrono::steady_clock::now() + ttl_ / 16;
    return;
  }
  if (reply.applied) {
    renewed_.fetch_add(1, std::memory_order_relaxed);
  } else {
    drop(token);  // displaced by a write: the load goes on, its fill will be refused; nothing is left to renew
  }
}

}  // namespace tiercache::detail
