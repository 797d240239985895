// SPDX-License-Identifier: Apache-2.0
//
// What is left of L1 after a store was cut off from Redis: with a log all but what changed, without one nothing.
#include "instances.hpp"

#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::testing {
namespace {

constexpr int keys = 1000;
constexpr int changed = keys / 100;

struct Outcome {
  double first_share = 0;  ///< of the first reads of all keys after the link was healed and L1 was coherent: answered by L1
  int wrong = 0;           ///< reads then that were not what was written last
  std::chrono::milliseconds recovery{};  ///< from the heal until every key had been read
  BusStats bus;
};

/// B holds all keys in L1 and is cut off for a second, data and bus alike; A changes 1 % meanwhile.
Outcome cut_off_for_a_second(std::uint32_t log_entries) {
  RedisServer server;
  TcpProxy proxy(server.port());
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 2s;
  config.bus.log_entries = log_entries;
  Instance a(config);
  config.l2.url = server.url_at(proxy.port());
  config.l2.backoff_max = 250ms;
  Instance b(config);
  const auto name = [](int i) { return "k" + std::to_string(i); };
  for (int i = 0; i < keys; ++i) EXPECT_TRUE(a.view.put(name(i), i).ok());
  b.wait_coherent();
  b.wait_applied();
  for (int i = 0; i < keys; ++i) b.warm(name(i));

  proxy.accept(TcpProxy::Accept::refuse);
  proxy.cut();
  const auto cut = std::chrono::steady_clock::now();
  for (int i = 0; i < changed; ++i) EXPECT_TRUE(a.view.put(name(i * 100), -i).ok());
  std::this_thread::sleep_until(cut + 1s);  // the fault's length, not a wait for anything
  proxy.accept(TcpProxy::Accept::forward);
  const auto healed = std::chrono::steady_clock::now();
  const std::uint64_t seen = b.store().stats().bus.heartbeats_seen;
  EXPECT_TRUE(eventually([&] { return b.store().stats().bus.heartbeats_seen > seen && b.coherent(); }));

  Outcome o;
  int hits = 0;
  for (int i = 0; i < keys; ++i) {
    const auto h = b.view.get(name(i), {.deadline = 5s});
    hits += h.source() == Source::l1 ? 1 : 0;
    const int right = i % 100 == 0 ? -(i / 100) : i;
    o.wrong += h && *h == right ? 0 : 1;
  }
  o.recovery = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - healed);
  o.first_share = static_cast<double>(hits) / keys;
  o.bus = b.store().stats().bus;
  return o;
}

TEST(Resync, AfterASecondWithoutRedisL1IsKeptButForWhatChanged) {
  Outcome o = cut_off_for_a_second(16384);
  // How long it takes is a figure of the machine too: one that is busy with other things has two more tries.
  for (int i = 0; i < 2 && o.recovery > 1s; ++i) o = cut_off_for_a_second(16384);
  EXPECT_EQ(o.wrong, 0);
  EXPECT_GE(o.first_share, 0.95);
  EXPECT_LE(o.first_share, 1 - static_cast<double>(changed) / keys);
  EXPECT_LE(o.recovery, 1s);
  EXPECT_GE(o.bus.resyncs_replayed, 1U);
  EXPECT_EQ(o.bus.resyncs_voided, 0U);
  EXPECT_GE(o.bus.messages_replayed, static_cast<std::uint64_t>(changed));
  std::cout << "kept " << o.first_share << ", all read " << o.recovery.count() << " ms after the heal\n";
}

TEST(Resync, WithoutALogL1IsVoidAfterASecondWithoutRedis) {
  const Outcome o = cut_off_for_a_second(0);
  EXPECT_EQ(o.wrong, 0);
  EXPECT_EQ(o.first_share, 0);
  EXPECT_EQ(o.bus.resyncs_replayed, 0U);
}

// What an erase of many keys announces must fit into the log: one message of 1,024 names would leave an empty mark there, over
// which nothing can be replayed.
TEST(Resync, AfterASecondInWhichThousandsWereErasedAtOnceTheOthersAreKept) {
  RedisServer server;
  TcpProxy proxy(server.port());
  Config config = instance_config(server.url());
  config.l1.capacity_bytes = 16_MiB;
  config.bus.staleness_budget = 2s;
  Instance a(config);
  config.l2.url = server.url_at(proxy.port());
  config.l2.backoff_max = 250ms;
  Instance b(config);
  constexpr int erased = 5000;
  std::vector<std::string> names;
  for (int i = 0; i < erased; ++i) names.push_back("erased:" + std::to_string(i));
  std::vector<std::string_view> ids(names.begin(), names.end());
  std::map<std::string, int> rows;
  for (const std::string& name : names) rows[name] = 1;
  for (const auto& r : a.view.put_many(rows, {.deadline = patience})) ASSERT_TRUE(r.ok());
  const auto kept = [](int i) { return "k" + std::to_string(i); };
  for (int i = 0; i < keys; ++i) ASSERT_TRUE(a.view.put(kept(i), i).ok());
  b.wait_coherent();
  b.wait_applied();
  for (int i = 0; i < keys; ++i) b.warm(kept(i));
  for (int i = 0; i < erased; i += 100) b.warm(names[static_cast<std::size_t>(i)]);

  proxy.accept(TcpProxy::Accept::refuse);
  proxy.cut();
  const auto cut = std::chrono::steady_clock::now();
  const auto token = a.view.erase_many(ids, {.deadline = patience});
  ASSERT_TRUE(token.ok()) << token.error().message;
  EXPECT_EQ(token->positions().size(), 1U);
  std::this_thread::sleep_until(cut + 1s);  // the fault's length, not a wait for anything
  proxy.accept(TcpProxy::Accept::forward);
  const std::uint64_t seen = b.store().stats().bus.heartbeats_seen;
  ASSERT_TRUE(eventually([&] { return b.store().stats().bus.heartbeats_seen > seen && b.coherent(); }));

  int hits = 0;
  for (int i = 0; i < keys; ++i) {
    const auto h = b.view.get(kept(i));
    hits += h.source() == Source::l1 ? 1 : 0;
    EXPECT_TRUE(h && *h == i) << i;
  }
  EXPECT_EQ(hits, keys);
  for (int i = 0; i < erased; i += 100) EXPECT_FALSE(b.view.get(names[static_cast<std::size_t>(i)])) << i;
  EXPECT_EQ(b.store().stats().bus.resyncs_voided, 0U);
  EXPECT_EQ(b.view.get(kept(0), {.after = *token}).source(), Source::l1) << "the whole of it is applied";
}

// A clear that was missed voids its view and no other.
TEST(Resync, AMissedClearIsReplayed) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 30s;  // L1 is valid throughout
  config.bus.heartbeat = 100ms;
  Instance a(config);
  Instance b(config);
  auto others = b.store().cache<int>("other", {.ttl = 60s});
  ASSERT_TRUE(a.view.put("k", 1).ok());
  ASSERT_TRUE(others.put("k", 5).ok());
  b.wait_coherent();
  b.wait_applied();
  b.warm("k");
  ASSERT_TRUE(eventually([&] { return others.get("k").source() == Source::l1; }));
  lab::bus_link_cut = true;
  server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
  ASSERT_TRUE(eventually([&] { return !b.store().stats().bus.subscribed; }));
  ASSERT_TRUE(a.view.clear().ok());
  lab::bus_link_cut = false;
  ASSERT_TRUE(eventually([&] { return b.store().stats().bus.resyncs_replayed > 0; }));
  b.wait_coherent();
  EXPECT_EQ(others.get("k").source(), Source::l1);
  EXPECT_EQ(b.get("k"), -1);
}

}  // namespace
}  // namespace tiercache::testing
