// SPDX-License-Identifier: Apache-2.0
#include <tiercache/base/clock.hpp>

#include <gtest/gtest.h>

namespace tiercache {
namespace {

using namespace std::chrono_literals;

TEST(Clock, CoarseClockLagsTheSteadyOneByAtMostATick) {
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t before = steady_ms(std::chrono::steady_clock::now());
    const std::int64_t coarse = coarse_now_ms();
    const std::int64_t after = steady_ms(std::chrono::steady_clock::now());
    ASSERT_GE(coarse, before - coarse_tick_ms);
    ASSERT_LE(coarse, after);
  }
}

TEST(Clock, CoarseClockNeverGoesBack) {
  std::int64_t last = coarse_now_ms();
  for (int i = 0; i < 100'000; ++i) {
    const std::int64_t now = coarse_now_ms();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(Clock, SystemClockIsTheSteadyClock) {
  const SteadyTime before = std::chrono::steady_clock::now();
  const SteadyTime now = SystemClock::instance().now();
  EXPECT_GE(now, before);
  EXPECT_LE(now, std::chrono::steady_clock::now());
  EXPECT_EQ(&SystemClock::instance(), &SystemClock::instance());
}

TEST(Deadline, ThatHasPassedLeavesNothingAndNeverLess) {
  const Deadline passed(std::chrono::steady_clock::now() - 1h);
  EXPECT_TRUE(passed.passed());
  EXPECT_EQ(passed.left(), Duration::zero());
  EXPECT_EQ(passed.left_poll_ms(), 0);
}

TEST(Deadline, AheadLeavesAtMostWhatItWasGiven) {
  const Deadline ahead = Deadline::after(1h);
  EXPECT_FALSE(ahead.passed());
  EXPECT_LE(ahead.left(), 1h);
  EXPECT_GT(ahead.left(), 59min);
}

TEST(Deadline, OfAnyLengthDoesNotOverflow) {
  EXPECT_EQ(Deadline::after(Duration::max()).at(), SteadyTime::max());
  EXPECT_FALSE(Deadline::after(Duration::max()).passed());
  EXPECT_EQ(Deadline::never().left(), Duration::max());
  EXPECT_FALSE(Deadline::never().passed());
  EXPECT_EQ(Deadline::never().left_poll_ms(), 3'600'000);
}

// Rounded down, a poll with under a millisecond left would return at once, again and again, until the deadline.
TEST(Deadline, PollTimeIsRoundedUp) {
  const Deadline soon = Deadline::after(10s + 500us);
  const int ms = soon.left_poll_ms();
  EXPECT_GT(std::chrono::milliseconds(ms), soon.left());
  EXPECT_LE(ms, 10'001);
}

TEST(Deadline, SoonerIsTheEarlierOfTwo) {
  const SteadyTime now = std::chrono::steady_clock::now();
  const Deadline early(now + 1s);
  const Deadline late(now + 2s);
  EXPECT_EQ(early.sooner(late).at(), early.at());
  EXPECT_EQ(late.sooner(early).at(), early.at());
  EXPECT_EQ(early.sooner(Deadline::never()).at(), early.at());
}

}  // namespace
}  // namespace tiercache
