// SPDX-License-Identifier: Apache-2.0
//
// The judge of tracking's replies without a server: what it passes on, in which order, and which claims it keeps back.
#include "tracking.hpp"

#include "recording_sink.hpp"

#include <tiercache/base/lab.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace tiercache::testing {
namespace {

using invalidation::Source;
using invalidation::Tracking;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Taken = Tracking::Taken;
using l2::Reply;

const std::string own_beat = "dev:users:!hb:00000000000000ab";

SteadyTime at(int ms) { return SteadyTime(milliseconds(ms)); }
std::string coherent(int ms) { return "coherent 0 " + std::to_string(ms); }

Reply text(std::string t) { return {Reply::Type::string, 0, std::move(t), {}}; }
Reply array(std::vector<Reply> elements) { return {Reply::Type::array, 0, "", std::move(elements)}; }
Reply message(Reply payload) { return array({text("message"), text(std::string(Tracking::channel)), std::move(payload)}); }
Reply keys(const std::vector<std::string>& names) {
  std::vector<Reply> all;
  for (const std::string& name : names) all.push_back(text(name));
  return message(array(std::move(all)));
}

class TrackingTest : public ::testing::Test {
 protected:
  ~TrackingTest() override { lab::ablate(lab::Remedy::tracking, false); }
  static invalidation::TrackingOptions options(Source source = Source::both) {
    return {source, "dev:users:", {"dev:users:!bus"}, 0xab, milliseconds(1000)};
  }
  RecordingSink sink;
  Tracking tracking{options(), sink};
};

TEST_F(TrackingTest, NamesOfValuesArePassedOnAndBookkeepingAndStrangersAreNot) {
  EXPECT_EQ(tracking.take(keys({"dev:users:!lease:user:1", "dev:users:!seq", "dev:users:user:1", "dev:users:user:", "dev:users:",
                                "dev:users:user", "dev:usersx:user:2", "elsewhere", "dev:users:user:a:b"})),
            Taken::yes);
  EXPECT_THAT(sink.lines(), ElementsAre("invalidate 0 dev:users:user:1 v0 w0", "invalidate 0 dev:users:user: v0 w0",
                                        "invalidate 0 dev:users:user:a:b v0 w0"));
  EXPECT_EQ(tracking.counters().keys, 3U);
}

TEST_F(TrackingTest, AClaimWaitsUntilAMessageThatNamesTheOwnHeartbeatWasAppliedAsAWhole) {
  tracking.on_coherent(0, at(100));
  EXPECT_THAT(sink.lines(), IsEmpty());
  tracking.take(keys({"dev:users:user:1", "dev:users:!hb:00000000000000ac"}));  // another's heartbeat
  EXPECT_THAT(sink.take(), ElementsAre("invalidate 0 dev:users:user:1 v0 w0"));
  tracking.take(keys({own_beat, "dev:users:user:2"}));  // in no order: the key behind the heartbeat's counts as well
  EXPECT_THAT(sink.take(), ElementsAre("invalidate 0 dev:users:user:2 v0 w0", coherent(100)));
  tracking.take(keys({own_beat}));  // no claim is left
  EXPECT_THAT(sink.take(), IsEmpty());
}

TEST_F(TrackingTest, WithoutTheRemedyAClaimPassesAtOnce) {
  lab::ablate(lab::Remedy::tracking);
  tracking.on_coherent(0, at(100));
  EXPECT_THAT(sink.lines(), ElementsAre(coherent(100)));
}

TEST_F(TrackingTest, OfSeveralClaimsThatWaitTheLastIsMade) {
  tracking.on_coherent(0, at(100));
  tracking.on_coherent(0, at(200));
  tracking.take(keys({own_beat}));
  EXPECT_THAT(sink.lines(), ElementsAre(coherent(200)));
}

TEST_F(TrackingTest, AMessageBeforeTheEchoSaysNothingOfIt) {
  tracking.take(keys({own_beat}));
  tracking.on_coherent(0, at(100));
  EXPECT_THAT(sink.lines(), IsEmpty());
}

TEST_F(TrackingTest, AFlushVoidsEveryShardAndIsNoProofForAClaim) {
  auto sharded = options();
  sharded.channels = {"dev:users:!bus:{00}", "dev:users:!bus:{01}"};
  Tracking two(sharded, sink);
  two.on_coherent(1, at(100));
  EXPECT_EQ(two.take(message(Reply{})), Taken::flushed);
  EXPECT_THAT(sink.take(), ElementsAre("gap 0 flushed", "gap 1 flushed"));
  two.take(keys({"dev:users:!hb:{00}:00000000000000ab"}));
  EXPECT_THAT(sink.take(), IsEmpty());
  two.take(keys({"dev:users:!hb:{01}:00000000000000ab"}));
  EXPECT_THAT(sink.take(), ElementsAre("coherent 1 100"));
}

TEST_F(TrackingTest, TheSlotTagTellsTheShard) {
  auto sharded = options();
  sharded.channels.assign(17, "");
  for (std::size_t i = 0; i < 17; ++i)
    sharded.channels[i] = "dev:users:!bus:{" + std::string(i < 16 ? "0" : "1") + "0123456789abcdef0"[i] + "}";
  Tracking tagged(sharded, sink);
  tagged.take(keys({"dev:users:user:{10}:k", "dev:users:user:{0f}:k", "dev:users:user:{11}:k", "dev:users:user:k",
                    "dev:users:user:{", "dev:users:user:{x}:k", "dev:users:user:{0"}));
  EXPECT_THAT(sink.lines(),
              ElementsAre("invalidate 16 dev:users:user:{10}:k v0 w0", "invalidate 15 dev:users:user:{0f}:k v0 w0"));
}

TEST_F(TrackingTest, WithTrackingAloneWhatAnnouncementsNameIsLeftToRedis) {
  Tracking alone(options(Source::tracking), sink);
  alone.on_invalidate(0, "dev:users:user:1", 2, 3, 4);
  EXPECT_THAT(sink.take(), IsEmpty());
  alone.on_clear(0, "user", 3, 4);
  alone.on_gap(0, GapReason::lost);
  alone.on_epoch(0, 9);
  EXPECT_THAT(sink.take(), ElementsAre("clear 0 user", "gap 0 lost", "epoch 0 9"));
  tracking.on_invalidate(0, "dev:users:user:1", 2, 3, 4);
  EXPECT_THAT(sink.take(), ElementsAre("invalidate 0 dev:users:user:1 v2 w4"));
}

TEST_F(TrackingTest, EchoesForHalfABudgetOfWhichTrackingTellsNothingEndTheLink) {
  EXPECT_FALSE(tracking.stalled(at(0)));
  tracking.on_coherent(0, at(1000));
  EXPECT_FALSE(tracking.stalled(at(0)));
  tracking.on_coherent(0, at(1400));
  EXPECT_FALSE(tracking.stalled(at(400)));
  tracking.take(keys({own_beat}));
  EXPECT_FALSE(tracking.stalled(at(401)));
  tracking.on_coherent(0, at(1800));
  EXPECT_FALSE(tracking.stalled(at(800)));
  tracking.on_coherent(0, at(2200));
  tracking.take(keys({"dev:users:user:1"}));
  EXPECT_FALSE(tracking.stalled(at(1300)));
  EXPECT_TRUE(tracking.stalled(at(1301)));
}

TEST_F(TrackingTest, WhatOthersPublishToTheChannelIsCountedAndIgnored) {
  EXPECT_EQ(tracking.take(message(text(own_beat))), Taken::yes);
  EXPECT_EQ(tracking.counters().malformed, 1U);
  EXPECT_THAT(sink.lines(), IsEmpty());
}

TEST_F(TrackingTest, OtherRepliesAreTheCallersAndNonsenseEndsTheLink) {
  EXPECT_EQ(tracking.take(array({text("message"), text("dev:users:!bus"), text("x")})), Taken::no);
  EXPECT_EQ(tracking.take(Reply{Reply::Type::error, 0, "ERR", {}}), Taken::no);
  EXPECT_EQ(
      tracking.take(array({text("subscribe"), text(std::string(Tracking::channel)), Reply{Reply::Type::integer, 1, "", {}}})),
      Taken::yes);
  EXPECT_EQ(tracking.take(array({text("unsubscribe"), text(std::string(Tracking::channel)), Reply{}})), Taken::broken);
  EXPECT_EQ(tracking.take(message(Reply{Reply::Type::integer, 1, "", {}})), Taken::broken);
  EXPECT_EQ(tracking.take(message(array({Reply{}}))), Taken::broken);
}

}  // namespace
}  // namespace tiercache::testing
