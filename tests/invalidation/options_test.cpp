// SPDX-License-Identifier: Apache-2.0
#include <tiercache/invalidation/bus.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tiercache::invalidation {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

std::string problem(milliseconds budget, milliseconds heartbeat) {
  Options o;
  o.staleness_budget = budget;
  o.heartbeat = heartbeat;
  const auto r = o.validate();
  if (r) return "";
  EXPECT_EQ(r.error().code, Errc::invalid_argument);
  return r.error().message;
}

TEST(InvalidationOptions, DefaultsAreValidAndBeatFiveTimesABudget) {
  const Options o;
  EXPECT_TRUE(o.validate().ok());
  EXPECT_EQ(o.heartbeat_interval(), milliseconds(400));
}

TEST(InvalidationOptions, TheBudgetIs250MsTo1H) {
  EXPECT_THAT(problem(milliseconds(249), milliseconds(0)), HasSubstr("staleness_budget"));
  EXPECT_EQ(problem(milliseconds(250), milliseconds(0)), "");
  EXPECT_EQ(problem(std::chrono::hours(1), milliseconds(0)), "");
  EXPECT_THAT(problem(std::chrono::hours(1) + milliseconds(1), milliseconds(0)), HasSubstr("staleness_budget"));
}

TEST(InvalidationOptions, TheHeartbeatIs10MsToAThirdOfTheBudget) {
  EXPECT_THAT(problem(milliseconds(300), milliseconds(9)), HasSubstr("heartbeat"));
  EXPECT_THAT(problem(milliseconds(300), milliseconds(-1)), HasSubstr("heartbeat"));
  EXPECT_EQ(problem(milliseconds(300), milliseconds(10)), "");
  EXPECT_EQ(problem(milliseconds(300), milliseconds(100)), "");
  EXPECT_THAT(problem(milliseconds(300), milliseconds(101)), HasSubstr("heartbeat"));
}

TEST(InvalidationOptions, TheLogIsOffOrHas64To1048576Entries) {
  for (const std::uint32_t n : {0U, 64U, 16384U, 1'048'576U, 1U, 63U, 1'048'577U}) {
    Options o;
    o.log_entries = n;
    const auto r = o.validate();
    const bool good = n == 0 || (n >= 64 && n <= 1'048'576);
    EXPECT_EQ(r.ok(), good) << n;
    EXPECT_THAT(r.ok() ? "log_entries" : r.error().message, HasSubstr("log_entries")) << n;
  }
}

TEST(InvalidationOptions, TheSourceIsOneOfThree) {
  Options o;
  EXPECT_EQ(o.source, Source::bus);
  o.source = Source::both;
  EXPECT_TRUE(o.validate().ok());
  o.source = static_cast<Source>(3);
  ASSERT_FALSE(o.validate().ok());
  EXPECT_THAT(o.validate().error().message, HasSubstr("bus.source"));
}

TEST(InvalidationOptions, ABusThatIsOffIsNotChecked) {
  Options o;
  o.enabled = false;
  o.staleness_budget = milliseconds(0);
  EXPECT_TRUE(o.validate().ok());
}

}  // namespace
}  // namespace tiercache::invalidation
