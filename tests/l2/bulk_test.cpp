// SPDX-License-Identifier: Apache-2.0
//
// Operations on many keys, as Redis sees them: tags and their sets, patterns, everything, who is a member, WAIT.
#include "l2_test.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace tiercache::testing {
namespace {

std::string tag_set(std::string_view tag) { return "test:app:!tag:user:" + std::string(tag); }
std::string tag_at(std::string_view tag) { return "test:app:!tagat:user:" + std::string(tag); }
std::int64_t number(const std::string& text) { return std::stoll(text); }

RemoteReply put_tagged(Client& c, std::string_view id, const Strings& tags, std::int64_t ttl_ms = 0,
                       std::string_view payload = "v", std::uint64_t version = 0) {
  const Strings keys = {key(id)};
  const std::string h = head(version);
  RemoteRequest r;
  r.op = RemoteOp::put;
  r.keys = keys;
  r.head = h;
  r.payload = payload;
  r.ttl_ms = ttl_ms;
  r.tags = tags;
  r.version = version;
  r.if_newer = version != 0;
  return c.run(r);
}
RemoteReply fill_tagged(Client& c, std::string_view id, std::string_view token, const Strings& tags, std::string_view stamp) {
  const Strings keys = {key(id)};
  const std::string h = head();
  RemoteRequest r;
  r.op = RemoteOp::lease_fill;
  r.keys = keys;
  r.token = token;
  r.head = h;
  r.payload = "loaded";
  r.tags = tags;
  r.stamp = stamp;
  return c.run(r);
}
RemoteReply of_tag(Client& c, RemoteOp op, std::string_view tag) {
  RemoteRequest r;
  r.op = op;
  r.type = "user";
  r.tag = tag;
  return c.run(r);
}
RemoteReply erase_tagged(Client& c, const Strings& ids, std::string_view tag) {
  Strings keys;
  for (const std::string& id : ids) keys.push_back(key(id));
  RemoteRequest r;
  r.op = RemoteOp::erase;
  r.keys = keys;
  r.tag = tag;
  return c.run(r);
}
RemoteReply cleared(Client& c, std::string_view type, std::string_view pattern, bool hurry = false) {
  RemoteRequest r;
  r.op = type.empty() ? RemoteOp::clear_all : RemoteOp::clear;
  r.type = type;
  r.pattern = pattern;
  r.hurry = hurry;
  return c.run(r);
}
bool exists(RedisServer& s, const std::string& k) { return s.command({"EXISTS", k}) == "1"; }

TEST(Tags, APutJoinsTheSetsOfItsTagsAndTheyOutliveTheirMembers) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(put_tagged(c, "1", {"a", "b"}, 5'000).error);
  EXPECT_EQ(server.command({"ZRANGE", tag_set("a"), "0", "-1"}), key("1"));
  EXPECT_EQ(server.command({"ZRANGE", tag_set("b"), "0", "-1"}), key("1"));
  EXPECT_GT(number(server.command({"PTTL", tag_set("a")})), 5'000);
  ASSERT_FALSE(put_tagged(c, "2", {"a"}, 500'000).error);
  EXPECT_GT(number(server.command({"PTTL", tag_set("a")})), 500'000);
  ASSERT_FALSE(put_tagged(c, "3", {"a"}, 1'000).error);
  EXPECT_GT(number(server.command({"PTTL", tag_set("a")})), 500'000) << "a short-lived member took the others' time";
  ASSERT_FALSE(put_tagged(c, "4", {"a"}, 0).error);
  EXPECT_EQ(server.command({"PTTL", tag_set("a")}), "-1") << "a member that does not expire needs a set that does not";
  ASSERT_FALSE(put_tagged(c, "5", {"a"}, 1'000).error);
  EXPECT_EQ(server.command({"PTTL", tag_set("a")}), "-1");
  EXPECT_EQ(server.command({"ZCARD", tag_set("a")}), "5");
}

TEST(Tags, MembersWhoseValuesAreLongGoneLeaveTheSet) {
  RedisServer server;
  Client c(server);
  for (int i = 0; i < 20; ++i) server.command({"ZADD", tag_set("a"), std::to_string(1000 + i), key("old" + std::to_string(i))});
  ASSERT_FALSE(put_tagged(c, "1", {"a"}, 5'000).error);
  EXPECT_EQ(server.command({"ZCARD", tag_set("a")}), "5") << "a bounded number a put";
  ASSERT_FALSE(put_tagged(c, "1", {"a"}, 5'000).error);
  EXPECT_EQ(server.command({"ZRANGE", tag_set("a"), "0", "-1"}), key("1"));
}

TEST(Tags, AnEraseTakesTheKeysOffTheirTagInTheSameStep) {
  RedisServer server;
  Client c(server);
  for (const char* id : {"1", "2", "3"}) ASSERT_FALSE(put_tagged(c, id, {"a"}, 60'000).error);
  ASSERT_FALSE(put_tagged(c, "other", {"b"}, 60'000).error);
  RemoteReply members = of_tag(c, RemoteOp::tag_members, "a");
  ASSERT_FALSE(members.error) << members.error->message;
  std::sort(members.keys.begin(), members.keys.end());
  EXPECT_EQ(members.keys, (Strings{key("1"), key("2"), key("3")}));
  Subscriber bus(server);
  const RemoteReply gone = erase_tagged(c, {"1", "2", "3"}, "a");
  ASSERT_FALSE(gone.error) << gone.error->message;
  EXPECT_EQ(gone.count, 3);
  EXPECT_EQ(load_be<2>(bus.next().data() + 40), 3U) << "one announcement names all";
  EXPECT_FALSE(exists(server, tag_set("a")));
  EXPECT_TRUE(of_tag(c, RemoteOp::tag_members, "a").keys.empty());
  EXPECT_EQ(c.value("other"), "v");
}

TEST(Tags, AFillWhoseTagWasStampedSinceItsLoadBeganIsNotStored) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("warm", "v").error);
  const RemoteReply before = c.lease(RemoteOp::lease_get, "1", "t1");
  ASSERT_EQ(before.lease, LeaseState::granted);
  ASSERT_FALSE(before.stamp.empty());
  ASSERT_TRUE(of_tag(c, RemoteOp::tag_stamp, "a").applied);
  const RemoteReply late = fill_tagged(c, "1", "t1", {"b", "a"}, before.stamp);
  ASSERT_FALSE(late.error) << late.error->message;
  EXPECT_FALSE(late.applied);
  EXPECT_FALSE(c.value("1"));
  EXPECT_FALSE(exists(server, tag_set("b")));

  EXPECT_TRUE(fill_tagged(c, "1", "t1", {"b"}, before.stamp).applied) << "another tag's stamp is no matter";
  const RemoteReply after = c.lease(RemoteOp::lease_get, "2", "t2");
  EXPECT_TRUE(fill_tagged(c, "2", "t2", {"a"}, after.stamp).applied) << "the load began after the stamp";
  EXPECT_EQ(server.command({"ZRANGE", tag_set("a"), "0", "-1"}), key("2"));
  EXPECT_GT(number(server.command({"PTTL", tag_at("a")})), 3'000'000);
}

TEST(Tags, StampsOfAnotherRunOfNumbersAreTold) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("warm", "v").error);
  const RemoteReply old_load = c.lease(RemoteOp::lease_get, "1", "t1");
  server.command({"SET", tag_at("a"), "EPOCHOLD99"});  // erased under an epoch that is over: before this load
  EXPECT_TRUE(fill_tagged(c, "1", "t1", {"a"}, old_load.stamp).applied);

  const RemoteReply before = c.lease(RemoteOp::lease_get, "2", "t2");
  server.command({"SET", "test:app:!epoch", "EPOCHNEW"});
  server.command({"SET", "test:app:!seq", "0"});
  ASSERT_TRUE(of_tag(c, RemoteOp::tag_stamp, "a").applied);
  EXPECT_FALSE(fill_tagged(c, "2", "t2", {"a"}, before.stamp).applied) << "the number is smaller, the epoch tells";
  EXPECT_FALSE(fill_tagged(c, "2", "t2", {"a"}, "").applied) << "a load that knows no stamp is older than any";
}

TEST(Tags, WithoutMemoryForAStampTheViewsLeasesGo) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(put_tagged(c, "1", {"a"}).error);
  const RemoteReply lease = c.lease(RemoteOp::lease_get, "2", "t2");
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  const RemoteReply stamped = of_tag(c, RemoteOp::tag_stamp, "a");
  ASSERT_FALSE(stamped.error) << stamped.error->message;
  EXPECT_FALSE(exists(server, lease_key("2")));
  EXPECT_EQ(erase_tagged(c, {"1"}, "a").count, 1);
  server.command({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_FALSE(fill_tagged(c, "2", "t2", {"a"}, lease.stamp).applied);
}

TEST(Tags, APutThatIsRefusedForWantOfMemoryChangesNoSet) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "old").error);
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  EXPECT_EQ(code(put_tagged(c, "1", {"a"}, 0, "new")), Errc::refused);
  EXPECT_FALSE(exists(server, tag_set("a")));
  EXPECT_EQ(c.value("1"), "old");
}

TEST(Tags, AnOlderVersionIsStillSuperseded) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(put_tagged(c, "1", {"a"}, 0, "new", 9).error);
  EXPECT_EQ(code(put_tagged(c, "1", {"a"}, 0, "old", 8)), Errc::superseded);
  EXPECT_EQ(c.value("1"), "new");
}

TEST(Patterns, OnlyWhatMatchesGoes) {
  RedisServer server;
  Client c(server);
  for (const char* id : {"a:1", "a:2", "b:1", "a*1"}) ASSERT_FALSE(c.put(id, "v").error);
  ASSERT_EQ(c.lease(RemoteOp::lease_get, "a:9", "t").lease, LeaseState::granted);
  ASSERT_EQ(c.lease(RemoteOp::lease_get, "b:9", "t").lease, LeaseState::granted);
  EXPECT_EQ(cleared(c, "user", "a\\**").count, 1) << "an escaped star stands for itself";
  EXPECT_EQ(cleared(c, "user", "a:*").count, 2);
  EXPECT_FALSE(exists(server, lease_key("a:9"))) << "a load of what matched could still fill";
  EXPECT_TRUE(exists(server, lease_key("b:9")));
  EXPECT_EQ(c.value("b:1"), "v");
}

TEST(ClearAll, TakesEveryViewButNobodyElses) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(put_tagged(c, "1", {"a"}).error);
  server.command({"SET", "test:app:order:7", "v"});
  server.command({"SET", "test:app2:user:1", "v"});
  server.command({"SET", "test:app", "v"});
  ASSERT_EQ(c.lease(RemoteOp::lease_get, "2", "t").lease, LeaseState::granted);
  ASSERT_FALSE(c.heartbeat(1).error);
  Subscriber bus(server);
  const RemoteReply r = cleared(c, "", "", true);
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_EQ(r.count, 2);
  EXPECT_EQ(r.sequence, 2U);
  const std::string first = bus.next();
  EXPECT_EQ(first.substr(4, 2), std::string("\5\0", 2));
  EXPECT_EQ(first.size(), 42U);
  EXPECT_EQ(bus.next().substr(4, 2), "\5\2") << "the last one asks for heartbeats";
  for (const char* gone : {"test:app:user:1", "test:app:order:7", "test:app:!lease:user:2", "test:app:!tag:user:a"})
    EXPECT_FALSE(exists(server, gone)) << gone;
  for (const char* kept :
       {"test:app2:user:1", "test:app", "test:app:!seq", "test:app:!epoch", "test:app:!run", "test:app:!members"})
    EXPECT_TRUE(exists(server, kept)) << kept;
}

TEST(ClearAll, WorksOnOneShardsKeys) {
  RedisServer server;
  l2::Options options = Client::options_of(server.url());
  options.shards = 3;
  Client c(options);
  server.command({"SET", "test:app:user:{01}:1", "v"});
  server.command({"SET", "test:app:user:{02}:1", "v"});
  RemoteRequest r;
  r.op = RemoteOp::clear_all;
  r.shard = 1;
  EXPECT_EQ(c.run(r).count, 1);
  EXPECT_TRUE(exists(server, "test:app:user:{02}:1"));
  EXPECT_EQ(server.command({"GET", "test:app:!seq:{01}"}), "2");
}

RemoteReply beat(Client& c, std::uint64_t n, std::uint64_t epoch, std::uint64_t sequence) {
  RemoteRequest r;
  r.op = RemoteOp::heartbeat;
  r.beat = n;
  r.epoch = epoch;
  r.sequence = sequence;
  r.budget_ms = 700;
  return c.run(r);
}
RemoteReply members(Client& c) {
  RemoteRequest r;
  r.op = RemoteOp::members;
  return c.run(r);
}

TEST(Members, AreThoseWhoseHeartbeatsStandAndSayWhatTheyApplied) {
  RedisServer server;
  Client c(server);
  l2::Naming named = naming;
  named.origin = 9;
  named.name = "web-1";
  Client d(Client::options_of(server.url()), named);
  EXPECT_EQ(members(c).count, -1) << "there is no list yet";
  ASSERT_FALSE(beat(c, 1, 0, 0).error);
  ASSERT_FALSE(beat(d, 5, 0xabcdef0123456789, 42).error);
  RemoteReply r = members(c);
  ASSERT_FALSE(r.error) << r.error->message;
  ASSERT_EQ(r.members.size(), 2U);
  std::sort(r.members.begin(), r.members.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  EXPECT_EQ(r.members[0].name, "0102030405060708");
  EXPECT_EQ(r.members[0].epoch, 0U);
  EXPECT_EQ(r.members[1].name, "web-1");
  EXPECT_EQ(r.members[1].epoch, 0xabcdef0123456789U);
  EXPECT_EQ(r.members[1].sequence, 42U);
  EXPECT_EQ(r.members[1].budget_ms, 700);
  EXPECT_GE(r.count, 0);

  server.command({"ZADD", "test:app:!members", "1000", "0102030405060708"});  // lapsed long ago
  EXPECT_EQ(members(c).members.size(), 1U);
  ASSERT_FALSE(beat(d, 6, 0, 0).error);
  EXPECT_EQ(server.command({"ZCARD", "test:app:!members"}), "2") << "the list's birth and the one that lives";
}

TEST(Members, AHeartbeatThatCannotBeListedIsNotSent) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(beat(c, 1, 0, 0).error);
  server.command({"SET", "test:app:!members", "junk"});
  Subscriber bus(server);
  EXPECT_EQ(code(beat(c, 2, 0, 0)), Errc::refused) << "its echo would let an instance answer whom nobody asks";
  server.command({"PUBLISH", "test:app:!bus", "end"});
  EXPECT_EQ(bus.next(), "end");
}

TEST(Members, AreListedAlsoWithoutMemory) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(beat(c, 1, 0, 0).error);
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  server.command({"DEL", "test:app:!members"});
  const RemoteReply r = beat(c, 2, 0, 0);
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_EQ(members(c).members.size(), 1U);
}

TEST(Wait, AWriteIsOkOnlyWhenEnoughReplicasHaveIt) {
  RedisServer master;
  l2::Options options = Client::options_of(master.url());
  options.wait_replicas = 1;
  options.wait_timeout = 50ms;
  Client c(options);
  const RemoteReply alone = c.put("1", "v");
  EXPECT_EQ(code(alone), Errc::unreplicated);
  EXPECT_EQ(c.value("1"), "v") << "the write itself stands";
  EXPECT_EQ(code(c.erase({"1"})), Errc::unreplicated);
  EXPECT_FALSE(c.heartbeat(1).error) << "no caller is told ok of a heartbeat";

  RedisServer replica({.args = {"--replicaof", "127.0.0.1", std::to_string(master.port())}});
  ASSERT_TRUE(eventually([&] {
    return replica.command({"INFO", "replication"}).find("master_link_status:up") != std::string::npos;
  }));
  ASSERT_TRUE(eventually([&] { return !c.put("1", "w").error; }));
  EXPECT_NE(replica.command({"GET", key("1")}).find("w"), std::string::npos);
  options.wait_timeout = 10s;
  Client patient(options);
  EXPECT_FALSE(patient.erase({"1"}).error);

  replica.pause();
  const Stopwatch watch;
  EXPECT_EQ(code(c.put("1", "x")), Errc::unreplicated);
  EXPECT_LT(watch.elapsed(), 50ms + slack);
  replica.resume();
  EXPECT_TRUE(eventually([&] { return !c.put("1", "y").error; })) << "the connection serves on";
}

TEST(Wait, KeepsTheCallsDeadline) {
  RedisServer master;
  l2::Options options = Client::options_of(master.url());
  options.wait_replicas = 1;
  options.wait_timeout = 20s;
  Client c(options);
  const Stopwatch watch;
  EXPECT_EQ(code(c.put("1", "v", 0, Deadline::after(300ms))), Errc::unreplicated);
  EXPECT_LT(watch.elapsed(), 300ms + slack);
}

}  // namespace
}  // namespace tiercache::testing
