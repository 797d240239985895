// SPDX-License-Identifier: Apache-2.0
//
// Races with a link that fails. A is the writer's instance, B the reader's.
#include "instances.hpp"

namespace tiercache::testing {
namespace {

// Two stores, of which B is disconnected for a while.
class DisconnectedReader : public Race {
 protected:
  void SetUp() override {
    Config config = instance_config(server.url());
    config.bus.log_entries = log_entries;
    config.bus.staleness_budget = 30s;  // L1 is valid throughout
    config.bus.heartbeat = 100ms;
    a.emplace(config);
    b.emplace(config);
    ASSERT_TRUE(a->view.put("k", 1).ok());
    ASSERT_TRUE(a->view.put("kept", 1).ok());
    b->wait_coherent();
    b->wait_applied();
    b->warm("k");
    b->warm("kept");
  }
  /// Redis ends the subscriptions, as it does at an output-buffer overflow, A writes 2, B subscribes again.
  void write_while_disconnected() {
    lab::bus_link_cut = true;  // keeps the subscribers from coming back before the write
    server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
    ASSERT_TRUE(eventually([&] { return !b->store().stats().bus.subscribed; }));
    ASSERT_TRUE(a->view.put("k", 2).ok());
    lab::bus_link_cut = false;
    ASSERT_TRUE(eventually([&] { return b->store().stats().bus.subscribed; }));
    b->wait_applied();
    b->wait_coherent();
  }
  std::uint32_t log_entries = 1000;
  std::optional<Instance> a;
  std::optional<Instance> b;
};

// B holds 1 in L1. Its link breaks; A writes 2 meanwhile; B subscribes again and is told nothing of it. Nothing is logged.
class Disconnect : public DisconnectedReader {
 protected:
  Disconnect() { log_entries = 0; }
};
TEST_P(Disconnect, Row6) {
  const Ablated ablated(lab::Remedy::generation, !remedy());
  write_while_disconnected();
  EXPECT_EQ(b->get("k"), remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, Disconnect, ::testing::Bool(), race_name);

// The same with a log: B replays what it missed and keeps the rest. Without the replay it claims that it missed nothing.
class DisconnectWithALog : public DisconnectedReader {};
TEST_P(DisconnectWithALog, Row6) {
  const Ablated ablated(lab::Remedy::replay, !remedy());
  write_while_disconnected();
  EXPECT_EQ(b->view.get("kept").source(), Source::l1);
  EXPECT_EQ(b->get("k"), remedy() ? 2 : 1);
  EXPECT_EQ(b->store().stats().bus.resyncs_replayed > 0, remedy());
  EXPECT_EQ(b->store().stats().bus.resyncs_voided, 0U);
}
INSTANTIATE_TEST_SUITE_P(Races, DisconnectWithALog, ::testing::Bool(), race_name);

// B holds 1 in L1. The link from Redis to B goes dead without a word (bytes are taken and dropped). A writes 2. B is never told;
// its L1 must stop answering within the budget. Every read is judged by the promise: begun at t, it may return 1 only if 2 was
// not acknowledged before t - D.
class HalfOpenLink : public Race {};
TEST_P(HalfOpenLink, Row7) {
  const Ablated ablated(lab::Remedy::heartbeat, !remedy());
  TcpProxy proxy(server.port());
  Instance a(instance_config(server.url()));
  Config config = instance_config(server.url_at(proxy.port()));
  config.default_deadline = 100ms;
  Instance b(config);
  ASSERT_TRUE(a.view.put("k", 1).ok());
  b.wait_coherent();
  b.wait_applied();
  b.warm("k");

  proxy.set(TcpProxy::to_client, LinkFault::blackhole());
  ASSERT_TRUE(a.view.put("k", 2).ok());
  const auto acknowledged = std::chrono::steady_clock::now();
  int beyond = 0;
  int within = 0;
  while (std::chrono::steady_clock::now() < acknowledged + 3 * 500ms) {
    const auto t = std::chrono::steady_clock::now();
    const auto h = b.view.get("k");
    if (h && *h == 1) ++(t > acknowledged + 500ms ? beyond : within);
  }
  EXPECT_GT(within, 0);
  if (remedy()) {
    EXPECT_EQ(beyond, 0);
  } else {
    EXPECT_GT(beyond, 0);
  }
}
INSTANTIATE_TEST_SUITE_P(Races, HalfOpenLink, ::testing::Bool(), race_name);

// The address comes to mean another master, where the row is 2. B's bus has gone over; a connection for calls still leads to the
// old one, which answers 1. That answer is held; B's calls go over as well, and its L1 is valid again. No message about the row
// will come: it was written before B listened. L1 must not take the answer.
class ReplacedMaster : public Race {};
TEST_P(ReplacedMaster, Row12) {
  const Ablated ablated(lab::Remedy::one_server, !remedy());
  RedisServer after;
  TcpProxy proxy(server.port());
  Gate gate(lab::Point::l2_reply_to_l1_commit);
  Instance writer(instance_config(after.url()));
  Config config = instance_config(server.url_at(proxy.port()));
  config.l2.pool_size = 1;
  Instance b(config);
  ASSERT_TRUE(b.view.put("k", 1).ok());
  ASSERT_TRUE(writer.view.put("k", 2).ok());
  b.wait_coherent();
  // All the connections that there may be, so that none is made to the new master before the old ones are gone.
  ASSERT_TRUE(eventually([&] { return static_cast<void>(b.get("other")), b.store().stats().l2.connections == 2; }));
  proxy.retarget(after.port());
  lab::bus_link_cut = true;
  ASSERT_TRUE(eventually([&] { return !b.store().stats().bus.subscribed; }));
  lab::bus_link_cut = false;
  ASSERT_TRUE(eventually([&] { return b.store().stats().bus.subscribed; }));
  // The writer's heartbeats: what B held from the old master is void by now.
  const std::uint64_t heard = b.store().stats().bus.messages;
  ASSERT_TRUE(eventually([&] { return b.store().stats().bus.messages >= heard + 3; }));
  auto reader = std::async(std::launch::async, [&] { return gate.arm(), b.get("k"); });
  gate.wait_reached();
  server.command({"CLIENT", "KILL", "TYPE", "normal"});
  b.wait_coherent();
  b.wait_applied();
  gate.open();
  EXPECT_EQ(reader.get(), 1);
  EXPECT_EQ(b.get("k"), remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, ReplacedMaster, ::testing::Bool(), race_name);

}  // namespace
}  // namespace tiercache::testing
