// SPDX-License-Identifier: Apache-2.0
//
// What goes out on the bus, byte for byte as docs/design.md draws it, and the numbers and epochs in it.
#include "l2_test.hpp"

#include <gtest/gtest.h>

namespace tiercache::testing {
namespace {

using Items = std::vector<std::pair<std::string, std::uint64_t>>;

std::string message(int kind, std::uint64_t shard, const std::string& epoch, std::uint64_t seq, std::uint64_t id,
                    const Items& items) {
  std::string m("TCB\1", 4);
  append_be<1>(m, static_cast<std::uint64_t>(kind));
  append_be<1>(m, 0);
  append_be<2>(m, shard);
  m += epoch;
  append_be<8>(m, seq);
  append_be<8>(m, naming.origin);
  append_be<8>(m, id);
  append_be<2>(m, items.size());
  for (const auto& [text, version] : items) {
    append_be<2>(m, text.size());
    append_be<8>(m, version);
    m += text;
  }
  return m;
}
std::string epoch_of(RedisServer& s) { return s.command({"GET", "test:app:!epoch"}); }
std::uint64_t seq_in(const std::string& m) { return load_be<8>(m.data() + 16); }
std::string epoch_in(const std::string& m) { return m.substr(8, 8); }

TEST(Announce, MessagesAreAsTheFormatSays) {
  RedisServer server;
  Client c(server);
  Subscriber bus(server);
  ASSERT_FALSE(c.put("1", "v").error);
  const std::string epoch = epoch_of(server);
  ASSERT_EQ(epoch.size(), 8U);
  EXPECT_EQ(bus.next(), message(1, 0, epoch, 1, 42, {{key("1"), 0}}));

  ASSERT_FALSE(c.put_version("1", "v", 0xfedcba9876543210, true).error);
  EXPECT_EQ(bus.next(), message(1, 0, epoch, 2, 42, {{key("1"), 0xfedcba9876543210}}));

  const Strings keys = {key("1"), key("a:b"), key(std::string("\x80\xff", 2))};
  RemoteRequest r;
  r.op = RemoteOp::erase;
  r.keys = keys;
  r.write_id = 0xffeeddccbbaa9988;
  ASSERT_FALSE(c.run(r).error);
  EXPECT_EQ(bus.next(), message(1, 0, epoch, 3, 0xffeeddccbbaa9988, {{keys[0], 0}, {keys[1], 0}, {keys[2], 0}}));

  ASSERT_FALSE(c.clear("user").error);
  EXPECT_EQ(bus.next(), message(3, 0, epoch, 4, 43, {{"user", 0}}));
  EXPECT_EQ(bus.next(), message(3, 0, epoch, 5, 43, {{"user", 0}}));
}

// A lease fill announces nothing, and its version may be that of a put to come: others may hold an older one until that is told.
TEST(Announce, APutOfTheVersionThatALoadBroughtStoresNothingAndIsAnnounced) {
  RedisServer server;
  Client c(server);
  const Strings keys = {key("1")};
  const std::string h = head(2);
  RemoteRequest fill;
  fill.op = RemoteOp::lease_fill;
  fill.keys = keys;
  fill.token = "t";
  fill.head = h;
  fill.payload = "loaded";
  fill.version = 2;
  ASSERT_EQ(c.lease(RemoteOp::lease_get, "1", "t").lease, LeaseState::granted);
  ASSERT_TRUE(c.run(fill).applied);
  Subscriber bus(server);
  EXPECT_EQ(code(c.put_version("1", "put", 2, true)), Errc::superseded);
  EXPECT_EQ(bus.next(), message(1, 0, epoch_of(server), 1, 42, {{key("1"), 2}}));
  EXPECT_EQ(c.value("1"), "loaded");
  EXPECT_EQ(code(c.put_version("1", "late", 1, true)), Errc::superseded);
  ASSERT_FALSE(c.put_version("1", "next", 3, true).error);
  EXPECT_EQ(bus.next(), message(1, 0, epoch_of(server), 2, 42, {{key("1"), 3}})) << "of the late one nothing was told";
}

TEST(Announce, AHeartbeatCarriesTheLastNumberGivenAndIsAWrite) {
  RedisServer server;
  Client c(server);
  Subscriber bus(server);
  const RemoteReply first = c.heartbeat(7);
  ASSERT_FALSE(first.error) << first.error->message;
  EXPECT_EQ(first.count, 0);
  const std::string epoch = epoch_of(server);
  EXPECT_EQ(bus.next(), message(2, 0, epoch, 0, 7, {}));
  EXPECT_EQ(server.command({"GET", "test:app:!hb:0102030405060708"}), "7:0:0:0:");
  EXPECT_GT(std::stol(server.command({"PTTL", "test:app:!hb:0102030405060708"})), 0);
  ASSERT_FALSE(c.put("1", "v").error);
  EXPECT_EQ(seq_in(bus.next()), 1U);
  EXPECT_EQ(c.heartbeat(8).count, 1);
  EXPECT_EQ(bus.next(), message(2, 0, epoch, 1, 8, {}));
}

TEST(Announce, AnEraseOfManyLongKeysIsOneMessage) {
  RedisServer server;
  Client c(server);
  Subscriber bus(server);
  Strings ids;
  for (int i = 0; i < 1000; ++i) ids.push_back(std::to_string(i) + std::string(900, 'k'));
  const RemoteReply r = c.erase(ids);
  ASSERT_FALSE(r.error) << r.error->message;
  const std::string m = bus.next();
  EXPECT_EQ(load_be<2>(m.data() + 40), 1000U);
  EXPECT_LE(m.size(), 1U << 20);
}

TEST(Announce, NumbersAreOneSequenceForAllStores) {
  RedisServer server;
  Client a(server);
  Client b(Client::options_of(server.url()), {"test", "app", 99});
  Subscriber bus(server);
  for (std::uint64_t n = 1; n <= 6; ++n) {
    ASSERT_FALSE((n % 2 ? a : b).put("1", "v").error);
    const std::string m = bus.next();
    EXPECT_EQ(seq_in(m), n);
    EXPECT_EQ(epoch_in(m), epoch_of(server));
    EXPECT_EQ(load_be<8>(m.data() + 24), n % 2 ? naming.origin : 99U);
  }
}

TEST(Announce, ALostEpochIsReplacedByAnotherOne) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "v").error);
  const std::string before = epoch_of(server);
  for (const RemoteOp op : {RemoteOp::put, RemoteOp::erase, RemoteOp::heartbeat}) {
    ASSERT_EQ(server.command({"DEL", "test:app:!epoch"}), "1");
    Subscriber bus(server);
    if (op == RemoteOp::put) ASSERT_FALSE(c.put("1", "v").error);
    else if (op == RemoteOp::erase) ASSERT_FALSE(c.erase({"1"}).error);
    else ASSERT_FALSE(c.heartbeat(1).error);
    EXPECT_EQ(epoch_in(bus.next()), epoch_of(server));
    EXPECT_NE(epoch_of(server), before);
  }
}

// Race 29: Redis comes back from an older snapshot; the numbers would go on as if nothing had happened.
TEST(Announce, ARestartFromASnapshotBeginsANewEpochAtZero) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.heartbeat(1).error);
  ASSERT_FALSE(c.put("1", "old").error);
  ASSERT_EQ(server.command({"SAVE"}), "OK");
  const std::string before = epoch_of(server);
  ASSERT_FALSE(c.put("1", "new").error);
  server.restart(RedisServer::Data::rdb);
  ASSERT_EQ(epoch_of(server), before);  // the snapshot's
  Subscriber bus(server);
  ASSERT_TRUE(eventually([&] { return !c.heartbeat(2, Deadline::after(1s)).error; }));
  const std::string m = bus.next();
  EXPECT_NE(epoch_in(m), before);
  EXPECT_EQ(epoch_in(m), epoch_of(server));
  EXPECT_EQ(seq_in(m), 0U);
  ASSERT_FALSE(c.put("1", "newer").error);
  const std::string next = bus.next();
  EXPECT_EQ(epoch_in(next), epoch_in(m));
  EXPECT_EQ(seq_in(next), 1U);
  const std::string steady = epoch_of(server);
  ASSERT_FALSE(c.heartbeat(3).error);
  EXPECT_EQ(epoch_of(server), steady);
}

// Race 23.
TEST(Announce, WithMemoryExhaustedAPutChangesNothingAndAnEraseStillWorks) {
  RedisServer server{{.args = {"--maxmemory-policy", "noeviction"}}};
  Client c(server);
  ASSERT_FALSE(c.heartbeat(1).error);
  ASSERT_FALSE(c.put("1", "old").error);
  ASSERT_EQ(c.lease(RemoteOp::lease_get, "2", "t").lease, LeaseState::granted);
  Subscriber bus(server);
  ASSERT_EQ(server.command({"CONFIG", "SET", "maxmemory", "1"}), "OK");

  const RemoteReply refused = c.put("1", "new");
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->code, Errc::refused);
  EXPECT_NE(refused.error->message.find("OOM"), std::string::npos) << refused.error->message;
  EXPECT_EQ(c.value("1"), "old");
  EXPECT_EQ(code(c.put("2", "new")), Errc::refused);
  EXPECT_EQ(server.command({"GET", lease_key("2")}), "t");  // nothing happened: the lease stands too
  EXPECT_EQ(server.command({"GET", "test:app:!seq"}), "1");

  const RemoteReply erased = c.erase({"1"});
  ASSERT_FALSE(erased.error) << erased.error->message;
  EXPECT_EQ(erased.count, 1);
  EXPECT_FALSE(c.value("1"));
  const std::string m = bus.next();
  EXPECT_EQ(load_be<2>(m.data() + 40), 1U);
  // Servers from 7.0 let INCR through after a DEL of the same script; elder ones refuse it: then it goes out unnumbered.
  EXPECT_EQ(seq_in(m), server.command({"GET", "test:app:!seq"}) == "2" ? 2U : 0U);

  const RemoteReply beat = c.heartbeat(2);
  ASSERT_FALSE(beat.error) << beat.error->message;
  EXPECT_EQ(bus.next()[4], 2);

  ASSERT_FALSE(c.clear("user").error);
  EXPECT_EQ(seq_in(bus.next()), 0U);  // INCR is its first write, and refused
  EXPECT_EQ(seq_in(bus.next()), 0U);
}

TEST(Announce, AnEraseThatCannotBeCountedGoesOutWithSequenceZero) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "v").error);
  Subscriber bus(server);
  server.command({"DEL", "test:app:!seq"});
  server.command({"LPUSH", "test:app:!seq", "not a number"});
  const RemoteReply r = c.erase({"1"});
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_EQ(bus.next(), message(1, 0, epoch_of(server), 0, 0, {{key("1"), 0}}));
  EXPECT_FALSE(c.value("1"));
}

}  // namespace
}  // namespace tiercache::testing
