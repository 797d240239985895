// SPDX-License-Identifier: Apache-2.0
//
// What stands in Redis for an update, for a version that was erased, and for who waits.
#include "l2_test.hpp"

#include <gtest/gtest.h>

namespace tiercache::testing {
namespace {

using enum RemoteOp;

const std::string gate_of_1 = "test:app:!gate:user:1";

/// A tombstone's head, as core seals it but for hash and checksum, which no script looks at.
std::string tombstone_head(std::uint64_t version) {
  std::string h = head(version);
  h[7] = '\4';
  return h;
}

RemoteReply move_gate(Client& c, RemoteOp op, std::string_view token, std::int64_t ms = 20'000, std::uint64_t version = 0) {
  const Strings keys = {key("1")};
  const std::string h = tombstone_head(version);
  RemoteRequest r;
  r.op = op;
  r.keys = keys;
  r.token = token;
  r.lease_ms = ms;
  r.write_id = 44;
  if (version != 0) {
    r.version = version;
    r.head = h;
    r.ttl_ms = 60'000;
  }
  return c.run(r);
}

RemoteReply erase_version(Client& c, const Strings& ids, std::uint64_t version) {
  Strings keys;
  std::string heads;
  for (const std::string& id : ids) {
    keys.push_back(key(id));
    heads += tombstone_head(version);
  }
  RemoteRequest r;
  r.op = erase;
  r.keys = keys;
  r.head = heads;
  r.version = version;
  r.ttl_ms = 60'000;
  r.write_id = 45;
  return c.run(r);
}

RemoteReply fill(Client& c, std::string_view token, std::uint64_t version) {
  const Strings keys = {key("1")};
  const std::string h = head(version);
  RemoteRequest r;
  r.op = lease_fill;
  r.keys = keys;
  r.token = token;
  r.head = h;
  const std::string payload = "row " + std::to_string(version);
  r.payload = payload;
  r.version = version;
  return c.run(r);
}

std::uint64_t version_in(RedisServer& server, std::string_view id) {
  return load_be<8>(server.command({"GETRANGE", key(id), "8", "15"}).data());
}

TEST(UpdateGate, ErasesAnnouncesAndGivesNoLeaseUntilItIsLowered) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "old").error);
  Subscriber bus(server);
  ASSERT_FALSE(move_gate(c, gate, "u").error);
  EXPECT_EQ(bus.next()[4], 1);
  EXPECT_FALSE(c.value("1"));
  EXPECT_GT(std::stol(server.command({"PTTL", gate_of_1})), 15'000);
  EXPECT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::gated);
  EXPECT_EQ(c.lease(lease_get, "2", "t").lease, LeaseState::granted) << "another key's";
  EXPECT_FALSE(c.lease(lease_fill, "1", "t", "loaded").applied);
  ASSERT_FALSE(c.put("1", "put meanwhile").error);
  const RemoteReply lowered = move_gate(c, ungate, "u");
  ASSERT_FALSE(lowered.error) << lowered.error->message;
  EXPECT_TRUE(lowered.applied);
  EXPECT_FALSE(c.value("1")) << "the second erase";
  EXPECT_EQ(bus.next()[4], 1);  // of the put
  EXPECT_EQ(bus.next()[4], 1);
  EXPECT_EQ(server.command({"EXISTS", gate_of_1}), "0");
  EXPECT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
}

TEST(UpdateGate, ItsAnswersSayWhereTheAnnouncementsStand) {
  RedisServer server;
  Client c(server);
  Subscriber bus(server);
  for (const RemoteOp op : {gate, ungate}) {
    const RemoteReply reply = move_gate(c, op, "u", 20'000, op == ungate ? 5 : 0);
    ASSERT_FALSE(reply.error) << reply.error->message;
    EXPECT_TRUE(reply.applied);
    const std::string message = bus.next();
    EXPECT_EQ(reply.epoch, load_be<8>(message.data() + 8));
    EXPECT_EQ(reply.sequence, load_be<8>(message.data() + 16));
    EXPECT_EQ(reply.sequence, op == gate ? 1U : 2U);
    EXPECT_NE(reply.stream, 0U);
  }
}

TEST(UpdateGate, TakesTheLeaseOfALoadInProgress) {
  RedisServer server;
  Client c(server);
  ASSERT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
  ASSERT_FALSE(move_gate(c, gate, "u").error);
  EXPECT_FALSE(c.lease(lease_renew, "1", "t").applied);
  EXPECT_FALSE(c.lease(lease_fill, "1", "t", "old row").applied);
  EXPECT_FALSE(c.value("1"));
}

TEST(UpdateGate, StandsAsLongAsOneUpdateIsInProgress) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(move_gate(c, gate, "u").error);
  ASSERT_FALSE(move_gate(c, gate, "w").error);
  EXPECT_TRUE(move_gate(c, ungate, "u").applied);
  EXPECT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::gated);
  EXPECT_FALSE(move_gate(c, ungate, "u").applied) << "lowered already";
  EXPECT_TRUE(move_gate(c, ungate, "w").applied);
  EXPECT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
}

TEST(UpdateGate, OfADeadUpdaterIsNotKeptUpByLaterUpdates) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(move_gate(c, gate, "dead", 3'000).error);
  ASSERT_FALSE(move_gate(c, gate, "u", 60'000).error);
  EXPECT_GT(std::stol(server.command({"PTTL", gate_of_1})), 3'000);
  EXPECT_TRUE(move_gate(c, ungate, "u").applied);
  EXPECT_LE(std::stol(server.command({"PTTL", gate_of_1})), 3'000);
  ASSERT_FALSE(move_gate(c, gate, "short", 50).error);
  EXPECT_GT(std::stol(server.command({"PTTL", gate_of_1})), 50) << "nor cut short by them";
}

TEST(UpdateGate, LapsesByItselfAndItsLoweringSaysSo) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(move_gate(c, gate, "u", 20).error);
  ASSERT_TRUE(eventually([&] { return c.lease(lease_get, "1", "t").lease == LeaseState::granted; }));
  ASSERT_TRUE(c.lease(lease_fill, "1", "t", "old row").applied);
  const RemoteReply lowered = move_gate(c, ungate, "u");
  EXPECT_FALSE(lowered.error);
  EXPECT_FALSE(lowered.applied);
  EXPECT_FALSE(c.value("1")) << "what was filled since is erased all the same";
}

TEST(UpdateGate, StandsAlsoWhereMemoryIsOut) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "old").error);
  ASSERT_EQ(server.command({"CONFIG", "SET", "maxmemory", "1"}), "OK");
  EXPECT_EQ(code(c.put("1", "more")), Errc::refused);
  const RemoteReply raised = move_gate(c, gate, "u", 20'000, 5);
  ASSERT_FALSE(raised.error) << raised.error->message;
  EXPECT_EQ(server.command({"EXISTS", gate_of_1}), "1");
  EXPECT_EQ(version_in(server, "1"), 5U);
  EXPECT_TRUE(move_gate(c, ungate, "u").applied);
}

TEST(UpdateGate, BadRequestsAreRefusedBeforeAnythingIsSent) {
  RedisServer server;
  Client c(server);
  EXPECT_EQ(code(move_gate(c, gate, "")), Errc::invalid_argument);
  EXPECT_EQ(code(move_gate(c, gate, "u", 0)), Errc::invalid_argument);
  const Strings keys = {key("1"), key("2")};
  const std::string one = tombstone_head(3);
  RemoteRequest r;
  r.op = erase;
  r.keys = keys;
  r.head = one;
  r.version = 3;
  r.ttl_ms = 1000;
  EXPECT_EQ(code(c.run(r)), Errc::invalid_argument) << "a head for each key";
  EXPECT_EQ(server.command({"DBSIZE"}), "0");
}

TEST(Tombstone, KeepsTheVersionFromWhatIsLate) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put_version("1", "row 4", 4, true).error);
  Subscriber bus(server);
  const RemoteReply erased = erase_version(c, {"1", "2"}, 5);
  ASSERT_FALSE(erased.error) << erased.error->message;
  EXPECT_EQ(erased.count, 1);
  const std::string message = bus.next();
  EXPECT_EQ(load_be<2>(message.data() + 40), 2U);
  EXPECT_EQ(load_be<8>(message.data() + 44), 5U) << "the announcement names the version";
  const std::string epoch = server.command({"GET", "test:app:!epoch"});
  EXPECT_EQ(message.substr(8, 8), epoch);
  EXPECT_EQ(erased.epoch, load_be<8>(epoch.data()));
  EXPECT_EQ(erased.sequence, load_be<8>(message.data() + 16)) << "what a token is made of";
  EXPECT_NE(erased.stream, 0U);
  EXPECT_EQ(server.command({"GET", key("1")}), tombstone_head(5) + epoch);
  EXPECT_GT(std::stol(server.command({"PTTL", key("2")})), 50'000);
  EXPECT_EQ(c.keyed(exists, {key("1"), key("2")}).count, 0);

  EXPECT_EQ(code(c.put_version("1", "row 4", 4, true)), Errc::superseded);
  EXPECT_EQ(code(c.put_version("1", "row 5", 5, true)), Errc::superseded) << "it was erased after it was put";
  EXPECT_FALSE(c.put_version("1", "row 6", 6, true).error);
  EXPECT_EQ(c.value("1"), "row 6");
  EXPECT_EQ(c.keyed(exists, {key("1"), key("2")}).count, 1);
}

TEST(Tombstone, KeepsTheVersionFromPutsInAGroupToo) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(erase_version(c, {"1", "2"}, 5).error);
  const Strings keys = {key("1"), key("2")};
  const std::string late = head(5);
  const std::string newer = head(6);
  const RemotePut puts[] = {{late, "row 5", 0, 5, true}, {newer, "row 6", 0, 6, true}};
  RemoteRequest r;
  r.op = put_many;
  r.keys = keys;
  r.puts = puts;
  const RemoteReply reply = c.run(r);
  ASSERT_FALSE(reply.error) << reply.error->message;
  ASSERT_TRUE(reply.puts[0]);
  EXPECT_EQ(reply.puts[0]->code, Errc::superseded);
  EXPECT_FALSE(reply.puts[1]);
  EXPECT_EQ(c.keyed(exists, {key("1"), key("2")}).count, 1);
  EXPECT_EQ(c.value("2"), "row 6");
}

TEST(Tombstone, LetsNoOlderLoadInAndTheSameOrANewerOne) {
  RedisServer server;
  Client c(server);
  for (const std::uint64_t loaded : {4U, 5U, 6U, 0U}) {
    ASSERT_FALSE(erase_version(c, {"1"}, 5).error);
    const RemoteReply lease = c.lease(lease_get, "1", "t");
    ASSERT_EQ(lease.lease, LeaseState::granted) << "a tombstone is no value";
    EXPECT_EQ(fill(c, "t", loaded).applied, loaded != 4) << loaded;
    EXPECT_EQ(server.command({"EXISTS", lease_key("1")}), "0") << "nobody need wait for it to lapse";
    if (loaded == 4) {
      EXPECT_EQ(version_in(server, "1"), 5U);
    } else {
      EXPECT_EQ(c.value("1"), "row " + std::to_string(loaded));
    }
  }
}

TEST(Tombstone, OfTwoVersionsTheNewerStays) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(erase_version(c, {"1"}, 7).error);
  ASSERT_FALSE(erase_version(c, {"1"}, 3).error);
  EXPECT_EQ(version_in(server, "1"), 7U);
  ASSERT_FALSE(c.put_version("2", "row 9", 9, true).error);
  ASSERT_FALSE(erase_version(c, {"2"}, 8).error);  // late, and still an erase
  EXPECT_EQ(version_in(server, "2"), 9U);
  EXPECT_EQ(code(c.put_version("2", "row 9", 9, true)), Errc::superseded);
  ASSERT_FALSE(erase_version(c, {"1"}, 0x8000'0000'0000'0001).error) << "compared as numbers without a sign";
  EXPECT_EQ(version_in(server, "1"), 0x8000'0000'0000'0001);
}

TEST(Tombstone, GoesWithAnEraseOrAPutThatCarryNoVersion) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(erase_version(c, {"1", "2"}, 7).error);
  ASSERT_FALSE(c.erase({"1"}).error);
  EXPECT_EQ(server.command({"EXISTS", key("1")}), "0");
  ASSERT_FALSE(c.put("2", "last write wins").error);
  EXPECT_EQ(c.value("2"), "last write wins");
}

TEST(Tombstone, AnUpdateLeavesOne) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put_version("1", "row 4", 4, true).error);
  ASSERT_FALSE(move_gate(c, gate, "u").error);
  ASSERT_TRUE(move_gate(c, ungate, "u", 0, 5).applied);
  EXPECT_EQ(version_in(server, "1"), 5U);
  EXPECT_EQ(code(c.put_version("1", "row 4", 4, true)), Errc::superseded);
}

TEST(Tombstone, StandsOverForeignBytesAndOtherTypesToo) {
  RedisServer server;
  Client c(server);
  server.command({"SET", key("1"), "not ours at all"});
  server.command({"LPUSH", key("2"), "a", "b"});
  ASSERT_FALSE(erase_version(c, {"1", "2"}, 5).error);
  EXPECT_EQ(version_in(server, "1"), 5U);
  EXPECT_EQ(version_in(server, "2"), 5U);
  server.command({"LPUSH", key("3"), "a"});
  server.command({"SET", key("4"), ""});
  EXPECT_EQ(c.keyed(exists, {key("1"), key("3"), key("4"), key("5")}).count, 2);
}

std::string wake_of_1() {
  std::string bytes("TCB\1\4\0\0\0", 8);
  bytes.append(16, '\0');
  append_be<8>(bytes, naming.origin);
  append_be<8>(bytes, 0);
  append_be<2>(bytes, 1);
  append_be<2>(bytes, key("1").size());
  append_be<8>(bytes, 0);
  return bytes + key("1");
}

TEST(Wake, GoesOutWhenALeaseEndsThatSomebodyWaitsForAndElseNever) {
  RedisServer server;
  Client c(server);
  Subscriber bus(server);
  const auto leased = [&](bool waited) {
    ASSERT_FALSE(c.erase({"1"}).error);
    EXPECT_EQ(bus.next()[4], 1);
    ASSERT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
    const long before = std::stol(server.command({"PTTL", lease_key("1")}));
    for (int i = 0; waited && i < 3; ++i) {
      ASSERT_EQ(c.lease(lease_get, "1", "other").lease, LeaseState::held);
    }
    EXPECT_LE(std::stol(server.command({"PTTL", lease_key("1")})), before) << "who waits must not keep the lease up";
    EXPECT_TRUE(c.lease(lease_renew, "1", "t").applied);
    EXPECT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
  };
  leased(true);
  ASSERT_TRUE(c.lease(lease_fill, "1", "t", "v").applied);
  EXPECT_EQ(bus.next(), wake_of_1());
  leased(true);
  ASSERT_TRUE(c.lease(lease_release, "1", "t").applied);
  EXPECT_EQ(bus.next(), wake_of_1());
  leased(false);  // the next message is the erase of the next round
  ASSERT_TRUE(c.lease(lease_fill, "1", "t", "v").applied);
  leased(false);
  ASSERT_TRUE(c.lease(lease_release, "1", "t").applied);
  leased(true);
  EXPECT_FALSE(c.lease(lease_fill, "1", "not the holder", "v").applied);
  EXPECT_FALSE(c.lease(lease_release, "1", "not the holder").applied);
  leased(true);  // displaced by the erase, whose announcement tells it
  ASSERT_FALSE(erase_version(c, {"1"}, 5).error);
  EXPECT_EQ(bus.next()[4], 1);
  ASSERT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
  ASSERT_EQ(c.lease(lease_get, "1", "other").lease, LeaseState::held);
  EXPECT_FALSE(fill(c, "t", 4).applied);
  EXPECT_EQ(bus.next(), wake_of_1()) << "a refused load gives its lease back, too";
}

}  // namespace
}  // namespace tiercache::testing
