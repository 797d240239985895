// SPDX-License-Identifier: Apache-2.0
//
// What Redis costs through this library, beside bare hiredis on the same server in the same run. Values of 160 bytes, loopback
// TCP, blocking calls. Each put is coherent, and somebody listens: the store's own bus to ours, one subscriber to the peer's.
#include "histogram.hpp"
#include "l1_rows.hpp"
#include "raw_redis.hpp"

#include <array>
#include <cstdio>
#include <map>

namespace tiercache::bench {
namespace {

constexpr std::size_t keys = 10'000;
constexpr std::size_t value_bytes = 160;
const std::string channel = "bench:raw:bus";  // NOLINT(cert-err58-cpp)

std::string key_of(std::size_t n) {
  std::string text = std::to_string(n % keys);
  return "user-profile-" + std::string(6 - text.size(), '0') + text;
}
using Table = std::array<std::string, keys>;
Table table_of(const std::string& prefix) {
  Table all;
  for (std::size_t i = 0; i < keys; ++i) all[i] = prefix + key_of(i);
  return all;
}
const Table& own_keys() {
  static const Table table = table_of("");
  return table;
}
/// What ours becomes in Redis, and what the peer writes.
const Table& stored_keys() {
  static const Table table = table_of("bench:l2:user:");
  return table;
}
const Table& raw_keys() {
  static const Table table = table_of("bench:raw:user:");
  return table;
}

using View = Cache<std::string, RawBytes<>>;

/// Latencies of `op` for `seconds`, by one caller.
template <class F>
TickHistogram one_caller(const Table& table, double seconds, F&& op) {
  TickHistogram h;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (std::size_t n = 0; std::chrono::steady_clock::now() < end; ++n) {
    const std::uint64_t began = ticks();
    op(table[n % keys]);
    h.add(ticks() - began);
  }
  return h;
}

/// Rows of p50 and p99 from the same samples.
void latency_pair(const Arguments& arguments, Report& report, const std::string& name, const std::string& workload,
                  const std::vector<std::pair<std::string, std::function<TickHistogram()>>>& runs) {
  Samples middle;
  Samples tail;
  std::vector<Contender> contenders;
  for (const auto& [peer, run] : runs) {
    contenders.push_back({peer, [&, name = peer, run = run] {
                            const TickHistogram h = run();
                            tail[name].push_back(h.quantile_us(0.99));
                            middle[name].push_back(h.quantile_us(0.5));
                            return middle[name].back();
                          }});
  }
  static_cast<void>(interleave(contenders, arguments.rounds));
  const auto row = [&](const char* end, const Samples& samples) {
    if (arguments.wants(name + end))
      report.compare({.name = name + end, .unit = "us", .threads = 1, .workload = workload}, samples, "ours", Better::lower);
  };
  row(".p50", middle);
  row(".p99", tail);
}

void get_rows(const Arguments& arguments, Report& report, const testing::RedisServer& server) {
  const std::string row = "l2.get.1caller";
  if (!arguments.wants(row + ".p50") && !arguments.wants(row + ".p99")) return;
  attempt(report, row, [&] {
    Store store = open_store(server.url());
    // What L1 took is gone before its turn comes again: every get goes to Redis.
    View view = store.cache<std::string, RawBytes<>>("user", {.ttl = {}, .l1_ttl = std::chrono::milliseconds(1)});
    const std::string value(value_bytes, 'v');
    RawRedis raw(server.port());
    for (const std::string& key : own_keys())
      if (const auto r = view.put(key, value); !r) throw std::runtime_error(r.error().message);
    latency_pair(arguments, report, row, "get, absent in L1, 160 bytes",
                 {{"ours",
                   [&] {
                     std::size_t elsewhere = 0;
                     std::string why;
                     const TickHistogram h = one_caller(own_keys(), arguments.seconds, [&](const std::string& key) {
                       const auto handle = view.get(key);
                       if (handle.source() == Source::l2 && handle->size() == value_bytes) return;
                       ++elsewhere;
                       why = handle.error() != nullptr ? handle.error()->message
                                                       : "source " + std::to_string(static_cast<int>(handle.source()));
                     });
                     if (elsewhere != 0)
                       throw std::runtime_error(std::to_string(elsewhere) + " gets were not answered by Redis: " + why);
                     return h;
                   }},
                  {"hiredis_sync", [&] {
                     std::size_t short_ones = 0;
                     const TickHistogram h = one_caller(stored_keys(), arguments.seconds, [&](const std::string& key) {
                       short_ones += raw.get(key)->len <= value_bytes ? 1U : 0U;
                     });
                     if (short_ones != 0) throw std::runtime_error("hiredis read another value");
                     return h;
                   }}});
  });
}

void put_row(const Arguments& arguments, Report& report, const testing::RedisServer& server) {
  const std::string row = "l2.put.coherent";
  if (!arguments.wants(row + ".p50") && !arguments.wants(row + ".p99")) return;
  attempt(report, row, [&] {
    Store store = open_store(server.url());
    View view = store.cache<std::string, RawBytes<>>("user", {.ttl = {}});
    const std::string value(value_bytes, 'v');
    RawRedis raw(server.port());
    const RawListener listener(server.port(), channel, [](std::string_view) {});
    wait_for("the bus", [&] { return store.health().l1_coherent; });
    latency_pair(arguments, report, row, "put + announcement, 160 bytes, one subscriber",
                 {{"ours",
                   [&] {
                     std::size_t failed = 0;
                     const TickHistogram h = one_caller(own_keys(), arguments.seconds, [&](const std::string& key) {
                       failed += view.put(key, value).ok() ? 0U : 1U;
                     });
                     if (failed != 0) throw std::runtime_error("a put failed");
                     return h;
                   }},
                  {"set_publish", [&] {
                     return one_caller(raw_keys(), arguments.seconds,
                                       [&](const std::string& key) { raw.set_publish(key, value, channel); });
                   }}});
  });
}

void many_callers_row(const Arguments& arguments, Report& report, const testing::RedisServer& server) {
  const std::string row = "l2.put.32callers.ops";
  if (!arguments.wants(row)) return;
  attempt(report, row, [&] {
    constexpr int threads = 32;
    Store store = open_store(server.url());
    View view = store.cache<std::string, RawBytes<>>("user", {.ttl = {}});
    const std::string value(value_bytes, 'v');
    std::vector<std::unique_ptr<RawRedis>> raw;
    for (int t = 0; t < threads; ++t) raw.push_back(std::make_unique<RawRedis>(server.port()));
    const RawListener listener(server.port(), channel, [](std::string_view) {});
    wait_for("the bus", [&] { return store.health().l1_coherent; });
    std::atomic<std::size_t> failed{0};
    const auto work = [&](const Table& table, auto put) {
      return rate(threads, arguments.seconds, [&, put](int t, const std::atomic<bool>& stop) {
        std::uint64_t n = 0;
        for (; !stop.load(std::memory_order_relaxed); ++n) put(t, table[(n * threads + static_cast<unsigned>(t)) % keys]);
        return n;
      });
    };
    report.compare(
        {.name = row, .unit = "kops/s", .threads = threads, .workload = "put + announcement, 160 bytes, one subscriber"},
        interleave({{"ours",
                     [&] {
                       return work(own_keys(),
                                   [&](int, const std::string& key) { failed += view.put(key, value).ok() ? 0U : 1U; });
                     }},
                    {"set_publish_pool32",
                     [&] {
                       return work(raw_keys(), [&](int t, const std::string& key) {
                         raw[static_cast<std::size_t>(t)]->set_publish(key, value, channel);
                       });
                     }}},
                   arguments.rounds),
        "ours", Better::higher, 1e-3);
    if (failed != 0) throw std::runtime_error("a put failed");
    const RemoteStats l2 = store.stats().l2;
    if (l2.put_groups != 0)
      std::fprintf(stderr, "(%.1f puts a group)", static_cast<double>(l2.grouped_puts) / static_cast<double>(l2.put_groups));
  });
}

/// put_many by one caller beside as many commands pipelined.
void put_many_row(const Arguments& arguments, Report& report, const testing::RedisServer& server) {
  const std::string row = "l2.put_many.64.ops";
  if (!arguments.wants(row)) return;
  attempt(report, row, [&] {
    constexpr std::size_t batch = 64;
    Store store = open_store(server.url());
    View view = store.cache<std::string, RawBytes<>>("user", {.ttl = {}});
    std::vector<std::pair<std::string, std::string>> pairs;
    std::vector<std::pair<std::string, std::string>> raw_pairs;
    for (std::size_t i = 0; i < batch; ++i) {
      pairs.emplace_back(own_keys()[i], std::string(value_bytes, 'v'));
      raw_pairs.emplace_back(raw_keys()[i], std::string(value_bytes, 'v'));
    }
    RawRedis raw(server.port());
    const RawListener listener(server.port(), channel, [](std::string_view) {});
    wait_for("the bus", [&] { return store.health().l1_coherent; });
    report.compare({.name = row, .unit = "kops/s", .threads = 1, .workload = "64 puts a call, 160 bytes, one subscriber"},
                   interleave({{"ours",
                                [&] {
                                  return rate(1, arguments.seconds, [&](int, const std::atomic<bool>& stop) {
                                    std::uint64_t n = 0;
                                    for (; !stop.load(std::memory_order_relaxed); n += batch)
                                      for (const auto& answer : view.put_many(pairs))
                                        if (!answer) std::terminate();
                                    return n;
                                  });
                                }},
                               {"set_publish_pipeline64",
                                [&] {
                                  return rate(1, arguments.seconds, [&](int, const std::atomic<bool>& stop) {
                                    std::uint64_t n = 0;
                                    for (; !stop.load(std::memory_order_relaxed); n += batch)
                                      raw.set_publish_all(raw_pairs, channel);
                                    return n;
                                  });
                                }}},
                              arguments.rounds),
                   "ours", Better::higher, 1e-3);
  });
}

}  // namespace
}  // namespace tiercache::bench

int main(int argc, char** argv) {
  using namespace tiercache::bench;
  const Arguments arguments = parse("l2", argc, argv);
  Report report("l2", {
                          {"l2.get.1caller.p50", "hiredis_sync", 0.93},
                          {"l2.get.1caller.p99", "hiredis_sync", 0.9},
                          {"l2.put.coherent.p50", "set_publish", 0.85},
                      });
  std::fprintf(stderr, "bench l2: %u cores; a dot is one round of all\n", std::thread::hardware_concurrency());
  const tiercache::testing::RedisServer server;
  get_rows(arguments, report, server);
  put_row(arguments, report, server);
  many_callers_row(arguments, report, server);
  put_many_row(arguments, report, server);
  std::fputc('\n', stderr);
  return report.finish(arguments.out);
}
