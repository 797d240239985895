// SPDX-License-Identifier: Apache-2.0
//
// Replies that are cut, garbled, dribbled, too large: an error in time, the connection closed, the next call right.
#include "l2_test.hpp"
#include "tcp_proxy.hpp"

#include <gtest/gtest.h>

namespace tiercache::testing {
namespace {

struct Reply : ::testing::Test {
  RedisServer server;
  TcpProxy proxy{server.port()};
  l2::Options options = [this] {
    l2::Options o = Client::options_of(server.url_at(proxy.port()));
    o.pool_size = 1;
    o.max_reply_bytes = 64 * 1024;
    o.max_reply_elements = 64;
    return o;
  }();

  // `text` comes in place of the answer to a get.
  void expect_refused(const std::string& text, std::optional<Errc> expected, bool closes = true) {
    SCOPED_TRACE(text.substr(0, 40));
    Client c(options);
    ASSERT_FALSE(c.put("1", "v").error);
    proxy.set(TcpProxy::to_client, LinkFault::inject(text));
    const RemoteReply r = c.get("1", Deadline::after(500ms));
    EXPECT_EQ(code(r), expected) << (r.error ? r.error->message : "");
    proxy.heal();
    EXPECT_EQ(c.value("1"), "v");
    const RemoteStats s = c.port().stats();
    EXPECT_EQ(s.connects, closes ? 2U : 1U);
    EXPECT_EQ(s.closed_on_error, closes ? 1U : 0U);
  }
};

TEST_F(Reply, GarbageClosesTheConnection) {
  expect_refused("garbage\r\n", Errc::bad_data);
  expect_refused("HTTP/1.1 200 OK\r\n\r\n", Errc::bad_data);
  expect_refused("$x\r\n", Errc::bad_data);
  expect_refused("$-2\r\n", Errc::bad_data);
  expect_refused("*-7\r\n", Errc::bad_data);
  expect_refused(":12x\r\n", Errc::bad_data);
}
TEST_F(Reply, AnAnswerOfAnotherShapeClosesTheConnection) {
  expect_refused("+OK\r\n+OK\r\n", Errc::bad_data);
  expect_refused(":-1\r\n:5\r\n", Errc::bad_data);
  expect_refused("$1\r\na\r\n*0\r\n", Errc::bad_data);
}
TEST_F(Reply, AnAnswerThatNeverEndsClosesTheConnectionAtTheDeadline) {
  expect_refused(":-1\r\n", Errc::deadline_exceeded);
  expect_refused(":-1\r\n$100\r\nabc", Errc::deadline_exceeded);
  expect_refused(":-1", Errc::deadline_exceeded);
  expect_refused("*60\r\n:1\r\n", Errc::deadline_exceeded);
}
TEST_F(Reply, ADeclaredArrayOverTheLimitIsRefusedBeforeItsElementsCome) {
  expect_refused("*65\r\n", Errc::bad_data);
  expect_refused("*2147483647\r\n", Errc::bad_data);
  expect_refused("*60\r\n*60\r\n", Errc::bad_data);  // each is within it, together they are not
}
TEST_F(Reply, NestingIsBounded) {
  std::string deep;
  for (int i = 0; i < 50; ++i) deep += "*1\r\n";
  expect_refused(deep + ":1\r\n", Errc::bad_data);
}
TEST_F(Reply, ALineWithoutEndIsRefusedAtTheByteLimit) { expect_refused("+" + std::string(200 * 1024, 'x'), Errc::bad_data); }

TEST_F(Reply, ErrorsThatAServerGivesWhileItCannotServeAreRefusals) {
  expect_refused(":-2\r\n-LOADING Redis is loading the dataset in memory\r\n", Errc::refused, false);
  expect_refused("-MASTERDOWN Link with MASTER is down\r\n-MASTERDOWN Link with MASTER is down\r\n", Errc::refused, false);
}

TEST_F(Reply, AValueOverTheByteLimitIsRefusedAndOneAtTheLimitIsNot) {
  Client c(options);
  const std::string fits(options.max_reply_bytes, 'f');
  ASSERT_EQ(server.command({"SET", key("fits"), fits}), "OK");
  ASSERT_EQ(server.command({"SET", key("over"), std::string(4U << 20, 'o')}), "OK");
  EXPECT_EQ(code(c.get("over")), Errc::bad_data);
  const RemoteReply r = c.get("fits");
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_EQ(r.values.at(0)->bytes, fits);
  EXPECT_EQ(c.port().stats().closed_on_error, 1U);
}

TEST_F(Reply, ATruncatedValueIsNeverTakenForAWholeOne) {
  Client c(options);
  ASSERT_FALSE(c.put("1", std::string(10'000, 'v')).error);
  proxy.set(TcpProxy::to_client, LinkFault::truncate(5'000));
  const RemoteReply r = c.get("1", Deadline::after(2s));
  EXPECT_EQ(code(r), Errc::unavailable);
  proxy.heal();
  ASSERT_TRUE(eventually([&] { return !c.get("1").error; }));  // a handshake may have lost its bytes too
  EXPECT_EQ(c.value("1"), std::string(10'000, 'v'));
}

TEST_F(Reply, DribbledBytesEndAtTheDeadlineAndInTimeTheyAreRight) {
  Client c(options);
  ASSERT_FALSE(c.put("1", std::string(5'000, 'v')).error);
  ASSERT_FALSE(c.put("2", "short").error);
  proxy.set(TcpProxy::to_client, LinkFault::dribble(1ms));
  const Stopwatch watch;
  EXPECT_EQ(code(c.get("1", Deadline::after(200ms))), Errc::deadline_exceeded);
  EXPECT_LT(watch.elapsed(), 200ms + slack);
  proxy.heal();
  ASSERT_EQ(c.value("2"), "short");
  proxy.set(TcpProxy::to_client, LinkFault::dribble(1ms));
  EXPECT_EQ(c.value("2"), "short");
}

TEST_F(Reply, DribbledRequestsAreRight) {
  Client c(options);
  proxy.set(TcpProxy::to_server, LinkFault::dribble(0ms));
  ASSERT_FALSE(c.put("1", "v").error);
  EXPECT_EQ(c.value("1"), "v");
}

TEST_F(Reply, AWriteWhoseAnswerIsLostIsUnknownAndMayHaveHappened) {
  Client c(options);
  ASSERT_FALSE(c.put("1", "v").error);
  ASSERT_FALSE(c.put("1", "v").error);  // so that the server knows the script of a second put
  proxy.set(TcpProxy::to_client, LinkFault::blackhole());
  EXPECT_EQ(code(c.put("1", "w", 0, Deadline::after(200ms))), Errc::outcome_unknown);
  EXPECT_EQ(code(c.get("1", Deadline::after(200ms))), Errc::deadline_exceeded);
  proxy.heal();
  ASSERT_TRUE(eventually([&] { return !c.get("1").error; }));  // a handshake may have lost its bytes too
  EXPECT_EQ(c.value("1"), "w");
}

TEST_F(Reply, AWriteThatTheNetworkSwallowedIsUnknownToo) {
  Client c(options);
  ASSERT_FALSE(c.put("1", "v").error);
  proxy.set(TcpProxy::to_server, LinkFault::blackhole());
  EXPECT_EQ(code(c.erase({"1"}, Deadline::after(200ms))), Errc::outcome_unknown);
  proxy.heal();
  ASSERT_TRUE(eventually([&] { return !c.get("1").error; }));  // a handshake may have lost its bytes too
  EXPECT_EQ(c.value("1"), "v");
}

}  // namespace
}  // namespace tiercache::testing
