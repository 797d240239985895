// SPDX-License-Identifier: Apache-2.0
//
// Changes in Redis that no instance announces. B is the reader's instance, and what it holds in L1 goes from Redis behind its
// back. Each read is judged by the promise: begun more than D after the change was acknowledged, it may not return the old value.
#include "instances.hpp"

#include <tracking_hold.hpp>

namespace tiercache::testing {
namespace {

using BusSource = invalidation::Source;  // Source is where a value comes from

constexpr auto budget = 500ms;
const std::string physical = "test:races:n:k";

class Unannounced : public Race {
 protected:
  static Config tracked(const std::string& url, BusSource source = BusSource::both) {
    Config config = instance_config(url);
    config.bus.staleness_budget = budget;
    config.bus.source = source;
    return config;
  }
  /// B holds 1 under k in L1, and Redis does too.
  static void hold_one(Instance& b) {
    ASSERT_TRUE(eventually([&] { return b.view.put("k", 1).ok(); }));
    b.wait_coherent();
    b.wait_applied();
    b.warm("k");
    ASSERT_EQ(b.get("k"), 1);
  }
  /// Reads k until twice the budget after `changed`: did a read that began after one budget still return 1?
  static bool stale_beyond_the_budget(Instance& b, std::chrono::steady_clock::time_point changed) {
    for (auto begun = changed; begun < changed + 2 * budget; begun = std::chrono::steady_clock::now()) {
      if (b.get("k") == 1 && begun > changed + budget) return true;
    }
    return false;
  }
  bool stale_after(Instance& b, const std::vector<std::string>& change) {
    EXPECT_EQ(server.command(change).find("(error)"), std::string::npos);
    return stale_beyond_the_budget(b, std::chrono::steady_clock::now());
  }
  /// With the remedy the story must not end with a stale read. Without it one of a few tries must: on a loaded machine a link may
  /// fall silent, and its gap voids what should have been stale.
  template <class F>
  static void judge(F&& story) {
    if (remedy()) {
      EXPECT_FALSE(story());
      return;
    }
    for (int i = 0; i < 10; ++i) {
      if (story()) return;
    }
    ADD_FAILURE() << "never seen to break";
  }
  /// Row 13 and 14 without tracking: the bus alone.
  static BusSource source_or_bus(BusSource source) { return remedy() ? source : BusSource::bus; }
};

// A client that knows nothing of tiercache deletes k, or writes another value over it.
class WritesByOtherClients : public Unannounced {};
TEST_P(WritesByOtherClients, Row14) {
  for (const BusSource source : {BusSource::both, BusSource::tracking}) {
    for (const std::vector<std::string>& change :
         {std::vector<std::string>{"DEL", physical}, {"SET", physical, "a stranger's"}}) {
      judge([&] {
        server.command({"DEL", physical});
        Instance b(tracked(server.url(), source_or_bus(source)));
        hold_one(b);
        return stale_after(b, change);
      });
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Races, WritesByOtherClients, ::testing::Bool(), race_name);

// Somebody empties Redis. (The counters go with it, so the next heartbeat shows another epoch: both messages are the same
// remedy.)
class Flush : public Unannounced {};
TEST_P(Flush, Row13) {
  const Ablated ablated(lab::Remedy::generation, !remedy());
  judge([&] {
    Instance b(tracked(server.url()));
    hold_one(b);
    return stale_after(b, {"FLUSHALL"});
  });
}
INSTANTIATE_TEST_SUITE_P(Races, Flush, ::testing::Bool(), race_name);

// Somebody gives k a shorter life, and it ends.
class Expiry : public Unannounced {};
TEST_P(Expiry, Row13) {
  judge([&] {
    Instance b(tracked(server.url(), source_or_bus(BusSource::both)));
    hold_one(b);
    server.command({"PEXPIRE", physical, "20"});
    EXPECT_TRUE(eventually([&] { return server.command({"EXISTS", physical}) == "0"; }));
    return stale_beyond_the_budget(b, std::chrono::steady_clock::now());
  });
}
INSTANTIATE_TEST_SUITE_P(Races, Expiry, ::testing::Bool(), race_name);

// Redis runs out of memory and evicts k; a later write elsewhere would find nothing to tell of.
class Eviction : public Unannounced {};
TEST_P(Eviction, Row13) {
  server.command({"CONFIG", "SET", "maxmemory-policy", "volatile-ttl"});  // the counters live for ever and stay
  judge([&] {
    Instance b(tracked(server.url(), source_or_bus(BusSource::both)));
    hold_one(b);
    server.command({"CONFIG", "SET", "maxmemory", "1"});
    EXPECT_TRUE(eventually([&] { return server.command({"EXISTS", physical}) == "0"; }));
    const auto evicted = std::chrono::steady_clock::now();
    server.command({"CONFIG", "SET", "maxmemory", "0"});
    return stale_beyond_the_budget(b, evicted);
  });
}
INSTANTIATE_TEST_SUITE_P(Races, Eviction, ::testing::Bool(), race_name);

// The heartbeats come back, and what Redis tells of changed keys is held up on its way.
class TrackingHeldBack : public Unannounced {};
TEST_P(TrackingHeldBack, Row14) {
  const Ablated ablated(lab::Remedy::tracking, !remedy());
  judge([&] {
    TrackingHold hold;
    TcpProxy proxy(server.port());
    proxy.set(TcpProxy::to_client, hold.fault());
    Instance b(tracked(server.url_at(proxy.port())));
    hold_one(b);
    hold.holding = true;
    const bool stale = stale_after(b, {"DEL", physical});
    hold.holding = false;
    EXPECT_TRUE(eventually([&] { return b.get("k") == -1; }));
    return stale;
  });
}
INSTANTIATE_TEST_SUITE_P(Races, TrackingHeldBack, ::testing::Bool(), race_name);

// The redirect breaks: Redis goes on to publish, and tells of no key any more.
class TrackingRedirectBroken : public Unannounced {};
TEST_P(TrackingRedirectBroken, Row9) {
  const Ablated ablated(lab::Remedy::tracking, !remedy());
  judge([&] {
    TrackingHold hold;
    hold.lossy = true;
    TcpProxy proxy(server.port());
    proxy.set(TcpProxy::to_client, hold.fault());
    Instance b(tracked(server.url_at(proxy.port())));
    hold_one(b);
    hold.holding = true;
    const bool stale = stale_after(b, {"DEL", physical});
    hold.holding = false;
    if (!remedy()) return stale;
    b.wait_coherent();  // by a new link
    EXPECT_GT(b.store().stats().bus.connects, 1U);
    return stale;
  });
}
INSTANTIATE_TEST_SUITE_P(Races, TrackingRedirectBroken, ::testing::Bool(), race_name);

// The connection that tracking redirects to itself ends; k is deleted before it comes back, and Redis remembers nothing for it.
class TrackingLinkKilled : public Unannounced {};
TEST_P(TrackingLinkKilled, Row9) {
  const Ablated ablated(lab::Remedy::generation, !remedy());
  judge([&] {
    Instance b(tracked(server.url()));
    hold_one(b);
    lab::bus_link_cut = true;  // keeps the subscriber from coming back before the write
    server.command({"CLIENT", "KILL", "TYPE", "pubsub"});
    EXPECT_TRUE(eventually([&] { return !b.store().stats().bus.subscribed; }));
    server.command({"DEL", physical});
    const auto deleted = std::chrono::steady_clock::now();
    lab::bus_link_cut = false;
    EXPECT_TRUE(eventually([&] { return b.store().stats().bus.subscribed; }));
    b.wait_applied();
    b.wait_coherent();
    return stale_beyond_the_budget(b, deleted);
  });
}
INSTANTIATE_TEST_SUITE_P(Races, TrackingLinkKilled, ::testing::Bool(), race_name);

}  // namespace
}  // namespace tiercache::testing
