// SPDX-License-Identifier: Apache-2.0
#include "verdict.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>

namespace tiercache::chaos {
namespace {

constexpr std::int64_t budget = 1000;

class Judge : public ::testing::Test {
 protected:
  /// Rows 2 .. n are committed.
  void commit_up_to(std::uint32_t n) {
    while (row.committed() < n) static_cast<void>(row.commit());
  }
  void acknowledge(std::uint32_t version, std::int64_t at) { ASSERT_TRUE(acks.record(row.checker, version, at)); }
  Verdict verdict(const Reading& r) { return judge(row, acks, budget, r, staleness); }

  std::array<demo::AckChunk, 8> chunks{};
  std::atomic<std::uint32_t> used{0};
  demo::AckLog acks{chunks, used};
  RowState row;
  std::int64_t staleness = 0;
};

TEST_F(Judge, ARowThatWasNeverWrittenHasVersionOne) {
  EXPECT_EQ(row.committed(), 1U);
  EXPECT_EQ(verdict({.version = 1, .began = 5}), Verdict::fresh);
  EXPECT_EQ(verdict({.version = 0, .began = 5}), Verdict::phantom);
  EXPECT_EQ(verdict({.version = 2, .began = 5}), Verdict::phantom);
  EXPECT_EQ(row.commit(), 2U);
  EXPECT_EQ(verdict({.version = 2, .began = 5}), Verdict::fresh);
}

TEST_F(Judge, StalenessCountsFromTheSuccessorsAcknowledgement) {
  commit_up_to(3);
  acknowledge(2, 10'000);
  acknowledge(3, 50'000);
  EXPECT_EQ(verdict({.version = 1, .began = 10'000, .by_l1 = true}), Verdict::fresh);
  EXPECT_EQ(verdict({.version = 1, .began = 11'000, .by_l1 = true}), Verdict::within);
  EXPECT_EQ(staleness, 1000);
  EXPECT_EQ(verdict({.version = 1, .began = 11'001, .by_l1 = true}), Verdict::beyond);
  EXPECT_EQ(verdict({.version = 2, .began = 51'000, .by_l1 = true}), Verdict::within);
  EXPECT_EQ(verdict({.version = 2, .began = 51'001, .by_l1 = true}), Verdict::beyond);
  EXPECT_EQ(verdict({.version = 3, .began = 90'000, .by_l1 = true}), Verdict::fresh);
  EXPECT_EQ(verdict({.version = 4, .began = 90'000, .by_l1 = true}), Verdict::phantom);
}

TEST_F(Judge, AnInstanceReadsItsOwnWritesAtOnce) {
  commit_up_to(2);
  acknowledge(2, 10'000);
  EXPECT_EQ(verdict({.version = 1, .began = 10'000, .own = 2, .by_l1 = true}), Verdict::unread_write);
  EXPECT_EQ(verdict({.version = 2, .began = 10'000, .own = 2, .by_l1 = true}), Verdict::fresh);
}

// The answer may be on its way to the table when a read of the same instance already knows of it.
TEST_F(Judge, AnOwnWriteCountsBeforeTheTableKnowsOfIt) {
  commit_up_to(2);
  EXPECT_EQ(verdict({.version = 1, .began = 10'000, .own = 2, .by_l1 = true}), Verdict::unread_write);
}

TEST_F(Judge, WhileRedisLosesDataRedisIsExcusedAndL1IsNot) {
  commit_up_to(2);
  acknowledge(2, 10'000);
  EXPECT_EQ(verdict({.version = 1, .began = 90'000, .by_l1 = false, .losing = false}), Verdict::beyond);
  EXPECT_EQ(verdict({.version = 1, .began = 90'000, .by_l1 = false, .losing = true}), Verdict::excused);
  EXPECT_EQ(verdict({.version = 1, .began = 90'000, .own = 2, .by_l1 = false, .losing = true}), Verdict::excused);
  EXPECT_EQ(verdict({.version = 1, .began = 90'000, .by_l1 = true, .losing = true}), Verdict::beyond);
  EXPECT_EQ(verdict({.version = 3, .began = 90'000, .by_l1 = false, .losing = true}), Verdict::phantom);
}

// A crossing put whose version Redis lost may have brought an old version back. The next acknowledged one replaces whatever
// stands.
TEST_F(Judge, AnExcuseEndsWithTheNextAcknowledgedVersion) {
  commit_up_to(4);
  acknowledge(3, 10'000);
  row.excused = 3;
  EXPECT_EQ(verdict({.version = 1, .began = 90'000, .own = 2, .by_l1 = true}), Verdict::excused);
  acknowledge(4, 100'000);
  EXPECT_EQ(verdict({.version = 1, .began = 101'000, .by_l1 = true}), Verdict::within);
  EXPECT_EQ(verdict({.version = 1, .began = 101'001, .by_l1 = true}), Verdict::beyond);
  EXPECT_EQ(verdict({.version = 1, .began = 100'000, .own = 4, .by_l1 = true}), Verdict::unread_write);
}

TEST(CopyTest, IsTheRowOrWhatIsLeftOfALostVersion) {
  RowState row;
  for (std::uint32_t version = 2; version <= 4; ++version) ASSERT_EQ(row.commit(), version);
  EXPECT_EQ(judge_copy(row, 4), Verdict::fresh);
  EXPECT_EQ(judge_copy(row, 3), Verdict::beyond);
  EXPECT_EQ(judge_copy(row, 0), Verdict::phantom);
  EXPECT_EQ(judge_copy(row, 5), Verdict::phantom);
  row.excused.store(4);
  EXPECT_EQ(judge_copy(row, 3), Verdict::excused);
  EXPECT_EQ(judge_copy(row, 4), Verdict::fresh);
  ASSERT_EQ(row.commit(), 5U);
  EXPECT_EQ(judge_copy(row, 3), Verdict::beyond) << "a version that was written since is not lost";
}

}  // namespace
}  // namespace tiercache::chaos
