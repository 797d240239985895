// SPDX-License-Identifier: Apache-2.0
//
// Every operation of the port against a real server.
#include "l2_test.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <random>

namespace tiercache::testing {
namespace {

TEST(Client, WhatWasPutIsReadBackWithTheEpochBetweenHeadAndPayload) {
  RedisServer server;
  Client c(server);
  const std::string payload("a\0b\r\n\xff", 6);
  ASSERT_FALSE(c.put("1", payload, 60'000).error);
  const RemoteReply r = c.get("1");
  ASSERT_FALSE(r.error);
  ASSERT_TRUE(r.values.at(0));
  const std::string epoch = server.command({"GET", "test:app:!epoch"});
  ASSERT_EQ(epoch.size(), 8U);
  EXPECT_EQ(r.values[0]->bytes, head() + epoch + payload);
  EXPECT_GT(r.values[0]->ttl_ms, 0);
  EXPECT_LE(r.values[0]->ttl_ms, 60'000);
}

TEST(Client, WithoutATtlAValueDoesNotExpireAndWithOneItDoes) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("stays", "v").error);
  EXPECT_EQ(c.get("stays").values.at(0)->ttl_ms, -1);
  ASSERT_FALSE(c.put("goes", "v", 20).error);
  EXPECT_TRUE(eventually([&] { return !c.value("goes"); }));
  EXPECT_TRUE(c.value("stays"));
}

TEST(Client, SeveralKeysComeInOrderWithGapsWhereNothingStands) {
  RedisServer server;
  Client c(server);
  Strings keys;
  for (int i = 0; i < 600; ++i) {  // more than one pipeline takes
    keys.push_back(key(std::to_string(i)));
    if (i % 3 == 0) {
      ASSERT_FALSE(c.put(std::to_string(i), "value " + std::to_string(i)).error);
    }
  }
  const RemoteReply r = c.keyed(RemoteOp::get, keys);
  ASSERT_FALSE(r.error) << r.error->message;
  ASSERT_EQ(r.values.size(), keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    ASSERT_EQ(r.values[i].has_value(), i % 3 == 0) << i;
    if (r.values[i]) {
      EXPECT_EQ(r.values[i]->bytes.substr(payload_at), "value " + std::to_string(i));
    }
  }
  EXPECT_EQ(c.keyed(RemoteOp::exists, keys).count, 200);
}

TEST(Client, EraseRemovesAllItsKeysAndCountsThoseThatStood) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "a").error);
  ASSERT_FALSE(c.put("2", "b").error);
  ASSERT_FALSE(c.put("4", "d").error);
  const RemoteReply r = c.erase({"1", "2", "3"});
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_EQ(r.count, 2);
  EXPECT_FALSE(c.value("1"));
  EXPECT_FALSE(c.value("2"));
  EXPECT_EQ(c.value("4"), "d");
}

TEST(Client, AScriptTheServerForgotIsSentAgainWithoutTheCallerNoticing) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "a").error);
  ASSERT_FALSE(c.put("1", "b").error);
  const auto loads = c.port().stats().script_loads;
  EXPECT_EQ(loads, 2U);  // the first put of a client, and the others
  ASSERT_FALSE(c.put("1", "b").error);
  EXPECT_EQ(c.port().stats().script_loads, loads);
  ASSERT_EQ(server.command({"SCRIPT", "FLUSH"}), "OK");
  ASSERT_FALSE(c.put("1", "c").error);
  EXPECT_EQ(c.port().stats().script_loads, loads + 1);
  EXPECT_EQ(c.value("1"), "c");
  EXPECT_EQ(server.command({"GET", "test:app:!seq"}), "4");  // each put ran once
}

// Race 3, crossing writers: the elder version arrives last.
TEST(Client, AVersionedPutNeverGoesBack) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put_version("1", "five", 5, true).error);
  EXPECT_EQ(code(c.put_version("1", "four", 4, true)), Errc::superseded);
  EXPECT_EQ(code(c.put_version("1", "five again", 5, true)), Errc::superseded);
  EXPECT_EQ(c.value("1"), "five");
  EXPECT_EQ(server.command({"GET", "test:app:!seq"}), "2");  // an elder one is not announced, the same one is
  ASSERT_FALSE(c.put_version("1", "six", 6, true).error);
  EXPECT_EQ(c.value("1"), "six");

  const Ablate without(lab::Remedy::version_check);
  ASSERT_FALSE(c.put_version("1", "four", 4, true).error);
  EXPECT_EQ(c.value("1"), "four");
}

TEST(Client, VersionsCompareAsUnsignedBytesPast53BitsAndPastTheServersLocale) {
  RedisServer server;
  Client c(server);
  const std::uint64_t rising[] = {1,
                                  0x7f,
                                  0x80,
                                  0xff,
                                  0x100,
                                  0xe0c0,
                                  (1ULL << 53) - 1,
                                  1ULL << 53,
                                  (1ULL << 53) + 1,
                                  0x7fffffffffffffff,
                                  0x8000000000000000,
                                  0xc300000000000000,
                                  0xfffffffffffffffe,
                                  ~0ULL};
  std::uint64_t before = 0;
  for (const std::uint64_t v : rising) {
    SCOPED_TRACE(v);
    ASSERT_FALSE(c.put_version("1", std::to_string(v), v, true).error);
    EXPECT_EQ(code(c.put_version("1", "elder", before, true)), Errc::superseded);
    EXPECT_EQ(c.value("1"), std::to_string(v));
    before = v;
  }
}

TEST(Client, AVersionedPutReplacesWhatIsNotAnEnvelopeOfOurs) {
  RedisServer server;
  Client c(server);
  for (const char* const foreign : {"x", "TCE", "a foreign value that is long enough to have a version"}) {
    ASSERT_EQ(server.command({"SET", key("1"), foreign}), "OK");
    ASSERT_FALSE(c.put_version("1", "ours", 1, true).error);
    EXPECT_EQ(c.value("1"), "ours");
  }
}

TEST(Client, RemoveIfTakesOnlyTheExactBytes) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "poison").error);
  const std::string poison = c.get("1").values.at(0)->bytes;
  const Strings keys = {key("1")};
  RemoteRequest r;
  r.op = RemoteOp::remove_if;
  r.keys = keys;
  r.payload = poison;
  ASSERT_FALSE(c.put("1", "repaired").error);
  EXPECT_FALSE(c.run(r).applied);
  EXPECT_EQ(c.value("1"), "repaired");
  const std::string now = c.get("1").values.at(0)->bytes;
  r.payload = now;
  EXPECT_TRUE(c.run(r).applied);
  EXPECT_FALSE(c.value("1"));
  EXPECT_FALSE(c.run(r).applied);
}

TEST(Client, ClearRemovesOneViewItsLeasesAndNothingElse) {
  RedisServer server;
  Client c(server);
  const Strings others = {"test:app:user2:1",
                          "test:app:xuser:1",
                          "test:app:order:user:1",
                          "test:app2:user:1",
                          "test:app:!lease:order:user:1",
                          "test:app:!lease:user2:1",
                          "test:app:us:er:1",
                          "other"};
  for (const std::string& k : others) ASSERT_EQ(server.command({"SET", k, "x"}), "OK");
  for (int i = 0; i < 1500; ++i) {
    ASSERT_EQ(server.command({"SET", key(std::to_string(i)), "x"}), "OK");
    ASSERT_EQ(server.command({"SET", lease_key(std::to_string(i)), "t"}), "OK");
  }
  const RemoteReply r = c.clear("user");
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_EQ(r.count, 1500);
  for (const std::string& k : others) EXPECT_EQ(server.command({"GET", k}), "x") << k;
  EXPECT_EQ(server.command({"KEYS", "test:app:user:*"}), "");
  EXPECT_EQ(server.command({"KEYS", "test:app:!lease:user:*"}), "");
  EXPECT_EQ(server.command({"GET", "test:app:!seq"}), "2");  // announced before and after
}

TEST(Client, AClearCutShortSaysThatItsOutcomeIsUnknown) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.clear("user").error);  // from here on the server knows the script
  server.command({"EVAL", "for i = 1, 200000 do redis.call('SET', 'test:app:user:' .. i, 'x') end", "0"});
  RemoteReply r;
  ASSERT_TRUE(eventually([&] {  // until one was sent in time
    r = c.clear("user", Deadline::after(10ms));
    return !r.error || code(r) == Errc::outcome_unknown;
  }));
  ASSERT_TRUE(r.error);  // some 800 round trips do not fit
  EXPECT_EQ(r.error->code, Errc::outcome_unknown);
}

TEST(Client, AClearThatTheServerEndsHalfwaySaysThatKeysMayStand) {
  for (const char* const command : {"-unlink", "-scan"}) {
    SCOPED_TRACE(command);
    RedisServer server;
    Client c(server);
    ASSERT_FALSE(c.put("1", "v").error);
    ASSERT_EQ(server.command({"ACL", "SETUSER", "default", command}), "OK");
    const auto connects = c.port().stats().connects;
    const RemoteReply r = c.clear("user");
    ASSERT_EQ(code(r), Errc::outcome_unknown);  // it was announced: "refused" would say that nothing happened
    EXPECT_NE(r.error->message.find("keys may stand"), std::string::npos) << r.error->message;
    EXPECT_EQ(c.value("1"), "v");
    EXPECT_EQ(c.port().stats().connects, connects);  // all its replies were read
    ASSERT_EQ(server.command({"ACL", "SETUSER", "default", "+@all"}), "OK");
    EXPECT_FALSE(c.clear("user").error);
    EXPECT_FALSE(c.value("1"));
  }
}

TEST(Client, AClearWhoseFirstAnnouncementIsRefusedChangedNothing) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "v").error);
  ASSERT_EQ(server.command({"ACL", "SETUSER", "default", "-evalsha", "-eval"}), "OK");
  EXPECT_EQ(code(c.clear("user")), Errc::refused);
  EXPECT_EQ(c.value("1"), "v");
}

TEST(Client, WithShardsEveryKeyOfAScriptBearsTheSlotTag) {
  RedisServer server;
  l2::Options o = Client::options_of(server.url());
  o.shards = 300;
  Client c(o);
  const Strings keys = {"test:app:user:{07}:1"};
  const std::string h = head();
  RemoteRequest r;
  r.op = RemoteOp::put;
  r.shard = 7;
  r.keys = keys;
  r.head = h;
  ASSERT_FALSE(c.run(r).error);
  EXPECT_EQ(server.command({"EXISTS", keys[0], "test:app:!seq:{07}", "test:app:!epoch:{07}", "test:app:!log:{07}"}), "4");
  EXPECT_EQ(server.command({"DBSIZE"}), "4");
  r.op = RemoteOp::lease_get;
  r.token = "t";
  r.lease_ms = 1000;
  r.ignore_value = true;
  EXPECT_EQ(c.run(r).lease, LeaseState::granted);
  EXPECT_EQ(server.command({"GET", "test:app:!lease:{07}:user:1"}), "t");
  r.op = RemoteOp::heartbeat;
  EXPECT_FALSE(c.run(r).error);
  EXPECT_EQ(server.command({"EXISTS", "test:app:!run:{07}", "test:app:!hb:{07}:0102030405060708"}), "2");

  const Strings wide = {"test:app:user:{12b}:1"};
  r.op = RemoteOp::put;
  r.shard = 0x12b;
  r.keys = wide;
  EXPECT_FALSE(c.run(r).error);
  r.op = RemoteOp::clear;
  r.type = "user";
  EXPECT_EQ(c.run(r).count, 1);
  EXPECT_EQ(server.command({"EXISTS", keys[0]}), "1");  // another shard's key stays
  r.shard = 300;
  EXPECT_EQ(code(c.run(r)), Errc::invalid_argument);
}

TEST(Client, ABadRequestIsRefusedBeforeAnythingIsSent) {
  RedisServer server;
  Client c(server);
  const auto commands = c.port().stats().commands;
  EXPECT_EQ(code(c.keyed(RemoteOp::get, {})), Errc::invalid_argument);
  EXPECT_EQ(code(c.keyed(RemoteOp::erase, {"another:app:user:1"})), Errc::invalid_argument);
  EXPECT_EQ(code(c.keyed(RemoteOp::erase, {"test:app:!seq"})), Errc::invalid_argument);
  EXPECT_EQ(code(c.keyed(RemoteOp::erase, {"test:app:user:"})), Errc::invalid_argument);
  EXPECT_EQ(code(c.keyed(RemoteOp::lease_get, {key("1"), key("2")})), Errc::invalid_argument);
  EXPECT_EQ(code(c.keyed(RemoteOp::put, {key("1")})), Errc::invalid_argument);  // no head
  EXPECT_EQ(code(c.clear("!lease")), Errc::invalid_argument);
  EXPECT_EQ(code(c.keyed(RemoteOp::erase, Strings(1025, key("1")))), Errc::too_large);
  EXPECT_EQ(c.port().stats().commands, commands);
  EXPECT_FALSE(c.keyed(RemoteOp::erase, Strings(1024, key("1"))).error);
}

TEST(Client, AValueOfAnotherTypeIsRefusedAndTheConnectionStaysUsable) {
  RedisServer server;
  Client c(server);
  server.command({"LPUSH", key("list"), "x"});
  ASSERT_FALSE(c.put("1", "one").error);
  const auto connects = c.port().stats().connects;
  EXPECT_EQ(code(c.keyed(RemoteOp::get, {key("1"), key("list"), key("1")})), Errc::refused);
  EXPECT_EQ(c.value("1"), "one");
  EXPECT_EQ(c.port().stats().connects, connects);
}

TEST(Client, TheNumbersTellWhatHappened) {
  RedisServer server;
  Client c(server);
  EXPECT_FALSE(c.keyed(RemoteOp::ping, {}).error);
  EXPECT_FALSE(c.put("1", "a").error);
  EXPECT_TRUE(c.get("1").values.at(0));
  c.put_version("1", "b", 1, true);
  EXPECT_EQ(code(c.put_version("1", "b", 1, true)), Errc::superseded);
  const RemoteStats s = c.port().stats();
  EXPECT_TRUE(s.enabled);
  EXPECT_TRUE(s.available);
  EXPECT_EQ(s.connects, 1U);
  EXPECT_EQ(s.reconnects, 0U);
  EXPECT_EQ(s.connections, 1U);
  EXPECT_EQ(s.commands, 1U + 2 + 2 + 1 + 1);  // the first put: EVALSHA, then EVAL; the get: PTTL and GET
  EXPECT_EQ(s.latency.count, 6U);
  EXPECT_EQ(s.errors[static_cast<std::size_t>(Errc::superseded)], 1U);
}

TEST(Client, SwitchedOffItNeverConnects) {
  RedisServer server;
  l2::Options o = Client::options_of(server.url());
  o.enabled = false;
  Client c(o);
  EXPECT_FALSE(c.port().available());
  EXPECT_EQ(code(c.get("1")), Errc::unavailable);
  EXPECT_EQ(c.port().stats().connects, 0U);
}

TEST(Client, EightThreadsOnFourConnectionsReadTheirOwnWrites) {
  RedisServer server;
  l2::Options o = Client::options_of(server.url());
  o.pool_size = 4;
  o.call_timeout = 20s;
  Client c(o);
  std::atomic<int> wrong{0};
  const unsigned seed = std::random_device{}();
  RecordProperty("seed", static_cast<int>(seed));
  std::printf("seed %u\n", seed);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(seed + t);
      for (int i = 0; i < 200; ++i) {
        const std::string id = std::to_string(t) + ":" + std::to_string(random() % 10);
        const std::string payload = id + " " + std::to_string(i) + std::string(random() % 3000, 'p');
        if (c.put(id, payload).error || c.value(id) != payload) ++wrong;
        if (random() % 4 == 0 && (c.erase({id}).error || c.value(id))) ++wrong;
        if (random() % 8 == 0 && c.heartbeat(static_cast<std::uint64_t>(i)).error) ++wrong;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  const RemoteStats s = c.port().stats();
  EXPECT_LE(s.connections, 5U);  // one is the heartbeats'
  EXPECT_EQ(s.connects, s.connections);
}

}  // namespace
}  // namespace tiercache::testing
