// SPDX-License-Identifier: Apache-2.0
//
// Every path through the tiers, without Redis: the flows over a remote store in memory.
#include "fakes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <thread>

namespace tiercache::testing {
namespace {

using namespace std::chrono_literals;

TEST(ReadFlow, MissInBothTiersIsAnAbsenceNotAnError) {
  FakeStore store;
  IntView view(store);
  const auto r = view.get("a");
  EXPECT_FALSE(r.has_value());
  EXPECT_FALSE(r.error);
  EXPECT_EQ(view.view->stats().misses, 1U);
}

TEST(ReadFlow, SecondReadIsAHitInL1WithoutAskingRedis) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 7).ok());
  const auto first = view.get("a");
  EXPECT_EQ(first.source, Source::l2);
  EXPECT_EQ(IntView::value(first), 7);
  EXPECT_TRUE(first.pin);
  const int asked = store.remote->count(RemoteOp::get);
  const auto second = view.get("a");
  EXPECT_EQ(second.source, Source::l1);
  EXPECT_EQ(IntView::value(second), 7);
  EXPECT_EQ(store.remote->count(RemoteOp::get), asked);
}

TEST(ReadFlow, PutDoesNotFillL1) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 7).ok());
  EXPECT_FALSE(view.view->probe("a"));
}

TEST(ReadFlow, LoaderRunsOnceAndFillsBothTiers) {
  FakeStore store;
  IntView view(store);
  int loads = 0;
  const auto load = [&]() -> std::optional<int> { return ++loads, 5; };
  const auto first = view.load("a", load);
  EXPECT_EQ(first.source, Source::loader);
  EXPECT_EQ(IntView::value(first), 5);
  EXPECT_EQ(IntView::value(view.load("a", load)), 5);
  EXPECT_EQ(loads, 1);
  EXPECT_EQ(store.remote->data.size(), 1U);
  EXPECT_TRUE(store.remote->leases.empty());
}

TEST(ReadFlow, LoaderThatFindsNothingStoresNothingAndGivesTheLeaseBack) {
  FakeStore store;
  IntView view(store);
  const auto r = view.load("a", []() -> std::optional<int> { return std::nullopt; });
  EXPECT_FALSE(r.has_value());
  EXPECT_FALSE(r.error);
  EXPECT_TRUE(store.remote->data.empty());
  EXPECT_TRUE(store.remote->leases.empty());
}

TEST(ReadFlow, LoaderThatThrowsBecomesAValueAndGivesTheLeaseBack) {
  FakeStore store;
  IntView view(store);
  const auto r = view.load("a", []() -> std::optional<int> { throw std::runtime_error("the database is down"); });
  EXPECT_FALSE(r.has_value());
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::loader_failed);
  EXPECT_THAT(r.error->message, ::testing::HasSubstr("the database is down"));
  EXPECT_TRUE(store.remote->leases.empty());
  EXPECT_EQ(view.view->stats().load_failures, 1U);
  EXPECT_EQ(IntView::value(view.load("a", []() -> std::optional<int> { return 1; })), 1);
}

/// A flight is joined within half a budget and waited for within a deadline: neither is to pass on a machine that is busy.
void patient(Config& config) {
  config.bus.staleness_budget = 1min;
  config.default_deadline = 1min;
}

TEST(ReadFlow, ConcurrentCallersShareOneLoad) {
  FakeStore store(true, patient);
  IntView view(store);
  constexpr int callers = 8;
  std::atomic<int> loads{0};
  std::latch started(callers);
  std::vector<std::future<int>> results;
  for (int i = 0; i < callers; ++i)
    results.push_back(std::async(std::launch::async, [&] {
      started.arrive_and_wait();
      return IntView::value(view.load("a", [&]() -> std::optional<int> {
        ++loads;
        // The load ends once every other caller has a seat in its flight: no timing decides this test.
        while (view.view->stats().flight_joins < callers - 1) std::this_thread::yield();
        return 9;
      }));
    }));
  for (auto& r : results) EXPECT_EQ(r.get(), 9);
  EXPECT_EQ(loads, 1);
}

TEST(ReadFlow, WaitersGetTheLoadersExceptionAsAValueToo) {
  FakeStore store(true, patient);
  IntView view(store);
  auto leader = std::async(std::launch::async, [&] {
    return view.load("a", [&]() -> std::optional<int> {
      while (view.view->stats().flight_joins < 1) std::this_thread::yield();
      throw std::runtime_error("no");
    });
  });
  while (store.remote->count(RemoteOp::lease_get) == 0) std::this_thread::yield();
  const auto waiter = view.load("a", []() -> std::optional<int> { return 1; });
  EXPECT_EQ(leader.get().error->code, Errc::loader_failed);
  ASSERT_TRUE(waiter.error);
  EXPECT_EQ(waiter.error->code, Errc::loader_failed);
}

TEST(ReadFlow, WaiterLeavesAtItsDeadlineWhileTheLeaderGoesOn) {
  FakeStore store;
  IntView view(store);
  std::promise<void> go;
  auto leader = std::async(std::launch::async, [&] {
    return IntView::value(view.load("a", [&]() -> std::optional<int> {
      go.get_future().wait();
      return 3;
    }));
  });
  while (store.remote->count(RemoteOp::lease_get) == 0) std::this_thread::yield();
  const auto r = view.load("a", []() -> std::optional<int> { return 1; }, {.deadline = 20ms});
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::deadline_exceeded);
  go.set_value();
  EXPECT_EQ(leader.get(), 3);
}

TEST(ReadFlow, AnotherInstancesLeaseIsWaitedForUntilItsValueIsThere) {
  FakeStore store;
  IntView view(store);
  store.remote->leases["dev:app:n:a"] = "someone else";
  int polls = 0;
  store.remote->after = [&](const RemoteRequest& q, RemoteReply& reply) {
    if (q.op != RemoteOp::lease_get || reply.lease != LeaseState::held || ++polls < 3) return;
    // The other instance stores: what a real one would leave.
    FakeStore other;
    IntView there(other);
    ASSERT_TRUE(there.put("a", 8).ok());
    const std::lock_guard lock(store.remote->mutex);
    store.remote->data = other.remote->data;
    store.remote->leases.clear();
  };
  int loads = 0;
  const auto r = view.load("a", [&]() -> std::optional<int> { return ++loads, 1; });
  EXPECT_EQ(IntView::value(r), 8);
  EXPECT_EQ(r.source, Source::l2);
  EXPECT_EQ(loads, 0);
  EXPECT_GE(polls, 3);
}

TEST(ReadFlow, WaitForAnothersLeaseEndsByTheDeadline) {
  FakeStore store;
  IntView view(store);
  store.remote->leases["dev:app:n:a"] = "someone else";
  const auto began = std::chrono::steady_clock::now();
  const auto r = view.load("a", []() -> std::optional<int> { return 1; }, {.deadline = 50ms});
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::deadline_exceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
}

TEST(ReadFlow, LeaseDisplacedDuringTheLoadKeepsTheValueOutOfBothTiers) {
  FakeStore store;
  IntView view(store);
  const auto r = view.load("a", [&]() -> std::optional<int> {
    EXPECT_TRUE(view.erase("a").ok());  // a write while the loader runs
    return 1;
  });
  EXPECT_EQ(IntView::value(r), 1);  // the caller asked before the write: it may have it
  EXPECT_FALSE(r.pin);
  EXPECT_TRUE(store.remote->data.empty());
  EXPECT_FALSE(view.view->probe("a"));
  EXPECT_EQ(store.core->snapshot().leases.lost, 1U);
}

TEST(ReadFlow, InvalidationBetweenTheAnswerAndTheCommitKeepsTheValueOutOfL1) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 7).ok());
  store.remote->after = [&](const RemoteRequest& q, RemoteReply&) {
    if (q.op == RemoteOp::get) store.core->on_invalidate(0, "dev:app:n:a", 0, 123, 1);
  };
  const auto r = view.get("a");
  EXPECT_EQ(IntView::value(r), 7);
  EXPECT_FALSE(view.view->probe("a"));
  store.remote->after = nullptr;
  EXPECT_EQ(IntView::value(view.get("a")), 7);
  EXPECT_TRUE(view.view->probe("a"));
}

TEST(ReadFlow, GapBetweenTheAnswerAndTheCommitKeepsTheValueOutOfL1) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 7).ok());
  store.remote->after = [&](const RemoteRequest& q, RemoteReply&) {
    if (q.op != RemoteOp::get) return;
    store.core->on_gap(0, GapReason::subscribed);
    store.make_coherent();
  };
  EXPECT_EQ(IntView::value(view.get("a")), 7);
  EXPECT_FALSE(view.view->probe("a"));
}

TEST(ReadFlow, RedisAwayMeansAMissAtOnceOrTheLoader) {
  FakeStore store;
  IntView view(store);
  store.remote->fail[RemoteOp::get] = store.remote->fail[RemoteOp::lease_get] = Error{Errc::unavailable, "127.0.0.1:1: away"};
  const auto miss = view.get("a");
  EXPECT_FALSE(miss.has_value());
  ASSERT_TRUE(miss.error);
  EXPECT_EQ(miss.error->code, Errc::unavailable);
  const auto loaded = view.load("a", []() -> std::optional<int> { return 4; });
  EXPECT_EQ(IntView::value(loaded), 4);
  ASSERT_TRUE(loaded.error);
  EXPECT_EQ(loaded.error->code, Errc::unavailable);
  EXPECT_FALSE(view.view->probe("a")) << "a value that nobody could tell us is out of date was cached";
}

// A hit found L1 valid and is held between its loads. Meanwhile messages were missed, the next subscription voided L1 by a new
// generation, and a heartbeat won the validity back. The old entry still lies in the table, under the old generation.
TEST(ReadFlow, HitHeldBetweenItsLoadsDoesNotTakeAnOldGenerationForTheNewValidity) {
  for (const bool remedy : {true, false}) {
    lab::ablate(lab::Remedy::read_order, !remedy);
    {
      FakeStore store;
      IntView view(store);
      ASSERT_TRUE(view.put("a", 1).ok());
      ASSERT_TRUE(view.get("a").pin);
      bool held = false;
      lab::hook = [&](lab::Point p, std::string_view) {
        if (p != lab::Point::coherence_loads || std::exchange(held, true)) return;
        store.core->on_gap(0, GapReason::subscribed);
        store.make_coherent();
      };
      EXPECT_EQ(static_cast<bool>(view.view->probe("a")), !remedy);
      lab::hook = nullptr;
      EXPECT_TRUE(held);
    }
    lab::ablate(lab::Remedy::read_order, false);
  }
}

// A reader finds bytes it cannot use and asks for the lease in spite of them; in between another instance puts a good value. The
// lease must not be granted over that: its fill would overwrite an acknowledged put without a word.
TEST(ReadFlow, LeaseIsAskedForInSpiteOfTheUnusableBytesOnlyNotOfWhatCameSince) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 1).ok());
  store.remote->data["dev:app:n:a"].bytes[5] = 0;  // schema 0: an older one's value
  store.remote->after = [&](const RemoteRequest& q, RemoteReply&) {
    if (q.op != RemoteOp::remove_if) return;
    store.remote->after = nullptr;
    FakeStore other;
    IntView there(other);
    ASSERT_TRUE(there.put("a", 2).ok());
    const std::lock_guard lock(store.remote->mutex);
    store.remote->data = other.remote->data;
  };
  int loads = 0;
  const auto r = view.load("a", [&]() -> std::optional<int> { return ++loads, 9; });
  EXPECT_EQ(IntView::value(r), 2);
  EXPECT_EQ(loads, 0);
  EXPECT_EQ(IntView::value(view.get("a")), 2);
}

TEST(ReadFlow, BrokenLinkAloneTakesNothingBackTheNextSubscriptionDoes) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 7).ok());
  ASSERT_TRUE(view.get("a").pin);
  store.core->on_gap(0, GapReason::disconnected);
  EXPECT_TRUE(view.view->probe("a")) << "Redis died, and L1 within the budget with it";
  store.core->on_gap(0, GapReason::subscribed);
  store.make_coherent();
  EXPECT_FALSE(view.view->probe("a"));
}

TEST(ReadFlow, WhereOtherEpochsAreDistrustedAnUnknownEpochIsOne) {
  FakeStore store(true, [](Config& c) { c.distrust_other_epochs = true; });
  IntView view(store);
  store.core->on_epoch(0, store.remote->epoch);
  ASSERT_TRUE(view.put("a", 7).ok());
  EXPECT_EQ(IntView::value(view.get("a")), 7);
  // Redis restarts from an older snapshot; the subscription is back, the first heartbeat is not.
  store.core->on_gap(0, GapReason::subscribed);
  store.make_coherent();
  EXPECT_FALSE(view.get("a").has_value());
  EXPECT_FALSE(view.view->probe("a"));
  // It may be good: a load serves its caller and leaves it where it is.
  EXPECT_EQ(IntView::value(view.load("a", []() -> std::optional<int> { return 8; })), 8);
  EXPECT_EQ(store.remote->count(RemoteOp::lease_fill), 0);
  EXPECT_FALSE(view.view->probe("a"));
  store.core->on_epoch(0, store.remote->epoch + 1);
  EXPECT_FALSE(view.get("a").has_value());
  store.core->on_epoch(0, store.remote->epoch);
  EXPECT_EQ(IntView::value(view.get("a")), 7);
}

TEST(ReadFlow, FillThatRedisRefusedSaysSoAndGivesTheLeaseBack) {
  FakeStore store;
  IntView view(store);
  store.remote->fail[RemoteOp::lease_fill] = Error{Errc::refused, "OOM"};
  const auto r = view.load("a", []() -> std::optional<int> { return 1; });
  EXPECT_EQ(IntView::value(r), 1);
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::refused);
  EXPECT_TRUE(store.remote->leases.empty());
}

TEST(ReadFlow, NegativeTtlIsRefusedBeforeALeaseIsTaken) {
  FakeStore store;
  IntView view(store);
  const auto r = view.load("a", []() -> std::optional<int> { return 1; }, {.ttl = std::chrono::milliseconds(-1)});
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::invalid_argument);
  EXPECT_TRUE(store.remote->calls.empty());
}

TEST(ReadFlow, ReaderWithoutALoaderWaitsForNobodysLoad) {
  FakeStore store;
  IntView view(store);
  std::promise<void> go;
  auto loading = std::async(std::launch::async, [&] {
    return IntView::value(view.load("a", [&]() -> std::optional<int> {
      go.get_future().wait();
      return 3;
    }));
  });
  while (store.remote->count(RemoteOp::lease_get) == 0) std::this_thread::yield();
  const auto r = view.get("a");
  EXPECT_FALSE(r.has_value());
  EXPECT_FALSE(r.error);
  go.set_value();
  EXPECT_EQ(loading.get(), 3);
}

TEST(ReadFlow, IncoherentL1IsBypassedAndCounted) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 7).ok());
  ASSERT_TRUE(view.get("a").pin);
  store.core->on_gap(0, GapReason::lost);
  EXPECT_EQ(view.get("a").source, Source::l2);
  EXPECT_GT(view.view->stats().l1_bypassed, 0U);
}

TEST(ReadFlow, ValueInItsLastMillisecondDoesNotStayInL1ForEver) {
  // Redis rounds the time left down: PTTL 0 is not "no ttl".
  FakeStore store;
  IntView view(store, {.ttl = std::chrono::milliseconds(60'000)});
  ASSERT_TRUE(view.put("a", 7).ok());
  store.remote->data["dev:app:n:a"].ttl_ms = 0;
  const auto r = view.get("a");
  EXPECT_EQ(IntView::value(r), 7);
  if (r.pin) {
    EXPECT_NE(r.pin.entry()->hard_expiry_ms(), 0);
    EXPECT_LE(r.pin.entry()->hard_expiry_ms(), coarse_now_ms() + 1);
  }
}

TEST(ReadFlow, PoisonIsRemovedByCompareAndServedAsAMiss) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 7).ok());
  store.remote->data["dev:app:n:a"].bytes.back() ^= 1;
  EXPECT_FALSE(view.get("a").has_value());
  EXPECT_TRUE(store.remote->data.empty());
  EXPECT_EQ(view.view->stats().bad_envelopes, 1U);
}

TEST(ReadFlow, ForeignBytesAreLeftAloneAlsoByALoad) {
  FakeStore store;
  IntView view(store);
  store.remote->data["dev:app:n:a"] = {"someone else's bytes", -1};
  EXPECT_FALSE(view.get("a").has_value());
  const auto r = view.load("a", []() -> std::optional<int> { return 2; });
  EXPECT_EQ(IntView::value(r), 2);
  EXPECT_EQ(store.remote->data["dev:app:n:a"].bytes, "someone else's bytes");
  EXPECT_EQ(view.view->stats().foreign_values, 2U);
}

TEST(ReadFlow, ValueThatVerifiesButDoesNotDecodeIsLoadedOver) {
  FakeStore store;
  const auto text = store.view<std::string>("s");
  const std::string s = "not an int";
  ASSERT_TRUE(text->put("a", &s, {}).ok());
  // The same bytes under an int view: seal them for its key by hand.
  IntView view(store);
  detail::Envelope e;
  e.schema = 1;
  e.codec = 1;
  const std::string payload = "\xa1x";
  std::string bytes = detail::seal(e, "dev:app:n:a", payload);
  append_be<8>(bytes, 77);
  store.remote->data["dev:app:n:a"] = {bytes + payload, -1};
  EXPECT_FALSE(view.get("a").has_value());
  const auto r = view.load("a", []() -> std::optional<int> { return 2; });
  EXPECT_EQ(IntView::value(r), 2);
  EXPECT_EQ(IntView::value(view.get("a")), 2);
  EXPECT_EQ(store.core->snapshot().views.back().bad_envelopes, 2U);
}

TEST(ReadFlow, BadIdsAreRefusedByNameWithoutTouchingRedis) {
  FakeStore store;
  IntView view(store);
  const auto r = view.get("a b");
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::invalid_argument);
  EXPECT_EQ(view.put("", 1).error().code, Errc::invalid_argument);
  EXPECT_TRUE(store.remote->calls.empty());
}

TEST(ReadMany, OneRoundTripForAllThatL1Lacks) {
  FakeStore store;
  IntView view(store);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(view.put("k" + std::to_string(i), i).ok());
  ASSERT_TRUE(view.get("k3").pin);
  const int before = store.remote->count(RemoteOp::get);
  std::vector<std::string> names;
  for (int i = 0; i < 12; ++i) names.push_back("k" + std::to_string(i));
  std::vector<std::string_view> ids(names.begin(), names.end());
  const auto results = view.view->read_many(ids, {});
  EXPECT_EQ(store.remote->count(RemoteOp::get), before + 1);
  ASSERT_EQ(results.size(), 12U);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(IntView::value(results[static_cast<std::size_t>(i)]), i);
  EXPECT_EQ(results[3].source, Source::l1);
  EXPECT_FALSE(results[10].has_value());
  EXPECT_FALSE(results[11].error);
}

}  // namespace
}  // namespace tiercache::testing
