// SPDX-License-Identifier: Apache-2.0
#include "recovery.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace tiercache::chaos {
namespace {

using Times = std::vector<std::int64_t>;

TEST(RecoveryTest, CountsFromTheHealToTheBeginOfValidity) {
  Recovery r(2);
  r.fault_began(0);
  r.observe(0, 50, 90);  // during the fault
  r.fault_ended(0, FaultKind::delay, 100);
  EXPECT_TRUE(r.pending(0));
  r.observe(0, 50, 100);  // looked at before the heal, or as it happened
  r.observe(0, 0, 110);
  EXPECT_EQ(r.longest_pending(115), 15);
  r.observe(0, 120, 125);
  r.observe(0, 120, 130);
  EXPECT_FALSE(r.pending(0));
  EXPECT_EQ(r.times(FaultKind::delay), Times{20});
  EXPECT_EQ(r.longest_pending(200), 0);
}

TEST(RecoveryTest, WhatNeverBecameInvalidRecoveredAtOnce) {
  Recovery r(1);
  r.fault_began(0);
  r.fault_ended(0, FaultKind::flush_all, 100);
  r.observe(0, 50, 105);
  EXPECT_EQ(r.times(FaultKind::flush_all), Times{0});
}

TEST(RecoveryTest, TheLastOfSeveralFaultsCounts) {
  Recovery r(1);
  r.fault_began(0);
  r.fault_began(0);
  r.fault_ended(0, FaultKind::delay, 100);
  EXPECT_FALSE(r.pending(0));
  r.fault_ended(0, FaultKind::redis_stop, 200);
  r.observe(0, 230, 235);
  EXPECT_TRUE(r.times(FaultKind::delay).empty());
  EXPECT_EQ(r.times(FaultKind::redis_stop), Times{30});
}

// A link that comes back finds out only then what it missed: what was valid at the heal may not be a moment later.
TEST(RecoveryTest, ValidityMustLast) {
  Recovery r(1, 50);
  r.fault_began(0);
  r.fault_ended(0, FaultKind::bus_link_cut, 100);
  r.observe(0, 40, 149);
  EXPECT_TRUE(r.pending(0));
  EXPECT_EQ(r.longest_pending(149), 0);
  r.observe(0, 0, 150);
  EXPECT_EQ(r.longest_pending(160), 60);
  r.observe(0, 170, 171);
  r.observe(0, 170, 219);
  EXPECT_EQ(r.longest_pending(219), 70);
  EXPECT_TRUE(r.pending(0));
  r.observe(0, 170, 220);
  EXPECT_EQ(r.times(FaultKind::bus_link_cut), Times{70});
}

TEST(RecoveryTest, TheNextFaultInterrupts) {
  Recovery r(1);
  r.fault_began(0);
  r.fault_ended(0, FaultKind::delay, 100);
  r.fault_began(0);
  EXPECT_EQ(r.interrupted(), 1U);
  EXPECT_FALSE(r.pending(0));
  r.fault_ended(0, FaultKind::dribble, 150);
  r.observe(0, 160, 170);
  EXPECT_TRUE(r.times(FaultKind::delay).empty());
  EXPECT_EQ(r.times(FaultKind::dribble), Times{10});
}

}  // namespace
}  // namespace tiercache::chaos
