// SPDX-License-Identifier: Apache-2.0
//
// The bus over a real redis-server that logs announcements: after a link was lost what was missed is heard all the same, without
// a gap that voids; and where the log cannot tell, there is one.
#include "instance.hpp"

#include <tcp_proxy.hpp>

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/lab.hpp>
#include <tiercache/invalidation/message.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>

namespace tiercache::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class BusResync : public ::testing::Test {
 protected:
  ~BusResync() override { lab::bus_link_cut = false; }
  static InstanceOptions logging(std::uint32_t entries = 1000) {
    InstanceOptions o;
    o.log_entries = entries;
    return o;
  }
  static std::string key(int i) { return "dev:users:user:k" + std::to_string(i); }
  static std::string heard(int i, int id) { return "invalidate 0 " + key(i) + " v0 w" + std::to_string(id); }
  /// Ends the link and keeps it down while `meanwhile` runs.
  template <class F>
  void cut_while(Instance& a, F&& meanwhile) {
    const std::size_t from = a.sink().lines().size();
    lab::bus_link_cut = true;
    redis_.command({"CLIENT", "KILL", "TYPE", "pubsub"});
    ASSERT_NE(a.sink().wait_line("gap 0 disconnected", from), 0U);
    meanwhile();
    lab::bus_link_cut = false;
  }
  /// Voided by `reason`, and coherent after it.
  static void expect_void(Instance& a, std::size_t from) {
    const std::size_t at = a.sink().wait_line("gap 0 log_lost", from);
    ASSERT_NE(at, 0U) << a.sink().text();
    EXPECT_TRUE(a.coherent_after(at)) << a.sink().text();
    EXPECT_EQ(a.stats().resyncs_voided, 1U);
  }
  RedisServer redis_;
};

TEST_F(BusResync, WhatALostLinkMissedIsReplayedInOrderBeforeAnyClaimAndNothingIsVoided) {
  Instance a(redis_, logging());
  Instance b(redis_, logging());  // writes; it is cut off as well
  ASSERT_TRUE(a.started());
  cut_while(a, [&] {
    for (int i = 1; i <= 3; ++i) ASSERT_EQ(b.erase(key(i), static_cast<std::uint64_t>(i)), "");
  });
  const std::size_t known = a.sink().wait_line("epoch 0 0");
  ASSERT_NE(known, 0U) << a.sink().text();
  ASSERT_TRUE(a.coherent_after(known)) << a.sink().text();
  auto lines = a.sink().lines();
  lines.erase(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(known));
  ASSERT_GE(lines.size(), 5U) << a.sink().text();
  lines.resize(3);
  EXPECT_THAT(lines, ElementsAre(heard(1, 1), heard(2, 2), heard(3, 3)));
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed", "gap 0 disconnected"));
  EXPECT_EQ(a.stats().resyncs_replayed, 1U);
  EXPECT_EQ(a.stats().messages_replayed, 3U);
}

TEST_F(BusResync, MoreThanAPageIsReplayed) {
  Instance a(redis_, logging(4000));
  ASSERT_TRUE(a.started());
  cut_while(a, [&] {
    for (int i = 1; i <= 1300; ++i) ASSERT_EQ(a.erase(key(i), static_cast<std::uint64_t>(i)), "");
  });
  ASSERT_NE(a.sink().wait_line(heard(1300, 1300)), 0U);
  ASSERT_TRUE(eventually([&] { return a.stats().resyncs_replayed == 1; }));
  EXPECT_EQ(a.sink().lines("invalidate").size(), 1300U);
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed", "gap 0 disconnected"));
}

TEST_F(BusResync, AClearIsReplayed) {
  Instance a(redis_, logging());
  ASSERT_TRUE(a.started());
  cut_while(a, [&] { ASSERT_EQ(a.clear("user", 1), ""); });
  ASSERT_NE(a.sink().wait_line("clear 0 user"), 0U) << a.sink().text();
}

TEST_F(BusResync, AHalfOpenLinkIsReplayed) {
  TcpProxy proxy(redis_.port());
  InstanceOptions options = logging();
  options.budget = milliseconds(500);
  options.bus_url = redis_.url_at(proxy.port());
  Instance a(redis_, options);
  ASSERT_TRUE(a.started());
  proxy.set(TcpProxy::to_client, LinkFault::blackhole());
  ASSERT_EQ(a.erase(key(1), 1), "");
  ASSERT_NE(a.sink().wait_line("gap 0 silent"), 0U) << a.sink().text();
  proxy.heal();
  const std::size_t at = a.sink().wait_line(heard(1, 1));
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_TRUE(a.coherent_after(at));
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed", "gap 0 silent"));
}

// A message that was logged and never came: a single server does not lose one, a cluster's bus may.
TEST_F(BusResync, AHoleWithinTheLinkIsReplayed) {
  Instance a(redis_, logging());
  ASSERT_TRUE(a.started());
  ASSERT_EQ(a.erase(key(1), 1), "");
  const std::uint64_t epoch = load_be<8>(redis_.command({"GET", "dev:users:!epoch"}).data());
  const std::string missed = key(2);
  const std::vector<invalidation::Item> items{{missed, 0}};
  const std::string bytes = invalidation::encode({invalidation::Kind::invalidate, 0, epoch, 2, 99, 7}, items);
  redis_.command({"XADD", "dev:users:!log", "2-1", "m", bytes});
  ASSERT_EQ(redis_.command({"INCR", "dev:users:!seq"}), "2");
  const std::size_t at = a.sink().wait_line(heard(2, 7));
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_TRUE(a.coherent_after(at));
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

TEST_F(BusResync, ANumberThatWasNeverLoggedVoids) {
  Instance a(redis_, logging());
  ASSERT_TRUE(a.started());
  const std::size_t from = a.sink().lines().size();
  ASSERT_EQ(redis_.command({"INCR", "dev:users:!seq"}).find("(error)"), std::string::npos);
  expect_void(a, from);
}

TEST_F(BusResync, ATrimmedLogVoids) {
  Instance a(redis_, logging(64));
  ASSERT_TRUE(a.started());
  const std::size_t from = a.sink().lines().size();
  cut_while(a, [&] {
    for (int i = 1; i <= 500; ++i) ASSERT_EQ(a.erase(key(i), static_cast<std::uint64_t>(i)), "");
  });
  expect_void(a, from);
}

TEST_F(BusResync, AHoleInTheLogVoids) {
  Instance a(redis_, logging());
  ASSERT_TRUE(a.started());
  const std::size_t from = a.sink().lines().size();
  cut_while(a, [&] {
    for (int i = 1; i <= 3; ++i) ASSERT_EQ(a.erase(key(i), static_cast<std::uint64_t>(i)), "");
    ASSERT_EQ(redis_.command({"XDEL", "dev:users:!log", "2-1"}), "1");
  });
  expect_void(a, from);
}

TEST_F(BusResync, ARestartedServerVoidsAlsoWhenItsSnapshotHasTheLog) {
  for (const auto data : {RedisServer::Data::empty, RedisServer::Data::rdb}) {
    RedisServer redis;
    Instance a(redis, logging());
    ASSERT_TRUE(a.started());
    ASSERT_EQ(a.erase(key(1), 1), "");
    ASSERT_EQ(redis.command({"SAVE"}), "OK");
    const std::string epoch = a.sink().lines("epoch").back();
    const std::size_t from = a.sink().lines().size();
    redis.restart(data);
    ASSERT_TRUE(a.sink().wait_for([&](const auto& lines) {
      for (std::size_t i = from; i < lines.size(); ++i)
        if (lines[i] == "gap 0 log_lost" || lines[i] == "gap 0 epoch_changed") return true;
      return false;
    })) << a.sink().text();
    ASSERT_TRUE(a.coherent_after(a.sink().lines().size()));
    EXPECT_NE(a.sink().lines("epoch").back(), epoch);
  }
}

// A replica is promoted and takes the bus over, while calls still reach the replaced master: its log goes on without a hole, but
// it is not the log of what is heard from the new one.
TEST_F(BusResync, TheLogOfAnotherServerThanTheLinksVoids) {
  RedisServer promoted;
  TcpProxy proxy(redis_.port());
  InstanceOptions options = logging();
  options.bus_url = redis_.url_at(proxy.port());
  Instance a(redis_, options);
  ASSERT_TRUE(a.started());
  ASSERT_EQ(a.erase(key(1), 1), "");
  ASSERT_NE(a.sink().wait_line(heard(1, 1)), 0U);
  redis_.command({"CONFIG", "SET", "repl-diskless-sync-delay", "0"});
  promoted.command({"REPLICAOF", "127.0.0.1", std::to_string(redis_.port())});
  ASSERT_TRUE(eventually([&] { return promoted.command({"GET", "dev:users:!seq"}) == "1"; }));
  promoted.command({"REPLICAOF", "NO", "ONE"});
  const std::size_t from = a.sink().lines().size();
  proxy.retarget(promoted.port());
  proxy.cut();
  EXPECT_NE(a.sink().wait_line("gap 0 log_lost", from), 0U) << a.sink().text();
  EXPECT_EQ(a.stats().resyncs_replayed, 0U);
}

TEST_F(BusResync, ADataPathThatIsAwayLongerThanTheLinkVoidsNothing) {
  TcpProxy proxy(redis_.port());
  Instance writer(redis_, logging());
  InstanceOptions options = logging();
  options.bus_url = redis_.url();
  options.url = redis_.url_at(proxy.port());
  options.budget = milliseconds(20'000);  // no heartbeat comes meanwhile: silence is not what ends this link
  Instance a(redis_, options);
  ASSERT_TRUE(a.started());
  proxy.accept(TcpProxy::Accept::refuse);
  proxy.cut();
  cut_while(a, [&] { ASSERT_EQ(writer.erase(key(1), 1), ""); });
  ASSERT_NE(a.sink().wait_line("epoch 0 0"), 0U);
  ASSERT_EQ(writer.erase(key(2), 2), "");
  ASSERT_NE(a.sink().wait_line(heard(2, 2)), 0U) << a.sink().text();  // live, while the log cannot be asked
  EXPECT_THAT(a.sink().lines("invalidate"), Not(Contains(heard(1, 1))));
  proxy.accept(TcpProxy::Accept::forward);
  const std::size_t at = a.sink().wait_line(heard(1, 1));
  ASSERT_NE(at, 0U) << a.sink().text();
  EXPECT_TRUE(a.coherent_after(at));
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed", "gap 0 disconnected"));
}

// Links break again and again under a stream of writes, so that pages of the log and live messages of the same numbers meet.
TEST_F(BusResync, LinksThatBreakUnderWritesMissNothingAndVoidNothing) {
  Instance a(redis_, logging(1'000'000));
  Instance writer(redis_, logging(1'000'000));
  ASSERT_TRUE(a.started());
  std::atomic<bool> stop{false};
  int last = 0;
  std::thread writes([&] {
    while (!stop) {
      ++last;
      EXPECT_EQ(writer.erase(key(last), static_cast<std::uint64_t>(last)), "");
    }
  });
  for (int i = 0; i < 10; ++i) {
    const std::uint64_t connects = a.stats().connects;
    redis_.command({"CLIENT", "KILL", "TYPE", "pubsub"});
    EXPECT_TRUE(eventually([&] {  // in this order: subscribed on the new link, which the next round is to break
      return a.stats().connects > connects && a.stats().subscribed && a.stats().resyncs_replayed > 0;
    }));
  }
  stop = true;
  writes.join();
  ASSERT_EQ(writer.erase(key(0), 0), "");
  ASSERT_NE(a.sink().wait_line(heard(0, 0)), 0U);
  ASSERT_TRUE(a.coherent_after(a.sink().lines().size()));
  const auto all = a.sink().lines("invalidate");
  const std::set<std::string> applied(all.begin(), all.end());
  int missed = 0;
  for (int i = 1; i <= last; ++i) missed += applied.count(heard(i, i)) == 0 ? 1 : 0;
  EXPECT_EQ(missed, 0) << "of " << last;
  EXPECT_EQ(a.stats().resyncs_voided, 0U);
  EXPECT_GT(a.stats().messages_replayed, 0U);
}

}  // namespace
}  // namespace tiercache::testing
