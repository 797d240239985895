// SPDX-License-Identifier: Apache-2.0
//
// What outlives what: handles, views, stores, forks.
#include "instances.hpp"

#include <sys/wait.h>
#include <unistd.h>

namespace tiercache::testing {
namespace {

TEST(Lifetime, HandlesOutliveEntryViewAndStore) {
  Handle<std::string> pinned;
  Handle<std::string> owned;
  {
    RedisServer server;
    Config config = instance_config(server.url());
    Result<Store> store = Store::open(config);
    ASSERT_TRUE(store.ok());
    auto view = store->cache<std::string>("s", {.ttl = 60s});
    ASSERT_TRUE(view.put("k", std::string(500, 'x')).ok());
    ASSERT_TRUE(eventually([&] { return store->health().l1_coherent && view.get("k").source() == Source::l1; }));
    pinned = view.get("k");
    ASSERT_TRUE(pinned.pinned());
    ASSERT_TRUE(view.erase("k").ok());
    owned = view.get_or_load("loaded", [&] {
      EXPECT_TRUE(view.erase("loaded").ok());  // displaces the lease: the value is the caller's alone
      return std::string(500, 'y');
    });
    ASSERT_FALSE(owned.pinned());
  }
  EXPECT_EQ(*pinned, std::string(500, 'x'));
  EXPECT_EQ(*owned, std::string(500, 'y'));
  // The memory behind the pin is freed when a later table comes or goes (LeakSanitizer watches).
  pinned = {};
  EXPECT_TRUE(l1::Table::create({.capacity_bytes = 64_KiB}).ok());
}

TEST(Lifetime, ViewsOutliveTheStoreAndSayClosed) {
  RedisServer server;
  std::optional<Cache<int>> view;
  {
    Result<Store> store = Store::open(instance_config(server.url()));
    ASSERT_TRUE(store.ok());
    view = store->cache<int>("n", {.ttl = 60s});
    ASSERT_TRUE(view->put("k", 1).ok());
    ASSERT_TRUE(eventually([&] { return view->get("k").source() == Source::l1; }));
  }
  const auto h = view->get("k");
  EXPECT_FALSE(h);
  ASSERT_NE(h.error(), nullptr);
  EXPECT_EQ(h.error()->code, Errc::closed);
  EXPECT_EQ(view->put("k", 2).error().code, Errc::closed);
  EXPECT_EQ(view->erase("k").error().code, Errc::closed);
  EXPECT_EQ(view->clear().error().code, Errc::closed);
  EXPECT_EQ(view->exists("k").error().code, Errc::closed);
  EXPECT_EQ(view->get_many(std::array<std::string_view, 1>{"k"})[0].error()->code, Errc::closed);
}

TEST(Lifetime, ViewsOfAnL1OnlyStoreSayClosedToo) {
  Config config;
  config.l2.enabled = false;
  std::optional<Store> store(std::move(Store::open(config)).value());
  auto view = store->cache<int>("n");
  ASSERT_TRUE(view.put("k", 1).ok());
  ASSERT_TRUE(view.get("k"));
  store.reset();
  const auto h = view.get("k");
  EXPECT_FALSE(h);
  ASSERT_NE(h.error(), nullptr);
  EXPECT_EQ(h.error()->code, Errc::closed);
}

TEST(Lifetime, MovedFromHandleIsEmpty) {
  Config config;
  config.l2.enabled = false;
  Result<Store> store = Store::open(config);
  ASSERT_TRUE(store.ok());
  auto view = store->cache<int>("n");
  ASSERT_TRUE(view.put("a", 1).ok());
  ASSERT_TRUE(view.put("b", 2).ok());
  Handle<int> a = view.get("a");
  Handle<int> moved = std::move(a);
  EXPECT_FALSE(a);  // NOLINT(bugprone-use-after-move): what is tested
  EXPECT_EQ(*moved, 1);
  moved = view.get("b");
  EXPECT_EQ(*moved, 2);
}

TEST(Lifetime, PinsBeyondAThreadsShareBecomeCopies) {
  Config config;
  config.l2.enabled = false;
  config.l1.capacity_bytes = 4_MiB;
  Result<Store> store = Store::open(config);
  ASSERT_TRUE(store.ok());
  auto view = store->cache<std::string>("s", {.ttl = 60s});
  ASSERT_TRUE(view.put("k", "value").ok());
  std::vector<Handle<std::string>> handles;
  for (std::uint32_t i = 0; i < 3 * l1::pins_per_thread(); ++i) handles.push_back(view.get("k"));
  std::uint32_t pinned = 0;
  for (const auto& h : handles) {
    ASSERT_TRUE(h);
    EXPECT_EQ(*h, "value");
    pinned += h.pinned() ? 1 : 0;
  }
  EXPECT_EQ(pinned, l1::pins_per_thread());
  handles.clear();
  EXPECT_TRUE(view.get("k").pinned());
}

TEST(Lifetime, CloseEndsCallsInProgressByItsDeadline) {
  RedisServer server;
  Result<Store> store = Store::open(instance_config(server.url()));
  ASSERT_TRUE(store.ok());
  auto view = store->cache<int>("n", {.ttl = 60s});
  server.pause();
  std::atomic<bool> began{false};
  auto call = std::async(std::launch::async, [&] { return began = true, view.put("k", 1, {.deadline = 60s}).ok(); });
  ASSERT_TRUE(eventually([&] { return began.load(); }));
  const auto start = std::chrono::steady_clock::now();
  store->close(500ms);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 2s) << "0.5 s and the machine's slack";
  EXPECT_FALSE(call.get());
  server.resume();
}

TEST(Lifetime, SeveralStoresInAProcessShareNothing) {
  RedisServer server;
  Config config = instance_config(server.url());
  Instance a(config);
  config.resource = "other";
  Instance b(config);
  ASSERT_TRUE(a.view.put("k", 1).ok());
  EXPECT_FALSE(b.view.get("k"));
  ASSERT_TRUE(b.view.put("k", 2).ok());
  EXPECT_EQ(a.get("k"), 1);
}

TEST(Lifetime, ForksChildRefusesCleanly) {
#if defined(__SANITIZE_THREAD__)
  // ThreadSanitizer's runtime does not support a child of a threaded process that goes on using threads' state.
  GTEST_SKIP() << "ThreadSanitizer does not support it";
#else
  RedisServer server;
  Instance a(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  int result[2];
  ASSERT_EQ(pipe(result), 0);
  const pid_t child = fork();
  if (child == 0) {
    char verdict = 'y';
    const auto h = a.view.get_or_load("k", [] { return 2; });
    if (!h && (h.error() == nullptr || h.error()->code != Errc::closed)) verdict = 'a';
    if (h && h.source() != Source::l1) verdict = 'b';
    const auto w = a.view.put("k", 3);
    if (w.ok() || w.error().code != Errc::closed) verdict = 'c';
    if (write(result[1], &verdict, 1) != 1) _exit(1);
    _exit(0);
  }
  char verdict = '?';
  EXPECT_EQ(read(result[0], &verdict, 1), 1);
  EXPECT_EQ(verdict, 'y');
  int status = 0;
  waitpid(child, &status, 0);
  close(result[0]);
  close(result[1]);
  EXPECT_EQ(a.get("k"), 1) << "the child changed something";
#endif
}

}  // namespace
}  // namespace tiercache::testing
