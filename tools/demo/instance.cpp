// SPDX-License-Identifier: Apache-2.0
#include "instance.hpp"

#include "check.hpp"
#include "client.hpp"
#include "clock.hpp"
#include "probes.hpp"
#include "random.hpp"
#include "shared.hpp"

#include <tiercache/base/lab.hpp>

#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace tiercache::demo {
namespace {

using namespace std::chrono_literals;

Config make_config(const Settings& s) {
  Config config;
  config.env = "demo";
  config.resource = s.resource;
  config.l1.capacity_bytes = s.l1_bytes;
  config.l1.expected_entry_bytes = s.l1_entry_bytes;
  config.l2.url = s.redis_url;
  config.l2.pool_size = s.threads + 8;
  config.bus.staleness_budget = std::chrono::milliseconds(s.budget_ns / ns_per_ms);
  // Who wants L1 to be right within the budget also wants it back within about the budget (the default waits up to 2 s).
  config.l2.backoff_max = std::max(config.l2.backoff_min, config.bus.staleness_budget);
  // A replay makes good what a missing generation would show.
  if ((s.ablated >> static_cast<unsigned>(lab::Remedy::generation) & 1U) != 0) config.bus.log_entries = 0;
  config.log_level = s.verbose ? LogLevel::info : LogLevel::off;
  return config;
}

/// The pauses that widen each race on the probe keys. No other key waits.
void set_pauses() {
  lab::hook = [](lab::Point point, std::string_view key) {
    const bool here = point == lab::Point::l2_reply_to_l1_commit || point == lab::Point::publish_to_store;
    if (here && is_probe(key)) sleep_ns(pause_ns);
  };
}

class Instance {
 public:
  Instance(const SharedBlock& shared, unsigned index, Store store)
      : shared_(shared),
        settings_(shared.settings()),
        block_(shared.instances()[index]),
        index_(index),
        store_(std::move(store)),
        rows_(store_.cache<Row>("row", {.ttl = 120s})),
        unannounced_(shared, block_, rows_) {}

  /// False: the run failed.
  bool live() {
    std::jthread control([this](const std::stop_token& stop) { run_control(stop); });
    std::jthread announcer([this] { unannounced_.run(); });
    if (settings_.requests == 0) zipf_.emplace(settings_.keys, settings_.zipf);
    done_with(Stage::starting);
    if (await(Stage::running)) {
      run_workload();
      await(Stage::draining);
    }
    unannounced_.finish();
    announcer.join();
    done_with(Stage::draining);
    if (await(Stage::checking)) {
      check_copies(shared_, rows_, index_);
      done_with(Stage::checking);
      await(Stage::ending);
    }
    return !failed();
  }

 private:
  [[nodiscard]] bool failed() const { return shared_.header().failed.load(std::memory_order_relaxed); }
  void done_with(Stage stage) { block_.done.store(static_cast<std::uint32_t>(stage) + 1, std::memory_order_release); }
  bool await(Stage stage) const {
    while (shared_.stage() < stage && !failed()) sleep_ns(2 * ns_per_ms);
    return !failed();
  }
  [[nodiscard]] bool running() const { return shared_.stage() == Stage::running && !failed(); }

  std::optional<Client> open_client(std::size_t slot) {
    Result<Record> record = Record::open(settings_.database);
    if (!record) return fail_run(shared_, record.error().message), std::nullopt;
    return Client(shared_, unannounced_, rows_, std::move(*record), shared_.slots(index_)[slot]);
  }

  void run_workload() {
    std::vector<std::jthread> probes = start_probes(shared_, index_, [this](std::size_t slot) { return open_client(slot); });
    std::vector<std::jthread> workers;
    for (unsigned t = 0; t < settings_.threads; ++t) {
      workers.emplace_back([this, t] {
        std::optional<Client> client = open_client(t);
        if (!client) return;
        if (settings_.requests != 0) replay(*client);
        else make_up(*client, t);
      });
    }
    workers.clear();  // joins
    done_with(Stage::running);
    for (std::jthread& p : probes) p.join();
  }

  void make_up(Client& client, unsigned thread) {
    Random random(settings_.seed + index_ * 1000ULL + thread);
    while (running()) {
      const std::uint32_t key = (*zipf_)(random);
      if (random.unit() * 100 < settings_.write_percent) client.write(key);
      else client.read(key);
    }
  }

  /// Request i of the trace is the one of instance i mod N; its threads take the instance's requests in turn.
  void replay(Client& client) {
    const std::span<const std::uint32_t> requests = shared_.requests();
    while (running()) {
      const std::uint64_t i = block_.next_request.fetch_add(1, std::memory_order_relaxed) * settings_.instances + index_;
      if (i >= requests.size()) return;
      Random random(settings_.seed + i);
      if (random.unit() * 100 < settings_.write_percent) client.write(requests[i]);
      else client.read(requests[i]);
    }
  }

  /// Carries the parent's faults to the library's switches and the library's state to the parent.
  void run_control(const std::stop_token& stop) {
    for (unsigned turn = 0; !stop.stop_requested(); ++turn) {
      lab::bus_reader_stopped.store(block_.stop_reader.load(std::memory_order_relaxed));
      lab::bus_link_cut.store(block_.cut_link.load(std::memory_order_relaxed));
      const std::int64_t now = now_ns();
      // With Redis in reach, too: under --ablate heartbeat L1 would claim to be valid all the time.
      const Health health = store_.health();
      const bool coherent = health.l1_coherent && health.l2_available;
      if (!coherent) block_.coherent_since.store(0, std::memory_order_relaxed);
      else if (block_.coherent_since.load(std::memory_order_relaxed) == 0)
        block_.coherent_since.store(now, std::memory_order_relaxed);
      if (turn % 50 == 0) block_.bus_lag.publish(store_.stats().bus.lag);
      sleep_ns(5 * ns_per_ms);
    }
  }

  const SharedBlock& shared_;
  const Settings& settings_;
  InstanceBlock& block_;
  const unsigned index_;
  Store store_;
  Cache<Row> rows_;
  Unannounced unannounced_;
  std::optional<ZipfSampler> zipf_;
};

}  // namespace

int run_instance(int fd, unsigned index) {
  prctl(PR_SET_TIMERSLACK, 1000UL);  // 1 us instead of 50, inherited by threads: a latency of 1 ms is to be 1 ms
  Result<SharedBlock> shared = SharedBlock::attach(fd);
  if (!shared || index >= shared->settings().instances) return 2;
  const Settings& settings = shared->settings();
  lab::ablated_mask.store(settings.ablated);
  if (settings.probes != 0) set_pauses();
  Result<Store> store = Store::open(make_config(settings));
  if (!store) {
    fail_run(*shared, store.error().message);
    return 2;
  }
  const bool ok = Instance(*shared, index, std::move(*store)).live();
  lab::hook = nullptr;
  return ok ? 0 : 2;
}

}  // namespace tiercache::demo
