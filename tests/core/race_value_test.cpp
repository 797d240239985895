// SPDX-License-Identifier: Apache-2.0
//
// Races and faults of values themselves: versions, echoes, clocks, foreign and broken bytes, old snapshots.
#include "instances.hpp"

namespace tiercache::testing {
namespace {

// Two writers commit rows 1 and 2 and put them into the cache; the put of row 1 is late.
class CrossingWriters : public Race {};
TEST_P(CrossingWriters, Row3) {
  const Ablated ablated(lab::Remedy::version_check, !remedy());
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(b.view.put("k", 2, {.version = 2}).ok());
  const auto late = a.view.put("k", 1, {.version = 1});
  if (remedy()) {
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(late.error().code, Errc::superseded);
  } else {
    EXPECT_TRUE(late.ok());
  }
  EXPECT_EQ(a.get("k"), remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, CrossingWriters, ::testing::Bool(), race_name);

// The value of row 1 is evicted from Redis; C loads row 2, just committed, which announces nothing. Then A, who committed it,
// puts it and is superseded by C's load. B, whose L1 has row 1, hears of row 2 from nobody but A.
TEST(LoadBeforeThePut, LetsTheWritersWordReachTheOthers) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  Instance c(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1, {.version = 1}).ok());
  b.warm("k");
  ASSERT_EQ(server.command({"DEL", "test:races:n:k"}), "1");
  const auto loaded = c.view.get_or_load("k", [] { return Loaded<int>{2, 2, {}}; });
  ASSERT_TRUE(loaded);
  ASSERT_EQ(*loaded, 2);
  const auto put = a.view.put("k", 2, {.version = 2});
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.error().code, Errc::superseded);
  b.wait_applied();
  EXPECT_EQ(b.get("k"), 2);
}

// A's L1 has row 1, and A has not heard yet that B put row 3. A puts row 2 and is told that a newer one stands: from then on A's
// reads must know as much as A's writer does.
TEST(Superseded, TheWriterReadsTheNewerVersionThoughItsInstanceHasNotHeardOfIt) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 30s;  // valid throughout
  config.bus.heartbeat = 100ms;
  Instance a(config);
  Instance b(config);
  ASSERT_TRUE(a.view.put("k", 1, {.version = 1}).ok());
  a.wait_applied();
  a.warm("k");
  lab::bus_reader_stopped = true;
  ASSERT_TRUE(b.view.put("k", 3, {.version = 3}).ok());
  EXPECT_EQ(a.get("k"), 1) << "A has heard of it: the test shows nothing";
  const auto put = a.view.put("k", 2, {.version = 2});
  EXPECT_EQ(a.get("k"), 3);
  lab::bus_reader_stopped = false;
  ASSERT_FALSE(put.ok());
  EXPECT_EQ(put.error().code, Errc::superseded);
}

// A writes, reads it back into L1, and then its own announcement arrives (the reader of the bus was held until then).
class OwnEcho : public Race {};
TEST_P(OwnEcho, Row15) {
  const Ablated ablated(lab::Remedy::own_echo, !remedy());
  Instance a(instance_config(server.url()));
  a.wait_coherent();
  lab::bus_reader_stopped = true;
  ASSERT_TRUE(a.view.put("k", 1).ok());
  ASSERT_TRUE(a.view.get("k"));
  const std::uint64_t before = a.store().stats().l1.invalidations;
  lab::bus_reader_stopped = false;
  a.wait_applied();
  EXPECT_EQ(a.store().stats().l1.invalidations - before, remedy() ? 0U : 1U);
}
INSTANTIATE_TEST_SUITE_P(Races, OwnEcho, ::testing::Bool(), race_name);

// The reader's wall clock is an hour ahead of the writer's. A ttl that travels as an instant would be long over there.
class ClockSkew : public Race {};
TEST_P(ClockSkew, Row16) {
  const Ablated ablated(lab::Remedy::durations, !remedy());
  Instance a(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  lab::wall_clock_skew_ms = 3'600'000;
  const auto h = a.view.get("k");
  lab::wall_clock_skew_ms = 0;
  EXPECT_EQ(static_cast<bool>(h), remedy());
}
INSTANTIATE_TEST_SUITE_P(Races, ClockSkew, ::testing::Bool(), race_name);

// The bytes under k are those of another key (a botched migration). Without the envelope's check k's reader is given the other's
// value.
class ForeignValueUnderTheKey : public Race {};
TEST_P(ForeignValueUnderTheKey, Row26) {
  const Ablated ablated(lab::Remedy::envelope_check, !remedy());
  Instance a(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("other", 666).ok());
  server.command({"COPY", "test:races:n:other", "test:races:n:k"});
  EXPECT_EQ(a.get("k"), remedy() ? -1 : 666);
  EXPECT_EQ(a.get("other"), 666);
}
INSTANTIATE_TEST_SUITE_P(Races, ForeignValueUnderTheKey, ::testing::Bool(), race_name);

TEST(SchemaChange, OldDeploysValuesAreReplacedAndNewerDeploysAreLeftAlone) {
  RedisServer server;
  Instance old_build(instance_config(server.url()));
  old_build.wait_coherent();  // a server's first heartbeat begins its epoch, and a load that began before is not stored
  Config config = instance_config(server.url());
  Result<Store> store = Store::open(config);
  ASSERT_TRUE(store.ok());
  Cache<int> new_view = store->cache<int>("n", {.ttl = 60s, .schema = 2});

  ASSERT_TRUE(old_build.view.put("k", 1).ok());
  const auto loaded = new_view.get_or_load("k", [] { return 2; });  // the old build's value is a miss, replaced under a lease
  ASSERT_TRUE(loaded);
  EXPECT_EQ(*loaded, 2);
  EXPECT_FALSE(old_build.view.get("k")) << "the old build must not read the new schema";
  const auto h = old_build.view.get_or_load("k", [] { return 3; });
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, 3);  // served, not stored
  Result<Store> fresh = Store::open(config);
  ASSERT_TRUE(fresh.ok());
  const auto kept = fresh->cache<int>("n", {.ttl = 60s, .schema = 2}).get("k");
  ASSERT_TRUE(kept) << "the newer deploy's value was overwritten";
  EXPECT_EQ(*kept, 2);
}

// k is 1 when Redis saves its snapshot, then becomes 2 in the database and in Redis. Redis dies and comes back from the snapshot.
// Where asked, values stored before the restart are distrusted.
class OlderSnapshot : public Race {};
TEST_P(OlderSnapshot, Row29) {
  const Ablated ablated(lab::Remedy::epoch_distrust, !remedy());
  Config config = instance_config(server.url());
  config.distrust_other_epochs = true;
  Instance a(config);
  a.wait_coherent();
  ASSERT_TRUE(a.view.put("k", 1).ok());
  ASSERT_EQ(server.command({"SAVE"}), "OK");
  ASSERT_TRUE(eventually([&] { return a.view.put("k", 2).ok(); }));  // a slow disk holds Redis up, and calls may be told so
  ASSERT_EQ(a.get("k"), 2);
  const std::uint64_t connects = a.store().stats().bus.connects;
  server.restart(RedisServer::Data::rdb);
  ASSERT_TRUE(eventually([&] { return a.store().stats().bus.connects > connects; }));
  a.wait_coherent();
  a.wait_applied();
  const auto h = a.view.get_or_load("k", [] { return 2; });
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, OlderSnapshot, ::testing::Bool(), race_name);

// The same, but calls reach the restarted Redis before the bus has noticed anything: L1 is still valid, and the epoch that the
// snapshot's values bear is the one last heard of.
class OlderSnapshotBeforeTheBus : public Race {};
TEST_P(OlderSnapshotBeforeTheBus, Row29) {
  const Ablated ablated(lab::Remedy::server_distrust, !remedy());
  Config config = instance_config(server.url());
  config.distrust_other_epochs = true;
  Instance a(config);
  a.wait_coherent();
  ASSERT_TRUE(a.view.put("k", 1).ok());
  ASSERT_EQ(server.command({"SAVE"}), "OK");
  ASSERT_TRUE(eventually([&] { return a.view.put("k", 2).ok(); }));  // a slow disk holds Redis up, and calls may be told so
  const std::uint64_t connects = a.store().stats().l2.connects;
  lab::bus_reader_stopped = true;
  server.restart(RedisServer::Data::rdb);
  ASSERT_TRUE(eventually([&] {
    static_cast<void>(a.view.exists("other"));  // finds out that the old connections are dead
    return a.store().stats().l2.connects > connects && a.store().health().l2_available;
  }));
  const auto h = a.view.get_or_load("k", [] { return 2; });
  lab::bus_reader_stopped = false;
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, OlderSnapshotBeforeTheBus, ::testing::Bool(), race_name);

// B loads k, which Redis does not have: its lease stands when Redis saves its snapshot. The database says 1. Before B fills
// Redis, A commits 2 and erases k, which takes the lease away. Redis dies and comes back from the snapshot, the lease with it,
// and begins a new epoch. Then B's fill arrives. What it stores would be of the new epoch, and so be distrusted by nobody.
class OlderSnapshotHasTheLease : public Race {};
TEST_P(OlderSnapshotHasTheLease, Row29) {
  const Ablated ablated(lab::Remedy::lease_epoch, !remedy());
  Gate gate(lab::Point::load_to_lease_fill);
  Config config = instance_config(server.url());
  config.distrust_other_epochs = true;
  config.lease_ttl = 60s;  // outlasts the restart
  Instance a(config);
  Instance b(config);
  a.wait_coherent();
  b.wait_coherent();
  std::atomic<int> database{1};
  auto loader = std::async(std::launch::async, [&] {
    gate.arm();
    const auto h = b.view.get_or_load("k", [&] { return database.load(); });
    return h ? *h : -1;
  });
  gate.wait_reached();
  ASSERT_EQ(server.command({"SAVE"}), "OK");
  database = 2;
  ASSERT_TRUE(eventually([&] { return a.view.erase("k").ok(); }));  // a slow disk holds Redis up, and calls may be told so
  ASSERT_EQ(server.command({"EXISTS", "test:races:!lease:n:k"}), "0");
  const std::string epoch = server.command({"GET", "test:races:!epoch"});
  server.restart(RedisServer::Data::rdb);
  ASSERT_TRUE(eventually([&] { return server.command({"GET", "test:races:!epoch"}) != epoch; }));
  ASSERT_EQ(server.command({"EXISTS", "test:races:!lease:n:k"}), "1") << "it did not come back: the test shows nothing";
  for (Instance* one : {&a, &b}) {
    ASSERT_TRUE(eventually([&] { return one->store().health().l2_available; }));
    one->wait_applied();
    one->wait_coherent();
  }
  gate.open();
  EXPECT_EQ(loader.get(), 1);  // it asked before the write

  ASSERT_EQ(server.command({"EXISTS", "test:races:!lease:n:k"}), "0") << "others would wait for it to lapse";
  const auto h = a.view.get_or_load("k", [&] { return database.load(); });
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, OlderSnapshotHasTheLease, ::testing::Bool(), race_name);

}  // namespace
}  // namespace tiercache::testing
