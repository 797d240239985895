// SPDX-License-Identifier: Apache-2.0
#include "board.hpp"

#include "cell.hpp"

#include <gtest/gtest.h>

namespace tiercache::chaos {
namespace {

Settings small() {
  Settings s;
  s.instances = 2;
  s.threads = 3;
  s.keys = 48;
  s.probes = probe_count;
  return s;
}

TEST(BoardTest, WhatOneMappingWritesAnotherReads) {
  const Result<Board> parent = Board::create(small());
  ASSERT_TRUE(parent.ok());
  const Result<Board> child = Board::attach(parent->fd());
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(child->rows().size(), 48U + probe_count);
  EXPECT_EQ(child->sessions(1).size(), 3U + Board::probe_sessions);
  EXPECT_EQ(child->rows()[7].commit(), 2U);
  EXPECT_TRUE(child->acks().record(child->rows()[7].checker, 2, 1000));
  EXPECT_EQ(parent->rows()[7].committed(), 2U);
  EXPECT_EQ(parent->acks().staleness(parent->rows()[7].checker, 1, 1500), 500);
  child->sessions(1)[2].reads.add(5);
  EXPECT_EQ(parent->sessions(1)[2].reads.get(), 5U);
  EXPECT_EQ(parent->sessions(0)[2].reads.get(), 0U);
}

TEST(BoardTest, TheFirstViolationsAreKeptAndAllAreCounted) {
  const Result<Board> board = Board::create(small());
  ASSERT_TRUE(board.ok());
  for (std::uint32_t i = 0; i < violations_kept + 5; ++i) {
    report_violation(*board, board->rows()[3], {.version = i, .began = 7}, Verdict::beyond, 9, 1, 2, 1);
  }
  EXPECT_EQ(board->header().violations.load(), violations_kept + 5);
  EXPECT_EQ(board->header().violations_by[static_cast<std::size_t>(Verdict::beyond)].load(), violations_kept + 5);
  const Violation& first = board->header().kept[0];
  EXPECT_TRUE(first.complete.load());
  EXPECT_EQ(first.key, 3U);
  EXPECT_EQ(first.instance, 1U);
  EXPECT_EQ(first.session, 2U);
  EXPECT_EQ(first.staleness, 9);
  EXPECT_EQ(board->header().kept[violations_kept - 1].version, violations_kept - 1);
}

TEST(CellTest, ChangedBytesAreNoticed) {
  const Cell good = make_cell(5, 9);
  EXPECT_TRUE(is_of(good, 5, true));
  EXPECT_FALSE(is_of(good, 6, false));
  Cell other = good;
  other.version = 10;
  EXPECT_FALSE(is_of(other, 5, false));
  other = good;
  other.padding[3] ^= 1;
  EXPECT_FALSE(is_of(other, 5, true));
  other.padding.pop_back();
  EXPECT_FALSE(is_of(other, 5, true));
}

}  // namespace
}  // namespace tiercache::chaos
