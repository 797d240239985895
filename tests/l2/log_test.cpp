// SPDX-License-Identifier: Apache-2.0
//
// The log of announcements: what the scripts write into it, what resync reads out of it, and every way in which it may have a
// hole, of which a reader must be told.
#include "l2_test.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tiercache::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::string log_key = "test:app:!log";

std::uint64_t epoch_now(RedisServer& s) { return load_be<8>(s.command({"GET", "test:app:!epoch"}).data()); }
RemoteReply resync_from(Client& c, std::uint64_t epoch, std::uint64_t from) {
  RemoteRequest r;
  r.op = RemoteOp::resync;
  r.epoch = epoch;
  r.sequence = from;
  return c.run(r);
}
/// Whether the log reaches back to `from`.
bool reaches(Client& c, std::uint64_t epoch, std::uint64_t from) {
  const RemoteReply r = resync_from(c, epoch, from);
  EXPECT_FALSE(r.error) << r.error->message;
  return r.applied;
}
std::uint64_t number_of(const std::string& message) { return load_be<8>(message.data() + 16); }
l2::Naming logging(std::uint32_t entries) { return {"test", "app", naming.origin, entries}; }

class Logged : public ::testing::Test {
 protected:
  Logged() { EXPECT_FALSE(c.heartbeat(1).error); }
  void puts(int n) {
    for (int i = 0; i < n; ++i) ASSERT_FALSE(c.put("k", "v").error);
  }
  RedisServer server;
  Client c{server};
};

TEST_F(Logged, EveryAnnouncementIsReadBackAsItWasPublished) {
  Subscriber bus(server);
  ASSERT_FALSE(c.put_version("1", "v", 9, true).error);
  ASSERT_FALSE(c.erase({"1", "2"}).error);
  ASSERT_FALSE(c.heartbeat(2).error);  // not logged
  ASSERT_FALSE(c.clear("user").error);
  std::vector<std::string> published;
  for (int i = 0; i < 5; ++i) {
    std::string m = bus.next();
    if (m[4] != 2) published.push_back(std::move(m));
  }
  const RemoteReply all = resync_from(c, epoch_now(server), 0);
  ASSERT_TRUE(all.applied);
  EXPECT_EQ(all.count, 4);
  EXPECT_EQ(all.messages, published);
  const RemoteReply rest = resync_from(c, epoch_now(server), 3);
  ASSERT_TRUE(rest.applied);
  EXPECT_THAT(rest.messages, ElementsAre(published[3]));
  const RemoteReply none = resync_from(c, epoch_now(server), 4);
  EXPECT_TRUE(none.applied);
  EXPECT_THAT(none.messages, IsEmpty());
  EXPECT_FALSE(reaches(c, epoch_now(server), 5));
}

TEST_F(Logged, LongLogsComeInPages) {
  puts(600);
  const RemoteReply first = resync_from(c, epoch_now(server), 0);
  ASSERT_EQ(first.messages.size(), 512U);
  EXPECT_EQ(first.count, 600);
  const RemoteReply second = resync_from(c, epoch_now(server), 512);
  ASSERT_EQ(second.messages.size(), 88U);
  EXPECT_EQ(number_of(second.messages.back()), 600U);

  Strings ids;
  for (int i = 0; i < 35; ++i) ids.push_back(std::string(80, 'k') + std::to_string(i));
  for (int i = 0; i < 100; ++i) ASSERT_FALSE(c.erase(ids).error);  // near 4 KiB each: bytes end the page
  const RemoteReply third = resync_from(c, epoch_now(server), 600);
  EXPECT_LT(third.messages.size(), 100U);
  EXPECT_GT(third.messages.size(), 60U);
}

TEST_F(Logged, AnotherEpochOrRunIsNotInTheLog) {
  puts(3);
  const std::uint64_t epoch = epoch_now(server);
  EXPECT_TRUE(reaches(c, epoch, 1));
  EXPECT_FALSE(reaches(c, epoch + 1, 1));
  ASSERT_EQ(server.command({"SET", "test:app:!run", "another"}), "OK");
  EXPECT_FALSE(reaches(c, epoch, 1));
  ASSERT_FALSE(c.heartbeat(2).error);
  EXPECT_NE(epoch_now(server), epoch);
  EXPECT_FALSE(reaches(c, epoch, 0));
  EXPECT_TRUE(reaches(c, epoch_now(server), 0));  // the new epoch's log begins with it
}

TEST_F(Logged, ALogFromAnOlderSnapshotIsNotBelieved) {
  puts(3);
  const std::uint64_t epoch = epoch_now(server);
  ASSERT_EQ(server.command({"SAVE"}), "OK");
  puts(3);
  server.restart(RedisServer::Data::rdb);
  ASSERT_TRUE(eventually([&] { return !c.put("k", "v", 0, Deadline::after(1s)).error; }));  // number 4 a second time
  ASSERT_EQ(epoch_now(server), epoch);
  EXPECT_FALSE(reaches(c, epoch, 3));
  ASSERT_TRUE(eventually([&] { return !c.heartbeat(2, Deadline::after(1s)).error; }));
  EXPECT_FALSE(reaches(c, epoch, 3));
}

TEST_F(Logged, TheOldestEntriesGo) {
  Client few(Client::options_of(server.url()), logging(64));
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(few.put("k", "v").error);
  const long left = std::stol(server.command({"XLEN", log_key}));
  EXPECT_GE(left, 64);
  EXPECT_LE(left, 64 + 200);
  EXPECT_FALSE(reaches(c, epoch_now(server), 0));
  EXPECT_FALSE(reaches(c, epoch_now(server), 1000 - static_cast<std::uint64_t>(left)));
  EXPECT_TRUE(reaches(c, epoch_now(server), 1001 - static_cast<std::uint64_t>(left)));
}

TEST_F(Logged, AHoleInTheMiddleOrAtTheEndIsSeen) {
  puts(5);
  const std::uint64_t epoch = epoch_now(server);
  ASSERT_EQ(server.command({"XDEL", log_key, "3-1"}), "1");
  EXPECT_FALSE(reaches(c, epoch, 1));
  EXPECT_FALSE(reaches(c, epoch, 3));
  EXPECT_TRUE(reaches(c, epoch, 4));
  ASSERT_EQ(server.command({"INCR", "test:app:!seq"}), "6");
  const RemoteReply r = resync_from(c, epoch, 5);
  EXPECT_EQ(r.count, 6);
  EXPECT_THAT(r.messages, IsEmpty());  // 6 was given and is not there: that says it
}

TEST_F(Logged, AMessageThatIsTooLongLeavesAMark) {
  Strings ids;
  for (int i = 0; i < 100; ++i) ids.push_back(std::string(100, 'k') + std::to_string(i));
  ASSERT_FALSE(c.erase(ids).error);
  puts(1);
  const RemoteReply r = resync_from(c, epoch_now(server), 0);
  ASSERT_EQ(r.messages.size(), 2U);
  EXPECT_EQ(r.messages[0], "");
  EXPECT_EQ(number_of(r.messages[1]), 2U);
}

TEST_F(Logged, AStoreWithoutALogLeavesAHole) {
  Client off(Client::options_of(server.url()), logging(0));
  puts(2);
  ASSERT_FALSE(off.put("k", "v").error);
  EXPECT_THAT(resync_from(c, epoch_now(server), 2).messages, IsEmpty());
  puts(1);
  EXPECT_FALSE(reaches(c, epoch_now(server), 2));
  EXPECT_TRUE(reaches(c, epoch_now(server), 4));
  ASSERT_EQ(server.command({"DEL", log_key}), "1");
  ASSERT_FALSE(off.put("k", "v").error);
  EXPECT_EQ(server.command({"EXISTS", log_key}), "0");
}

// The counter is lost and the numbers begin again: those who had seen the first round must not take the second for what they
// missed. Without the log in the way only the counter's own ttl tells.
TEST_F(Logged, ACounterThatIsLostBeginsANewEpoch) {
  for (const bool log_too : {false, true}) {
    puts(3);
    const std::uint64_t epoch = epoch_now(server);
    const Strings lost = log_too ? Strings{"DEL", "test:app:!seq", log_key} : Strings{"DEL", "test:app:!seq"};
    ASSERT_EQ(server.command(lost), log_too ? "2" : "1");
    Subscriber bus(server);
    puts(6);
    EXPECT_NE(epoch_now(server), epoch);
    const std::string m = bus.next();
    EXPECT_EQ(number_of(m), 1U);
    EXPECT_EQ(load_be<8>(m.data() + 8), epoch_now(server));
    EXPECT_FALSE(reaches(c, epoch, 3));
    const RemoteReply r = resync_from(c, epoch_now(server), 1);
    EXPECT_EQ(r.messages.size(), 5U);
  }
}

TEST_F(Logged, TheFirstNumberAfterAHeartbeatsZeroIsOfItsEpoch) {
  const std::uint64_t epoch = epoch_now(server);
  puts(1);
  EXPECT_EQ(epoch_now(server), epoch);
  EXPECT_EQ(server.command({"PTTL", "test:app:!seq"}), "-1");
  EXPECT_TRUE(reaches(c, epoch, 0));
}

TEST_F(Logged, NumbersThatWentBackBeginANewEpoch) {
  puts(5);
  const std::uint64_t epoch = epoch_now(server);
  ASSERT_EQ(server.command({"SET", "test:app:!seq", "2"}), "OK");
  ASSERT_FALSE(c.erase({"k"}).error);
  EXPECT_NE(epoch_now(server), epoch);
  EXPECT_FALSE(reaches(c, epoch, 2));
  EXPECT_TRUE(reaches(c, epoch_now(server), 3));
  puts(1);
  EXPECT_EQ(resync_from(c, epoch_now(server), 3).messages.size(), 1U);
}

TEST_F(Logged, AMessageWithoutANumberEndsTheLog) {
  puts(2);
  const std::uint64_t epoch = epoch_now(server);
  const std::string seq = server.command({"GET", "test:app:!seq"});
  server.command({"DEL", "test:app:!seq"});
  server.command({"LPUSH", "test:app:!seq", "not a number"});
  ASSERT_FALSE(c.erase({"k"}).error);
  server.command({"DEL", "test:app:!seq"});
  ASSERT_EQ(server.command({"SET", "test:app:!seq", seq}), "OK");
  ASSERT_EQ(epoch_now(server), epoch);
  EXPECT_FALSE(reaches(c, epoch, 2));
  puts(1);
  EXPECT_FALSE(reaches(c, epoch, 2));  // 3 follows 2, and yet something came between
  EXPECT_TRUE(reaches(c, epoch, 3));
}

TEST_F(Logged, WhateverStandsUnderTheLogsNameWritesGoOn) {
  puts(2);
  ASSERT_EQ(server.command({"DEL", log_key}), "1");
  ASSERT_EQ(server.command({"SET", log_key, "something else"}), "OK");
  const std::uint64_t epoch = epoch_now(server);
  EXPECT_EQ(code(resync_from(c, epoch, 2)), Errc::refused);
  puts(1);
  EXPECT_FALSE(reaches(c, epoch, 2));
  puts(2);
  EXPECT_EQ(resync_from(c, epoch, 4).messages.size(), 1U);
  EXPECT_EQ(epoch_now(server), epoch);
}

TEST_F(Logged, WhereXaddIsNotAllowedWritesGoOnWithoutALog) {
  puts(2);
  const std::uint64_t epoch = epoch_now(server);
  ASSERT_EQ(server.command({"ACL", "SETUSER", "default", "-xadd", "-xrevrange", "-persist"}), "OK");
  puts(2);
  ASSERT_FALSE(c.erase({"k"}).error);
  EXPECT_EQ(server.command({"EXISTS", log_key}), "0");
  EXPECT_EQ(epoch_now(server), epoch);
}

}  // namespace
}  // namespace tiercache::testing
