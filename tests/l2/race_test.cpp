// SPDX-License-Identifier: Apache-2.0
//
// Races of the list that l2 alone can lose, each shown both ways: with its remedy and without.
#include "l2_test.hpp"
#include "tcp_proxy.hpp"

#include <gtest/gtest.h>

#include <future>

namespace tiercache::testing {
namespace {

// Race 21. A asks for a, gives up before the answer comes; B borrows the same connection, asks for b, and reads the first answer
// in the line: a's.
std::string b_after_a_timed_out() {
  RedisServer server;
  TcpProxy proxy(server.port());
  l2::Options o = Client::options_of(server.url_at(proxy.port()));
  o.pool_size = 1;
  Client c(o);
  if (c.put("a", "value of a").error || c.put("b", "value of b").error) return "put failed";
  proxy.set(TcpProxy::to_client, LinkFault::delay(150ms));
  if (code(c.get("a", Deadline::after(30ms))) != Errc::deadline_exceeded) return "a was answered";
  return c.value("b").value_or("nothing");
}

TEST(Race21, ATimedOutConnectionNeverAnswersAnotherCaller) { EXPECT_EQ(b_after_a_timed_out(), "value of b"); }
TEST(Race21, PutBackIntoThePoolItDoes) {
  const Ablate without(lab::Remedy::reply_close);
  EXPECT_EQ(b_after_a_timed_out(), "value of a");
}

// Race 22. A put is sent, given up unanswered, and its connection closed, while a part of it lies in Redis's query buffer and the
// rest is on its way. An erase of the same key is answered over another connection. Then the rest of the put arrives. Whether the
// erased key stands afterwards; nothing: it could not be tried.
std::optional<bool> comes_back_after_its_erase() {
  RedisServer server;
  TcpProxy proxy(server.port());
  l2::Options o = Client::options_of(server.url_at(proxy.port()));
  o.pool_size = 4;
  Client c(o);
  // Two connections, so that the erase finds one that is open.
  const bool warm = eventually([&] {
    auto other = std::async(std::launch::async, [&] { return c.put("other", "w"); });
    return !c.put("warm", "w").error && !other.get().error && proxy.connections() >= 2;
  });
  // Once more, as the client knows the epoch now: Redis has to know the script of the put that comes late.
  if (!warm || c.put("warm", "w").error) return std::nullopt;
  const auto part_in_redis = [&] {
    const std::string clients = server.command({"CLIENT", "LIST"});
    constexpr std::string_view field = " qbuf=";
    for (std::size_t at = clients.find(field); at != std::string::npos; at = clients.find(field, at + 1))
      if (std::stol(clients.substr(at + field.size())) > 32'768) return true;
    return false;
  };
  const std::string big = std::string(128 << 10, 'x') + std::string(128 << 10, 'y');
  proxy.set(TcpProxy::to_server, LinkFault::hold("yyyyyyyy"));
  // Until one has left as a whole: a thread that is not scheduled in time gives up earlier, or has sent nothing.
  const bool sent = eventually([&] {
    const std::uint64_t taken = proxy.taken(TcpProxy::to_server);
    return code(c.put("k", big, 0, Deadline::after(100ms))) == Errc::outcome_unknown &&
           eventually([&] { return proxy.taken(TcpProxy::to_server) >= taken + big.size() && part_in_redis(); }, 100ms);
  });
  if (!sent || c.erase({"k"}, Deadline::after(10s)).error) return std::nullopt;
  const auto came_back = [&] { return server.command({"EXISTS", key("k")}) == "1"; };
  if (came_back()) return std::nullopt;
  proxy.heal();
  if (!eventually([&] { return !part_in_redis(); })) return std::nullopt;  // it was run, or its connection is gone
  return came_back();
}

TEST(Race22, AWriteGivenUpIsNotRunAfterAnErase) { EXPECT_EQ(comes_back_after_its_erase(), std::optional(false)); }
TEST(Race22, LeftAloneItIs) {
  const Ablate without(lab::Remedy::late_write);
  EXPECT_EQ(comes_back_after_its_erase(), std::optional(true));
}

// Race 12, in one process. A connection is in use while the address comes to mean another server; then another one is opened.
// With both in the pool a caller would write to the new server and read from the old one, and L1 would take that.
TEST(Race12, APoolThatMeetsAnotherServerLeavesTheOneBefore) {
  RedisServer before;
  RedisServer after;
  Client direct(after);
  ASSERT_FALSE(direct.put("1", "new").error);
  TcpProxy proxy(before.port());
  l2::Options o = Client::options_of(before.url_at(proxy.port()));
  o.pool_size = 2;
  Client c(o);
  ASSERT_FALSE(c.put("1", "old").error);
  before.pause();
  const auto commands = c.stats().commands;
  auto held = std::async(std::launch::async, [&] { return c.get("1", Deadline::after(30s)); });
  ASSERT_TRUE(eventually([&] { return c.stats().commands > commands; }));
  proxy.retarget(after.port());
  EXPECT_EQ(c.value("1"), "new");
  before.resume();
  const RemoteReply late = held.get();
  ASSERT_FALSE(late.error);
  EXPECT_EQ(late.values.at(0)->bytes.substr(payload_at), "old");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(c.value("1"), "new");
}

// Race 5, between announcement and store. B hears of the write and reads at once; if the store is not part of the same step it
// reads the old value, and keeps it, since the announcement has already been.
struct Race5 : ::testing::Test {
  RedisServer server;
  Client writer{server};
  Client reader{server};
  Subscriber bus{server};
  std::promise<void> has_read;

  // What B reads when the message arrives. A writer that pauses between the two steps is held there until B has read.
  std::optional<std::string> read_at_message(const std::function<RemoteReply(Client&)>& write) {
    if (writer.put("1", "old").error) return "put failed";
    bus.next();
    lab::hook = [this](lab::Point p, std::string_view k) {
      if (p == lab::Point::publish_to_store && k == key("1")) has_read.get_future().wait_for(10s);
    };
    auto writing = std::async(std::launch::async, [&] { return write(writer); });
    bus.next();
    const auto seen = reader.value("1");
    has_read.set_value();
    EXPECT_FALSE(writing.get().error);
    lab::hook = nullptr;
    return seen;
  }
};

TEST_F(Race5, WhoHearsOfAPutReadsTheNewValue) {
  EXPECT_EQ(read_at_message([](Client& c) { return c.put("1", "new"); }), "new");
}
TEST_F(Race5, WhoHearsOfAnEraseReadsNothing) {
  EXPECT_EQ(read_at_message([](Client& c) { return c.erase({"1"}); }), std::nullopt);
}
TEST_F(Race5, APutInTwoStepsLetsTheOldValueBeReadAfterItsAnnouncement) {
  const Ablate without(lab::Remedy::atomic_write);
  EXPECT_EQ(read_at_message([](Client& c) { return c.put("1", "new", 60'000); }), "old");
  EXPECT_EQ(writer.value("1"), "new");
  EXPECT_EQ(writer.get("1").values.at(0)->bytes.substr(48, 8), server.command({"GET", "test:app:!epoch"}));
}
TEST_F(Race5, AnEraseInTwoStepsDoesSoToo) {
  const Ablate without(lab::Remedy::atomic_write);
  EXPECT_EQ(read_at_message([](Client& c) { return c.erase({"1"}); }), "old");
  EXPECT_EQ(writer.value("1"), std::nullopt);
}

}  // namespace
}  // namespace tiercache::testing
