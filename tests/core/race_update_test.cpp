// SPDX-License-Identifier: Apache-2.0
//
// Races with a change of the record that is in the middle: updates whose process dies, loads beside them, writes that are late.
// The database is a number; B is the reader's instance.
#include "child_process.hpp"

#include <random>

namespace tiercache::testing {
namespace {

constexpr const char* data_key = "test:races:n:k";
constexpr const char* gate_key = "test:races:!gate:n:k";

int load(Instance& from, const std::atomic<int>& database) {
  const auto h = from.view.get_or_load("k", [&] { return database.load(); });
  return h ? *h : -1;
}

/// An updater that stands in its database write, before the commit (state 1) until command 1, then after it (state 2).
class Updater : public Child {
 public:
  explicit Updater(bool gates, std::chrono::milliseconds gate_ttl = 30s)
      : Child([gates, gate_ttl](Shared& mine) {
          lab::ablate(lab::Remedy::gate, !gates);
          Config config = instance_config(local_url(mine.port));
          config.gate_ttl = gate_ttl;
          Instance instance(config);
          mine.state = 3;  // ready
          if (!eventually([&] { return mine.command != 0; })) _exit(3);
          static_cast<void>(instance.view.update("k", [&] {
            mine.state = 1;
            if (!eventually([&] { return mine.command == 2; })) _exit(3);
            mine.database = 2;
            mine.state = 2;
            for (;;) pause();
          }));
        }) {}

  void begin_update() {
    ASSERT_TRUE(eventually([this] { return shared->state == 3; }));
    shared->command = 1;
    ASSERT_TRUE(eventually([this] { return shared->state == 1; }));
  }
  void commit() {
    shared->command = 2;
    ASSERT_TRUE(eventually([this] { return shared->state == 2; }));
  }
};

class UpdateRace : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static bool remedy() { return GetParam(); }
};

// The updater has begun; B misses, loads the row of before and stores it. The updater commits and is killed before it could
// erase again. Without the gate B's value stands in both tiers, and nobody is left to take it away.
class CrashBetweenCommitAndErase : public UpdateRace {};
TEST_P(CrashBetweenCommitAndErase, Row20) {
  Updater updater(remedy());
  RedisServer server;
  updater.shared->port = server.port();
  Instance b(instance_config(server.url()));
  b.wait_coherent();
  ASSERT_TRUE(b.view.put("k", 1).ok());
  b.warm("k");
  updater.begin_update();
  b.wait_applied();
  EXPECT_EQ(load(b, updater.shared->database), 1);  // the truth, until the commit
  updater.commit();
  updater.kill9();
  EXPECT_EQ(load(b, updater.shared->database), remedy() ? 2 : 1);
  EXPECT_EQ(b.store().stats().gates.gated, remedy() ? 2U : 0U);
}
INSTANTIATE_TEST_SUITE_P(Races, CrashBetweenCommitAndErase, ::testing::Bool(), race_name);

// B loads the row of before and is slow to store it. The update begins, commits, and is killed. Then B's fill arrives. Its lease
// was taken from it when the update began.
class LoaderFromBeforeTheUpdate : public UpdateRace {};
TEST_P(LoaderFromBeforeTheUpdate, Row20) {
  Updater updater(true);
  RedisServer server;
  updater.shared->port = server.port();
  const Ablated ablated(lab::Remedy::lease, !remedy());
  Gate held(lab::Point::load_to_lease_fill);
  Instance b(instance_config(server.url()));
  b.wait_coherent();
  auto loader = std::async(std::launch::async, [&] { return held.arm(), load(b, updater.shared->database); });
  held.wait_reached();
  updater.begin_update();
  updater.commit();
  updater.kill9();
  held.open();
  EXPECT_EQ(loader.get(), 1);  // it asked before
  EXPECT_EQ(load(b, updater.shared->database), remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, LoaderFromBeforeTheUpdate, ::testing::Bool(), race_name);

// The database write takes longer than the gate stands: B loads the row of before and stores it. What undoes that is the second
// erase.
class WriteOutlivesItsGate : public Race {};
TEST_P(WriteOutlivesItsGate, Row20) {
  const Ablated ablated(lab::Remedy::update_end, !remedy());
  Config config = instance_config(server.url());
  config.gate_ttl = 100ms;
  Instance a(config);
  Instance b(instance_config(server.url()));
  b.wait_coherent();
  std::atomic<int> database{1};
  const auto r = a.view.update("k", [&] {
    EXPECT_TRUE(eventually([&] { return load(b, database) == 1 && b.view.get("k").source() == Source::l1; }));
    database = 2;
  });
  EXPECT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(a.store().stats().gates.lapsed, 1U);
  b.wait_applied();
  EXPECT_EQ(load(b, database), remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, WriteOutlivesItsGate, ::testing::Bool(), race_name);

// Killed before it wrote anything: the row of before is the truth, and once the gate has lapsed it is cached again.
TEST(Update, KilledBeforeItsDatabaseWriteLeavesAGateThatLapses) {
  Updater updater(true, 500ms);
  RedisServer server;
  updater.shared->port = server.port();
  Instance b(instance_config(server.url()));
  b.wait_coherent();
  updater.begin_update();
  EXPECT_LE(std::stol(server.command({"PTTL", gate_key})), 500);
  updater.kill9();
  b.wait_applied();
  ASSERT_TRUE(eventually([&] { return server.command({"EXISTS", gate_key}) == "0"; }));
  EXPECT_EQ(load(b, updater.shared->database), 1);
  EXPECT_EQ(server.command({"EXISTS", data_key}), "1");
}

TEST(Update, WhatIsLoadedUnderTheGateIsKeptByNoCache) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 30s;  // L1 is valid throughout
  config.bus.heartbeat = 100ms;
  Instance a(config);
  Instance b(config);
  a.wait_coherent();
  b.wait_coherent();
  std::atomic<int> database{1};
  ASSERT_TRUE(a.view.put("k", 1).ok());
  b.wait_applied();
  b.warm("k");
  a.warm("k");
  const auto r = a.view.update("k", [&] {
    EXPECT_FALSE(a.view.get("k")) << "the updater's own L1";
    b.wait_applied();
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(load(b, database), 1);
      EXPECT_EQ(load(a, database), 1);
    }
    EXPECT_EQ(server.command({"EXISTS", data_key}), "0");
    database = 2;
    EXPECT_EQ(load(b, database), 2);
  });
  ASSERT_TRUE(r.ok()) << r.error().message;
  EXPECT_EQ(server.command({"EXISTS", gate_key}), "0");
  EXPECT_EQ(load(a, database), 2);
  EXPECT_EQ(a.view.get("k").source(), Source::l1);
  EXPECT_EQ(b.store().stats().gates.gated, 4U);
  EXPECT_EQ(a.store().stats().gates.lapsed, 0U);
}

TEST(Update, AWriteThatThrowsErasesAndSaysWhatItThrew) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  const auto r = a.view.update("k", [] { throw std::runtime_error("deadlock found"); }, {.version = 9});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::update_failed);
  EXPECT_NE(r.error().message.find("deadlock found"), std::string::npos);
  EXPECT_EQ(server.command({"EXISTS", data_key}), "0") << "the version was never written: it must not stay";
  EXPECT_EQ(server.command({"EXISTS", gate_key}), "0");
  EXPECT_EQ(a.view.update("k", [] { throw 7; }).error().code, Errc::update_failed);
}

TEST(Update, WithoutRedisTheDatabaseWriteIsNotCalled) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  server.kill9();
  bool called = false;
  const auto r = a.view.update("k", [&] { called = true; }, {.deadline = 300ms});
  ASSERT_FALSE(r.ok());
  EXPECT_FALSE(called);
}

TEST(Update, RedisDiesDuringTheWriteAndTheCallerIsTold) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.l2.call_timeout = 300ms;
  Instance a(config);
  const auto r = a.view.update("k", [&] { server.kill9(); });
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::outcome_unknown);
}

TEST(Update, WithL2DisabledItIsAWriteThenAnErase) {
  Config config;
  config.l2.enabled = false;
  config.l1.capacity_bytes = 4_MiB;
  Instance a(config);
  ASSERT_TRUE(a.view.put("k", 1).ok());
  ASSERT_TRUE(a.view.update("k", [&] { EXPECT_TRUE(a.view.get("k")); }).ok());
  EXPECT_FALSE(a.view.get("k"));
}

// Threads of two instances update and load the same key; in the end both tiers of both agree with the database.
TEST(Update, UpdatesAndLoadsOfTwoInstancesAgreeInTheEnd) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RedisServer server;
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  a.wait_coherent();
  b.wait_coherent();
  std::mutex commit;
  std::atomic<int> database{1};
  std::atomic<int> own_missed{0}, failed{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 rng(seed + t);
      Instance& mine = t % 2 == 0 ? a : b;
      for (int i = 0; i < 150; ++i) {
        if (rng() % 4 != 0) {
          static_cast<void>(load(mine, database));
          continue;
        }
        int written = 0;
        const auto r = mine.view.update("k", [&] {
          const std::lock_guard lock(commit);
          written = ++database;
        });
        failed += r.ok() ? 0 : 1;
        if (load(mine, database) < written) ++own_missed;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(own_missed, 0) << "a writer must see its own update";
  a.wait_applied();
  b.wait_applied();
  EXPECT_EQ(load(a, database), database);
  EXPECT_EQ(load(b, database), database);
  EXPECT_EQ(server.command({"EXISTS", gate_key}), "0");
}

// Row 2 of the database is deleted, and its cache entry erased under version 3. Then the put of row 1 arrives, which was late.
// An erase that forgets the version would let it in.
class LatePutAfterErase : public Race {};
TEST_P(LatePutAfterErase, Row4) {
  const Ablated ablated(lab::Remedy::tombstone, !remedy());
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(b.view.put("k", 2, {.version = 2}).ok());
  ASSERT_TRUE(b.view.erase("k", {.version = 3}).ok());
  EXPECT_FALSE(b.view.get("k"));
  EXPECT_FALSE(*b.view.exists("k"));
  const auto late = a.view.put("k", 1, {.version = 1});
  EXPECT_EQ(late.ok(), !remedy());
  if (remedy()) {
    EXPECT_EQ(late.error().code, Errc::superseded);
  }
  EXPECT_EQ(a.get("k"), remedy() ? -1 : 1);
  EXPECT_TRUE(a.view.put("k", 4, {.version = 4}).ok());
  EXPECT_EQ(b.get("k"), 4);
}
INSTANTIATE_TEST_SUITE_P(Races, LatePutAfterErase, ::testing::Bool(), race_name);

// As above, but the late put belongs to the row before an update; the version is what the database write answered.
class LatePutAfterUpdate : public Race {};
TEST_P(LatePutAfterUpdate, Row4) {
  const Ablated ablated(lab::Remedy::tombstone, !remedy());
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(b.view.update("k", [] { return std::uint64_t{2}; }).ok());
  EXPECT_EQ(a.view.put("k", 1, {.version = 1}).ok(), !remedy());
  EXPECT_EQ(a.get("k"), remedy() ? -1 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, LatePutAfterUpdate, ::testing::Bool(), race_name);

// Row 2 is committed and the key erased under its version. B loads from a replica of the database that still has row 1: its
// lease is good, it was taken after the erase. What says that the row is old is its version.
class LoadFromALaggingReplica : public Race {};
TEST_P(LoadFromALaggingReplica, Row4) {
  const Ablated ablated(lab::Remedy::tombstone, !remedy());
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  b.wait_coherent();
  ASSERT_TRUE(a.view.erase("k", {.version = 2}).ok());
  b.wait_applied();
  const auto row = [](int v) { return [v] { return Loaded<int>{v, static_cast<std::uint64_t>(v)}; }; };
  const auto lagging = b.view.get_or_load("k", row(1));
  ASSERT_TRUE(lagging);
  EXPECT_EQ(*lagging, 1);  // what its source says; nobody else is given it
  EXPECT_EQ(a.get("k"), remedy() ? -1 : 1);
  const auto later = a.view.get_or_load("k", row(2));
  ASSERT_TRUE(later);
  EXPECT_EQ(*later, remedy() ? 2 : 1);
  EXPECT_EQ(b.get("k"), remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, LoadFromALaggingReplica, ::testing::Bool(), race_name);

}  // namespace
}  // namespace tiercache::testing
