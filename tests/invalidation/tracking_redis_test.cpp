// SPDX-License-Identifier: Apache-2.0
//
// Tracking over a real redis-server. Each story runs with tracking beside the bus and instead of it.
#include "instance.hpp"

#include <tcp_proxy.hpp>
#include <tracking_hold.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace tiercache::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class TrackingRedis : public ::testing::TestWithParam<invalidation::Source> {
 protected:
  static InstanceOptions options() {
    InstanceOptions o;
    o.source = GetParam();
    return o;
  }
  static bool alone() { return GetParam() == invalidation::Source::tracking; }
  static std::size_t here(Instance& a) { return a.sink().lines().size(); }
  static std::size_t told(Instance& a, const std::string& key) { return a.sink().lines("invalidate 0 " + key + " v0 w0").size(); }
  RedisServer redis_;
};

TEST_P(TrackingRedis, WritesByClientsThatKnowNothingOfUsAreHeard) {
  Instance a(redis_, options());
  ASSERT_TRUE(a.started()) << a.sink().text();
  redis_.command({"SET", "dev:users:user:k", "x"});
  ASSERT_NE(a.sink().wait_line("invalidate 0 dev:users:user:k v0 w0"), 0U) << a.sink().text();
  redis_.command({"APPEND", "dev:users:user:k", "y"});
  ASSERT_TRUE(eventually([&] { return told(a, "dev:users:user:k") == 2; })) << a.sink().text();
  redis_.command({"RENAME", "dev:users:user:k", "dev:users:user:l"});
  ASSERT_TRUE(eventually([&] { return told(a, "dev:users:user:k") == 3; })) << a.sink().text();
  ASSERT_NE(a.sink().wait_line("invalidate 0 dev:users:user:l v0 w0"), 0U) << a.sink().text();
  redis_.command({"DEL", "dev:users:user:l"});
  ASSERT_TRUE(eventually([&] { return told(a, "dev:users:user:l") == 2; })) << a.sink().text();
  redis_.command({"EVAL", "redis.call('SELECT', 1) return redis.call('SET', KEYS[1], 'x')", "1", "dev:users:user:other_db"});
  ASSERT_NE(a.sink().wait_line("invalidate 0 dev:users:user:other_db v0 w0"), 0U) << a.sink().text();
  redis_.command({"SET", "dev:others:user:k", "x"});
  redis_.command({"SET", "dev:users:user:last", "x"});
  ASSERT_NE(a.sink().wait_line("invalidate 0 dev:users:user:last v0 w0"), 0U) << a.sink().text();
  EXPECT_EQ(a.sink().lines("invalidate").size(), 7U)
      << a.sink().text();  // and none of leases, numbers, heartbeats, other services
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
  EXPECT_EQ(a.stats().tracking_keys, 7U);
}

TEST_P(TrackingRedis, AnOwnWriteIsToldByEachSourceThatIsInForce) {
  Instance a(redis_, options());
  Instance b(redis_, options());
  ASSERT_TRUE(b.started());
  redis_.command({"SET", "dev:users:user:k", "x"});
  ASSERT_TRUE(eventually([&] { return told(b, "dev:users:user:k") == 1; }));
  ASSERT_EQ(a.erase("dev:users:user:k", 7), "");
  ASSERT_TRUE(eventually([&] { return told(b, "dev:users:user:k") == 2; })) << b.sink().text();
  EXPECT_EQ(b.sink().lines("invalidate 0 dev:users:user:k v0 w7").size(), alone() ? 0U : 1U) << b.sink().text();
  ASSERT_EQ(a.clear("user", 8), "");
  EXPECT_NE(b.sink().wait_line("clear 0 user"), 0U);
}

TEST_P(TrackingRedis, AFlushVoidsAtOnceAndIsFollowedByAClaim) {
  Instance a(redis_, options());
  ASSERT_TRUE(a.started());
  for (const char* flush : {"FLUSHALL", "FLUSHDB"}) {
    const std::size_t from = here(a);
    ASSERT_EQ(redis_.command({flush}), "OK");
    const std::size_t at = a.sink().wait_line("gap 0 flushed", from);
    ASSERT_NE(at, 0U) << a.sink().text();
    EXPECT_TRUE(a.coherent_after(at));
  }
  EXPECT_EQ(a.stats().gaps[static_cast<std::size_t>(GapReason::flushed)], 2U);
  EXPECT_EQ(a.stats().connects, 1U);
}

TEST_P(TrackingRedis, AKeyThatExpiresIsHeardAlthoughNobodyAsksForIt) {
  Instance a(redis_, options());
  ASSERT_TRUE(a.started());
  redis_.command({"SET", "dev:users:user:k", "x", "PX", "100"});
  ASSERT_TRUE(eventually([&] { return told(a, "dev:users:user:k") == 2; })) << a.sink().text();  // written, then gone
}

TEST_P(TrackingRedis, AKeyThatIsEvictedIsHeard) {
  Instance a(redis_, options());
  ASSERT_TRUE(a.started());
  redis_.command({"CONFIG", "SET", "maxmemory-policy", "volatile-ttl"});
  redis_.command({"SET", "dev:users:user:k", "x", "PX", "600000"});
  ASSERT_TRUE(eventually([&] { return told(a, "dev:users:user:k") == 1; }));
  redis_.command({"CONFIG", "SET", "maxmemory", "1"});
  ASSERT_TRUE(eventually([&] { return told(a, "dev:users:user:k") == 2; })) << a.sink().text();
  EXPECT_TRUE(a.coherent_after(here(a)));  // also while no memory is left: the heartbeat's key still changes
  redis_.command({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_EQ(redis_.command({"EXISTS", "dev:users:user:k"}), "0");
}

const std::string many = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'dev:users:user:' .. ARGV[2] .. i, 'x') end return 1";

TEST_P(TrackingRedis, ThousandsOfKeysInOneTurnAreAllHeard) {
  InstanceOptions o = options();
  o.budget = milliseconds(5000);  // the script and a loaded machine must not count as silence
  Instance a(redis_, o);
  ASSERT_TRUE(a.started());
  ASSERT_EQ(redis_.command({"EVAL", many, "0", "20000", "k"}), "1");
  ASSERT_TRUE(eventually([&] {  // a key is counted before it is told
    return a.stats().tracking_keys >= 20'000 && a.sink().lines("invalidate").size() >= 20'000;
  }));
  const auto lines = a.sink().lines("invalidate");
  EXPECT_EQ(std::set<std::string>(lines.begin(), lines.end()).size(), 20'000U);
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

TEST_P(TrackingRedis, AMessageOverTheBoundsEndsTheLinkWhichVoids) {
  InstanceOptions o = options();
  o.budget = milliseconds(5000);
  Instance a(redis_, o);
  ASSERT_TRUE(a.started());
  const std::size_t from = here(a);
  ASSERT_EQ(redis_.command({"EVAL", many, "0", "2000", std::string(1000, 'k')}), "1");  // 2 MB of names
  const std::size_t at = a.sink().wait_line("gap 0 disconnected", from);
  ASSERT_NE(at, 0U) << a.sink().text();
  const std::size_t again = a.sink().wait_line("gap 0 subscribed", at);
  EXPECT_TRUE(a.coherent_after(again));
  EXPECT_THAT(a.sink().lines("invalidate"), IsEmpty());
}

TEST_P(TrackingRedis, ALostLinkVoidsAlthoughTheLogReachesBack) {
  InstanceOptions o = options();
  o.log_entries = 1024;
  Instance a(redis_, o);
  ASSERT_TRUE(a.started());
  ASSERT_EQ(a.erase("dev:users:user:k", 1), "");
  const std::size_t from = here(a);
  ASSERT_EQ(redis_.command({"CLIENT", "KILL", "TYPE", "pubsub"}), "1");
  const std::size_t again = a.sink().wait_line("gap 0 subscribed", from);
  ASSERT_NE(again, 0U) << a.sink().text();
  EXPECT_TRUE(a.coherent_after(again));
  EXPECT_EQ(a.stats().resyncs_replayed, 0U);
}

TEST_P(TrackingRedis, WhatOthersPublishToTheChannelOfRedisIsHarmless) {
  Instance a(redis_, options());
  ASSERT_TRUE(a.started());
  redis_.command({"PUBLISH", "__redis__:invalidate", "dev:users:user:k"});
  redis_.command({"PUBLISH", "__redis__:invalidate", ""});
  ASSERT_TRUE(eventually([&] { return a.stats().malformed == 2; }));
  EXPECT_TRUE(a.coherent_after(here(a)));
  EXPECT_THAT(a.sink().lines("invalidate"), IsEmpty());
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

TEST_P(TrackingRedis, EveryShardIsValidatedByItsOwnHeartbeat) {
  InstanceOptions o = options();
  o.shards = 17;
  o.budget = milliseconds(3000);
  o.heartbeat = milliseconds(200);
  Instance a(redis_, o);
  ASSERT_TRUE(a.started());
  for (int shard = 0; shard < 17; ++shard) EXPECT_NE(a.sink().wait_line("coherent " + std::to_string(shard) + " "), 0U) << shard;
  redis_.command({"SET", "dev:users:user:{10}:k", "x"});
  EXPECT_NE(a.sink().wait_line("invalidate 16 dev:users:user:{10}:k v0 w0"), 0U) << a.sink().text();
  EXPECT_EQ(a.sink().lines("gap").size(), 17U);
}

TEST_P(TrackingRedis, WhereTrackingIsRefusedNothingIsEverClaimed) {
  ASSERT_EQ(redis_.command({"ACL", "SETUSER", "default", "-client|tracking"}), "OK");
  Instance a(redis_, options());
  a.start();
  ASSERT_TRUE(eventually([&] { return a.stats().connects >= 3; }));
  EXPECT_FALSE(a.sink().coherent_until());
  ASSERT_EQ(redis_.command({"ACL", "SETUSER", "default", "+client|tracking"}), "OK");
  EXPECT_TRUE(a.coherent_after(a.sink().wait_line("gap 0 subscribed"))) << a.sink().text();
}

TEST_P(TrackingRedis, WhileTrackingIsHeldBackNothingIsClaimed) {
  TrackingHold hold;
  TcpProxy proxy(redis_.port());
  proxy.set(TcpProxy::to_client, hold.fault());
  InstanceOptions o = options();
  o.budget = milliseconds(5000);  // so that the link is not given up meanwhile
  o.bus_url = redis_.url_at(proxy.port());
  Instance a(redis_, o);
  ASSERT_TRUE(a.started()) << a.sink().text();
  hold.holding = true;
  const int before = hold.held;
  ASSERT_TRUE(eventually([&] { return hold.held > before; }));
  const std::uint64_t seen = a.stats().heartbeats_seen;  // what passed before is applied once heartbeats of after it were seen
  ASSERT_TRUE(eventually([&] { return a.stats().heartbeats_seen >= seen + 3; }));
  const SteadyTime until = *a.sink().coherent_until();
  redis_.command({"SET", "dev:users:user:k", "x"});
  ASSERT_TRUE(eventually([&] { return hold.held >= before + 6; }));
  EXPECT_EQ(*a.sink().coherent_until(), until);
  EXPECT_THAT(a.sink().lines("invalidate"), IsEmpty());
  hold.holding = false;
  const std::size_t at = a.sink().wait_line("invalidate 0 dev:users:user:k v0 w0");
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_TRUE(a.coherent_after(at));
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

TEST_P(TrackingRedis, ALinkOverWhichTrackingFallsSilentIsGivenUpAndMadeAnew) {
  TrackingHold hold;
  hold.lossy = true;
  TcpProxy proxy(redis_.port());
  proxy.set(TcpProxy::to_client, hold.fault());
  InstanceOptions o = options();
  o.budget = milliseconds(1000);
  o.bus_url = redis_.url_at(proxy.port());
  Instance a(redis_, o);
  ASSERT_TRUE(a.started()) << a.sink().text();
  hold.holding = true;
  const SteadyTime lost = std::chrono::steady_clock::now();
  const std::size_t at = a.sink().wait_line("gap 0 disconnected");
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_GE(std::chrono::steady_clock::now() - lost, o.budget / 2);
  EXPECT_LE(*a.sink().coherent_until(), lost + o.budget);
  const std::size_t again = a.sink().wait_line("gap 0 subscribed", at);
  ASSERT_NE(again, 0U);
  ASSERT_NE(a.sink().wait_line("gap 0 disconnected", again), 0U);  // still silent: given up once more
  EXPECT_LE(*a.sink().coherent_until(), lost + o.budget);
  hold.holding = false;
  EXPECT_TRUE(a.coherent_after(here(a)));
}

TEST_P(TrackingRedis, ARedirectThatTellsOfAnotherPrefixIsNeverBelieved) {
  TcpProxy proxy(redis_.port());
  proxy.set(TcpProxy::to_server, mistaken_request("PREFIX\r\n$10\r\ndev:users:", "PREFIX\r\n$10\r\ndev:usurs:"));
  InstanceOptions o = options();
  o.budget = milliseconds(1000);  // a link is given up after half of it
  o.bus_url = redis_.url_at(proxy.port());
  Instance a(redis_, o);
  a.start();
  ASSERT_TRUE(eventually([&] { return a.stats().connects >= 3; }));
  EXPECT_FALSE(a.sink().coherent_until());
  proxy.set(TcpProxy::to_server, LinkFault::pass());
  EXPECT_TRUE(a.coherent_after(here(a) + 1)) << a.sink().text();
}

std::string source_name(const ::testing::TestParamInfo<invalidation::Source>& info) {
  return info.param == invalidation::Source::both ? "BesideTheBus" : "Alone";
}
INSTANTIATE_TEST_SUITE_P(Sources, TrackingRedis, ::testing::Values(invalidation::Source::both, invalidation::Source::tracking),
                         source_name);

}  // namespace
}  // namespace tiercache::testing
