// SPDX-License-Identifier: Apache-2.0
//
// The stories of one subscription whose announcements are logged, in virtual time: what it replays, what it believes meanwhile,
// and what voids it all the same.
#include "machine_fixture.hpp"

#include <utility>

namespace tiercache::invalidation {
namespace {

class MachineReplay : public MachineTest {};

TEST_F(MachineReplay, AReconnectReplaysWhatWasMissedAndKeepsTheRest) {
  make(0, 1, true);
  link_up(0);
  EXPECT_EQ(wanted(0), "nothing");  // the first subscription has nothing to keep
  heartbeat(1, other, 1, 7);
  sink_.take();
  machine_->disconnected(at(10));
  EXPECT_EQ(wanted(11), "nothing");
  link_up(200);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 disconnected", "epoch 0 0"));
  EXPECT_EQ(wanted(201), "0 5001 7");
  EXPECT_FALSE(found(202, 10, {logged(8, "a"), logged(9, "b")}));
  EXPECT_EQ(wanted(203), "0 5001 9");
  EXPECT_EQ(machine_->applied(0).epoch, 0U);
  EXPECT_TRUE(found(204, 10, {logged(10, "c")}));
  EXPECT_EQ(machine_->applied(0).epoch, 5001U);
  EXPECT_EQ(machine_->applied(0).sequence, 10U);
  EXPECT_EQ(wanted(205), "nothing");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 a v3 w9", "invalidate 0 b v3 w9", "invalidate 0 c v3 w9", "epoch 0 5001"));
  invalidate(206, 11, "d");
  machine_->beat_sent(0, 1, at(207));
  heartbeat(208, me, 1, 11);
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 d v3 w9", "coherent 0 2207"));
  EXPECT_EQ(machine_->counters().resyncs_replayed.load(), 1U);
  EXPECT_EQ(machine_->counters().resyncs_voided.load(), 0U);
  EXPECT_EQ(machine_->counters().messages_replayed.load(), 3U);
}

TEST_F(MachineReplay, LiveMessagesAreAppliedAtOnceDuringAReplayAndWhatBothBringIsNoGap) {
  settle_and_reconnect(7);
  invalidate(201, 10, "live10");
  EXPECT_FALSE(found(202, 9, {logged(8, "a")}));
  invalidate(203, 11, "live11");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 live10 v3 w9", "invalidate 0 a v3 w9", "invalidate 0 live11 v3 w9"));
  EXPECT_EQ(wanted(204), "0 5001 8");
  EXPECT_TRUE(found(205, 11, {logged(9, "b"), logged(10, "live10")}));  // 11 is not needed from the log
  invalidate(206, 12, "live12");
  EXPECT_THAT(sink_.lines("gap"), IsEmpty());
}

TEST_F(MachineReplay, TheLinkMayBeginBelowWhereTheReplayEnded) {
  settle_and_reconnect(7);
  EXPECT_TRUE(found(201, 9, {logged(8, "a"), logged(9, "b")}));
  invalidate(202, 9, "b");  // was published after SUBSCRIBE and before the log was read
  invalidate(203, 10, "c");
  machine_->beat_sent(0, 1, at(204));
  heartbeat(205, me, 1, 10);
  EXPECT_THAT(sink_.lines("gap"), IsEmpty());
  EXPECT_THAT(sink_.lines("coherent"), ElementsAre("coherent 0 2204"));
}

TEST_F(MachineReplay, ALinkThatBeginsBelowWhatWasAppliedBeforeItIsARegression) {
  settle_and_reconnect(7);
  EXPECT_TRUE(found(201, 7, {}));
  sink_.take();
  invalidate(202, 7, "again");
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 regressed", "invalidate 0 again v3 w9"));
}

TEST_F(MachineReplay, TheLogIsAskedThoughTheFirstNumberShowsNoLoss) {
  settle_and_reconnect(7);
  machine_->beat_sent(0, 1, at(201));
  heartbeat(202, me, 1, 7);
  EXPECT_THAT(sink_.take(), IsEmpty());  // an unnumbered message may have been missed: no claim yet
  EXPECT_EQ(wanted(203), "0 5001 7");
  EXPECT_TRUE(found(204, 7, {}));
  machine_->beat_sent(0, 2, at(205));
  heartbeat(206, me, 2, 7);
  EXPECT_THAT(sink_.take(), ElementsAre("epoch 0 5001", "coherent 0 2205"));
}

TEST_F(MachineReplay, AHoleWithinTheLinkIsReplayedToo) {
  make(0, 1, true);
  link_up(0);
  heartbeat(1, other, 1, 7);
  sink_.take();
  invalidate(2, 10, "c");
  machine_->beat_sent(0, 1, at(3));
  heartbeat(4, me, 1, 10);
  EXPECT_EQ(wanted(5), "0 5001 7");
  EXPECT_TRUE(found(6, 10, {logged(8, "a"), logged(9, "b")}));
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 c v3 w9", "invalidate 0 a v3 w9", "invalidate 0 b v3 w9"));
  invalidate(7, 11, "d");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 d v3 w9"));
}

TEST_F(MachineReplay, AHoleWithinAReplayIsNeededToo) {
  settle_and_reconnect(7);
  invalidate(201, 9, "x");
  invalidate(202, 12, "y");
  EXPECT_FALSE(found(203, 12, {logged(8, "a")}));
  EXPECT_FALSE(found(204, 12, {logged(9, "x"), logged(10, "b")}));
  EXPECT_TRUE(found(205, 12, {logged(11, "c")}));
  EXPECT_THAT(sink_.lines("gap"), IsEmpty());
}

TEST_F(MachineReplay, WhatTheLogCannotGiveVoids) {
  const std::vector<std::pair<const char*, std::vector<std::string>>> pages{
      {"another number", {logged(9, "b")}},
      {"another epoch", {logged(8, "a", epoch_b)}},
      {"a mark of a message that was too long", {""}},
      {"a heartbeat", {encode({Kind::heartbeat, 0, epoch_a, 8, other, 1}, {})}},
      {"nothing, though more was given", {}},
  };
  for (const auto& [story, messages] : pages) {
    settle_and_reconnect(7);
    EXPECT_TRUE(found(201, 9, messages)) << story;
    EXPECT_THAT(sink_.take(), ElementsAre("gap 0 log_lost")) << story;
    EXPECT_EQ(wanted(202), "nothing") << story;
    invalidate(203, 30, "k");  // as after a first subscription
    EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9")) << story;
    heartbeat(204, other, 2, 30);
    EXPECT_THAT(sink_.take(), ElementsAre("epoch 0 5001")) << story;
  }
  settle_and_reconnect(7);
  EXPECT_TRUE(lost(201));
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 log_lost"));
  settle_and_reconnect(7);
  EXPECT_TRUE(found(201, 6, {}));  // fewer were given than were applied
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 log_lost"));
  EXPECT_EQ(machine_->counters().resyncs_voided.load(), 1U);
  settle_and_reconnect(7);
  heartbeat(200, other, 1, 7);
  sink_.take();
  EXPECT_TRUE(found(201, 7, {logged(8, "a")}));  // more was logged than was given: there may be more yet
  EXPECT_THAT(sink_.lines("gap"), ElementsAre("gap 0 log_lost"));
}

TEST_F(MachineReplay, AVoidedReplayGoesOnFromTheLinksOwnNumbers) {
  settle_and_reconnect(7);
  invalidate(201, 20, "k");
  sink_.take();
  EXPECT_TRUE(lost(202));
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 log_lost"));
  invalidate(203, 21, "l");
  machine_->beat_sent(0, 1, at(204));
  heartbeat(205, me, 1, 21);
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 l v3 w9", "epoch 0 5001", "coherent 0 2204"));
}

TEST_F(MachineReplay, AnotherEpochOrARegressionDuringAReplayEndsIt) {
  settle_and_reconnect(7);
  invalidate(201, 8, "k", epoch_b);
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 epoch_changed", "invalidate 0 k v3 w9"));
  EXPECT_EQ(wanted(202), "nothing");
  EXPECT_FALSE(found(203, 9, {logged(8, "a"), logged(9, "b")}));  // the answer that was on its way
  EXPECT_THAT(sink_.take(), IsEmpty());
  settle_and_reconnect(7);
  invalidate(201, 3, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 regressed", "invalidate 0 k v3 w9"));
  EXPECT_EQ(wanted(202), "nothing");
  heartbeat(203, other, 2, 3);
  EXPECT_THAT(sink_.take(), ElementsAre("epoch 0 5001"));
}

// The script that read the page has compared the run ids, and so has a heartbeat's that came meanwhile.
TEST_F(MachineReplay, APageTellsTheEpochAndSoDoesAHeartbeatOnceTheReplayIsOver) {
  settle_and_reconnect(7);
  EXPECT_TRUE(found(201, 7, {}));
  EXPECT_THAT(sink_.take(), ElementsAre("epoch 0 5001"));
  settle_and_reconnect(7);
  heartbeat(201, other, 2, 9);
  EXPECT_THAT(sink_.take(), IsEmpty());
  EXPECT_TRUE(lost(202));
  EXPECT_THAT(sink_.take(), ElementsAre("gap 0 log_lost", "epoch 0 5001"));
}

TEST_F(MachineReplay, ALogThatDoesNotAnswerIsAskedAgainAfterAWhileAndVoidsNothing) {
  settle_and_reconnect(7);
  EXPECT_EQ(wanted(200), "0 5001 7");
  EXPECT_FALSE(machine_->page(0, {}, at(210)));
  EXPECT_EQ(wanted(309), "nothing");
  EXPECT_EQ(wanted(310), "0 5001 7");
  EXPECT_TRUE(found(311, 8, {logged(8, "a")}));
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 a v3 w9", "epoch 0 5001"));
}

TEST_F(MachineReplay, AReplayThatADisconnectCutsShortGoesOnWhereItWas) {
  settle_and_reconnect(7);
  EXPECT_FALSE(found(201, 10, {logged(8, "a")}));
  invalidate(202, 11, "live");
  machine_->disconnected(at(203));
  EXPECT_EQ(wanted(204), "nothing");
  link_up(1000);
  EXPECT_EQ(wanted(1001), "0 5001 8");
  EXPECT_TRUE(found(1002, 11, {logged(9, "b"), logged(10, "c"), logged(11, "live")}));
  EXPECT_THAT(sink_.lines("gap"), ElementsAre("gap 0 disconnected"));
}

TEST_F(MachineReplay, ASilentLinkIsReplayedToo) {
  make(0, 1, true);
  link_up(0);
  heartbeat(1, other, 1, 7);
  EXPECT_EQ(machine_->tick(at(2001)), Action::close);
  link_up(3000);
  EXPECT_EQ(wanted(3001), "0 5001 7");
}

TEST_F(MachineReplay, ShardsTakeTurnsAndTheLastOneToEndSaysSo) {
  make(2, 1, true);
  link_up(0);
  heartbeat(1, other, 1, 7, epoch_a, 0);
  heartbeat(1, other, 1, 70, epoch_b, 1);
  machine_->disconnected(at(10));
  link_up(200);
  EXPECT_EQ(wanted(201), "0 5001 7");
  EXPECT_FALSE(found(202, 9, {logged(8, "a")}));
  EXPECT_EQ(wanted(203), "1 5002 70");
  EXPECT_FALSE(found(204, 70, {}, 1));
  EXPECT_EQ(wanted(205), "0 5001 8");
  EXPECT_TRUE(found(206, 9, {logged(9, "b")}));
  EXPECT_EQ(wanted(207), "nothing");
}

TEST_F(MachineReplay, WithoutTheReplayItIsClaimedThatNothingWasMissed) {
  lab::ablate(lab::Remedy::replay);
  settle_and_reconnect(7);
  EXPECT_EQ(wanted(201), "nothing");
  machine_->beat_sent(0, 1, at(202));
  heartbeat(203, me, 1, 30);
  EXPECT_THAT(sink_.take(), ElementsAre("epoch 0 5001", "coherent 0 2202"));
  invalidate(204, 40, "k");
  EXPECT_THAT(sink_.take(), ElementsAre("invalidate 0 k v3 w9"));
}

}  // namespace
}  // namespace tiercache::invalidation
