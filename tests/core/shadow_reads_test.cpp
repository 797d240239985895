// SPDX-License-Identifier: Apache-2.0
//
// Sampled hits compared with Redis: what counts as stale, and what does not. Time is given by hand.
#include "fakes.hpp"

#include "shadow_reads.hpp"

#include <thread>

namespace tiercache::testing {
namespace {

using namespace std::chrono_literals;

class ShadowReads : public ::testing::Test {
 protected:
  explicit ShadowReads(std::uint32_t rate = 1) : store(true, [rate](Config& config) { config.shadow_reads = rate; }) {
    store.core->shadow = std::make_unique<detail::ShadowReads>(*store.core);  // without its thread
    view.emplace(store);
    EXPECT_TRUE(view->put("a", 1).ok());
    one = stored();
    EXPECT_TRUE(view->put("a", 2).ok());
    two = stored();
  }
  /// L1 gets what Redis holds.
  void fill() { ASSERT_TRUE(view->get("a").has_value()); }
  void hit(std::string_view id = "a") { ASSERT_EQ(view->get(id).source, Source::l1); }
  void turn(Duration later = 0s) { store.core->shadow->turn(std::chrono::steady_clock::now() + later); }
  [[nodiscard]] ShadowStats stats() const { return store.core->snapshot().shadow; }
  std::string& stored() { return store.remote->data["dev:app:n:a"].bytes; }

  FakeStore store;
  std::optional<IntView> view;
  std::string one, two;
};

TEST_F(ShadowReads, AHitThatRedisConfirmsIsCheckedAndNoMore) {
  fill();
  hit();
  EXPECT_EQ(stats().checked, 0U) << "not on the caller's thread";
  turn();
  const ShadowStats s = stats();
  EXPECT_TRUE(s.enabled);
  EXPECT_EQ(s.checked, 1U);
  EXPECT_EQ(s.differing, 0U);
  EXPECT_EQ(s.stale_ppm(), 0);
  turn();
  EXPECT_EQ(stats().checked, 1U);
}

TEST_F(ShadowReads, AnAnnouncementThatComesWithinTheBudgetMakesADifferenceNotAStaleRead) {
  stored() = one;
  fill();
  stored() = two;
  hit();
  turn();
  EXPECT_EQ(stats().checked, 0U) << "undecided";
  store.core->on_invalidate(0, "dev:app:n:a", 0, 1, 1);
  turn(1s);
  EXPECT_EQ(stats().checked, 0U) << "undecided until the budget is over";
  turn(3s);
  EXPECT_EQ(stats().checked, 1U);
  EXPECT_EQ(stats().differing, 1U);
  EXPECT_EQ(stats().stale, 0U);
}

TEST_F(ShadowReads, WhatL1WouldStillAnswerABudgetLaterIsStale) {
  stored() = one;
  fill();
  stored() = two;
  hit();
  turn();
  turn(3s);
  EXPECT_EQ(stats().checked, 1U);
  EXPECT_EQ(stats().differing, 1U);
  EXPECT_EQ(stats().stale, 1U);
  EXPECT_EQ(stats().stale_ppm(), 1e6);
}

TEST_F(ShadowReads, WhatL1MayNoLongerAnswerIsNotStale) {
  stored() = one;
  fill();
  stored() = two;
  hit();
  turn();
  store.core->coherence.set_valid_until(0, 1);  // long past
  turn(3s);
  EXPECT_EQ(stats().differing, 1U);
  EXPECT_EQ(stats().stale, 0U);
}

TEST_F(ShadowReads, AValueThatRedisNoLongerHasIsAnOrphan) {
  fill();
  store.remote->data.clear();
  hit();
  turn();
  turn(3s);
  EXPECT_EQ(stats().differing, 1U);
  EXPECT_EQ(stats().orphaned, 1U);
  EXPECT_EQ(stats().stale, 0U);
}

TEST_F(ShadowReads, WhereRedisDoesNotAnswerNothingIsDecided) {
  fill();
  hit();
  store.remote->fail[RemoteOp::get] = Error{Errc::unavailable, "away"};
  turn();
  EXPECT_EQ(stats().checked, 0U);
  EXPECT_EQ(stats().dropped, 1U);
}

TEST_F(ShadowReads, TooManyAtATimeAreDropped) {
  fill();
  for (int i = 0; i < 100; ++i) hit();
  EXPECT_EQ(stats().dropped, 36U);
  turn();
  EXPECT_EQ(stats().checked, 64U);
}

TEST_F(ShadowReads, VisitsAndBatchesAreHitsToo) {
  fill();
  EXPECT_TRUE(view->view->visit("a", [](const l1::Entry&) {}));
  const std::string_view ids[] = {"a"};
  EXPECT_TRUE(view->view->read_many(ids, {}).front().pin);
  EXPECT_EQ(view->get("a", {.max_staleness = 10s}).source, Source::l1);
  turn();
  EXPECT_EQ(stats().checked, 3U);
}

TEST_F(ShadowReads, WhatWasServedAsStaleIsNoSample) {
  fill();
  store.core->coherence.set_valid_until(0, 1);
  EXPECT_TRUE(view->get("a", {.when_stale = WhenStale::serve_stale}).stale);
  store.make_coherent();
  turn();
  EXPECT_EQ(stats().checked + stats().dropped, 0U);
}

class SparseShadowReads : public ShadowReads {
 protected:
  SparseShadowReads() : ShadowReads(100) {}
};
TEST_F(SparseShadowReads, OneHitInSoManyIsSampledRoundedUpToAPowerOfTwo) {
  fill();
  for (int i = 0; i < 1280; ++i) hit();
  turn();
  EXPECT_EQ(stats().checked, 10U);
}

}  // namespace
}  // namespace tiercache::testing
