// SPDX-License-Identifier: Apache-2.0
//
// The bus over a real redis-server while links and servers fail. In each story the loss ends in a gap, and the bus becomes
// coherent again by itself.
#include "instance.hpp"

#include <tcp_proxy.hpp>

#include <tiercache/base/lab.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tiercache::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class BusFaults : public ::testing::Test {
 protected:
  ~BusFaults() override {
    lab::bus_reader_stopped = false;
    lab::bus_link_cut = false;
  }
  /// Number of lines heard so far.
  static std::size_t here(Instance& a) { return a.sink().lines().size(); }
  /// `gap` and then a new subscription and a claim, after line `from`.
  static void expect_gap_and_recovery(Instance& a, const std::string& gap, std::size_t from) {
    const std::size_t at = a.sink().wait_line("gap 0 " + gap, from);
    ASSERT_NE(at, 0U) << a.sink().text();
    const std::size_t again = a.sink().wait_line("gap 0 subscribed", at);
    ASSERT_NE(again, 0U) << a.sink().text();
    EXPECT_TRUE(a.coherent_after(again)) << a.sink().text();
  }
  RedisServer redis_;
};

TEST_F(BusFaults, AKilledLinkIsAGapAndComesBack) {
  Instance a(redis_);
  ASSERT_TRUE(a.started());
  for (int i = 0; i < 3; ++i) {
    const std::size_t from = here(a);
    ASSERT_EQ(redis_.command({"CLIENT", "KILL", "TYPE", "pubsub"}), "1");
    expect_gap_and_recovery(a, "disconnected", from);
  }
  EXPECT_EQ(a.stats().connects, 4U);
  EXPECT_EQ(a.stats().gaps[static_cast<std::size_t>(GapReason::disconnected)], 3U);
}

TEST_F(BusFaults, AServerThatIsKilledAndStartsEmptyIsAGapAndANewEpoch) {
  Instance a(redis_);
  ASSERT_TRUE(a.started());
  const std::string epoch = a.sink().lines("epoch").back();
  const std::size_t from = here(a);
  redis_.kill9();
  ASSERT_NE(a.sink().wait_line("gap 0 disconnected", from), 0U) << a.sink().text();
  redis_.restart();
  expect_gap_and_recovery(a, "disconnected", from);
  EXPECT_NE(a.sink().lines("epoch").back(), epoch);
}

TEST_F(BusFaults, AServerThatIsStoppedForLongerThanTheBudgetIsSilent) {
  InstanceOptions options;
  options.budget = milliseconds(500);
  Instance a(redis_, options);
  ASSERT_TRUE(a.started());
  redis_.pause();
  const SteadyTime paused = std::chrono::steady_clock::now();
  const std::size_t at = a.sink().wait_line("gap 0 silent");
  const SteadyTime noticed = std::chrono::steady_clock::now();
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_GE(noticed - paused, milliseconds(150));  // counted from the last message, which came a beat or so before
  EXPECT_LE(noticed - paused, milliseconds(2500));
  EXPECT_LE(*a.sink().coherent_until(), paused + options.budget);  // no claim goes beyond a beat that was sent in time
  EXPECT_FALSE(a.stats().subscribed);
  redis_.resume();
  const std::size_t again = a.sink().wait_line("gap 0 subscribed", at);
  EXPECT_TRUE(a.coherent_after(again)) << a.sink().text();
}

TEST_F(BusFaults, AReaderThatIsTooSlowIsCutOffByTheServerAndThatIsAGap) {
  InstanceOptions options;
  options.budget = milliseconds(20'000);  // silence is not what ends this link
  options.heartbeat = milliseconds(50);
  Instance a(redis_, options);
  ASSERT_TRUE(a.started());
  ASSERT_EQ(redis_.command({"CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0"}), "OK");
  lab::bus_reader_stopped = true;
  const std::size_t from = here(a);
  const std::string noise(100'000, 'x');
  ASSERT_TRUE(eventually([&] {  // until the sockets' buffers are full and the server's limit is passed
    redis_.command({"PUBLISH", "dev:users:!bus", noise});
    return redis_.command({"CLIENT", "LIST", "TYPE", "pubsub"}).empty();
  }));
  ASSERT_EQ(a.erase("dev:users:user:lost", 1), "");  // nobody was listening to this one
  lab::bus_reader_stopped = false;
  expect_gap_and_recovery(a, "disconnected", from);
  EXPECT_THAT(a.sink().lines("invalidate"), IsEmpty());
}

TEST_F(BusFaults, AHalfOpenLinkIsSilentWithinTheBudgetAndAWriteMeanwhileIsCoveredByTheGap) {
  TcpProxy proxy(redis_.port());
  InstanceOptions options;
  options.budget = milliseconds(500);
  options.bus_url = redis_.url_at(proxy.port());
  Instance a(redis_, options);
  ASSERT_TRUE(a.started());
  proxy.set(TcpProxy::to_client, LinkFault::blackhole());
  const SteadyTime cut = std::chrono::steady_clock::now();
  ASSERT_EQ(a.erase("dev:users:user:lost", 1), "");  // the data link works, and so do the heartbeats on it
  const std::size_t at = a.sink().wait_line("gap 0 silent");
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_LE(std::chrono::steady_clock::now() - cut, milliseconds(2500));
  EXPECT_LE(*a.sink().coherent_until(), cut + options.budget);
  EXPECT_THAT(a.sink().lines("invalidate"), IsEmpty());
  proxy.heal();
  const std::size_t again = a.sink().wait_line("gap 0 subscribed", at);
  EXPECT_TRUE(a.coherent_after(again)) << a.sink().text();
}

TEST_F(BusFaults, AServerWhoseCountersAreFlushedIsAGapOnTheStandingLink) {
  Instance a(redis_);
  ASSERT_TRUE(a.started());
  ASSERT_EQ(a.erase("dev:users:user:k", 1), "");
  ASSERT_NE(a.sink().wait_line("invalidate"), 0U);
  const std::size_t from = here(a);
  ASSERT_EQ(redis_.command({"FLUSHALL"}), "OK");
  const std::size_t at = a.sink().wait_line("gap 0 epoch_changed", from);
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_TRUE(a.coherent_after(at));
  EXPECT_EQ(a.stats().connects, 1U);
}

TEST_F(BusFaults, AnIdleLossShowsAtTheNextHeartbeat) {
  Instance a(redis_);
  ASSERT_TRUE(a.started());
  const std::size_t from = here(a);
  ASSERT_EQ(redis_.command({"INCR", "dev:users:!seq"}).find("(error)"), std::string::npos);  // a number whose message never came
  const std::size_t at = a.sink().wait_line("gap 0 lost", from);
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_TRUE(a.coherent_after(at));
}

TEST_F(BusFaults, AHeldReaderClaimsNothingNewAndThenAppliesInOrder) {
  InstanceOptions options;
  options.budget = milliseconds(5000);
  Instance a(redis_, options);
  ASSERT_TRUE(a.started());
  lab::bus_reader_stopped = true;
  ASSERT_TRUE(eventually([&] {  // held: heartbeats are answered and nothing is heard of them
    const std::size_t before = here(a);
    const std::uint64_t sent = a.stats().heartbeats_sent;
    eventually([&] { return a.stats().heartbeats_sent >= sent + 3; });
    return here(a) == before;
  }));
  const SteadyTime until = *a.sink().coherent_until();
  for (std::uint64_t i = 1; i <= 3; ++i) ASSERT_EQ(a.erase("dev:users:user:k" + std::to_string(i), i), "");
  const std::uint64_t sent = a.stats().heartbeats_sent;
  ASSERT_TRUE(eventually([&] { return a.stats().heartbeats_sent >= sent + 3; }));
  EXPECT_EQ(*a.sink().coherent_until(), until);
  EXPECT_THAT(a.sink().lines("invalidate"), IsEmpty());
  lab::bus_reader_stopped = false;
  ASSERT_NE(a.sink().wait_line("invalidate 0 dev:users:user:k3"), 0U) << a.sink().text();
  EXPECT_THAT(a.sink().lines("invalidate"),
              ElementsAre("invalidate 0 dev:users:user:k1 v0 w1", "invalidate 0 dev:users:user:k2 v0 w2",
                          "invalidate 0 dev:users:user:k3 v0 w3"));
  EXPECT_TRUE(a.coherent_after(here(a)));
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

TEST_F(BusFaults, ACutLinkIsAGapAtOnceAndStaysDownAsLongAsItIsCut) {
  Instance a(redis_);
  ASSERT_TRUE(a.started());
  const std::size_t from = here(a);
  lab::bus_link_cut = true;
  ASSERT_NE(a.sink().wait_line("gap 0 disconnected", from), 0U) << a.sink().text();
  ASSERT_TRUE(eventually([&] { return redis_.command({"CLIENT", "LIST", "TYPE", "pubsub"}).empty(); }));
  const std::uint64_t sent = a.stats().heartbeats_sent;
  ASSERT_TRUE(eventually([&] { return a.stats().heartbeats_sent >= sent + 6; }));  // about 300 ms: several back-offs
  EXPECT_EQ(a.stats().connects, 1U);
  lab::bus_link_cut = false;
  expect_gap_and_recovery(a, "disconnected", from);
}

}  // namespace
}  // namespace tiercache::testing
