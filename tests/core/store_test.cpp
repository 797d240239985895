// SPDX-License-Identifier: Apache-2.0
//
// The public API against a real redis-server, as a user would use it.
#include "instances.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace tiercache::testing {
namespace {

struct User {
  std::string name;
  std::vector<std::string> roles;
  MSGPACK_DEFINE(name, roles)
  friend bool operator==(const User&, const User&) = default;
};

class StoreTest : public ::testing::Test {
 protected:
  RedisServer server;
};

TEST_F(StoreTest, TypedValuesTravelThroughBothTiers) {
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 30s;  // L1 is valid throughout
  config.bus.heartbeat = 100ms;
  Instance writer(config);
  Instance reader(config);
  auto out = writer.store().cache<User>("user");
  auto in = reader.store().cache<User>("user");
  const User ada{"ada", {"admin", "dev"}};
  ASSERT_TRUE(out.put("42", ada).ok());
  reader.wait_coherent();
  reader.wait_applied();  // the put's announcement after the first read would void what that has filled
  const auto first = in.get("42");
  ASSERT_TRUE(first);
  EXPECT_EQ(*first, ada);
  EXPECT_EQ(first.source(), Source::l2);
  const auto second = in.get("42");
  EXPECT_EQ(second.source(), Source::l1);
  EXPECT_EQ(second->roles, ada.roles);
  bool seen = false;
  EXPECT_TRUE(in.visit("42", [&](const User& u) { seen = u == ada; }));
  EXPECT_TRUE(seen);
}

TEST_F(StoreTest, RawBytesNeedNoFrame) {
  Instance a(instance_config(server.url()));
  auto raw = a.store().cache<std::string, RawBytes<>>("raw");
  const std::string bytes("\0\1\xff", 3);
  ASSERT_TRUE(raw.put("k", bytes).ok());
  const auto h = raw.get("k");
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, bytes);
  EXPECT_EQ(server.command({"STRLEN", "test:races:raw:k"}), std::to_string(56 + 3));
}

TEST_F(StoreTest, OneLoadForTheWholeFleet) {
  constexpr int instances = 3;
  constexpr int threads = 4;
  std::vector<std::unique_ptr<Instance>> fleet;
  Config config = instance_config(server.url());
  config.default_deadline = patience;  // a waiter's: the loader waits for all of them
  config.lease_ttl = patience;
  config.l2.connect_timeout = patience;
  for (int i = 0; i < instances; ++i) fleet.push_back(std::make_unique<Instance>(config));
  fleet.front()->wait_coherent();  // a server's first heartbeat begins its epoch, and a load that began before is not stored
  std::atomic<int> loads{0};
  std::vector<std::future<int>> results;
  for (auto& instance : fleet)
    for (int t = 0; t < threads; ++t)
      results.push_back(std::async(std::launch::async, [&] {
        const auto h = instance->view.get_or_load("hot", [&] {
          ++loads;
          // Long enough for others to come: until every other instance waits for our lease. (In ours a thread may wait for it,
          // too: one that comes when our flight is older than half the budget.)
          EXPECT_TRUE(eventually([&] {
            return std::ranges::all_of(
                fleet, [&](auto& other) { return &other == &instance || other->store().stats().leases.waited > 0; });
          }));
          return 7;
        });
        return h ? *h : -1;
      }));
  for (auto& r : results) EXPECT_EQ(r.get(), 7);
  EXPECT_EQ(loads, 1);
}

// Time is made by hand: a lease of 20 s is aged by 15 s in Redis, again and again, and must be found renewed.
TEST_F(StoreTest, LongLoadKeepsItsLeaseByRenewal) {
  constexpr const char* lease = "test:races:!lease:n:k";
  lab::lease_renew_ms = 10;
  Config config = instance_config(server.url());
  config.lease_ttl = 20s;
  config.default_deadline = patience;
  Instance a(config);
  Instance b(config);
  a.wait_coherent();  // a server's first heartbeat begins its epoch, and a load that began before is not stored
  std::atomic<int> loads{0};
  auto leader = std::async(std::launch::async, [&] {
    const auto h = a.view.get_or_load("k", [&] {
      ++loads;
      EXPECT_TRUE(eventually([&] { return b.store().stats().leases.waited == 1; }));
      for (int i = 0; i < 3; ++i) {
        const std::uint64_t before = a.store().stats().leases.renewed;
        EXPECT_EQ(server.command({"PEXPIRE", lease, "5000"}), "1");
        EXPECT_TRUE(eventually([&] { return std::stol(server.command({"PTTL", lease})) > 5000; })) << "it was not renewed";
        // Counted when the answer is there, which Redis does not wait for.
        EXPECT_TRUE(eventually([&] { return a.store().stats().leases.renewed > before; })) << "it was not counted";
      }
      return 1;
    });
    return h ? *h : -1;
  });
  ASSERT_TRUE(eventually([&] { return loads == 1; }));
  const auto h = b.view.get_or_load("k", [&] { return ++loads, 2; });
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, 1);
  EXPECT_EQ(leader.get(), 1);
  EXPECT_EQ(loads, 1);
  lab::lease_renew_ms = 0;
}

TEST_F(StoreTest, DeadLoadersLeaseLapses) {
  // What a killed instance leaves behind: a lease that nobody renews. It lapses when b has been seen to wait for it.
  constexpr const char* lease = "test:races:!lease:n:k";
  Instance b(instance_config(server.url()));
  ASSERT_EQ(server.command({"SET", lease, "dead:1", "PX", "60000"}), "OK");
  auto waiter = std::async(std::launch::async, [&] {
    const auto h = b.view.get_or_load("k", [] { return 2; }, {.deadline = patience});
    return h ? *h : -1;
  });
  ASSERT_TRUE(eventually([&] { return b.store().stats().leases.waited == 1; }));
  ASSERT_EQ(server.command({"PEXPIRE", lease, "1"}), "1");
  EXPECT_EQ(waiter.get(), 2);
  EXPECT_EQ(b.store().stats().leases.waited, 1U);
}

TEST_F(StoreTest, WritesReachTheOtherInstancesL1) {
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  b.wait_coherent();
  b.wait_applied();
  b.warm("k");
  ASSERT_TRUE(a.view.put("k", 2).ok());
  EXPECT_TRUE(eventually([&] { return b.get("k") == 2; }));
  b.warm("k");
  ASSERT_TRUE(a.view.erase("k").ok());
  EXPECT_TRUE(eventually([&] { return !b.view.get("k"); }));
}

TEST_F(StoreTest, ClearReachesEveryTierAndInstance) {
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  auto other = a.store().cache<int>("n2");
  ASSERT_TRUE(other.put("x", 1).ok());
  std::vector<std::string> names;
  for (int i = 0; i < 300; ++i) names.push_back("k" + std::to_string(i));
  for (const auto& n : names) ASSERT_TRUE(a.view.put(n, 1).ok());
  b.wait_coherent();
  b.wait_applied();
  b.warm("k7");
  ASSERT_TRUE(a.view.clear().ok());
  for (const auto& n : names) EXPECT_FALSE(a.view.get(n)) << n;
  EXPECT_TRUE(eventually([&] { return !b.view.get("k7"); }));
  EXPECT_TRUE(other.get("x"));
}

TEST_F(StoreTest, GetManyAndEraseManyInOneRoundTripEach) {
  Instance a(instance_config(server.url()));
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i) names.push_back("k" + std::to_string(i));
  for (int i = 0; i < 50; i += 2) ASSERT_TRUE(a.view.put(names[static_cast<std::size_t>(i)], i).ok());
  const std::vector<std::string_view> keys(names.begin(), names.end());
  for (int round = 0; round < 2; ++round) {  // from Redis, then from L1: more than a thread may pin
    const auto handles = a.view.get_many(keys);
    ASSERT_EQ(handles.size(), 50U);
    for (int i = 0; i < 50; ++i) {
      const auto& h = handles[static_cast<std::size_t>(i)];
      EXPECT_EQ(static_cast<bool>(h), i % 2 == 0);
      EXPECT_EQ(h.error(), nullptr);
      if (h) {
        EXPECT_EQ(*h, i);
      }
    }
  }
  ASSERT_TRUE(a.view.erase_many(keys).ok());
  for (const auto& h : a.view.get_many(keys)) EXPECT_FALSE(h);
}

TEST_F(StoreTest, BatchLargerThanAThreadsPinsGivesEveryValueWhole) {
  // The value is moved into L1's entry: where no pin is left to hand out, what the caller gets must not be the moved-from shell.
  Instance a(instance_config(server.url()));
  auto texts = a.store().cache<std::string>("s", {.ttl = 60s});
  std::vector<std::string> names;
  for (int i = 0; i < 80; ++i) names.push_back("k" + std::to_string(i));
  for (const auto& n : names) ASSERT_TRUE(texts.put(n, std::string(200, 'x') + n).ok());
  const std::vector<std::string_view> keys(names.begin(), names.end());
  a.wait_coherent();
  for (int round = 0; round < 3; ++round) {
    const auto handles = texts.get_many(keys);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      ASSERT_TRUE(handles[i]) << i;
      EXPECT_EQ(*handles[i], std::string(200, 'x') + names[i]);
    }
    std::vector<Handle<std::string>> all;  // one by one, all held
    ASSERT_TRUE(texts.erase_many(keys).ok());
    for (const auto& n : names) all.push_back(texts.get_or_load(n, [&] { return std::string(200, 'x') + n; }));
    for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(*all[i], std::string(200, 'x') + names[i]);
  }
}

TEST_F(StoreTest, EraseManyOfLongKeysFitsItsAnnouncements) {
  Instance a(instance_config(server.url()));
  std::vector<std::string> names;
  for (int i = 0; i < 1500; ++i) names.push_back(std::to_string(i) + std::string(1000, 'x'));
  const std::vector<std::string_view> keys(names.begin(), names.end());
  ASSERT_TRUE(a.view.put(names.front(), 1).ok());
  ASSERT_TRUE(a.view.put(names.back(), 1).ok());
  const Result<void> r = a.view.erase_many(keys);
  EXPECT_TRUE(r.ok()) << (r.ok() ? "" : r.error().message);
  EXPECT_FALSE(*a.view.exists(names.front()));
  EXPECT_FALSE(*a.view.exists(names.back()));
}

TEST_F(StoreTest, ExistsAsksBothTiers) {
  Instance a(instance_config(server.url()));
  EXPECT_FALSE(*a.view.exists("k"));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  EXPECT_TRUE(*a.view.exists("k"));
  a.warm("k");
  EXPECT_TRUE(*a.view.exists("k"));
}

TEST_F(StoreTest, TtlExpiresInBothTiers) {
  Instance a(instance_config(server.url()));
  a.wait_coherent();
  ASSERT_TRUE(eventually([&] { return a.view.put("k", 1, {.ttl = 300ms}).ok() && a.view.get("k"); }));
  EXPECT_TRUE(eventually([&] { return !a.view.get("k"); }));
  ASSERT_TRUE(a.view.put("forever", 1, {.ttl = 0ms}).ok());
  EXPECT_EQ(server.command({"PTTL", "test:races:n:forever"}), "-1");
}

TEST_F(StoreTest, ShardedKeysWorkOnOneServerToo) {
  Config config = instance_config(server.url());
  config.l2.shards = 8;
  Instance a(config);
  Instance b(config);
  b.wait_coherent();
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(a.view.put("k" + std::to_string(i), i).ok());
  b.wait_applied();
  for (int i = 0; i < 40; ++i) b.warm("k" + std::to_string(i));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(a.view.put("k" + std::to_string(i), i + 100).ok());
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(eventually([&] { return b.get("k" + std::to_string(i)) == i + 100; }));
}

TEST_F(StoreTest, OpensDegradedAndRecoversWhenRedisComes) {
  const std::uint16_t port = RedisServer::free_port();
  Config config = instance_config("redis://127.0.0.1:" + std::to_string(port));
  config.open_timeout = 0ms;
  Instance a(config);
  EXPECT_EQ(a.store().health().state, HealthState::degraded);
  const auto began = std::chrono::steady_clock::now();
  const auto miss = a.view.get("k");
  EXPECT_FALSE(miss);
  ASSERT_NE(miss.error(), nullptr);
  EXPECT_EQ(miss.error()->code, Errc::unavailable);
  EXPECT_EQ(a.view.put("k", 1).error().code, Errc::unavailable);
  const auto loaded = a.view.get_or_load("k", [] { return 5; });
  ASSERT_TRUE(loaded);
  EXPECT_EQ(*loaded, 5);
  EXPECT_NE(loaded.error(), nullptr);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s) << "calls waited for a Redis that is away";

  RedisServerOptions options;
  options.port = port;
  RedisServer late(options);
  a.wait_coherent();
  EXPECT_EQ(a.store().health().state, HealthState::ok);
  EXPECT_TRUE(a.view.put("k", 1).ok());
}

TEST_F(StoreTest, RedisDiesAndL1AnswersOnWithinTheBudgetAndNoLonger) {
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 3s;
  Instance a(config);
  ASSERT_TRUE(a.view.put("k", 1).ok());
  a.warm("k");
  server.kill9();
  ASSERT_TRUE(eventually([&] { return !a.store().stats().bus.subscribed; }));
  EXPECT_EQ(a.view.get("k").source(), Source::l1);
  ASSERT_TRUE(eventually([&] { return a.view.get("k").source() != Source::l1; }));
  EXPECT_FALSE(a.coherent());
}

TEST_F(StoreTest, LeastPrivilegeOfTheReadmeIsEnough) {
  // The user that the README's operations part recommends; everything a store does must work under it.
  const std::string readme = [] {
    std::ifstream in(std::string(TIERCACHE_SOURCE_DIR) + "/README.md");
    return std::string(std::istreambuf_iterator<char>(in), {});
  }();
  const std::string begin = "ACL SETUSER app ";
  const std::size_t at = readme.find(begin);
  ASSERT_NE(at, std::string::npos);
  std::string rules = readme.substr(at, readme.find('`', at) - at);
  for (std::size_t p; (p = rules.find("prod:shop:")) != std::string::npos;) rules.replace(p, 10, "test:races:");
  std::vector<std::string> words;
  std::istringstream split(rules);
  for (std::string w; split >> w;) words.push_back(w);
  ASSERT_EQ(server.command(words), "OK") << rules;

  Config config = instance_config(server.url());
  config.bus.source = invalidation::Source::both;
  config.l2.username = "app";
  config.l2.password = "secret";
  Instance a(config);
  a.wait_coherent();
  ASSERT_TRUE(a.view.put("k", 1, {.version = 3}).ok());
  a.warm("k");
  EXPECT_TRUE(*a.view.exists("k"));
  EXPECT_TRUE(a.view.get_or_load("l", [] { return 2; }));
  EXPECT_EQ(a.view.get_or_load("m", [] { return std::optional<int>(); }).error(), nullptr);
  EXPECT_TRUE(a.view.erase("k").ok());
  server.command({"SET", "test:races:n:broken", std::string("TCE\x01\x00\x01\x01\x00", 8) + std::string(60, 'x')});
  EXPECT_FALSE(a.view.get("broken"));
  EXPECT_TRUE(a.view.erase("k", {.version = 4}).ok());
  EXPECT_TRUE(a.view.update("k", [] { return std::uint64_t{5}; }).ok());
  Instance waiter(config);
  waiter.wait_coherent();
  std::future<int> waited;
  EXPECT_TRUE(a.view.get_or_load("w", [&] {
    waited = std::async(std::launch::async, [&] { return *waiter.view.get_or_load("w", [] { return 4; }); });
    EXPECT_TRUE(eventually([&] { return waiter.store().stats().leases.waited > 0; }));
    return 3;
  }));
  EXPECT_EQ(waited.get(), 3);
  EXPECT_TRUE(a.view.clear().ok());
  EXPECT_EQ(waiter.store().stats().l2.errors[static_cast<std::size_t>(Errc::refused)], 0U);
  EXPECT_TRUE(a.view.put("t", 1, {.tags = {"t"}}).ok());
  EXPECT_TRUE(a.view.put("t", 1, {.ttl = std::chrono::milliseconds(0), .tags = {"t"}}).ok());
  EXPECT_TRUE(a.view.get_or_load("u", [] { return Loaded<int>{2, 0, {}, {"t"}}; }));
  EXPECT_TRUE(a.view.erase_tag("t").ok());
  EXPECT_TRUE(a.view.clear({.acknowledged = true}).ok());
  EXPECT_TRUE(a.store().clear().ok());
  const auto errors = a.store().stats().l2.errors;
  EXPECT_EQ(errors[static_cast<std::size_t>(Errc::refused)], 0U);
  Config outside = config;
  outside.resource = "elsewhere";
  Instance b(outside);
  EXPECT_EQ(b.view.put("k", 1).error().code, Errc::refused) << "another service's keys must be out of reach";
}

TEST_F(StoreTest, KillSwitchNeverConnects) {
  Config config = instance_config(server.url());
  config.l2.enabled = false;
  Instance a(config);
  ASSERT_TRUE(a.view.put("k", 1).ok());
  EXPECT_EQ(a.view.get("k").source(), Source::l1);
  EXPECT_EQ(server.command({"DBSIZE"}), "0");
  EXPECT_EQ(a.store().health().state, HealthState::ok);
  EXPECT_FALSE(a.store().stats().l2.enabled);
}

TEST_F(StoreTest, BadConfigNamesTheField) {
  Config config;
  config.l2.pool_size = 0;
  const auto store = Store::open(config);
  ASSERT_FALSE(store.ok());
  EXPECT_THAT(store.error().message, ::testing::HasSubstr("pool_size"));
}

TEST_F(StoreTest, HungRedisHoldsNobodyBeyondTheDeadline) {
  Instance a(instance_config(server.url()));
  a.wait_coherent();
  server.pause();
  const auto began = std::chrono::steady_clock::now();
  const auto r = a.view.put("k", 1, {.deadline = 100ms});
  EXPECT_FALSE(r.ok());
  const auto loaded = a.view.get_or_load("k", [] { return 3; }, {.deadline = 100ms});
  EXPECT_TRUE(loaded) << "a loader's value must come though Redis hangs";
  EXPECT_LT(std::chrono::steady_clock::now() - began, 1s) << "two calls of 100 ms";
  server.resume();
}

TEST_F(StoreTest, LogsHoldNoKeysAndNoValues) {
  std::mutex mutex;
  std::string lines;
  Config config = instance_config(server.url());
  config.log_level = LogLevel::debug;
  config.log_sink = [&](LogLevel, std::string_view line) {
    const std::lock_guard lock(mutex);
    lines.append(line).append("\n");
  };
  {
    Instance a(config);
    auto secret = a.store().cache<std::string>("s");
    ASSERT_TRUE(secret.put("secret-key", "secret-value").ok());
    server.command({"SET", "test:races:s:secret-key", "garbage"});
    a.wait_applied();
    static_cast<void>(secret.get("secret-key"));
    server.kill9();
    static_cast<void>(secret.get("secret-key"));
    ASSERT_TRUE(eventually([&] { return !a.store().health().l2_available; }));
  }
  EXPECT_FALSE(lines.empty());
  EXPECT_EQ(lines.find("secret"), std::string::npos) << lines;
}

TEST_F(StoreTest, WriterReadsItsOwnWritesAmongManyReaders) {
  // Key k is written by thread k alone, with growing values; everyone reads everything. The writer must never read less than it
  // wrote, and nobody more than was begun to be written.
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  std::atomic<int> unread_own{0};
  std::atomic<int> phantoms{0};
  std::array<std::atomic<int>, 4> begun{};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 rng(seed + t);
      Instance& mine = t % 2 == 0 ? a : b;
      for (int i = 0; i < 400; ++i) {
        const std::size_t k = rng() % begun.size();
        const std::string key = "k" + std::to_string(k);
        if (rng() % 2 == 0 && k == t) {
          const int v = ++begun[k];
          if (mine.view.put(key, v).ok() && mine.get(key) != v) ++unread_own;
        } else if (mine.get(key) > begun[k]) {
          ++phantoms;
        }
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(unread_own, 0);
  EXPECT_EQ(phantoms, 0);
}

}  // namespace
}  // namespace tiercache::testing
