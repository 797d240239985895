// SPDX-License-Identifier: Apache-2.0
//
// Race 2, loader against database write: A misses and takes the lease, loads the old row; B writes the row and puts or erases; A
// fills. The lease must have been displaced by then.
#include "l2_test.hpp"
#include "tcp_proxy.hpp"

#include <gtest/gtest.h>

#include <future>

namespace tiercache::testing {
namespace {

using enum RemoteOp;

TEST(Lease, AMissGrantsItOnceAndHoldsOthersOff) {
  RedisServer server;
  Client c(server);
  const RemoteReply a = c.lease(lease_get, "1", "token-a");
  ASSERT_FALSE(a.error) << a.error->message;
  EXPECT_EQ(a.lease, LeaseState::granted);
  ASSERT_EQ(a.values.size(), 1U);
  EXPECT_FALSE(a.values[0]);
  EXPECT_EQ(c.lease(lease_get, "1", "token-b").lease, LeaseState::held);
  EXPECT_EQ(c.lease(lease_get, "1", "token-a").lease, LeaseState::granted);  // asked again after a lost answer
  EXPECT_EQ(c.lease(lease_get, "2", "token-b").lease, LeaseState::granted);
  EXPECT_GT(std::stol(server.command({"PTTL", lease_key("1")})), 0);
}

TEST(Lease, AValueIsGivenInItsPlaceUnlessItIsToBeIgnored) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "v", 60'000).error);
  const RemoteReply there = c.lease(lease_get, "1", "t");
  EXPECT_EQ(there.lease, LeaseState::none);
  ASSERT_TRUE(there.values.at(0));
  EXPECT_EQ(there.values[0]->bytes.substr(payload_at), "v");
  EXPECT_GT(there.values[0]->ttl_ms, 0);
  EXPECT_LE(there.values[0]->ttl_ms, 60'000);
  EXPECT_EQ(server.command({"EXISTS", lease_key("1")}), "0");
  const RemoteReply ignored = c.lease(lease_get, "1", "t", {}, true);
  EXPECT_EQ(ignored.lease, LeaseState::granted);
  EXPECT_FALSE(ignored.values.at(0));
}

TEST(Lease, AFillUnderItStoresOnceAndEndsIt) {
  RedisServer server;
  Client c(server);
  ASSERT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
  const RemoteReply r = c.lease(lease_fill, "1", "t", "loaded");
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_TRUE(r.applied);
  const std::string epoch = server.command({"GET", "test:app:!epoch"});  // a fill makes one where none is
  EXPECT_EQ(c.get("1").values.at(0)->bytes, head() + epoch + "loaded");
  EXPECT_EQ(server.command({"EXISTS", lease_key("1")}), "0");
  EXPECT_EQ(server.command({"GET", "test:app:!seq"}), "(nil)");  // nobody had it: nothing to announce
  EXPECT_FALSE(c.lease(lease_fill, "1", "t", "again").applied);
  EXPECT_EQ(c.value("1"), "loaded");
}

void slow_loader_meets(const std::function<void(Client&)>& write, const char* then, bool refused) {
  RedisServer server;
  Client c(server);
  ASSERT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
  write(c);
  const RemoteReply r = c.lease(lease_fill, "1", "t", "old row");
  ASSERT_FALSE(r.error);
  EXPECT_EQ(r.applied, !refused);
  EXPECT_EQ(c.value("1").value_or("nothing"), then);
}

TEST(Lease, APutDisplacesIt) {
  slow_loader_meets([](Client& c) { c.put("1", "new row"); }, "new row", true);
}
TEST(Lease, AnEraseDisplacesIt) {
  slow_loader_meets([](Client& c) { c.erase({"0", "1", "2"}); }, "nothing", true);
}
TEST(Lease, AClearDisplacesIt) {
  slow_loader_meets([](Client& c) { c.clear("user"); }, "nothing", true);
}
// The clear is held up after every step; the loaders fill when the first value goes, and none of them may leave an old row
// behind.
TEST(Lease, AClearDisplacesEveryLeaseBeforeItDeletesTheFirstValue) {
  RedisServer server;
  Client loader(server);
  constexpr int ids = 600;  // several pages of SCAN, in an order that has nothing to do with the names'
  for (int i = 0; i < ids; ++i) {
    ASSERT_EQ(server.command({"SET", key(std::to_string(i)), "old"}), "OK");
    ASSERT_EQ(server.command({"SET", lease_key(std::to_string(i)), "t"}), "OK");
  }
  ASSERT_EQ(server.command({"CONFIG", "SET", "notify-keyspace-events", "Eg"}), "OK");
  Subscriber deleted(server, "__keyevent@0__:del");
  TcpProxy proxy(server.port());
  l2::Options o = Client::options_of(server.url_at(proxy.port()));
  o.call_timeout = 60s;
  Client clearer(o);
  proxy.set(TcpProxy::to_client, LinkFault::delay(100ms));
  auto clear = std::async(std::launch::async, [&] { return clearer.clear("user"); });
  while (!deleted.next().starts_with("test:app:user:")) {
  }
  int applied = 0;
  for (int i = 0; i < ids; ++i) applied += loader.lease(lease_fill, std::to_string(i), "t", "old row").applied;
  EXPECT_FALSE(clear.get().error);
  EXPECT_EQ(applied, 0);
  EXPECT_EQ(server.command({"KEYS", "test:app:user:*"}), "");
}
TEST(Lease, AnotherHolderAfterADisplacementIsNotMistakenForUs) {
  slow_loader_meets([](Client& c) { c.erase({"1"}), c.lease(lease_get, "1", "other"); }, "nothing", true);
}
TEST(Lease, WithoutTheTokenCheckTheOldRowComesBack) {
  const Ablate without(lab::Remedy::lease);
  slow_loader_meets([](Client& c) { c.put("1", "new row"); }, "old row", false);
}

RemoteReply fill_of(Client& c, std::string_view token, std::uint64_t epoch, std::string_view payload) {
  const Strings keys = {key("1")};
  const std::string h = head();
  RemoteRequest r;
  r.op = lease_fill;
  r.keys = keys;
  r.token = token;
  r.head = h;
  r.payload = payload;
  r.epoch = epoch;
  return c.run(r);
}

TEST(Lease, OfAnEpochThatIsOverFillsNothingAndEnds) {
  RedisServer server;
  Client c(server);
  const RemoteReply old_load = c.lease(lease_get, "1", "t");
  ASSERT_EQ(old_load.lease, LeaseState::granted);
  ASSERT_NE(old_load.epoch, 0U) << "an empty Redis is given an epoch";
  EXPECT_EQ(c.lease(lease_get, "1", "t").epoch, old_load.epoch);
  ASSERT_EQ(server.command({"SET", "test:app:!epoch", "EPOCHNEW"}), "OK");
  const RemoteReply late = fill_of(c, "t", old_load.epoch, "old row");
  ASSERT_FALSE(late.error) << late.error->message;
  EXPECT_FALSE(late.applied);
  EXPECT_FALSE(c.value("1"));
  EXPECT_EQ(server.command({"EXISTS", lease_key("1")}), "0") << "nobody need wait for it to lapse";

  const RemoteReply next = c.lease(lease_get, "1", "u");
  ASSERT_EQ(next.lease, LeaseState::granted);
  EXPECT_EQ(next.epoch, load_be<8>("EPOCHNEW"));
  EXPECT_FALSE(fill_of(c, "t", next.epoch, "old row").applied) << "not the holder";
  EXPECT_TRUE(fill_of(c, "u", next.epoch, "new row").applied);
  EXPECT_EQ(c.value("1"), "new row");
}

TEST(Lease, OnlyTheHolderRenewsAndReleases) {
  RedisServer server;
  Client c(server);
  EXPECT_FALSE(c.lease(lease_renew, "1", "t").applied);
  ASSERT_EQ(c.lease(lease_get, "1", "t").lease, LeaseState::granted);
  server.command({"PEXPIRE", lease_key("1"), "5000"});
  EXPECT_FALSE(c.lease(lease_renew, "1", "other").applied);
  EXPECT_LE(std::stol(server.command({"PTTL", lease_key("1")})), 5000);
  EXPECT_TRUE(c.lease(lease_renew, "1", "t").applied);
  EXPECT_GT(std::stol(server.command({"PTTL", lease_key("1")})), 5000);
  EXPECT_FALSE(c.lease(lease_release, "1", "other").applied);
  EXPECT_EQ(c.lease(lease_get, "1", "next").lease, LeaseState::held);
  EXPECT_TRUE(c.lease(lease_release, "1", "t").applied);
  EXPECT_EQ(c.lease(lease_get, "1", "next").lease, LeaseState::granted);
}

}  // namespace
}  // namespace tiercache::testing
