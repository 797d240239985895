// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "answered.hpp"
#include "coherence.hpp"
#include "flights.hpp"
#include "key.hpp"
#include "shadow_reads.hpp"
#include "view_state.hpp"
#include "wakes.hpp"

#include <tiercache/base/log.hpp>
#include <tiercache/base/ports.hpp>
#include <tiercache/core/config.hpp>
#include <tiercache/core/store.hpp>
#include <tiercache/core/view.hpp>
#include <tiercache/l1/pressure.hpp>
#include <tiercache/l1/table.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

namespace tiercache::detail {

/// Renews the leases of loaders that run ("tc-keep", started with the first lease). Thread-safe.
class LeaseKeeper {
 public:
  LeaseKeeper(RemotePort& remote, std::chrono::milliseconds ttl) : remote_(remote), ttl_(ttl) {}
  ~LeaseKeeper() { stop(); }
  void hold(const std::string& token, const PhysicalKey& key) noexcept;
  void drop(const std::string& token);
  void stop() noexcept;
  [[nodiscard]] std::uint64_t renewed() const noexcept { return renewed_.load(std::memory_order_relaxed); }

 private:
  struct Held {
    PhysicalKey key;
    SteadyTime renew_at;
  };
  void run() noexcept;
  void renew(const std::string& token, const PhysicalKey& key);

  RemotePort& remote_;
  const std::chrono::milliseconds ttl_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::unordered_map<std::string, Held> held_;
  std::thread thread_;
  bool stopping_ = false;
  std::atomic<std::uint64_t> renewed_{0};
};

struct LeaseCounts {
  std::atomic<std::uint64_t> granted{0}, waited{0}, lost{0}, polled{0}, woken{0};
};

struct GateCounts {
  std::atomic<std::uint64_t> updates{0}, lapsed{0}, gated{0};
};

/// All that a store owns. Views hold it by shared_ptr: its memory outlives the Store, its threads do not.
/// Implements BusSink: what the bus thread does to the cache is here, what callers' threads do is in flow.cpp.
class StoreCore final : public BusSink {
 public:
  StoreCore(Config config, Log log);
  ~StoreCore() override;
  Result<void> open_table();  ///< called once, first
  void start();               ///< connects the ports; called once, before any view exists
  void close(Deadline deadline) noexcept;

  void on_invalidate(ShardId shard, std::string_view key, std::uint64_t version, std::uint64_t origin,
                     std::uint64_t write_id) noexcept override;
  void on_clear(ShardId shard, std::string_view type, std::uint64_t origin, std::uint64_t write_id) noexcept override;
  void on_gap(ShardId shard, GapReason reason) noexcept override;
  void on_coherent(ShardId shard, SteadyTime until) noexcept override;
  void on_wake(ShardId shard, std::string_view key) noexcept override;
  void on_epoch(ShardId shard, std::uint64_t epoch) noexcept override;
  void on_server(std::uint64_t server) noexcept override;
  void on_applied(ShardId shard, std::uint64_t stream, std::uint64_t sequence) noexcept override;

  [[nodiscard]] ViewState* find_view(std::string_view name) noexcept;
  Result<ViewState*> open_view(std::string_view name, const ViewOptions& options, const ValueOps& ops);

  /// Drops the key from L1 and from the flights: the fence is bumped first, so that no fill asked for before can come in after.
  void forget(ViewState& view, std::string_view id, const std::string& physical) noexcept;

  /// Errc::closed after close() or in a forked child; else null.
  [[nodiscard]] const char* unusable() const noexcept;
  [[nodiscard]] bool has_remote() const noexcept { return remote != nullptr; }
  /// Another budget of L1, of which memory pressure leaves a share.
  Result<void> resize_l1(std::uint64_t capacity_bytes);
  [[nodiscard]] std::vector<HotKey> hottest(std::uint32_t k) const;
  [[nodiscard]] std::vector<ColdKey> coldest(std::uint32_t k) const;
  [[nodiscard]] StoreSnapshot snapshot() const;
  [[nodiscard]] Health health() const;

  const Config config;
  const Log log;
  const KeySpace keys;
  const std::uint64_t origin;
  Coherence coherence;
  std::atomic<std::uint64_t> bus_server{0};  ///< whose epochs the coherence knows
  std::unique_ptr<l1::Table> table;
  std::unique_ptr<RemotePort> remote;  ///< null: L1 only
  std::unique_ptr<BusPort> bus;        ///< null: none
  std::unique_ptr<LeaseKeeper> keeper;
  std::unique_ptr<ShadowReads> shadow;       ///< null: no hit is compared. Made before any view exists
  std::unique_ptr<l1::PressureGuard> guard;  ///< null: memory pressure is not followed
  Flights flights;
  AnsweredWrites writes;
  LeaseCounts leases;
  GateCounts gates;
  Wakes wakes;
  mutable ErrorCounts errors;
  OncePer bad_bytes_line{std::chrono::seconds(10)};
  std::atomic<std::uint64_t> token_number{0};

 private:
  std::uint64_t forks_at_open_;
  void leave(double share);
  [[nodiscard]] Result<void> resize_table() noexcept;  // REQUIRES: resize_mutex_
  [[nodiscard]] std::string view_name(l1::ViewId id) const;
  [[nodiscard]] L1Workload workload(const L1Stats& stats) const;

  mutable std::mutex resize_mutex_;
  std::atomic<std::uint64_t> l1_bytes_{0};  // asked for; changed under resize_mutex_, read by scrapes, also in a forked child
  double l1_share_ = 1;                     // what pressure leaves of it
  std::atomic<bool> closed_{false};
  std::mutex close_mutex_;
  mutable std::mutex views_mutex_;                        // taken to open a view and to scrape
  std::deque<ViewState> views_;                           // stable addresses
  std::array<std::atomic<ViewState*>, 1024> by_l1_id_{};  // for the table's hand: whose generation is a view's
  std::array<std::atomic<ViewState*>, 1024> by_slot_{};   // open addressing by name, for the bus thread; never removed from
};

/// The real ports; defined in wiring.cpp, which alone knows l2 and invalidation.
void connect_ports(StoreCore& core);

}  // namespace tiercache::detail
