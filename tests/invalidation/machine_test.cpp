// SPDX-License-Identifier: Apache-2.0
//
// The stories of one subscription, in virtual time. Every test of a remedy also runs with the remedy taken out, and then demands
// the wrong behaviour that the remedy prevents.
#include "machine_fixture.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace tiercache::invalidation {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Le;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(MachineTest, FirstSubscriptionIsAGapThenTheFirstNumberedMessageSetsTheBaseline) {
  make();
  EXPECT_EQ(machine_->wake_at(), SteadyTime::min());
  ASSERT_EQ(machine_->tick(at(0)), Action::connect);
  EXPECT_EQ(machine_->tick(at(1)), Action::none);
  EXPECT_FALSE(machine_->counters().subscribed.load());
  ASSERT_EQ(machine_->connected(at(2)), Action::subscribe);
  EXPECT_THAT(sink_.take(), IsEmpty());
  machine_->subscribed(0, at(3));
  EXPECT_TRUE(machine_->counters().subscribed.load());
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 subscribed"));

  EXPECT_EQ(invalidate(4, 41, "k1"), "");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k1 v3 w9"));
  EXPECT_EQ(invalidate(5, 42, "k2"), "");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k2 v3 w9"));
}

// A server back from an older snapshot numbers in the epoch of before until a heartbeat finds its run id changed: were that epoch
// believed, values of the snapshot would be.
TEST_F(MachineTest, TheEpochOfANewLinkIsToldByItsFirstHeartbeatAndByNoOtherNumber) {
  settle(7);
  machine_->disconnected(at(10));
  link_up(200);
  sink_.take();
  invalidate(201, 3, "k");
  invalidate(202, 4, "l");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9", "invalidate 0 l v3 w9"));
  heartbeat(203, other, 1, 0, epoch_b);  // which begins another
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 epoch_changed", "epoch 0 5002"));
  invalidate(204, 1, "m", epoch_a);  // the counter was lost: on a link that is proven any epoch but the last one is a new one
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 epoch_changed", "epoch 0 5001", "invalidate 0 m v3 w9"));
  heartbeat(205, other, 2, 1);
  EXPECT_THAT(sink_.take(), IsEmpty());
}

TEST_F(MachineTest, AHeartbeatSetsTheBaselineToo) {
  make();
  link_up(0);
  heartbeat(1, other, 1, 0);  // nothing was numbered yet
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 subscribed", "epoch 0 5001"));
  invalidate(2, 1, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9"));
}

TEST_F(MachineTest, AClearIsNumberedLikeAnInvalidate) {
  settle(7);
  const std::vector<Item> items{{"user", 0}};
  machine_->message(0, encode({Kind::clear, 0, epoch_a, 8, other, 1}, items), at(2));
  machine_->message(0, encode({Kind::clear, 0, epoch_a, 10, other, 1}, items), at(3));
  EXPECT_THAT(sink_.take(), ElementsAre("clear 0 user", "gap 0 lost", "clear 0 user"));
}

TEST_F(MachineTest, ALostNumberIsAGapBeforeTheMessageThatShowsItAndThatMessageIsApplied) {
  settle(7);
  invalidate(2, 9, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 lost", "invalidate 0 k v3 w9"));
  invalidate(3, 10, "l");  // the new baseline holds
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 l v3 w9"));
  EXPECT_EQ(gaps(GapReason::lost), 1U);
}

TEST_F(MachineTest, ANumberThatWentBackIsAGap) {
  settle(7);
  invalidate(2, 7, "again");
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 regressed", "invalidate 0 again v3 w9"));
  heartbeat(3, other, 2, 4);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 regressed"));
  invalidate(4, 5, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9"));
}

TEST_F(MachineTest, AnotherEpochIsAGapEvenWhenTheNumberFits) {
  settle(7);
  invalidate(2, 8, "k", epoch_b);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 epoch_changed", "epoch 0 5002", "invalidate 0 k v3 w9"));
  invalidate(3, 9, "l", epoch_b);
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 l v3 w9"));
}

TEST_F(MachineTest, LossOnAnIdleStreamShowsAtTheNextHeartbeat) {
  settle(7);
  heartbeat(2, other, 2, 7);
  EXPECT_THAT(sink_.take(), IsEmpty());
  heartbeat(3, other, 3, 8);  // 8 was given and never came
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 lost"));
}

TEST_F(MachineTest, AnUnnumberedMessageIsAppliedAndNotChecked) {
  settle(7);
  invalidate(2, 0, "oom", epoch_b);  // not even its epoch
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 oom v3 w9"));
  invalidate(3, 8, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9"));
}

TEST_F(MachineTest, AnUnnumberedMessageSetsNoBaseline) {
  make();
  link_up(0);
  invalidate(1, 0, "oom");
  invalidate(2, 50, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 subscribed", "invalidate 0 oom v3 w9", "invalidate 0 k v3 w9"));
  heartbeat(3, other, 1, 50);
  EXPECT_THAT(sink_.take(), ElementsAre("epoch 0 5001"));
}

TEST_F(MachineTest, AWakeIsPassedOnAndTakesNoPlaceInTheOrder) {
  settle(7);
  const std::vector<Item> items{{"k", 0}, {"l", 0}};
  // Of no epoch, as l2 sends it: neither a gap nor a new baseline.
  EXPECT_EQ(machine_->message(0, encode({Kind::wake, 0, 0, 0, other, 0}, items), at(2)), "");
  EXPECT_THAT(sink_.take(), ElementsAre("wake 0 k", "wake 0 l"));
  invalidate(3, 8, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9"));
}

TEST_F(MachineTest, NoiseIsCountedAndIgnoredAndItsNumberIsMissedNext) {
  settle(7);
  EXPECT_NE(machine_->message(0, "noise", at(2)), "");
  std::string newer = encode({Kind::invalidate, 0, epoch_a, 8, other, 9}, std::vector<Item>{{"k", 0}});
  newer[3] = 2;
  EXPECT_THAT(std::string(machine_->message(0, newer, at(3))), StartsWith("format"));
  EXPECT_EQ(machine_->counters().malformed.load(), 2U);
  EXPECT_THAT(sink_.take(), IsEmpty());
  invalidate(4, 9, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 lost", "invalidate 0 k v3 w9"));
}

TEST_F(MachineTest, AMessageOfAnotherShardOnThisChannelIsIgnored) {
  settle(7);
  const std::string bytes = encode({Kind::invalidate, 1, epoch_a, 8, other, 9}, std::vector<Item>{{"k", 0}});
  EXPECT_THAT(std::string(machine_->message(0, bytes, at(2))), StartsWith("shard"));
  EXPECT_THAT(sink_.take(), IsEmpty());
}

TEST_F(MachineTest, NothingIsAppliedBeforeTheConfirmation) {
  make();
  ASSERT_EQ(machine_->tick(at(0)), Action::connect);
  ASSERT_EQ(machine_->connected(at(0)), Action::subscribe);
  EXPECT_NE(invalidate(1, 1, "early"), "");
  EXPECT_THAT(sink_.take(), IsEmpty());
}

TEST_F(MachineTest, CoherenceCountsFromTheSendTimeNotFromTheEcho) {
  settle(7);
  machine_->beat_sent(0, 1, at(100));
  heartbeat(900, me, 1, 7);
  EXPECT_THAT(sink_.take(), ElementsAre("coherent 0 2100"));
  EXPECT_EQ(machine_->counters().heartbeats_seen.load(), 1U);
  const HistogramSnapshot lag = machine_->counters().lag.snapshot();
  EXPECT_EQ(lag.count, 1U);
  EXPECT_EQ(lag.sum_us, 800'000);
}

TEST_F(MachineTest, AHeartbeatOfAnotherStoreProvesNothing) {
  settle(7);
  machine_->beat_sent(0, 1, at(100));
  heartbeat(101, other, 1, 7);
  EXPECT_THAT(sink_.take(), IsEmpty());
}

TEST_F(MachineTest, TheOwnHeartbeatThatShowsAGapClaimsCoherenceOnlyAfterTheGap) {
  settle(7);
  machine_->beat_sent(0, 1, at(100));
  heartbeat(101, me, 1, 9);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 lost", "coherent 0 2100"));
}

TEST_F(MachineTest, TheOwnHeartbeatThatSetsTheBaselineClaimsCoherence) {
  make();
  link_up(0);
  machine_->beat_sent(0, 1, at(5));
  heartbeat(6, me, 1, 9);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 subscribed", "epoch 0 5001", "coherent 0 2005"));
}

TEST_F(MachineTest, TheEchoOfAHeartbeatSentBeforeTheSubscriptionIsNoProof) {
  make();
  machine_->beat_sent(0, 1, at(9));
  link_up(10);
  machine_->beat_sent(0, 2, at(11));
  heartbeat(12, me, 1, 0);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 subscribed", "epoch 0 5001"));
  heartbeat(13, me, 2, 0);
  EXPECT_THAT(sink_.take(), ElementsAre("coherent 0 2011"));
}

TEST_F(MachineTest, TheEchoOfABeatOfThePreviousLinkIsNoProof) {
  settle(7);
  machine_->beat_sent(0, 5, at(100));
  machine_->disconnected(at(110));
  sink_.take();
  link_up(1000);
  heartbeat(1001, me, 5, 7);
  EXPECT_THAT(sink_.take(), Not(Contains(StartsWith("coherent"))));
}

TEST_F(MachineTest, OnlyTheLastSixtyFourBeatsAreRemembered) {
  settle(7);
  for (std::uint64_t n = 1; n <= 65; ++n) machine_->beat_sent(0, n, at(100 + static_cast<std::int64_t>(n)));
  heartbeat(500, me, 1, 7);
  heartbeat(500, me, 66, 7);  // never sent
  heartbeat(500, me, 0, 7);
  EXPECT_THAT(sink_.take(), IsEmpty());
  heartbeat(500, me, 2, 7);
  heartbeat(500, me, 65, 7);
  EXPECT_THAT(sink_.take(), ElementsAre("coherent 0 2102", "coherent 0 2165"));
}

TEST_F(MachineTest, ASilentLinkIsAGapAndIsClosed) {
  make();
  link_up(0);
  heartbeat(500, other, 1, 7);
  sink_.take();
  EXPECT_EQ(machine_->tick(at(2499)), Action::none);
  EXPECT_EQ(machine_->wake_at(), at(2500));
  EXPECT_EQ(machine_->tick(at(2500)), Action::close);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 silent"));
  EXPECT_FALSE(machine_->counters().subscribed.load());
  EXPECT_THAT(machine_->wake_at(), AllOf(Ge(at(2525)), Le(at(2550))));
  EXPECT_EQ(machine_->tick(machine_->wake_at()), Action::connect);
}

TEST_F(MachineTest, ALinkThatNeverSpeaksAfterTheConfirmationIsSilentToo) {
  make();
  link_up(0);
  EXPECT_EQ(machine_->tick(at(2000)), Action::close);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 subscribed", "gap 0 silent"));
}

TEST_F(MachineTest, ALinkThatIsNeverConfirmedIsClosed) {
  make(2);
  ASSERT_EQ(machine_->tick(at(0)), Action::connect);
  ASSERT_EQ(machine_->connected(at(0)), Action::subscribe);
  machine_->subscribed(1, at(10));
  EXPECT_EQ(machine_->tick(at(1999)), Action::none);
  EXPECT_FALSE(machine_->counters().subscribed.load());
  EXPECT_EQ(machine_->tick(at(2000)), Action::close);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 1 subscribed", "gap 1 disconnected"));
}

TEST_F(MachineTest, OneSilentShardOnATalkingLinkIsAGapOfThatShardOnce) {
  make(2);
  link_up(0);
  sink_.take();
  for (std::int64_t t = 0; t <= 5000; t += 500) {
    heartbeat(t, other, 1, 7, epoch_a, 0);
    EXPECT_EQ(machine_->tick(at(t)), Action::none);
  }
  EXPECT_THAT(sink_.lines("gap"), ElementsAre("gap 1 silent"));
  heartbeat(5100, other, 1, 7, epoch_a, 1);  // it speaks again: its timer runs again
  sink_.take();
  heartbeat(7099, other, 1, 7, epoch_a, 0);
  EXPECT_EQ(machine_->tick(at(7099)), Action::none);
  EXPECT_EQ(machine_->tick(at(7100)), Action::none);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 1 silent"));
}

TEST_F(MachineTest, ShardsHaveStreamsOfTheirOwn) {
  make(2);
  link_up(0);
  heartbeat(1, other, 1, 7, epoch_a, 0);
  heartbeat(1, other, 1, 70, epoch_b, 1);
  sink_.take();
  invalidate(2, 8, "k", epoch_a, 0);
  invalidate(2, 72, "l", epoch_b, 1);
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9", "gap 1 lost", "invalidate 1 l v3 w9"));
  machine_->beat_sent(0, 1, at(10));
  machine_->beat_sent(1, 1, at(20));
  heartbeat(30, me, 1, 72, epoch_b, 1);
  EXPECT_THAT(sink_.take(), ElementsAre("coherent 1 2020"));
  machine_->disconnected(at(40));
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 disconnected", "gap 1 disconnected"));
}

TEST_F(MachineTest, ADisconnectIsAGapAtOnceAndTheNextSubscriptionStartsWithoutABaseline) {
  settle(7);
  machine_->disconnected(at(100));
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 disconnected"));
  machine_->disconnected(at(101));
  EXPECT_THAT(sink_.take(), IsEmpty());
  EXPECT_NE(invalidate(102, 8, "late"), "");
  EXPECT_THAT(sink_.take(), IsEmpty());
  link_up(200);
  invalidate(201, 50, "k", epoch_b);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 subscribed", "invalidate 0 k v3 w9"));
  heartbeat(202, other, 1, 50, epoch_b);
  EXPECT_THAT(sink_.take(), ElementsAre("epoch 0 5002"));
}

TEST_F(MachineTest, AFailedConnectIsNoGap) {
  make();
  ASSERT_EQ(machine_->tick(at(0)), Action::connect);
  machine_->disconnected(at(5));
  EXPECT_THAT(sink_.take(), IsEmpty());
  EXPECT_THAT(machine_->wake_at(), AllOf(Ge(at(30)), Le(at(55))));
}

TEST_F(MachineTest, BackOffDoublesFrom50MsTo2SWithHalfOfItJitterAndDiffersBySeed) {
  std::vector<std::vector<std::int64_t>> all;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    make(0, seed);
    std::vector<std::int64_t> waits;
    SteadyTime now = at(0);
    for (const std::int64_t base : {50, 100, 200, 400, 800, 1600, 2000, 2000, 2000}) {
      ASSERT_EQ(machine_->tick(now), Action::connect);
      machine_->disconnected(now);
      const Duration wait = machine_->wake_at() - now;
      EXPECT_GE(wait, milliseconds(base) / 2);
      EXPECT_LE(wait, milliseconds(base));
      EXPECT_EQ(machine_->tick(machine_->wake_at() - Duration(1)), Action::none);
      now = machine_->wake_at();
      waits.push_back(wait.count());
    }
    all.push_back(waits);
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
}

TEST_F(MachineTest, OnlyAMessageEndsTheBackOffNotAConfirmation) {
  make();
  SteadyTime now = at(0);
  for (int i = 0; i < 4; ++i) {  // accepted, confirmed, dropped at once: 50, 100, 200, 400
    link_up(steady_ms(now));
    machine_->disconnected(now);
    now = machine_->wake_at() + milliseconds(1);
  }
  link_up(steady_ms(now));
  machine_->disconnected(now);
  EXPECT_GE(machine_->wake_at() - now, milliseconds(400));
  now = machine_->wake_at() + milliseconds(1);
  link_up(steady_ms(now));
  heartbeat(steady_ms(now), other, 1, 7);
  machine_->disconnected(now);
  EXPECT_LE(machine_->wake_at() - now, milliseconds(50));
}

TEST_F(MachineTest, WithoutGenerationsGapsAndReconnectsPassUnnoticed) {
  settle(7);
  lab::ablate(lab::Remedy::generation);
  invalidate(2, 9, "lost");
  invalidate(3, 5, "regressed");
  invalidate(4, 1, "other_epoch", epoch_b);
  machine_->disconnected(at(5));
  link_up(100);
  machine_->beat_sent(0, 1, at(101));
  heartbeat(102, me, 1, 30, epoch_b);
  const auto heard = sink_.take();
  EXPECT_THAT(heard, Each(Not(StartsWith("gap"))));
  EXPECT_THAT(heard, Contains("coherent 0 2101"));  // it claims what it cannot know
  invalidate(103, 31, "k", epoch_b);                // and the baseline is the new one: counted gaps do not grow
  EXPECT_EQ(gaps(GapReason::lost), 1U);
}

TEST_F(MachineTest, WithoutHeartbeatsAStoppedLinkStaysCoherentForEver) {
  make();
  lab::ablate(lab::Remedy::heartbeat);
  link_up(0);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 subscribed", "coherent 0 forever"));
  invalidate(1, 1, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9", "coherent 0 forever"));
  EXPECT_EQ(machine_->wake_at(), SteadyTime::max());
  EXPECT_EQ(machine_->tick(at(3'600'000)), Action::none);
  EXPECT_THAT(sink_.take(), IsEmpty());
}

// --- What an acknowledged clear needs of each instance ------------------------------------------

TEST_F(MachineTest, AClearOfEveryViewIsNumberedAndItsHasteIsAskedForOnce) {
  settle(7);
  EXPECT_FALSE(machine_->take_hurry());
  Head head{Kind::clear_all, 0, epoch_a, 8, other, 4};
  head.hurry = true;
  EXPECT_EQ(machine_->message(0, encode(head, {}), at(2)), "");
  EXPECT_THAT(sink_.take(), ElementsAre("clear 0 "));
  EXPECT_TRUE(machine_->take_hurry());
  EXPECT_FALSE(machine_->take_hurry());
  EXPECT_EQ(machine_->applied(0).epoch, epoch_a);
  EXPECT_EQ(machine_->applied(0).sequence, 8U);
}

TEST_F(MachineTest, WhatWasAppliedIsUnknownFromTheSubscriptionToTheFirstNumber) {
  make();
  link_up(0);
  EXPECT_EQ(machine_->applied(0).epoch, 0U);
  heartbeat(1, other, 1, 7);
  EXPECT_EQ(machine_->applied(0).sequence, 7U);
  machine_->disconnected(at(2));
  EXPECT_EQ(machine_->applied(0).epoch, 0U);
}

}  // namespace
}  // namespace tiercache::invalidation
