// SPDX-License-Identifier: Apache-2.0
//
// Group commit: puts that meet a busy shard go as one script, with one announcement, and an answer for each.
#include "jam.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

namespace tiercache::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct Heard {
  std::uint64_t sequence = 0;
  std::uint64_t write_id = 0;
  std::vector<std::pair<std::string, std::uint64_t>> items;
};
Heard heard(const std::string& m) {
  Heard h{load_be<8>(m.data() + 16), load_be<8>(m.data() + 32), {}};
  const std::uint64_t count = load_be<2>(m.data() + 40);
  for (std::size_t at = 42, i = 0; i < count; ++i) {
    const std::size_t size = load_be<2>(m.data() + at);
    h.items.emplace_back(m.substr(at + 10, size), load_be<8>(m.data() + at + 2));
    at += 10 + size;
  }
  return h;
}

RemoteReply put_many(Client& c, const std::vector<std::tuple<std::string, std::string, std::uint64_t>>& puts) {
  Strings keys;
  Strings heads;
  std::vector<RemotePut> values;
  for (const auto& [id, payload, version] : puts) {
    keys.push_back(key(id));
    heads.push_back(head(version));
  }
  for (std::size_t i = 0; i < puts.size(); ++i)
    values.push_back({heads[i], std::get<1>(puts[i]), 0, std::get<2>(puts[i]), std::get<2>(puts[i]) != 0});
  RemoteRequest r;
  r.op = RemoteOp::put_many;
  r.keys = keys;
  r.puts = values;
  r.write_id = 7;
  return c.run(r);
}

TEST(PutMany, IsOneNumberAndOneMessageWithAnAnswerForEach) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put_version("old", "stands", 9, true).error);
  ASSERT_EQ(c.lease(RemoteOp::lease_get, "a", "t").lease, LeaseState::granted);
  Subscriber bus(server);
  const RemoteReply r = put_many(c, {{"a", "1", 0}, {"old", "late", 9}, {"b", "2", 5}, {"old", "later", 8}});
  ASSERT_FALSE(r.error) << r.error->message;
  ASSERT_EQ(r.puts.size(), 4U);
  EXPECT_FALSE(r.puts[0]);
  EXPECT_EQ(r.puts[1]->code, Errc::superseded);
  EXPECT_FALSE(r.puts[2]);
  EXPECT_EQ(r.puts[3]->code, Errc::superseded);
  EXPECT_EQ(c.value("a"), "1");
  EXPECT_EQ(c.value("b"), "2");
  EXPECT_EQ(c.value("old"), "stands");
  EXPECT_EQ(server.command({"GET", lease_key("a")}), "(nil)") << "a put displaces the lease";
  const std::string message = bus.next();
  const Heard h = heard(message);
  EXPECT_EQ(h.sequence, 2U);
  EXPECT_EQ(h.write_id, 7U);
  EXPECT_EQ(r.sequence, 2U);
  EXPECT_EQ(r.epoch, load_be<8>(message.data() + 8));
  EXPECT_NE(r.stream, 0U);
  EXPECT_THAT(h.items, ElementsAre(std::pair(key("a"), 0U), std::pair(key("old"), 9U), std::pair(key("b"), 5U)))
      << "9 stood already, but nobody may have told of it";
}

TEST(PutMany, StoresAKeyThatComesTwiceInTheOrderGiven) {
  RedisServer server;
  Client c(server);
  Subscriber bus(server);
  const RemoteReply r = put_many(c, {{"a", "v2", 2}, {"a", "v1", 1}, {"a", "v3", 3}, {"b", "first", 0}, {"b", "second", 0}});
  ASSERT_FALSE(r.error);
  EXPECT_FALSE(r.puts[0]);
  EXPECT_EQ(r.puts[1]->code, Errc::superseded) << "compared with the one before it in the group";
  EXPECT_FALSE(r.puts[2]);
  EXPECT_EQ(c.value("a"), "v3");
  EXPECT_EQ(c.value("b"), "second");
  EXPECT_THAT(heard(bus.next()).items, ElementsAre(std::pair(key("a"), 3U), std::pair(key("b"), 0U)));
}

TEST(PutMany, OfNothingNewAnnouncesNothing) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put_version("a", "v", 2, true).error);
  const RemoteReply r = put_many(c, {{"a", "x", 1}});
  ASSERT_FALSE(r.error);
  EXPECT_EQ(r.puts[0]->code, Errc::superseded);
  EXPECT_EQ(r.stream, 0U) << "it stands nowhere in the stream";
  EXPECT_EQ(server.command({"GET", "test:app:!seq"}), "1");
}

TEST(PutMany, AKeyOfAnotherTypeRefusesItsOwnPairAlone) {
  RedisServer server;
  Client c(server);
  server.command({"LPUSH", key("list"), "x"});
  Subscriber bus(server);
  const RemoteReply r = put_many(c, {{"a", "1", 2}, {"list", "2", 2}, {"b", "3", 0}});
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_FALSE(r.puts[0]);
  ASSERT_TRUE(r.puts[1]);
  EXPECT_EQ(r.puts[1]->code, Errc::refused);
  EXPECT_FALSE(r.puts[2]);
  EXPECT_EQ(c.value("a"), "1");
  EXPECT_EQ(c.value("b"), "3");
  EXPECT_THAT(heard(bus.next()).items, ElementsAre(std::pair(key("a"), 2U), std::pair(key("b"), 0U)));
  // Where nothing else is in the group, nothing is announced.
  const RemoteReply alone = put_many(c, {{"list", "2", 2}});
  ASSERT_FALSE(alone.error);
  EXPECT_EQ(alone.puts[0]->code, Errc::refused);
  EXPECT_EQ(server.command({"GET", "test:app:!seq"}), "1");
}

TEST(PutMany, IsReplayedFromTheLogAsItWasAnnounced) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.heartbeat(1).error);  // notes whose log it is
  ASSERT_FALSE(c.put("first", "v").error);
  Subscriber bus(server);
  const RemoteReply many = put_many(c, {{"a", "1", 0}, {"b", "2", 5}});
  ASSERT_FALSE(many.error);
  RemoteRequest r;
  r.op = RemoteOp::resync;
  r.epoch = many.epoch;
  r.sequence = 1;
  const RemoteReply log = c.run(r);
  ASSERT_FALSE(log.error);
  EXPECT_TRUE(log.applied);
  EXPECT_THAT(log.messages, ElementsAre(bus.next()));
}

// What announcement() does for one put: numbers that begin again are of a new epoch, in the message and in what is stored.
TEST(PutMany, ANumberGivenAgainBeginsANewEpoch) {
  RedisServer server;
  Client c(server);
  const RemoteReply first = put_many(c, {{"a", "1", 0}});
  ASSERT_FALSE(first.error);
  ASSERT_EQ(server.command({"DEL", "test:app:!seq"}), "1");
  Subscriber bus(server);
  const RemoteReply again = put_many(c, {{"a", "2", 0}});
  ASSERT_FALSE(again.error);
  EXPECT_EQ(again.sequence, 1U);
  EXPECT_NE(again.epoch, first.epoch);
  EXPECT_EQ(load_be<8>(bus.next().data() + 8), again.epoch);
  std::string epoch;
  append_be<8>(epoch, again.epoch);
  EXPECT_EQ(server.command({"GETRANGE", key("a"), "48", "55"}), epoch);
}

TEST(PutMany, TakesItsTtlsAndItsEpochFromWhereAPutDoes) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("lone", "v").error);
  const Strings keys = {key("a"), key("b")};
  const std::string h = head();
  const RemotePut puts[] = {{h, "v", 60'000, 0, false}, {h, "v", 0, 0, false}};
  RemoteRequest r;
  r.op = RemoteOp::put_many;
  r.keys = keys;
  r.puts = puts;
  ASSERT_FALSE(c.run(r).error);
  EXPECT_GT(std::stol(server.command({"PTTL", key("a")})), 50'000);
  EXPECT_EQ(server.command({"PTTL", key("b")}), "-1");
  EXPECT_EQ(server.command({"GET", key("b")}), server.command({"GET", key("lone")}));  // head, epoch and payload alike
}

TEST(PutMany, IsRefusedWholeWhereItsShapeIsWrong) {
  RedisServer server;
  Client c(server);
  const Strings keys = {key("a"), key("b")};
  const std::string h = head();
  const RemotePut puts[] = {{h, "v", 0, 0, false}};
  RemoteRequest r;
  r.op = RemoteOp::put_many;
  r.keys = keys;
  r.puts = puts;
  EXPECT_EQ(code(c.run(r)), Errc::invalid_argument);
  Strings long_keys;
  std::vector<RemotePut> many;
  for (int i = 0; i < 1025; ++i) {
    long_keys.push_back(key("k" + std::to_string(i)));
    many.push_back(puts[0]);
  }
  r.keys = long_keys;
  r.puts = many;
  EXPECT_EQ(code(c.run(r)), Errc::too_large);
  EXPECT_EQ(server.command({"DBSIZE"}), "0");
}

TEST(PutGroup, ALonePutGoesAloneAndAtOnce) {
  RedisServer server;
  Client c(server);
  for (int i = 0; i < 10; ++i) ASSERT_FALSE(c.put("k", "v").error);
  EXPECT_EQ(c.stats().put_groups, 0U);
}

TEST(PutGroup, PutsThatQueueAreOneScriptAndOneAnnouncement) {
  RedisServer server;
  Client c(server);
  Jam jam(server, c);
  std::vector<std::future<RemoteReply>> answers;
  for (const char* id : {"a", "b", "c", "d"}) answers.push_back(jam.put(id, std::string("of ") + id));
  const std::uint64_t groups = c.stats().put_groups;
  EXPECT_FALSE(jam.go().error);
  for (auto& a : answers) {
    const RemoteReply r = a.get();
    ASSERT_FALSE(r.error) << r.error->message;
    EXPECT_TRUE(r.applied);
    EXPECT_EQ(r.announced_as, 42U);
    EXPECT_EQ(std::to_string(r.sequence), server.command({"GET", "test:app:!seq"})) << "the group's number is each one's";
    EXPECT_NE(r.stream, 0U);
    EXPECT_EQ(r.announced_for, 4U);
  }
  EXPECT_EQ(c.stats().put_groups - groups, 1U);
  for (const char* id : {"a", "b", "c", "d"}) EXPECT_EQ(c.value(id), std::string("of ") + id);
  EXPECT_EQ(c.stats().queued_puts, 0U);
}

TEST(PutGroup, EachCallerHasItsOwnAnswer) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put_version("v", "stands", 5, true).error);
  Jam jam(server, c);
  auto newer = jam.put("v", "newer", 6);
  auto older = jam.put("v", "older", 5);
  auto plain = jam.put("p", "plain");
  // What is wrong with one put is told at once, also while the others wait.
  EXPECT_EQ(code(c.put("p", "v", -1)), Errc::invalid_argument);
  jam.go();
  EXPECT_FALSE(newer.get().error);
  EXPECT_EQ(code(older.get()), Errc::superseded);
  const RemoteReply r = plain.get();
  EXPECT_FALSE(r.error);
  EXPECT_EQ(r.announced_for, 2U) << "the superseded put is in no announcement";
  EXPECT_EQ(c.value("v"), "newer");
}

// Somebody has made a list of a key: what the versioned put of it cannot be compared with is no matter of the others'.
TEST(PutGroup, AKeyOfAnotherTypeRefusesItsOwnPutAlone) {
  RedisServer server;
  Client c(server);
  server.command({"LPUSH", key("list"), "x"});
  server.command({"LPUSH", key("other"), "x"});
  Subscriber bus(server);
  Jam jam(server, c);
  auto before = jam.put("before", "1", 3);
  auto list = jam.put("list", "2", 3);
  auto plain = jam.put("other", "3");
  auto behind = jam.put("list", "4", 4);
  auto after = jam.put("after", "5", 3);
  EXPECT_FALSE(jam.go().error);
  for (auto* put : {&list, &behind}) {
    const RemoteReply r = put->get();
    EXPECT_EQ(code(r), Errc::refused);
    ASSERT_TRUE(r.error);
    EXPECT_THAT(r.error->message, HasSubstr("WRONGTYPE the key holds another type than a string"));
    EXPECT_THAT(r.error->message, Not(HasSubstr("list")));
  }
  for (auto* put : {&before, &plain, &after}) {
    const RemoteReply r = put->get();
    EXPECT_FALSE(r.error) << r.error->message;
    EXPECT_EQ(r.announced_for, 3U);
  }
  EXPECT_EQ(c.value("before"), "1");
  EXPECT_EQ(c.value("other"), "3") << "a put without a version compares nothing";
  EXPECT_EQ(c.value("after"), "5");
  EXPECT_EQ(server.command({"TYPE", key("list")}), "list");
  Heard group = heard(bus.next());
  while (group.items.size() == 1) group = heard(bus.next());  // the jam's own
  EXPECT_THAT(group.items, ElementsAre(std::pair(key("before"), 3U), std::pair(key("other"), 0U), std::pair(key("after"), 3U)));
}

TEST(PutGroup, ALonePutOfAKeyOfAnotherTypeSaysSo) {
  RedisServer server;
  Client c(server);
  server.command({"LPUSH", key("list"), "x"});
  const RemoteReply r = c.put_version("list", "v", 3, true);
  EXPECT_EQ(code(r), Errc::refused);
  ASSERT_TRUE(r.error);
  EXPECT_THAT(r.error->message, HasSubstr("WRONGTYPE the key holds another type than a string"));
  EXPECT_EQ(server.command({"EXISTS", "test:app:!seq"}), "0") << "nothing was announced";
}

TEST(PutGroup, AValueTooLargeForAGroupGoesPastIt) {
  RedisServer server;
  Client c(server);
  Jam jam(server, c);
  auto small = jam.put("small", "s");
  const std::uint64_t commands = c.stats().commands;
  auto large = std::async(std::launch::async, [&] { return c.put("large", std::string(3 << 20, 'x')); });
  ASSERT_TRUE(eventually([&] { return c.stats().commands > commands; })) << "it waited for its turn";
  jam.go();
  EXPECT_FALSE(small.get().error);
  EXPECT_FALSE(large.get().error);
  EXPECT_EQ(c.value("large")->size(), std::size_t{3} << 20);
}

TEST(PutGroup, IsCutWhereItWouldHoldTooManyBytesOrPuts) {
  RedisServer server;
  Client c(server);
  std::vector<std::future<RemoteReply>> answers;
  const std::uint64_t before = c.stats().put_groups;
  {
    Jam jam(server, c);
    for (int i = 0; i < 24; ++i) answers.push_back(jam.put("k" + std::to_string(i), std::string(60'000, 'x')));
    const std::uint64_t groups = c.stats().put_groups;
    jam.go();
    for (auto& a : answers) EXPECT_FALSE(a.get().error);
    EXPECT_GE(c.stats().put_groups - groups, 2U);  // 24 * 60,000 bytes are above 1 MiB
  }
  EXPECT_GE(c.stats().put_groups - before, 2U);
  for (int i = 0; i < 24; ++i) EXPECT_EQ(c.value("k" + std::to_string(i))->size(), 60'000U);
}

// 32 threads on 8 keys, half of them with versions from one clock a key. A subscriber hears every announcement.
TEST(PutGroup, ManyWritersOnFewKeysLoseNothingAndNumberEverything) {
  constexpr int threads = 32;
  constexpr int rounds = 60;
  constexpr int keys = 8;  // 0..3 versioned, 4..7 last write wins
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.heartbeat(1).error);
  Subscriber bus(server);
  std::array<std::atomic<std::uint64_t>, keys> clock{};
  std::array<std::atomic<std::uint64_t>, keys> acknowledged{};
  std::array<std::atomic<int>, keys> ok_puts{};
  std::array<std::array<std::atomic<int>, threads>, keys> last_of{};
  std::atomic<int> wrong{0};
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      std::minstd_rand random(seed + static_cast<unsigned>(t));
      for (int i = 1; i <= rounds; ++i) {
        const auto k = static_cast<std::size_t>(random() % keys);
        const std::string id = "k" + std::to_string(k);
        if (k >= 4) {
          if (c.put(id, std::to_string(t) + ":" + std::to_string(i)).error) ++wrong;
          last_of[k][static_cast<std::size_t>(t)] = i;
          ++ok_puts[k];
          continue;
        }
        const std::uint64_t version = ++clock[k];
        const RemoteReply r = c.put_version(id, std::to_string(version), version, true);
        if (r.error && r.error->code != Errc::superseded) ++wrong;
        if (!r.error) ++ok_puts[k];
        // Stored, or something newer stands: either way nothing older may be read any more, by anybody.
        std::uint64_t seen = acknowledged[k];
        while (seen < version && !acknowledged[k].compare_exchange_weak(seen, version)) {
        }
        const std::uint64_t floor = acknowledged[k];
        if (std::stoull(c.value(id).value_or("0")) < floor) ++wrong;
      }
    });
  }
  for (std::thread& t : running) t.join();
  EXPECT_EQ(wrong, 0);
  for (std::size_t k = 0; k < 4; ++k)
    if (clock[k] != 0) {
      EXPECT_EQ(c.value("k" + std::to_string(k)), std::to_string(clock[k]));
    }
  for (std::size_t k = 4; k < keys; ++k) {
    const auto v = c.value("k" + std::to_string(k));
    if (!v) continue;
    const auto t = static_cast<std::size_t>(std::stoi(*v));
    EXPECT_EQ(std::stoi(v->substr(v->find(':') + 1)), last_of[k][t]) << "an earlier put of that thread came back";
  }
  // Every number once and in order, and each stored key in a message: as many groups fewer than puts as grouping saved.
  const std::uint64_t last = std::stoull(server.command({"GET", "test:app:!seq"}));
  std::map<std::string, int> listed;
  for (std::uint64_t n = 1; n <= last; ++n) {
    const Heard h = heard(bus.next());
    ASSERT_EQ(h.sequence, n);
    std::set<std::string> once;
    for (const auto& [name, version] : h.items) {
      EXPECT_TRUE(once.insert(name).second);
      ++listed[name];
    }
  }
  int puts = 0;
  for (std::size_t k = 0; k < keys; ++k) {
    puts += ok_puts[k];
    EXPECT_LE(listed[key("k" + std::to_string(k))], ok_puts[k]);
    EXPECT_EQ(listed[key("k" + std::to_string(k))] > 0, ok_puts[k] > 0);
  }
  EXPECT_GT(c.stats().put_groups, 0U);
  EXPECT_LT(last, static_cast<std::uint64_t>(puts)) << "32 writers were never in each other's way?";
}

}  // namespace
}  // namespace tiercache::testing
