// SPDX-License-Identifier: Apache-2.0
//
// What a cut link costs an instance: the share of L1 that is lost, and the time until L1 answers again.
#include "invalidation.hpp"
#include "l1_rows.hpp"
#include "raw_redis.hpp"

#include <tcp_proxy.hpp>

#include <algorithm>
#include <cstdio>

namespace tiercache::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// An instance whose links to Redis, the bus's and the calls', can be cut.
struct Remote {
  explicit Remote(const testing::RedisServer& server, const std::function<void(Config&)>& change = {})
      : proxy(server.port()), store(open_store(server.url_at(proxy.port()), change)) {}

  void cut() {
    proxy.accept(testing::TcpProxy::Accept::refuse);
    proxy.cut();
  }
  void wait_coherent() {
    wait_for("L1 to be coherent", [this] { return store.health().l1_coherent; });
  }

  testing::TcpProxy proxy;
  Store store;
};

double milliseconds_since(Clock::time_point t) { return std::chrono::duration<double, std::milli>(Clock::now() - t).count(); }

}  // namespace

void survival_row(const Arguments& arguments, Report& report) {
  const std::string row = "bus.survival";
  if (!arguments.wants(row)) return;
  attempt(report, row, [&] {
    constexpr std::size_t keys = 10'000;
    constexpr std::size_t changed = keys / 100;
    const testing::RedisServer server;
    Store writer = open_store(server.url());
    Remote reader(server);
    const ViewOptions options{.ttl = std::chrono::minutes(10), .ttl_jitter = 0};
    auto from = writer.cache<std::string, RawBytes<>>("user", options);
    auto to = reader.store.cache<std::string, RawBytes<>>("user", options);
    std::vector<std::string> ids;
    std::vector<std::pair<std::string, std::string>> pairs;
    for (std::size_t i = 0; i < keys; ++i) {
      ids.push_back("user-profile-" + std::to_string(i));
      pairs.emplace_back(ids.back(), "old");
    }
    for (const auto& answer : from.put_many(pairs))
      if (!answer) throw std::runtime_error(answer.error().message);
    reader.wait_coherent();
    const std::uint64_t seen = reader.store.stats().bus.heartbeats_seen;
    wait_for("the announcements", [&] { return reader.store.stats().bus.heartbeats_seen >= seen + 2; });

    const auto held = [&] {  // what L1 alone answers
      std::size_t n = 0;
      for (const std::string& id : ids) n += to.visit(id, [](const std::string&) {}) ? 1U : 0U;
      return static_cast<double>(n);
    };
    std::vector<double> shares;
    std::vector<double> back;
    for (int round = 0; round < std::min(arguments.rounds, 5); ++round) {
      for (const std::string& id : ids)
        if (!to.get(id)) throw std::runtime_error("a value is missing in Redis");
      const double before = held();
      const std::uint64_t links = reader.store.stats().bus.connects;
      const auto cut_at = Clock::now();
      reader.cut();
      const std::string value = "new" + std::to_string(round);
      const std::size_t first = static_cast<std::size_t>(round) * changed;
      for (std::size_t i = first; i < first + changed; ++i)
        if (const auto r = from.put(ids[i], value); !r) throw std::runtime_error(r.error().message);
      std::this_thread::sleep_until(cut_at + std::chrono::seconds(1));
      const auto healed_at = Clock::now();
      reader.proxy.heal();
      wait_for("the link", [&] { return reader.store.stats().bus.connects > links; });
      const std::uint64_t beats = reader.store.stats().bus.heartbeats_seen;
      wait_for("the next heartbeat", [&] { return reader.store.stats().bus.heartbeats_seen > beats; });
      reader.wait_coherent();
      back.push_back(milliseconds_since(healed_at));
      shares.push_back(held() / before);
      for (std::size_t i = first; i < first + changed; ++i) {
        const auto handle = to.get(ids[i]);
        if (!handle || *handle != value) throw std::runtime_error("a changed key was answered from before its change");
      }
      std::fputc('.', stderr);
    }
    report.add({.name = row,
                .value = median(shares),
                .unit = "of L1",
                .spread = spread(shares),
                .workload = "10,000 keys, all links cut for 1 s, 1 % of the keys changed meanwhile"});
    report.add({.name = "bus.survival.back",
                .value = median(back),
                .unit = "ms",
                .spread = spread(back),
                .workload = "the same: from the heal until L1 is valid"});
  });
}

void recovery_rows(const Arguments& arguments, Report& report) {
  const std::string row = "bus.recovery";
  if (!arguments.wants(row + ".p50") && !arguments.wants(row + ".p99")) return;
  attempt(report, row, [&] {
    constexpr int heals = 30;
    constexpr double limit_ms = 5000;
    const testing::RedisServer server;
    // The smallest budgets recover in the same steps, and thirty of them end in good time.
    Remote instance(server, [](Config& config) { config.bus.staleness_budget = std::chrono::milliseconds(500); });
    std::vector<double> times;
    for (int i = 0; i < heals; ++i) {
      instance.wait_coherent();
      instance.cut();
      wait_for("L1 to lapse", [&] { return !instance.store.health().l1_coherent; });
      const auto healed_at = Clock::now();
      instance.proxy.heal();
      instance.wait_coherent();
      times.push_back(milliseconds_since(healed_at));
      if (i % 10 == 9) std::fputc('.', stderr);
    }
    std::sort(times.begin(), times.end());
    const auto quantile = [&](double q) {
      return times[std::min(times.size() - 1, static_cast<std::size_t>(q * static_cast<double>(times.size())))];
    };
    for (const auto& [end, q] : {std::pair(".p50", 0.5), std::pair(".p99", 0.99)}) {
      if (!arguments.wants(row + end)) continue;
      report.add({.name = row + end,
                  .value = quantile(q),
                  .unit = "ms",
                  .peer = "limit_5s",
                  .peer_value = limit_ms,
                  .ratio = limit_ms / quantile(q),
                  .workload = "30 heals of a cut that outlasted a budget of 500 ms, heartbeat 100 ms"});
    }
  });
}

}  // namespace tiercache::bench
