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

// Race 22. Redis hangs; a put is sent, given up, and its connection closed. An erase of the same key waits behind the same hang.
// Redis wakes up: it reads the put, which is large, in several turns, so it runs the erase first and answers it; then the rest of
// the put arrives and is run. The number of rounds in which the erased key stood afterwards; `enough` of them end the test.
int erased_and_back(int rounds, int enough) {
  int back = 0;
  for (int round = 0; round < rounds && back < enough; ++round) {
    RedisServer server;
    l2::Options o = Client::options_of(server.url());
    o.pool_size = 4;
    Client c(o);
    const std::string big(512 << 10, 'x');
    // Two connections, so that the erase finds one that is open.
    while (c.stats().connections < 2) {
      auto other = std::async(std::launch::async, [&] { return c.put("other", "w"); });
      if (c.put("warm", "w").error || other.get().error) return -1;
    }
    server.pause();
    if (code(c.put("k", big, 0, Deadline::after(100ms))) != Errc::outcome_unknown) return -2;
    const auto sent = c.stats().commands;
    auto erase = std::async(std::launch::async, [&] { return c.erase({"k"}, Deadline::after(20s)); });
    if (!eventually([&] { return c.stats().commands > sent; })) return -3;  // something of the erase lies in front of Redis
    server.resume();
    if (erase.get().error) return -4;
    for (int i = 0; i < 20; ++i) server.command({"PING"});  // turns of the event loop, for what is still to be read
    back += server.command({"EXISTS", key("k")}) == "1" ? 1 : 0;
  }
  return back;
}

TEST(Race22, AWriteGivenUpIsNotRunAfterAnErase) { EXPECT_EQ(erased_and_back(5, 5), 0); }
TEST(Race22, LeftAloneItIs) {
  const Ablate without(lab::Remedy::late_write);
  EXPECT_GT(erased_and_back(60, 1), 0);  // on a busy machine Redis may find all of the put there in one turn
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
