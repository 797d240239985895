// SPDX-License-Identifier: Apache-2.0
//
// How long it takes until another instance has heard of a write, beside a bare PUBLISH to a bare subscriber on the same server in
// the same run.
#include "invalidation.hpp"

#include "histogram.hpp"
#include "l1_rows.hpp"
#include "raw_redis.hpp"

#include <tiercache/base/ports.hpp>
#include <tiercache/invalidation/bus.hpp>
#include <tiercache/l2/client.hpp>

#include <cstdio>

namespace tiercache::bench {
namespace {

/// The instant of the last message, and the wait for it.
class Ear {
 public:
  void heard() noexcept {
    at_.store(ticks(), std::memory_order_relaxed);
    count_.fetch_add(1, std::memory_order_release);  // (1) the instant before the count
    count_.notify_one();
  }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_.load(std::memory_order_acquire); }
  /// Waits for one more than `seen`; its instant.
  std::uint64_t next(std::uint64_t seen) const noexcept {
    count_.wait(seen, std::memory_order_acquire);  // (2) pairs with (1)
    return at_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> at_{0};
  std::atomic<std::uint64_t> count_{0};
};

/// Another instance as far as the bus goes: hears of keys.
class Hearing final : public BusSink {
 public:
  Ear ear;
  std::atomic<bool> coherent{false};

 private:
  void on_invalidate(ShardId, std::string_view, std::uint64_t, std::uint64_t, std::uint64_t) noexcept override { ear.heard(); }
  void on_clear(ShardId, std::string_view, std::uint64_t, std::uint64_t) noexcept override {}
  void on_gap(ShardId, GapReason) noexcept override {}
  void on_coherent(ShardId, SteadyTime) noexcept override { coherent = true; }
  void on_epoch(ShardId, std::uint64_t) noexcept override {}
};

template <class F>
TickHistogram lags(const Ear& ear, double seconds, F&& tell) {
  TickHistogram h;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    const std::uint64_t seen = ear.count();
    const std::uint64_t began = ticks();
    tell();
    h.add(ear.next(seen) - began);
  }
  return h;
}

}  // namespace

void lag_rows(const Arguments& arguments, Report& report) {
  const std::string row = "bus.lag";
  if (!arguments.wants(row + ".p50") && !arguments.wants(row + ".p99")) return;
  attempt(report, row, [&] {
    const testing::RedisServer server;
    Store store = open_store(server.url());
    auto view = store.cache<std::string, RawBytes<>>("user", {.ttl = {}});
    l2::Options options;
    options.url = server.url();
    const l2::Naming naming{"bench", "l2", 99};
    const std::unique_ptr<RemotePort> remote = l2::open_client(options, naming, {});
    Hearing other;
    const std::unique_ptr<BusPort> bus = invalidation::open_bus({}, options, naming, *remote, {});
    bus->start(other);
    Ear raw_ear;
    const RawListener listener(server.port(), "bench:raw:bus", [&](std::string_view) { raw_ear.heard(); });
    RawRedis raw(server.port());
    wait_for("both buses", [&] { return store.health().l1_coherent && other.coherent; });

    const std::string value(160, 'v');
    const std::string key = "user-profile-000042";
    Samples middle;
    Samples tail;
    const auto note = [&](const char* who, const TickHistogram& h) {
      tail[who].push_back(h.quantile_us(0.99));
      middle[who].push_back(h.quantile_us(0.5));
      return middle[who].back();
    };
    static_cast<void>(interleave({{"ours",
                                   [&] {
                                     return note("ours", lags(other.ear, arguments.seconds, [&] {
                                                   if (!view.put(key, value)) std::terminate();  // nothing here makes one fail
                                                 }));
                                   }},
                                  {"publish_subscribe",
                                   [&] {
                                     return note("publish_subscribe",
                                                 lags(raw_ear, arguments.seconds, [&] { raw.publish("bench:raw:bus", key); }));
                                   }}},
                                 arguments.rounds));
    bus->stop(Deadline::after(std::chrono::seconds(2)));
    const auto add = [&](const char* end, const Samples& samples) {
      if (arguments.wants(row + end))
        report.compare({.name = row + end, .unit = "us", .threads = 1, .workload = "put called to key told elsewhere, 160 bytes"},
                       samples, "ours", Better::lower);
    };
    add(".p50", middle);
    add(".p99", tail);
  });
}

}  // namespace tiercache::bench

int main(int argc, char** argv) {
  using namespace tiercache::bench;
  const Arguments arguments = parse("invalidation", argc, argv);
  Report report("invalidation", {
                                    {"bus.lag.p50", "publish_subscribe", 0.67},
                                    {"bus.lag.p99", "publish_subscribe", 0.67},
                                    {"bus.survival", "", 0.95},
                                    {"bus.recovery.p99", "limit_5s", 1},
                                });
  std::fprintf(stderr, "bench invalidation: %u cores; a dot is one round of all\n", std::thread::hardware_concurrency());
  lag_rows(arguments, report);
  survival_row(arguments, report);
  recovery_rows(arguments, report);
  std::fputc('\n', stderr);
  return report.finish(arguments.out);
}
