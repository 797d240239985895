// SPDX-License-Identifier: Apache-2.0
//
// What a read asked for is kept against a real Redis. A is the writer's instance, B the reader's; B's bus reader is stopped, so
// its L1 knows nothing of what A writes, though it is valid within the budget.
#include "instances.hpp"

namespace tiercache::testing {
namespace {

class StoppedReader : public Race {
 protected:
  void SetUp() override {
    Config config = instance_config(server.url());
    config.bus.staleness_budget = 30s;  // valid throughout
    config.bus.heartbeat = 100ms;
    a.emplace(config);
    b.emplace(config);
    ASSERT_TRUE(a->view.put("k", 1).ok());
    b->wait_coherent();
    b->wait_applied();
    b->warm("k");
    lab::bus_reader_stopped = true;
  }
  void TearDown() override { lab::bus_reader_stopped = false; }
  std::optional<Instance> a, b;
};

// A writes 2 and hands its token to a client, who reads at B. B's L1 must not answer.
class TokenOfAnotherInstance : public StoppedReader {};
TEST_P(TokenOfAnotherInstance, IsNotAnsweredBeforeItIsApplied) {
  const Ablated ablated(lab::Remedy::applied_check, !remedy());
  const auto token = a->view.put("k", 2);
  ASSERT_TRUE(token.ok());
  const auto carried = WriteToken::parse(token->to_string());
  ASSERT_TRUE(carried.ok());
  EXPECT_EQ(b->get("k"), 1) << "without the token: within the budget";
  const auto h = b->view.get("k", {.after = *carried});
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, remedy() ? 2 : 1);
  lab::bus_reader_stopped = false;
  EXPECT_TRUE(eventually([&] { return b->get("k") == 2; }));
  EXPECT_TRUE(eventually([&] { return b->view.get("k", {.after = *carried}).source() == Source::l1; }));
}
INSTANTIATE_TEST_SUITE_P(Races, TokenOfAnotherInstance, ::testing::Bool(), race_name);

// A writes 2 and 50 ms pass. A read that allows 50 ms must not be answered with 1.
class StalenessOfACall : public StoppedReader {};
TEST_P(StalenessOfACall, IsKeptThoughTheBudgetIsLarge) {
  const Ablated ablated(lab::Remedy::as_of_check, !remedy());
  ASSERT_TRUE(a->view.put("k", 2).ok());
  std::this_thread::sleep_until(std::chrono::steady_clock::now() + 50ms);  // the read begins later than that, however late
  const auto h = b->view.get("k", {.max_staleness = 50ms});
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, StalenessOfACall, ::testing::Bool(), race_name);

// Every kind of write answers a token by which any instance finds it.
TEST(Tokens, OfEveryKindOfWriteLeadAnyInstancePastItsL1) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 30s;
  config.bus.heartbeat = 100ms;
  Instance a(config);
  Instance b(config);
  const auto check = [&](auto&& write, int expected, const char* what) {
    ASSERT_TRUE(a.view.put("k", 1).ok());
    a.wait_applied();
    b.wait_applied();
    b.warm("k");
    lab::bus_reader_stopped = true;
    const Result<WriteToken> token = write();
    ASSERT_TRUE(token.ok()) << what;
    EXPECT_FALSE(token->empty());
    const auto h = b.view.get("k", {.after = *token});
    EXPECT_EQ(h ? *h : -1, expected) << what;
    lab::bus_reader_stopped = false;
    EXPECT_TRUE(eventually([&] {  // and from L1 again once it is applied
      static_cast<void>(a.view.put("k", 3));
      static_cast<void>(b.view.get("k"));
      return b.view.get("k", {.after = *token}).source() == Source::l1;
    })) << what;
  };
  const std::string_view ids[] = {"other", "k"};
  check([&] { return a.view.put("k", 2); }, 2, "put");
  check([&] { return a.view.put("k", 2, {.version = 5}); }, 2, "put with a version");
  check([&] { return a.view.erase("k"); }, -1, "erase");
  check([&] { return a.view.erase_many(ids); }, -1, "erase_many");
  check([&] { return a.view.update("k", [] {}); }, -1, "update");
  check([&] { return a.view.update("k", [] { return std::uint64_t{7}; }); }, -1, "update that wrote a version");
  check([&] { return a.view.clear(); }, -1, "clear");
  check([&] { return a.view.erase_prefix("k"); }, -1, "erase_prefix");
  check([&] { return a.view.erase_matching("?"); }, -1, "erase_matching");
  check([&] { return a.store().clear(); }, -1, "clear of the store");
  ASSERT_TRUE(a.view.put("k", 1, {.tags = {"t"}}).ok());
  check([&] { return a.view.erase_tag("t"); }, -1, "erase_tag");
  ASSERT_TRUE(a.view.put("k", 1, {.tags = {"t"}}).ok());
  const auto second = [&] {  // finds nothing to erase, which the first has not told everybody yet
    static_cast<void>(a.view.erase_tag("t"));
    return a.view.erase_tag("t");
  };
  check(second, -1, "an erase_tag after another");
}

// Redis comes back from an older snapshot and gives the same numbers again, in the same epoch until somebody notices. A reader
// that has not noticed must not take the new write's number for one that it has applied.
TEST(Tokens, OfARunThatRepeatsNumbersAreNotMistakenForOldOnes) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 30s;
  config.bus.heartbeat = 10s;  // nobody notices by a heartbeat
  std::string text;
  Instance b(config);
  {
    Instance a(config);
    ASSERT_TRUE(a.view.put("k", 0).ok());
    ASSERT_EQ(server.command({"SAVE"}), "OK");
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(a.view.put("other", i).ok());
    const auto last = a.view.put("k", 1);
    ASSERT_TRUE(last.ok());
    ASSERT_TRUE(eventually([&] { return b.view.get("k", {.after = *last}).source() == Source::l1; }));
  }
  lab::bus_reader_stopped = true;  // as if it had not been scheduled since
  server.restart(RedisServer::Data::rdb);
  Config late = config;
  late.bus.enabled = false;  // writes before any heartbeat gives a new epoch
  Instance a(late);
  ASSERT_TRUE(eventually([&] { return a.view.put("k", 2).ok(); }));
  const auto token = a.view.put("k", 3);
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(b.get("k"), 1) << "B has noticed: the test shows nothing";
  EXPECT_TRUE(eventually([&] {  // its connections are of before the restart
    const auto h = b.view.get("k", {.after = *token});
    EXPECT_FALSE(h && *h != 3) << *h;
    return h && *h == 3;
  }));
  lab::bus_reader_stopped = false;
}

// While Redis is gone and the budget with it, a view that says so goes on with what it has, and says so.
TEST(WhenRedisIsAway, AViewMayServeWhatItHasMarkedStale) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.default_deadline = 100ms;
  Instance a(config);
  auto lenient = a.store().cache<int>("lenient", {.ttl = 60s, .when_stale = WhenStale::serve_stale});
  auto failing = a.store().cache<int>("failing", {.ttl = 60s, .when_stale = WhenStale::fail});
  ASSERT_TRUE(lenient.put("k", 1, {.deadline = patience}).ok());
  ASSERT_TRUE(failing.put("k", 1, {.deadline = patience}).ok());
  a.wait_coherent();
  ASSERT_TRUE(eventually([&] { return lenient.get("k").source() == Source::l1; }));
  ASSERT_TRUE(eventually([&] { return failing.get("k").source() == Source::l1; }));
  EXPECT_FALSE(lenient.get("k").stale());

  const std::uint64_t stale_before = lenient.stats().l1_stale_hits;  // a busy machine lets L1 lapse while Redis is there
  server.kill9();
  ASSERT_TRUE(eventually([&] { return !a.coherent(); }));
  ASSERT_TRUE(eventually([&] { return lenient.get("k").stale(); }));  // not before the whole budget is over
  const auto h = lenient.get("k");
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, 1);
  EXPECT_TRUE(h.stale());
  EXPECT_EQ(h.source(), Source::l1);
  const auto none = failing.get("k");
  ASSERT_NE(none.error(), nullptr);
  EXPECT_EQ(none.error()->code, Errc::stale);
  EXPECT_EQ(lenient.stats().l1_stale_hits - stale_before, 2U);

  server.restart();  // empty: what L1 holds is void once it hears of it
  ASSERT_TRUE(eventually([&] { return a.coherent(); }));
  const auto gone = lenient.get("k", {.deadline = patience});
  EXPECT_FALSE(gone);
  EXPECT_EQ(gone.error(), nullptr);
}

// One hit in one is compared with Redis. Coherent instances that write all the time show differences at most, nothing stale; a
// write past the bus is found.
TEST(ShadowReads, FindAWriteThatNobodyAnnounced) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.shadow_reads = 1;
  Instance a(config);
  Instance b(config);
  a.wait_coherent();
  b.wait_coherent();
  const auto stats = [&] { return b.store().stats().shadow; };
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(a.view.put("k", i).ok());
    for (int n = 0; n < 20; ++n) b.get("k");
  }
  EXPECT_TRUE(eventually([&] {
    b.get("k");
    return stats().checked >= 50;
  }));
  std::this_thread::sleep_for(1100ms);  // a budget and more: what is shown is that nothing happens in that time
  EXPECT_EQ(stats().stale, 0U);
  EXPECT_EQ(stats().orphaned, 0U);

  ASSERT_TRUE(a.view.put("k", 100).ok());
  ASSERT_EQ(server.command({"COPY", "test:races:n:k", "saved"}), "1");
  // B holds 101 in L1 and is not told of `change`. If L1 lapses before that is found, it reads the change: then once more.
  const auto found = [&](const std::vector<std::string>& change, std::uint64_t ShadowStats::*what) {
    return eventually([&] {
      EXPECT_TRUE(a.view.put("k", 101).ok());
      b.wait_applied();
      b.warm("k");
      EXPECT_EQ(server.command(change), "1");
      EXPECT_TRUE(eventually([&] { return b.get("k") != 101 || stats().*what > 0; }));
      return stats().*what > 0;
    });
  };
  EXPECT_TRUE(found({"COPY", "saved", "test:races:n:k", "REPLACE"}, &ShadowStats::stale));
  EXPECT_GT(stats().stale_ppm(), 0);
  EXPECT_TRUE(found({"DEL", "test:races:n:k"}, &ShadowStats::orphaned));
}

}  // namespace
}  // namespace tiercache::testing
