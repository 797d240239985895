// SPDX-License-Identifier: Apache-2.0
//
// What a read may ask of L1: how stale, what else, and which write it must have. Over a remote store in memory; coherence is told
// by hand.
#include "fakes.hpp"
#include "race_name.hpp"

#include <future>
#include <latch>
#include <thread>

namespace tiercache::testing {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr milliseconds budget{2000};

/// A store whose L1 holds "a" = 1 while Redis holds "a" = 2: written elsewhere, its announcement still on its way.
class Behind {
 public:
  explicit Behind(ViewOptions options = {}, bool bus = true, milliseconds staleness = budget)
      : store(true,
              [bus, staleness](Config& config) {
                config.bus.enabled = bus;
                config.bus.staleness_budget = staleness;
                config.default_deadline = 1min;
              }),
        view(store, options) {
    store.core->on_gap(0, GapReason::subscribed);
    coherent_as_of(0ms);
    EXPECT_TRUE(view.put("a", 1).ok());
    one = stored();
    EXPECT_TRUE(view.put("a", 2).ok());
    two = std::exchange(stored(), one);
    EXPECT_EQ(IntView::value(view.get("a")), 1);  // into L1
    stored() = two;
  }
  /// L1 learns that it was coherent so long ago. REQUIRES: no later than what it knows.
  void coherent_as_of(milliseconds ago) { store.core->on_coherent(0, std::chrono::steady_clock::now() - ago + within()); }
  /// As if the last heartbeat that came back had been sent so long ago.
  void age_to(milliseconds ago) {
    store.core->coherence.set_valid_until(0, steady_ms(std::chrono::steady_clock::now() - ago + within()));
  }
  [[nodiscard]] milliseconds within() const { return store.core->config.bus.staleness_budget; }
  std::string& stored() { return store.remote->data["dev:app:n:a"].bytes; }
  int asked() { return store.remote->count(RemoteOp::get) + store.remote->count(RemoteOp::lease_get); }

  std::string one, two;  // as Redis holds them
  FakeStore store;
  IntView view;
};

// L1 was coherent 300 ms ago and holds what was replaced since: within the budget of 2 s, but not within 50 ms.
class MaxStaleness : public ::testing::TestWithParam<bool> {};
TEST_P(MaxStaleness, OfACallIsKept) {
  Behind b;
  b.age_to(300ms);
  lab::ablate(lab::Remedy::as_of_check, !GetParam());
  EXPECT_EQ(IntView::value(b.view.get("a")), 1) << "within the budget";
  EXPECT_EQ(IntView::value(b.view.get("a", {.max_staleness = 10s})), 1);
  EXPECT_EQ(IntView::value(b.view.get("a", {.max_staleness = 50ms})), GetParam() ? 2 : 1);
  lab::ablate(lab::Remedy::as_of_check, false);
}
TEST_P(MaxStaleness, BoardsNoFetchThatIsOlder) {
  lab::ablate(lab::Remedy::as_of_check, !GetParam());
  {
    Behind b;
    b.store.core->on_gap(0, GapReason::lost);  // void: every read asks Redis
    std::promise<void> answered;
    std::promise<void> go;
    std::atomic<bool> first{true};
    b.store.remote->after = [&](const RemoteRequest&, RemoteReply&) {
      if (!first.exchange(false)) return;
      answered.set_value();
      go.get_future().wait();
    };
    auto slow = std::async(std::launch::async, [&] { return IntView::value(b.view.get("a")); });
    answered.get_future().wait();
    std::this_thread::sleep_for(60ms);  // its age is the condition: nothing else changes by which it could be told
    const auto r = b.view.get("a", {.deadline = 200ms, .max_staleness = 50ms});
    if (GetParam()) {
      EXPECT_EQ(IntView::value(r), 2);
    } else {
      EXPECT_TRUE(r.error && r.error->code == Errc::deadline_exceeded) << "it waited for the old fetch";
    }
    go.set_value();
    EXPECT_EQ(slow.get(), 2);
  }
  lab::ablate(lab::Remedy::as_of_check, false);
}
INSTANTIATE_TEST_SUITE_P(Races, MaxStaleness, ::testing::Bool(), race_name);

TEST(Contract, AViewHasADefaultThatACallMayWiden) {
  Behind b({.max_staleness = 50ms});
  b.age_to(300ms);
  EXPECT_FALSE(b.view.view->probe("a")) << "the plain way knows the budget alone";
  EXPECT_EQ(IntView::value(b.view.get("a", {.max_staleness = 1s})), 1);
  EXPECT_EQ(IntView::value(b.view.get("a")), 2);
  b.coherent_as_of(0ms);
  const int asked = b.asked();
  EXPECT_EQ(b.view.get("a", {.max_staleness = 10s}).source, Source::l1);
  EXPECT_EQ(b.asked(), asked);
}

TEST(Contract, AViewsDefaultHoldsForVisitExistsAndGetMany) {
  Behind b({.max_staleness = 50ms});
  const std::string_view ids[] = {"a"};
  int seen = 0;
  const auto look = [&](const l1::Entry& entry) { seen = entry.value_as<int>(); };
  b.age_to(-10s);  // a fresh one, however slow this machine is
  EXPECT_TRUE(b.view.view->visit("a", look));
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(IntView::value(b.view.view->read_many(ids, {}).front()), 1);
  EXPECT_TRUE(b.view.view->exists("a", {}).value());
  EXPECT_EQ(b.store.remote->count(RemoteOp::exists), 0);

  b.age_to(300ms);
  EXPECT_FALSE(b.view.view->visit("a", look));
  EXPECT_TRUE(b.view.view->exists("a", {}).value());
  EXPECT_EQ(b.store.remote->count(RemoteOp::exists), 1);
  EXPECT_EQ(IntView::value(b.view.view->read_many(ids, {}).front()), 2);
}

TEST(Contract, FailAnswersAtOnceAndAsksNobody) {
  Behind b;
  b.age_to(300ms);
  const int asked = b.asked();
  const std::string_view ids[] = {"a", "absent"};
  const ReadOptions strict{.max_staleness = 50ms, .when_stale = WhenStale::fail};
  const auto r = b.view.get("a", strict);
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::stale);
  EXPECT_FALSE(r.has_value());
  for (const auto& one : b.view.view->read_many(ids, strict)) EXPECT_TRUE(one.error && one.error->code == Errc::stale);
  const auto there = b.view.view->exists("a", strict);
  EXPECT_TRUE(!there && there.error().code == Errc::stale);
  int loads = 0;
  const auto loaded = b.view.load(
      "a", [&]() -> std::optional<int> { return ++loads; }, strict);
  EXPECT_TRUE(loaded.error && loaded.error->code == Errc::stale);
  EXPECT_EQ(loads, 0);
  EXPECT_EQ(b.asked(), asked);
  EXPECT_EQ(b.store.core->errors.snapshot()[static_cast<std::size_t>(Errc::stale)], 5U);

  EXPECT_EQ(IntView::value(b.view.get("a", {.when_stale = WhenStale::fail})), 1) << "within the budget it is a read like any";
  EXPECT_FALSE(b.view.get("absent", {.when_stale = WhenStale::fail}).error) << "a miss is asked for";
  EXPECT_EQ(b.asked(), asked + 1);
}

TEST(Contract, StaleValuesAreServedMarkedWhileRedisIsAway) {
  Behind b;
  b.age_to(budget + 300ms);
  b.store.remote->fail[RemoteOp::get] = Error{Errc::unavailable, "away"};
  const auto plain = b.view.get("a");
  EXPECT_TRUE(plain.error && plain.error->code == Errc::unavailable);
  const ReadOptions lenient{.when_stale = WhenStale::serve_stale};
  const auto r = b.view.get("a", lenient);
  EXPECT_EQ(IntView::value(r), 1);
  EXPECT_TRUE(r.stale);
  EXPECT_TRUE(r.pin);
  EXPECT_FALSE(r.error);
  const std::string_view ids[] = {"a", "absent"};
  const auto many = b.view.view->read_many(ids, lenient);
  EXPECT_TRUE(many[0].stale);
  EXPECT_TRUE(many[1].error && many[1].error->code == Errc::unavailable) << "L1 has nothing to serve";
  EXPECT_EQ(b.view.view->stats().l1_stale_hits, 2U);

  b.coherent_as_of(0ms);
  const auto again = b.view.get("a", lenient);
  EXPECT_EQ(IntView::value(again), 1);
  EXPECT_FALSE(again.stale);
}

TEST(Contract, StaleValuesHaveABoundWhereTheViewSetsOne) {
  Behind b({.when_stale = WhenStale::serve_stale, .stale_max = 10s});
  b.age_to(9s);
  EXPECT_TRUE(b.view.get("a").stale);
  b.age_to(11s);
  const auto r = b.view.get("a");
  EXPECT_FALSE(r.stale);
  EXPECT_EQ(IntView::value(r), 2);
}

TEST(Contract, StaleValuesAreNotServedAcrossALossOrAClear) {
  const ReadOptions lenient{.max_staleness = 1ms, .when_stale = WhenStale::serve_stale};
  for (const GapReason reason : {GapReason::subscribed, GapReason::lost, GapReason::regressed, GapReason::epoch_changed}) {
    Behind b;
    b.store.core->on_gap(0, reason);
    const auto r = b.view.get("a", lenient);
    EXPECT_FALSE(r.stale) << name(reason);
    EXPECT_EQ(IntView::value(r), 2);
  }
  for (const GapReason reason : {GapReason::disconnected, GapReason::silent}) {  // nothing came that says that anything is void
    Behind b;
    b.age_to(budget + 1s);
    b.store.core->on_gap(0, reason);
    EXPECT_TRUE(b.view.get("a", lenient).stale) << name(reason);
  }
  Behind b;
  b.store.core->on_clear(0, "n", 1, 1);
  EXPECT_FALSE(b.view.get("a", lenient).stale);
}

TEST(Contract, AHitBeyondTheThreadsPinsIsCopied) {
  Behind b;
  b.age_to(budget + 1s);
  const ReadOptions lenient{.when_stale = WhenStale::serve_stale};
  std::vector<detail::ReadResult> held;
  for (std::size_t i = 0; i < l1::pins_per_thread() + 2; ++i) held.push_back(b.view.get("a", lenient));
  EXPECT_TRUE(held.front().pin);
  EXPECT_FALSE(held.back().pin);
  for (const auto& r : held) {
    EXPECT_EQ(IntView::value(r), 1);
    EXPECT_TRUE(r.stale);
  }
}

TEST(Contract, WithoutABusL1KnowsNothingOfItsAge) {
  Behind b({}, false);
  EXPECT_EQ(IntView::value(b.view.get("a")), 1) << "bounded by its ttl alone";
  EXPECT_EQ(IntView::value(b.view.get("a", {.when_stale = WhenStale::fail})), 1);
  EXPECT_TRUE(b.view.get("a", {.max_staleness = 1h, .when_stale = WhenStale::serve_stale}).stale);
  const auto failed = b.view.get("a", {.max_staleness = 1h, .when_stale = WhenStale::fail});
  EXPECT_TRUE(failed.error && failed.error->code == Errc::stale);
  EXPECT_EQ(IntView::value(b.view.get("a", {.max_staleness = 1h})), 2);
}

TEST(Contract, L1AloneIsTheRecordAndNeverStale) {
  FakeStore store(false);
  IntView view(store, {.max_staleness = 1ms});
  const auto token = view.put("a", 1);
  ASSERT_TRUE(token.ok());
  EXPECT_TRUE(token->empty());
  const auto r = view.get("a", {.when_stale = WhenStale::fail, .after = *token});
  EXPECT_EQ(IntView::value(r), 1);
  EXPECT_FALSE(r.stale);
}

TEST(Contract, ABadOptionIsRefusedByName) {
  Behind b;
  const auto r = b.view.get("a", {.max_staleness = -1ms});
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::invalid_argument);
  EXPECT_NE(r.error->message.find("max_staleness"), std::string::npos);
  for (const ViewOptions& bad : {ViewOptions{.max_staleness = -1ms}, ViewOptions{.stale_max = -1ms}}) {
    const auto view = b.store.view<int>("other", bad);
    ASSERT_NE(view->error(), nullptr);
    EXPECT_NE(view->error()->message.find("max_staleness, stale_max"), std::string::npos);
  }
}

// The token of a write whose announcement has not come yet: L1 may not answer, though it is coherent within the budget.
class Token : public ::testing::TestWithParam<bool> {};
TEST_P(Token, OfAWriteNotAppliedHereIsNotAnsweredFromL1) {
  lab::ablate(lab::Remedy::applied_check, !GetParam());
  {
    Behind b;
    const WriteToken token(0, 77, 9);
    b.store.core->on_applied(0, 77, 8);
    EXPECT_EQ(IntView::value(b.view.get("a", {.after = token})), GetParam() ? 2 : 1);
  }
  lab::ablate(lab::Remedy::applied_check, false);
}
TEST_P(Token, BoardsNoFetchThatBeganBefore) {
  lab::ablate(lab::Remedy::applied_check, !GetParam());
  {
    Behind b;
    b.store.core->on_gap(0, GapReason::lost);
    b.stored() = b.one;
    std::promise<void> answered;
    std::promise<void> go;
    std::atomic<bool> first{true};
    b.store.remote->after = [&](const RemoteRequest&, RemoteReply&) {
      if (!first.exchange(false)) return;
      answered.set_value();
      go.get_future().wait();
    };
    auto slow = std::async(std::launch::async, [&] { return IntView::value(b.view.get("a")); });
    answered.get_future().wait();
    b.stored() = b.two;  // "a" is written elsewhere; the fetch has the old answer already
    const WriteToken token(0, 77, 9);
    const auto r = b.view.get("a", {.deadline = 200ms, .after = token});
    if (GetParam()) {
      EXPECT_EQ(IntView::value(r), 2);
    } else {
      EXPECT_TRUE(r.error && r.error->code == Errc::deadline_exceeded) << "it waited for the old fetch";
    }
    go.set_value();
    EXPECT_EQ(slow.get(), 1);
  }
  lab::ablate(lab::Remedy::applied_check, false);
}
INSTANTIATE_TEST_SUITE_P(Races, Token, ::testing::Bool(), race_name);

TEST(Tokens, AreAnsweredFromL1OnceTheirWriteIsApplied) {
  Behind b;
  const auto from_l1 = [&](const WriteToken& token) { return b.view.get("a", {.after = token}).source == Source::l1; };
  b.store.core->on_applied(0, 77, 9);
  EXPECT_TRUE(from_l1(WriteToken()));
  EXPECT_TRUE(from_l1(WriteToken(0, 77, 9)));
  EXPECT_TRUE(from_l1(WriteToken(0, 77, 1)));
  EXPECT_TRUE(from_l1(WriteToken(3, 5, 100))) << "of another shard";
  const int asked = b.asked();
  EXPECT_FALSE(from_l1(WriteToken(0, 77, 10)));
  EXPECT_FALSE(from_l1(WriteToken(0, 78, 1))) << "of another stream";
  EXPECT_FALSE(from_l1(WriteToken(0, 77, 0))) << "not counted";
  EXPECT_EQ(b.asked(), asked + 3);
  EXPECT_EQ(b.view.view->stats().l1_behind, 3U);
}

TEST(Tokens, AreNotSoftenedByWhatToDoWhenStale) {
  Behind b;
  b.age_to(budget + 1s);
  const WriteToken token(0, 77, 9);
  const auto r = b.view.get("a", {.when_stale = WhenStale::serve_stale, .after = token});
  EXPECT_EQ(IntView::value(r), 2);
  EXPECT_FALSE(r.stale);
}

TEST(Tokens, AreUnknownOnceTheLinkIsGone) {
  for (const GapReason reason : {GapReason::disconnected, GapReason::silent, GapReason::subscribed}) {
    Behind b;
    b.store.core->on_applied(0, 77, 9);
    b.store.core->on_gap(0, reason);
    EXPECT_FALSE(b.store.core->coherence.has_applied(0, 77, 1)) << name(reason);
  }
}

TEST(Tokens, OfWritesNameTheirPlace) {
  Behind b;
  const std::string_view ids[] = {"x", "y"};
  const std::uint64_t before = b.store.remote->sequence;
  EXPECT_EQ(b.view.put("x", 1).value(), WriteToken(0, 77, before + 1));
  EXPECT_EQ(b.view.view->erase(ids, {}).value(), WriteToken(0, 77, before + 2));
  EXPECT_EQ(b.view.view->clear({}).value(), WriteToken(0, 77, before + 3));
}

TEST(Tokens, OfManyKeysAreOfAllTheirShards) {
  FakeStore store(true, [](Config& config) { config.l2.shards = 4; });
  IntView view(store);
  std::vector<std::string> names;
  for (int i = 0; i < 64; ++i) names.push_back("k" + std::to_string(i));
  const std::vector<std::string_view> ids(names.begin(), names.end());
  const auto token = view.view->erase(ids, {});
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->positions().size(), 4U);
  EXPECT_EQ(view.view->clear({}).value().positions().size(), 4U);
}

// A read that is too strict for the load in progress goes alone; whoever comes after it still boards the load.
TEST(Contract, AStrictReadDoesNotTakeALoadsPlace) {
  Behind b({}, true, 1min);  // a load is boarded within half a budget
  b.store.remote->data.clear();
  std::promise<void> loading;
  std::promise<void> go;
  auto leader = std::async(std::launch::async, [&] {
    return IntView::value(b.view.load("fresh", [&]() -> std::optional<int> {
      loading.set_value();
      go.get_future().wait();
      return 5;
    }));
  });
  loading.get_future().wait();
  const WriteToken token(0, 77, 1000);
  EXPECT_FALSE(b.view.get("fresh", {.after = token}).has_value());
  const auto strict = b.view.load("fresh", []() -> std::optional<int> { return 6; }, {.deadline = 50ms, .after = token});
  EXPECT_TRUE(strict.error && strict.error->code == Errc::deadline_exceeded) << "the lease is held";
  auto joiner = std::async(std::launch::async,
                           [&] { return IntView::value(b.view.load("fresh", []() -> std::optional<int> { return 7; })); });
  while (b.view.view->stats().flight_joins == 0) std::this_thread::yield();
  go.set_value();
  EXPECT_EQ(leader.get(), 5);
  EXPECT_EQ(joiner.get(), 5);
}

// Streams come and go under the readers' eyes; whoever finds stream 2 must not be shown the high numbers of stream 1.
TEST(Applied, StreamAndNumberAreReadTogether) {
  detail::Coherence coherence(1, false);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> found{0}, torn{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        if (coherence.has_applied(0, 2, 500)) ++torn;
        if (coherence.has_applied(0, 1, 500) || coherence.has_applied(0, 2, 1)) ++found;
      }
    });
  }
  const auto end = std::chrono::steady_clock::now() + 20s;
  for (int i = 0; (i < 300'000 || found < 1000) && std::chrono::steady_clock::now() < end; ++i) {
    coherence.set_applied(0, 1, 1000);
    coherence.set_applied(0, 2, 1);
    coherence.set_applied(0, 2, 2);
  }
  stop = true;
  for (std::thread& t : readers) t.join();
  EXPECT_EQ(torn, 0U);
  EXPECT_GT(found, 0U);
}

TEST(Applied, ForeignTokensCannotAskForMoreThanARead) {
  const detail::Coherence coherence(2, false);
  EXPECT_FALSE(coherence.has_applied(65535, 1, 1));
  EXPECT_FALSE(coherence.has_applied(0, 0, 1));
}

}  // namespace
}  // namespace tiercache::testing
