// SPDX-License-Identifier: Apache-2.0
//
// A client's puts after its first one: one command, and in everything that others see the same as the first.
#include "l2_test.hpp"

#include <gtest/gtest.h>

namespace tiercache::testing {
namespace {

class QuickPut : public ::testing::Test {
 protected:
  QuickPut() {
    EXPECT_FALSE(c.heartbeat(1).error);
    EXPECT_FALSE(c.put("first", "v").error);   // tells the epoch
    EXPECT_FALSE(c.put("second", "v").error);  // brings the script
  }
  std::string epoch() { return server.command({"GET", "test:app:!epoch"}); }
  std::uint64_t number() { return std::stoull(server.command({"GET", "test:app:!seq"})); }
  /// How many commands a put takes.
  std::uint64_t commands(std::string_view payload = "v") {
    const std::uint64_t before = c.stats().commands;
    EXPECT_FALSE(c.put("1", payload).error);
    return c.stats().commands - before;
  }
  static std::string message(const std::string& epoch, std::uint64_t number, const std::string& id) {
    std::string m("TCB\1\1\0\0\0", 8);
    m += epoch;
    append_be<8>(m, number);
    append_be<8>(m, naming.origin);
    append_be<8>(m, 42);
    append_be<2>(m, 1);
    append_be<2>(m, key(id).size());
    append_be<8>(m, 0);
    return m + key(id);
  }
  RedisServer server;
  Client c{server};
};

TEST_F(QuickPut, IsOneCommandNumberedAnnouncedLoggedAndStored) {
  Subscriber bus(server);
  const std::uint64_t before = c.stats().commands;
  const RemoteReply r = c.put("1", "value");
  ASSERT_FALSE(r.error);
  EXPECT_EQ(c.stats().commands - before, 1U);
  EXPECT_TRUE(r.applied);
  EXPECT_EQ(r.sequence, 3U);
  EXPECT_EQ(r.epoch, load_be<8>(epoch().data()));
  EXPECT_EQ(number(), 3U);
  EXPECT_EQ(bus.next(), message(epoch(), 3, "1"));
  EXPECT_EQ(server.command({"EVAL", "return redis.call('XRANGE', KEYS[1], '3-1', '3-1')[1][2][2]", "1", "test:app:!log"}),
            message(epoch(), 3, "1"));
  EXPECT_EQ(server.command({"GET", key("1")}), head() + epoch() + "value");
  EXPECT_EQ(server.command({"PTTL", key("1")}), "-1");
}

TEST_F(QuickPut, HasItsTimeToLiveAndLosesAnOldOne) {
  ASSERT_FALSE(c.put("1", "v", 50'000).error);
  const long left = std::stol(server.command({"PTTL", key("1")}));
  EXPECT_GT(left, 30'000);
  EXPECT_LE(left, 50'000);
  ASSERT_FALSE(c.put("1", "v").error);
  EXPECT_EQ(server.command({"PTTL", key("1")}), "-1");
}

TEST_F(QuickPut, DisplacesALease) {
  ASSERT_EQ(c.lease(RemoteOp::lease_get, "1", "token").lease, LeaseState::granted);
  EXPECT_EQ(commands("new"), 1U);
  EXPECT_FALSE(c.lease(RemoteOp::lease_fill, "1", "token", "old").applied);
  EXPECT_EQ(c.value("1"), "new");
}

TEST_F(QuickPut, OfAnotherEpochThanTheOneInForceIsMadeInTheOneInForce) {
  ASSERT_EQ(server.command({"SET", "test:app:!epoch", "ANOTHER8"}), "OK");
  Subscriber bus(server);
  const RemoteReply r = c.put("1", "value");
  ASSERT_FALSE(r.error);
  EXPECT_EQ(r.sequence, 3U);  // no number is lost on the way
  EXPECT_EQ(r.epoch, load_be<8>("ANOTHER8"));
  EXPECT_EQ(bus.next(), message("ANOTHER8", 3, "1"));
  EXPECT_EQ(server.command({"GET", key("1")}), head() + "ANOTHER8" + "value");
  EXPECT_EQ(commands(), 1U);  // it knows now
  EXPECT_EQ(bus.next(), message("ANOTHER8", 4, "1"));
}

TEST_F(QuickPut, WithoutAnEpochOneBegins) {
  const std::string old = epoch();
  ASSERT_EQ(server.command({"DEL", "test:app:!epoch"}), "1");
  EXPECT_GT(commands(), 1U);
  EXPECT_EQ(epoch().size(), 8U);
  EXPECT_NE(epoch(), old);
  EXPECT_EQ(server.command({"GET", key("1")}), head() + epoch() + "v");
}

TEST_F(QuickPut, OfACounterThatWentBackBeginsANewEpoch) {
  const std::string old = epoch();
  ASSERT_FALSE(c.put("1", "v").error);
  ASSERT_EQ(server.command({"SET", "test:app:!seq", "1"}), "OK");
  Subscriber bus(server);
  ASSERT_FALSE(c.put("1", "v").error);
  EXPECT_NE(epoch(), old);
  EXPECT_EQ(bus.next(), message(epoch(), 2, "1"));
  EXPECT_EQ(server.command({"GET", key("1")}), head() + epoch() + "v");
  EXPECT_EQ(commands(), 1U);
  EXPECT_EQ(bus.next(), message(epoch(), 3, "1"));
}

TEST_F(QuickPut, WhereMemoryIsOutIsRefusedAndTellsNobody) {
  ASSERT_FALSE(c.put("1", "old").error);
  const std::uint64_t before = number();
  ASSERT_EQ(server.command({"CONFIG", "SET", "maxmemory", "1"}), "OK");
  EXPECT_EQ(code(c.put("1", "new")), Errc::refused);
  ASSERT_EQ(server.command({"CONFIG", "SET", "maxmemory", "0"}), "OK");
  EXPECT_EQ(number(), before);
  EXPECT_EQ(c.value("1"), "old");
  Subscriber bus(server);
  EXPECT_EQ(commands(), 1U);
  EXPECT_EQ(bus.next(), message(epoch(), before + 1, "1"));
}

TEST_F(QuickPut, WhereItsCommandsAreNotAllowedIsMadeAllTheSame) {
  ASSERT_EQ(server.command({"ACL", "SETUSER", "default", "-mget", "-xadd"}), "OK");
  const std::uint64_t before = number();
  EXPECT_GT(commands("new"), 1U);
  EXPECT_EQ(number(), before + 1);
  EXPECT_EQ(c.value("1"), "new");
}

}  // namespace
}  // namespace tiercache::testing
