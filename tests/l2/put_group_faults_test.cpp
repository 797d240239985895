// SPDX-License-Identifier: Apache-2.0
//
// What the callers of a group are told when Redis refuses, dies, or says nothing.
#include "jam.hpp"

#include <tcp_proxy.hpp>

#include <gtest/gtest.h>

namespace tiercache::testing {
namespace {

TEST(PutGroupFaults, ARefusalAnswersEveryCallerAndChangesNothing) {
  RedisServer server{{.args = {"--maxmemory-policy", "noeviction"}}};
  Client c(server);
  ASSERT_FALSE(c.put("a", "old").error);
  std::string seq;
  Jam jam(
      c,
      [&] {
        ASSERT_EQ(server.command({"CONFIG", "SET", "maxmemory", "1"}), "OK");
        seq = server.command({"GET", "test:app:!seq"});
        server.pause();
      },
      [&] { server.resume(); });
  std::vector<std::future<RemoteReply>> answers;
  for (const char* id : {"a", "b", "c"}) answers.push_back(jam.put(id, "new"));
  const std::uint64_t groups = c.stats().put_groups;
  EXPECT_EQ(code(jam.go()), Errc::refused);
  for (auto& a : answers) {
    const RemoteReply r = a.get();
    ASSERT_TRUE(r.error);
    EXPECT_EQ(r.error->code, Errc::refused);
    EXPECT_NE(r.error->message.find("OOM"), std::string::npos) << r.error->message;
    EXPECT_FALSE(r.applied);
  }
  EXPECT_EQ(c.stats().put_groups - groups, 1U);
  EXPECT_EQ(c.value("a"), "old");
  EXPECT_EQ(server.command({"GET", "test:app:!seq"}), seq);
}

// The group is sent and run, but its answer is cut off.
TEST(PutGroupFaults, AnAnswerCutOffIsAnUnknownOutcomeForEveryCaller) {
  RedisServer server;
  TcpProxy proxy(server.port());
  Client c(Client::options_of(server.url_at(proxy.port())));
  {
    // So that the server knows the scripts: the answer that is cut off is the group's, not NOSCRIPT.
    for (int i = 0; i < 2; ++i) ASSERT_FALSE(c.put("a", "older").error);
    const Strings keys = {key("a")};
    const std::string h = head();
    const RemotePut put{h, "old", 0, 0, false};
    RemoteRequest r;
    r.op = RemoteOp::put_many;
    r.keys = keys;
    r.puts = {&put, 1};
    ASSERT_FALSE(c.run(r).error);
  }
  // Held back: the answers. Then the blocker's passes, its number, and of the group's only the first byte.
  std::size_t blockers = 0;
  Jam jam(
      c,
      [&] {
        blockers = std::string(":\r\n").size();
        blockers += std::to_string(std::stoull(server.command({"GET", "test:app:!seq"})) + 1).size();
        proxy.set(TcpProxy::to_client, LinkFault::stall());
      },
      [&] { proxy.set(TcpProxy::to_client, LinkFault::truncate(blockers + 1)); });
  std::vector<std::future<RemoteReply>> answers;
  for (const char* id : {"a", "b", "c"}) answers.push_back(jam.put(id, "new"));
  EXPECT_FALSE(jam.go().error);
  for (auto& a : answers) EXPECT_EQ(code(a.get()), Errc::outcome_unknown);
  proxy.heal();
  ASSERT_TRUE(eventually([&] { return !c.put("later", "v").error; }));
  for (const char* id : {"a", "b", "c"}) EXPECT_EQ(c.value(id), "new");  // it had been run, as "unknown" allows
}

TEST(PutGroupFaults, ADeadServerAnswersThoseWhoQueuedThatNothingWasSent) {
  RedisServer server;
  Client c(server);
  Jam jam(
      c, [&] { server.pause(); }, [&] { server.kill9(); });
  std::vector<std::future<RemoteReply>> answers;
  for (const char* id : {"a", "b", "c"}) answers.push_back(jam.put(id, "new"));
  EXPECT_EQ(code(jam.go()), Errc::outcome_unknown);
  for (auto& a : answers) EXPECT_EQ(code(a.get()), Errc::unavailable);
}

TEST(PutGroupFaults, APutWhoseTurnDoesNotComeInTimeIsNotSent) {
  RedisServer server;
  Client c(server);
  Jam jam(server, c);
  auto other = jam.put("other", "v");
  const Stopwatch watch;
  EXPECT_EQ(code(c.put("late", "v", 0, Deadline::after(50ms))), Errc::deadline_exceeded);  // it queues: the lane is taken
  EXPECT_LT(watch.elapsed(), 50ms + slack);
  jam.go();
  EXPECT_FALSE(other.get().error);
  EXPECT_FALSE(c.value("late")) << "it was sent after its caller had been told otherwise";
}

// A group ends by its soonest deadline: a caller in a hurry must not take those who have time along.
TEST(PutGroupFaults, CallersOfOtherDeadlinesAreNotPutTogether) {
  RedisServer server;
  Client c(server);
  Jam jam(server, c);
  auto patient = jam.put("patient", "v", 0, Deadline::after(300s));
  auto hasty = jam.put("hasty", "v", 0, Deadline::after(60s));
  const std::uint64_t groups = c.stats().put_groups;
  jam.go();
  EXPECT_FALSE(patient.get().error);
  EXPECT_FALSE(hasty.get().error);
  EXPECT_EQ(c.stats().put_groups, groups);
}

TEST(PutGroupFaults, ClosingTheClientEndsThoseWhoQueue) {
  RedisServer server;
  Client c(server);
  Jam jam(server, c);
  std::vector<std::future<RemoteReply>> answers;
  for (const char* id : {"a", "b", "c"}) answers.push_back(jam.put(id, "new"));
  const Stopwatch watch;
  c.port().close(Deadline::after(2s));
  for (auto& a : answers) EXPECT_EQ(code(a.get()), Errc::closed);
  EXPECT_LT(watch.elapsed(), 2s + slack);
}

}  // namespace
}  // namespace tiercache::testing
