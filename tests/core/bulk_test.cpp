// SPDX-License-Identifier: Apache-2.0
//
// Tags, prefixes, patterns, clear of everything and its acknowledgement, and writes that Redis refuses: stores as instances of
// one service, against a real redis-server.
#include "instances.hpp"

#include <gmock/gmock.h>

namespace tiercache::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// Each test runs standalone and over slot tags.
class Bulk : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  Config config(std::string name = {}) {
    Config c = instance_config(server.url());
    c.l2.shards = GetParam();
    c.instance_name = std::move(name);
    c.bus.staleness_budget = 2s;  // L1 stays valid on a machine that is busy with other things
    c.bus.heartbeat = 100ms;
    return c;
  }
  /// Reads every key until L1 of `i` answers for all of them at once.
  static void warm_all(Instance& i, const std::vector<std::string>& keys) {
    i.wait_coherent();
    ASSERT_TRUE(eventually([&] {
      return std::all_of(keys.begin(), keys.end(), [&](const std::string& k) { return i.view.get(k).source() == Source::l1; });
    }));
  }
  RedisServer server;
};
INSTANTIATE_TEST_SUITE_P(Shards, Bulk, ::testing::Values(0U, 3U),
                         [](const auto& p) { return p.param == 0 ? std::string("Standalone") : std::string("SlotTags"); });

TEST_P(Bulk, ATagErasesItsKeysInEveryInstanceAndNoOthers) {
  Instance a(config());
  Instance b(config());
  std::vector<std::string> red;
  std::vector<std::string> all;
  for (int i = 0; i < 30; ++i) {
    const std::string key = "k" + std::to_string(i);
    WriteOptions options;
    if (i % 3 == 0) options.tags = {"red", "third"};
    ASSERT_TRUE(a.view.put(key, i, options).ok());
    all.push_back(key);
    if (i % 3 == 0) red.push_back(key);
  }
  b.wait_coherent();
  b.wait_applied();  // a put's announcement after the warming would void what that has filled
  warm_all(b, all);
  warm_all(a, all);
  ASSERT_TRUE(a.view.erase_tag("red").ok());
  for (const std::string& key : red) EXPECT_EQ(a.get(key), -1) << "the eraser reads what it erased: " << key;
  EXPECT_EQ(a.view.get("k1").source(), Source::l1) << "what does not bear the tag stays in L1";
  b.wait_applied();
  b.wait_coherent();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto h = b.view.get(all[i]);
    EXPECT_EQ(h ? *h : -1, i % 3 == 0 ? -1 : static_cast<int>(i));
    EXPECT_EQ(h.source(), i % 3 == 0 ? Source::none : Source::l1);
  }
  EXPECT_TRUE(a.view.erase_tag("red").ok()) << "nobody bears it any more";
  EXPECT_TRUE(a.view.erase_tag("unheard.of").ok());
  ASSERT_TRUE(a.view.put("k0", 100, {.tags = {"red"}}).ok());
  EXPECT_EQ(b.get("k0"), 100) << "what is put afterwards stays";
}

TEST_P(Bulk, ATagOfManyKeysGoesInBatches) {
  Instance a(config());
  constexpr int keys = 1500;
  for (int i = 0; i < keys; ++i) {
    const Result<void> r = a.view.put("k" + std::to_string(i), i, {.tags = {"t"}});
    ASSERT_TRUE(r.ok()) << name(r.error().code) << ": " << r.error().message;
  }
  a.wait_applied();
  const auto announcements = [&] {
    const BusStats s = a.store().stats().bus;
    return s.messages - s.heartbeats_seen;
  };
  const std::uint64_t before = announcements();
  ASSERT_TRUE(a.view.erase_tag("t").ok());
  for (int i = 0; i < keys; ++i) ASSERT_EQ(a.get("k" + std::to_string(i)), -1);
  a.wait_applied();
  EXPECT_LT(announcements() - before, 200U) << "an announcement names many keys";
}

TEST_P(Bulk, ALoaderNamesTheTagsOfWhatItBrings) {
  Instance a(config());
  Instance b(config());
  a.wait_coherent();
  const auto loaded = a.view.get_or_load("k", [] { return Loaded<int>{7, 0, {}, {"team.9"}}; });
  ASSERT_TRUE(loaded);
  EXPECT_EQ(b.get("k"), 7);
  ASSERT_TRUE(b.view.erase_tag("team.9").ok());
  a.wait_applied();
  EXPECT_EQ(a.get("k"), -1);
  const auto again = a.view.get_or_load("k", [] { return Loaded<int>{8, 0, {}, {"team.9"}}; });
  EXPECT_EQ(*again, 8);
  EXPECT_EQ(b.get("k"), 8) << "a load that began after the erase is stored";
}

TEST_P(Bulk, APrefixAndAPatternEraseWhatMatchesInEveryInstance) {
  Instance a(config());
  Instance b(config());
  const std::vector<std::string> keys = {"eu:1", "eu:2", "us:1", "eu*3", "[x]1", "x1"};
  for (std::size_t i = 0; i < keys.size(); ++i) ASSERT_TRUE(a.view.put(keys[i], static_cast<int>(i)).ok());
  warm_all(b, keys);
  const auto left = [&](Instance& i) {
    std::vector<std::string> there;
    for (const std::string& key : keys)
      if (i.get(key) >= 0) there.push_back(key);
    return there;
  };
  ASSERT_TRUE(a.view.erase_prefix("eu*").ok());
  b.wait_applied();
  EXPECT_EQ(left(b), (std::vector<std::string>{"eu:1", "eu:2", "us:1", "[x]1", "x1"})) << "a prefix is no pattern";
  ASSERT_TRUE(a.view.erase_prefix("[x]").ok());
  ASSERT_TRUE(a.view.erase_prefix("eu:").ok());
  EXPECT_EQ(left(a), (std::vector<std::string>{"us:1", "x1"}));
  b.wait_applied();
  EXPECT_EQ(left(b), (std::vector<std::string>{"us:1", "x1"}));
  ASSERT_TRUE(a.view.erase_matching("?s:[0-9]").ok());
  b.wait_applied();
  EXPECT_EQ(left(b), (std::vector<std::string>{"x1"}));
}

TEST_P(Bulk, ClearOfAStoreReachesViewsThatItNeverOpened) {
  Instance a(config());
  Instance b(config());
  auto other = b.store().cache<int>("other");
  ASSERT_TRUE(other.put("o", 5, {.tags = {"t"}}).ok());
  ASSERT_TRUE(b.view.put("k", 1).ok());
  warm_all(b, {"k"});
  ASSERT_TRUE(eventually([&] { return other.get("o").source() == Source::l1; }));
  ASSERT_TRUE(a.store().clear({.acknowledged = true}).ok());
  EXPECT_FALSE(other.get("o"));
  EXPECT_EQ(b.get("k"), -1);
  EXPECT_TRUE(b.coherent()) << "a clear is no gap: L1 stays valid";
  ASSERT_TRUE(b.view.put("k", 2).ok());
  EXPECT_EQ(a.get("k"), 2);
}

TEST_P(Bulk, AnAcknowledgedClearIsOverWhenNobodyAnswersFromBefore) {
  Instance a(config("a"));
  Instance b(config("b"));
  Instance c(config("c"));
  std::vector<std::string> keys;
  for (int i = 0; i < 20; ++i) keys.push_back("k" + std::to_string(i));
  for (int round = 0; round < 5; ++round) {
    for (const std::string& key : keys) ASSERT_TRUE(a.view.put(key, round).ok());
    warm_all(b, keys);
    warm_all(c, keys);
    const Result<void> r = a.view.clear({.acknowledged = true});
    ASSERT_TRUE(r.ok()) << r.error().message;
    for (Instance* i : {&b, &c})
      for (const std::string& key : keys) EXPECT_NE(i->view.get(key).source(), Source::l1);
  }
}

// tc-bus of every instance of the process is held: heartbeats go on being sent, and say that nothing was applied.
TEST_P(Bulk, AnAcknowledgedClearNamesWhoDoesNotHearUntilTheirL1AnswersNobody) {
  Config wide = config("alpha");
  Instance a(wide);
  wide.instance_name = "beta";
  Instance b(wide);
  ASSERT_TRUE(a.view.put("k", 1).ok());
  warm_all(b, {"k"});
  lab::bus_reader_stopped = true;
  const Result<void> named = a.view.clear({.deadline = 700ms, .acknowledged = true});
  ASSERT_FALSE(named.ok());
  EXPECT_EQ(named.error().code, Errc::unacknowledged);
  EXPECT_THAT(named.error().message, HasSubstr("beta"));
  const Result<void> lapsed = a.view.clear({.acknowledged = true});
  EXPECT_TRUE(lapsed.ok()) << lapsed.error().message;
  EXPECT_NE(b.view.get("k").source(), Source::l1);
  lab::bus_reader_stopped = false;
}

TEST_P(Bulk, BadArgumentsAreNamedAndChangeNothing) {
  Instance a(config());
  ASSERT_TRUE(a.view.put("k", 1, {.tags = {"t"}}).ok());
  const auto code = [](const Result<void>& r) { return r.ok() ? std::string("ok") : r.error().message; };
  EXPECT_THAT(code(a.view.erase_tag("no spaces")), HasSubstr("tag"));
  EXPECT_THAT(code(a.view.erase_prefix("")), HasSubstr("prefix"));
  EXPECT_THAT(code(a.view.erase_matching("*a*a*a*a*a*a*a*a*")), HasSubstr("stars"));
  EXPECT_THAT(code(a.view.erase_matching("a b")), HasSubstr("pattern"));
  EXPECT_THAT(code(a.view.put("k", 2, {.tags = {"a:b"}})), HasSubstr("tag"));
  EXPECT_THAT(code(a.view.put("k", 2, {.tags = std::vector<std::string>(17, "t")})), HasSubstr("tags"));
  const auto h = a.view.get_or_load("other", [] { return Loaded<int>{1, 0, {}, {""}}; });
  ASSERT_NE(h.error(), nullptr);
  EXPECT_EQ(h.error()->code, Errc::invalid_argument);
  EXPECT_EQ(a.get("k"), 1);
}

TEST(BulkWithoutABus, AnAcknowledgedClearIsRefused) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.enabled = false;
  Instance a(config);
  ASSERT_TRUE(a.view.put("k", 1).ok());
  const Result<void> r = a.view.clear({.acknowledged = true});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::invalid_argument);
  EXPECT_EQ(a.get("k"), 1) << "nothing was done";
  EXPECT_TRUE(a.view.clear().ok());
}

TEST(BulkWithoutRedis, VoidsTheView) {
  Config config = instance_config("redis://127.0.0.1:1");
  config.l2.enabled = false;
  Instance a(config);
  for (const auto& erase : std::vector<std::function<Result<void>()>>{
           [&] { return a.view.erase_tag("t"); }, [&] { return a.view.erase_prefix("k"); },
           [&] { return a.view.erase_matching("k*"); }, [&] { return a.store().clear({.acknowledged = true}); }}) {
    ASSERT_TRUE(a.view.put("k", 1).ok());
    ASSERT_EQ(a.get("k"), 1);
    EXPECT_TRUE(erase().ok());
    EXPECT_EQ(a.get("k"), -1);
  }
}

// A process that died a moment ago is still listed; its L1 answers nobody, and the clear waits no longer than it might have.
TEST(AcknowledgedClear, WaitsForTheDeadNoLongerThanTheBudget) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  {
    const Instance b(instance_config(server.url()));
    b.wait_coherent();
  }
  const auto began = std::chrono::steady_clock::now();
  const Result<void> r = a.view.clear({.acknowledged = true});
  EXPECT_TRUE(r.ok()) << r.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - began, 500ms + 2s);
}

// Nobody can be asked, so nobody's budget is known either: there is no instant from which on all have lapsed.
TEST(AcknowledgedClear, SaysSoWhenNobodyCanBeAsked) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 1s;
  Instance a(config);
  a.wait_coherent();
  server.command({"ACL", "SETUSER", "default", "-zrangebyscore"});  // who asks for the members is refused
  const Result<void> r = a.view.clear({.acknowledged = true});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::unacknowledged);
  EXPECT_THAT(r.error().message, HasSubstr("could not be asked"));
}

// Redis is emptied between the last heartbeats and the clear: the list of members names nobody, and must not be believed.
TEST(AcknowledgedClear, AListThatWasLostIsNotBelieved) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 3s;
  config.bus.heartbeat = 1s;
  Instance a(config);
  Instance b(config);
  ASSERT_TRUE(a.view.put("k", 1).ok());
  b.warm("k");
  a.wait_coherent();
  server.command({"DEL", "test:races:!members"});
  lab::bus_reader_stopped = true;
  const Result<void> r = a.view.clear({.deadline = 700ms, .acknowledged = true});
  ASSERT_FALSE(r.ok()) << "b was asked by nobody and still holds k";
  EXPECT_EQ(r.error().code, Errc::unacknowledged);
  lab::bus_reader_stopped = false;
}

// --- Writes that Redis refuses ------------------------------------------------------------------

class Refused : public ::testing::Test {
 protected:
  RedisServer server;
};

TEST_F(Refused, WithoutMemoryThePutErasesItsKeyEverywhere) {
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  b.warm("k");
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  const Result<void> r = a.view.put("k", 2);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::refused);
  EXPECT_THAT(r.error().message, HasSubstr("the key was erased instead"));
  EXPECT_EQ(server.command({"EXISTS", "test:races:n:k"}), "0");
  EXPECT_EQ(a.get("k"), -1);
  ASSERT_TRUE(eventually([&] { return b.get("k") == -1; })) << "b serves a value whose successor was refused";
  const auto h = b.view.get_or_load("k", [] { return 2; });
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, 2);
}

TEST_F(Refused, AVersionedPutKeepsOlderVersionsOutAndMayBeTriedAgain) {
  Instance a(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 7, {.version = 7}).ok());
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  const Result<void> refused = a.view.put("k", 9, {.version = 9});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::refused);
  EXPECT_EQ(a.get("k"), -1);
  server.command({"CONFIG", "SET", "maxmemory", "0"});
  const Result<void> older = a.view.put("k", 8, {.version = 8});
  ASSERT_FALSE(older.ok()) << "version 9 is what the database holds";
  EXPECT_EQ(older.error().code, Errc::superseded);
  EXPECT_TRUE(a.view.put("k", 9, {.version = 9}).ok());
  EXPECT_EQ(a.get("k"), 9);
}

TEST_F(Refused, WithoutMemoryATagIsErasedAllTheSame) {
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1, {.tags = {"t"}}).ok());
  b.warm("k");
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  const Result<void> r = a.view.erase_tag("t");
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(a.get("k"), -1);
  EXPECT_TRUE(eventually([&] { return b.get("k") == -1; }));
}

// A master that was made a replica takes no write, so no heartbeat: nobody validates L1 by it, and after the budget readers are
// told what it holds as what Redis holds, no more from L1.
TEST_F(Refused, AReplicaTakesNeitherThePutNorTheErase) {
  RedisServer master;
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  b.warm("k");
  server.command({"CONFIG", "SET", "replica-serve-stale-data", "yes"});
  server.command({"REPLICAOF", "127.0.0.1", "1"});  // a master that is not there: the data stay
  // A heartbeat that was refused first has the pool connect anew; what is asked meanwhile may be told that Redis is away.
  Result<void> r = a.view.put("k", 2);
  ASSERT_TRUE(eventually([&] {
    if (!r.ok() && r.error().code == Errc::unavailable) r = a.view.put("k", 2);
    return r.ok() || r.error().code != Errc::unavailable;
  }));
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::refused);
  EXPECT_THAT(r.error().message, HasSubstr("READONLY"));
  EXPECT_THAT(r.error().message, HasSubstr("nor could the key be erased"));
  EXPECT_NE(a.view.get("k").source(), Source::l1) << "the writer asks Redis";
  EXPECT_TRUE(eventually([&] { return !a.coherent() && !b.coherent(); })) << "L1 is validated by a server that takes no writes";
  server.command({"REPLICAOF", "NO", "ONE"});
  EXPECT_TRUE(eventually([&] { return a.view.erase("k").ok(); }));
  b.wait_applied();
  EXPECT_EQ(b.get("k"), -1);
}

TEST_F(Refused, AMasterWithoutItsReplicasTakesNeither) {
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1, {.tags = {"t"}}).ok());
  b.warm("k");
  server.command({"CONFIG", "SET", "min-replicas-to-write", "1"});
  const Result<void> r = a.view.put("k", 2);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::refused);
  EXPECT_THAT(r.error().message, HasSubstr("NOREPLICAS"));
  EXPECT_THAT(r.error().message, HasSubstr("nor could the key be erased"));
  EXPECT_NE(a.view.get("k").source(), Source::l1);
  EXPECT_FALSE(a.view.erase_tag("t").ok());
  EXPECT_FALSE(a.view.clear().ok());
  EXPECT_TRUE(eventually([&] { return !a.coherent() && !b.coherent(); }));
  server.command({"CONFIG", "SET", "min-replicas-to-write", "0"});
  ASSERT_TRUE(a.view.put("k", 3).ok());
  EXPECT_TRUE(eventually([&] { return b.get("k") == 3; }));
}

TEST_F(Refused, TooFewReplicasAreToldAndTheWriteStands) {
  Config config = instance_config(server.url());
  config.l2.wait_replicas = 1;
  config.l2.wait_timeout = 20ms;
  Instance a(config);
  Instance b(instance_config(server.url()));
  const Result<void> r = a.view.put("k", 1);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::unreplicated);
  EXPECT_EQ(b.get("k"), 1);
  EXPECT_EQ(a.get("k"), 1);
}

// The gate need not be safe from a failover, its end must be: so the row is written, and the answer says what is lacking.
TEST_F(Refused, TooFewReplicasAreToldAfterAnUpdateToo) {
  Config config = instance_config(server.url());
  config.l2.wait_replicas = 1;
  config.l2.wait_timeout = 20ms;
  Instance a(config);
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(b.view.put("k", 1).ok());
  int written = 0;
  const auto r = a.view.update("k", [&] { ++written; });
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::unreplicated);
  EXPECT_THAT(r.error().message, HasSubstr("the database write was done"));
  EXPECT_EQ(written, 1);
  EXPECT_EQ(server.command({"EXISTS", "test:races:!gate:n:k"}), "0") << "it ended all the same";
  EXPECT_EQ(a.get("k"), -1);

  RedisServer replica({.args = {"--replicaof", "127.0.0.1", std::to_string(server.port())}});
  EXPECT_TRUE(eventually([&] { return a.view.update("k", [&] { ++written; }).ok(); }));
}

}  // namespace
}  // namespace tiercache::testing
