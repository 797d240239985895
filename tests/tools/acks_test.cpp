// SPDX-License-Identifier: Apache-2.0
#include "acks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

namespace tiercache::demo {
namespace {

struct Table {
  explicit Table(std::size_t count = 1000) : chunks(count) {}
  std::vector<AckChunk> chunks;
  std::atomic<std::uint32_t> used{0};
  KeyState key;
  AckLog log{chunks, used};
};

TEST(Acks, WhatNobodyReplacedIsNeverStale) {
  Table t;
  EXPECT_EQ(t.log.staleness(t.key, 1, 1'000'000), 0);
  ASSERT_TRUE(t.log.record(t.key, 2, 100));
  EXPECT_EQ(t.log.staleness(t.key, 2, 1'000'000), 0);
  EXPECT_EQ(t.log.staleness(t.key, 3, 1'000'000), 0) << "written, not acknowledged: new, not old";
}

TEST(Acks, AReadIsStaleByTheTimeSinceItsSuccessorWasAcknowledged) {
  Table t;
  ASSERT_TRUE(t.log.record(t.key, 2, 100));
  ASSERT_TRUE(t.log.record(t.key, 3, 250));
  EXPECT_EQ(t.log.staleness(t.key, 1, 99), 0) << "it began before";
  EXPECT_EQ(t.log.staleness(t.key, 1, 100), 0);
  EXPECT_EQ(t.log.staleness(t.key, 1, 101), 1);
  EXPECT_EQ(t.log.staleness(t.key, 1, 300), 200) << "by the successor's instant, not the latest one's";
  EXPECT_EQ(t.log.staleness(t.key, 2, 300), 50);
}

TEST(Acks, ALaterAcknowledgementCountsForTheVersionsBeforeIt) {
  Table t;
  ASSERT_TRUE(t.log.record(t.key, 4, 100));
  EXPECT_EQ(t.log.staleness(t.key, 1, 150), 50);
  EXPECT_EQ(t.log.staleness(t.key, 3, 150), 50);
  ASSERT_TRUE(t.log.record(t.key, 2, 500)) << "an announcement that came late";
  EXPECT_EQ(t.log.staleness(t.key, 1, 600), 500) << "who saw version 4 acknowledged may not be shown version 1";
  EXPECT_EQ(t.log.staleness(t.key, 4, 600), 0);
}

TEST(Acks, AnEarlierInstantThatIsRecordedLateWins) {
  Table t;
  ASSERT_TRUE(t.log.record(t.key, 3, 100));
  ASSERT_TRUE(t.log.record(t.key, 2, 90));
  EXPECT_EQ(t.log.staleness(t.key, 1, 100), 10);
  EXPECT_EQ(t.log.staleness(t.key, 2, 101), 1);
}

TEST(Acks, NoVersionIsForgottenHoweverManyFollow) {
  Table t;
  constexpr std::uint32_t last = 5000;
  for (std::uint32_t v = 2; v <= last; ++v) ASSERT_TRUE(t.log.record(t.key, v, v * 10));
  for (std::uint32_t v = 1; v < last; ++v)
    ASSERT_EQ(t.log.staleness(t.key, v, 100'000), 100'000 - (v + 1) * 10) << "version " << v;
}

TEST(Acks, AFullTableIsReportedNotHidden) {
  Table t(3);  // the first is never used
  EXPECT_TRUE(t.log.record(t.key, 2 * AckChunk::versions - 1, 10));
  EXPECT_FALSE(t.log.record(t.key, 2 * AckChunk::versions, 20));
}

// Against a model: instants in any order, from several threads, must give A(v) = the earliest instant of v or a later version.
TEST(Acks, ThreadsThatRecordInAnyOrderAgreeWithTheModel) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 50; ++round) {
    Table t;
    constexpr std::uint32_t last = 200;
    struct Ack {
      std::uint32_t version;
      std::int64_t at;
    };
    std::vector<Ack> acks;
    for (std::uint32_t v = 2; v <= last; ++v) acks.push_back({v, 1 + static_cast<std::int64_t>(random() % 1000)});
    std::shuffle(acks.begin(), acks.end(), random);
    std::vector<std::jthread> threads;
    for (std::size_t n = 0; n < 4; ++n) {
      threads.emplace_back([&, n] {
        for (std::size_t i = n; i < acks.size(); i += 4) {
          EXPECT_TRUE(t.log.record(t.key, acks[i].version, acks[i].at));
          // What acked covers has its instant, at every moment.
          const std::uint32_t acked = t.key.acked.load();
          for (std::uint32_t v = 1; v < acked; v += 17) EXPECT_LE(t.log.staleness(t.key, v, 2000), 1999) << "an instant of 0";
        }
      });
    }
    threads.clear();
    std::int64_t earliest = 10'000;
    for (std::uint32_t v = last; v >= 2; --v) {
      for (const Ack& a : acks) {
        if (a.version == v) earliest = std::min(earliest, a.at);
      }
      ASSERT_EQ(t.log.staleness(t.key, v - 1, 5000), 5000 - earliest) << "version " << v;
    }
  }
}

}  // namespace
}  // namespace tiercache::demo
