// SPDX-License-Identifier: Apache-2.0
//
// Races with a link that fails. A is the writer's instance, B the reader's.
#include "instances.hpp"

namespace tiercache::testing {
namespace {

// B holds 1 in L1. Redis ends B's subscription, as it does at an output-buffer overflow; A writes 2 meanwhile; B subscribes again
// and is told nothing of it.
class Disconnect : public Race {};
TEST_P(Disconnect, Row6) {
  const Ablated ablated(lab::Remedy::generation, !remedy());
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  b.wait_coherent();
  b.wait_applied();
  b.warm("k");

  lab::bus_link_cut = true;  // keeps the subscribers from coming back before the write
  server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
  ASSERT_TRUE(eventually([&] { return !b.store().stats().bus.subscribed; }));
  ASSERT_TRUE(a.view.put("k", 2).ok());
  lab::bus_link_cut = false;
  ASSERT_TRUE(eventually([&] { return b.store().stats().bus.subscribed; }));
  b.wait_applied();
  b.wait_coherent();

  EXPECT_EQ(b.get("k"), remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, Disconnect, ::testing::Bool(), race_name);

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

}  // namespace
}  // namespace tiercache::testing
