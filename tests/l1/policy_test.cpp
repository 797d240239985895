// SPDX-License-Identifier: Apache-2.0
//
// The parts of the eviction policy that need no table: the ghost table, the tests, the shadows.
#include "policy.hpp"
#include "ghost.hpp"
#include "shadow.hpp"
#include "sketch.hpp"

#include <tiercache/base/hash.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace tiercache::l1::test {
namespace {

/// Spreads small numbers as the table's hash does keys.
std::uint32_t spread(std::uint64_t key) { return static_cast<std::uint32_t>(mix64(key + 1) >> 32); }

TEST(Ghost, TellsHowLongAgoAKeyCame) {
  Ghost ghost;
  ASSERT_TRUE(ghost.create(500));  // few enough entries for ticks without rounding
  EXPECT_FALSE(ghost.age(spread(1), 100));
  ghost.record(spread(1), 40, 90);
  EXPECT_EQ(ghost.age(spread(1), 100), 60U);
  ghost.record(spread(1), 95, 99);  // it came and left again
  EXPECT_EQ(ghost.age(spread(1), 100), 5U);
}

TEST(Ghost, RoundsTheTicksOfALargeCacheByAThousandthOfIt) {
  constexpr std::uint32_t entries = 1 << 20;
  Ghost ghost;
  ASSERT_TRUE(ghost.create(entries));
  const std::uint32_t tick = 0xfffff000;  // and on across the wrap of the ticks
  ghost.record(spread(1), tick, tick);
  for (const std::uint32_t later : {0U, entries / 3, entries, 2 * entries, 60 * entries}) {
    const auto age = ghost.age(spread(1), tick + later);
    ASSERT_TRUE(age) << later;
    EXPECT_NEAR(static_cast<double>(*age), later, entries / 500.0);
  }
}

TEST(Ghost, KeepsTheYoungAndForgetsTheOld) {
  constexpr std::uint32_t entries = 1000;
  Ghost ghost;
  ASSERT_TRUE(ghost.create(entries));
  EXPECT_LE(ghost.table_bytes(), 8 * entries);
  constexpr std::uint32_t last = 20 * entries;
  for (std::uint32_t n = 1; n <= last; ++n) ghost.record(spread(n), n, n);
  unsigned young = 0;
  unsigned old = 0;
  for (std::uint32_t n = 0; n < entries; ++n) {
    const auto age = ghost.age(spread(last - n), last);
    young += age && *age == n ? 1U : 0U;
    old += ghost.age(spread(1 + n), last) ? 1U : 0U;
  }
  EXPECT_GE(young, entries * 8 / 10);
  EXPECT_LE(old, 5U);
}

TEST(Ghost, ManyThreadsAtATimeOnlyLoseKeys) {
  Ghost ghost;
  ASSERT_TRUE(ghost.create(64));
  std::atomic<std::uint32_t> tick{1};
  std::atomic<unsigned> found{0};
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> threads;
  constexpr std::uint32_t rounds = 20000;
  for (unsigned t = 0; t < 3; ++t) {
    threads.emplace_back([&ghost, &tick, &found, &wrong, t] {
      for (std::uint32_t n = 0; n < rounds; ++n) {
        const std::uint32_t hash = spread(t * 100 + n % 100);
        const std::uint32_t now = tick.fetch_add(1, std::memory_order_relaxed);
        ghost.record(hash, now, now);
        // No other thread records this key, and all that happens here is less than one round of the coarse ticks.
        const auto age = ghost.age(hash, tick.load(std::memory_order_relaxed));
        if (age) (*age <= 3 * rounds ? found : wrong).fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_GT(found.load(), rounds);
}

TEST(Policy, AReturningKeyMustHaveBeenAwayForLessThanItsVictimRested) {
  Sketch sketch;
  std::atomic<std::uint64_t> additions{0};
  ASSERT_TRUE(sketch.create(1000));
  const policy::Rival victim{spread(1), 500};
  EXPECT_TRUE(policy::returns(sketch, {spread(2), 499}, victim, 1000));
  EXPECT_FALSE(policy::returns(sketch, {spread(2), 500}, victim, 1000));
  // However long the victim rested: what was away for longer than the cache remembers has no claim.
  EXPECT_TRUE(policy::returns(sketch, {spread(2), 1500}, {spread(1), 9000}, 1000));
  EXPECT_FALSE(policy::returns(sketch, {spread(2), 1501}, {spread(1), 9000}, 1000));
  // Nor has the rarer one.
  sketch.add(spread(1), additions);
  EXPECT_FALSE(policy::returns(sketch, {spread(2), 10}, victim, 1000));
  sketch.add(spread(2), additions);
  EXPECT_TRUE(policy::returns(sketch, {spread(2), 10}, victim, 1000));
}

TEST(Policy, AnUnusedCandidateNeedsAClearlyBetterPastAndAUsedOneFewerYears) {
  Sketch sketch;
  std::atomic<std::uint64_t> additions{0};
  ASSERT_TRUE(sketch.create(1000));
  const policy::Rival candidate{spread(1), 300};
  const policy::Rival older{spread(2), 301};
  const policy::Rival younger{spread(2), 300};
  EXPECT_TRUE(policy::replaces(sketch, candidate, true, older));
  EXPECT_FALSE(policy::replaces(sketch, candidate, true, younger));
  for (unsigned n = 0; n <= policy::estimate_margin; ++n) {
    EXPECT_FALSE(policy::replaces(sketch, candidate, false, older)) << n;
    sketch.add(spread(1), additions);
  }
  EXPECT_TRUE(policy::replaces(sketch, candidate, false, older));
}

/// A cache of `entries` that is asked for a stream of keys, as far as its shadows see of it.
struct Stream {
  Sketch sketch;
  std::atomic<std::uint64_t> additions{0};
  Shadows shadows;

  explicit Stream(std::uint64_t entries) {
    EXPECT_TRUE(sketch.create(entries));
    EXPECT_TRUE(shadows.create(entries, std::uint64_t{1} << 30));
  }
  void ask(std::uint64_t key) {
    const std::uint32_t hash = spread(key);
    sketch.add(hash, additions);
    if (shadows.wants(hash)) shadows.offer(hash);
    shadows.drain(sketch);
  }
};

TEST(Shadow, HoldsAPartOfALoopThatIsTooLongForIt) {
  Sketch sketch;
  std::atomic<std::uint64_t> additions{0};
  ASSERT_TRUE(sketch.create(1000));
  Shadow shadow;
  ASSERT_TRUE(shadow.create(100, .05));
  unsigned hits = 0;
  constexpr unsigned rounds = 20;
  for (unsigned round = 0; round < 2 * rounds; ++round) {
    for (std::uint64_t key = 0; key < 200; ++key) {
      sketch.add(spread(key), additions);
      const bool hit = shadow.access(spread(key), sketch);
      hits += hit && round >= rounds ? 1U : 0U;
      ASSERT_LE(shadow.size(), 100U);
    }
  }
  // 95 of the 200 at best; LRU and CLOCK have none.
  EXPECT_GE(hits, rounds * 70);
}

TEST(Shadow, KeepsWhatIsUsedThroughAScan) {
  Sketch sketch;
  std::atomic<std::uint64_t> additions{0};
  ASSERT_TRUE(sketch.create(1000));
  Shadow shadow;
  ASSERT_TRUE(shadow.create(100, .1));
  std::uint64_t scanned = 1000;
  unsigned hits = 0;
  for (unsigned round = 0; round < 100; ++round) {
    for (std::uint64_t key = 0; key < 50; ++key) {
      sketch.add(spread(key), additions);
      hits += shadow.access(spread(key), sketch) ? 1U : 0U;
      for (unsigned n = 0; n < 5; ++n, ++scanned) {
        sketch.add(spread(scanned), additions);
        EXPECT_FALSE(shadow.access(spread(scanned), sketch));
      }
    }
  }
  EXPECT_GE(hits, 50U * 95U);
}

TEST(Shadow, ShrinksByTheMissesAfterAResize) {
  Sketch sketch;
  ASSERT_TRUE(sketch.create(1000));
  Shadow shadow;
  ASSERT_TRUE(shadow.create(100, .1));
  std::uint64_t key = 0;
  while (shadow.size() < 100) shadow.access(spread(++key), sketch);
  shadow.resize(40);
  for (unsigned n = 0; n < 60; ++n) shadow.access(spread(++key), sketch);
  EXPECT_EQ(shadow.size(), 40U);
  shadow.resize(1000);  // more than there is memory for
  for (unsigned n = 0; n < 200; ++n) shadow.access(spread(++key), sketch);
  EXPECT_EQ(shadow.size(), 100U);
}

TEST(Shadows, SampleOneKeyInTwoToSixtyFour) {
  for (const auto& [entries, rate, bytes] :
       {std::tuple{100U, 2U, 36U}, {1000U, 2U, 36U}, {5000U, 7U, 11U}, {1000000U, 64U, 2U}}) {
    Shadows shadows;
    ASSERT_TRUE(shadows.create(entries, std::uint64_t{1} << 30));
    unsigned wanted = 0;
    for (std::uint64_t key = 0; key < 20000; ++key) wanted += shadows.wants(spread(key)) ? 1U : 0U;
    EXPECT_NEAR(wanted, 20000.0 / rate, 200) << entries;
    EXPECT_LE(shadows.table_bytes(), std::uint64_t{entries} * bytes + 4096);
  }
}

TEST(Shadows, TakeNoMoreMemoryThanTheyMay) {
  for (const std::uint64_t bytes : {10'000U, 20'000U, 80'000U}) {
    Shadows shadows;
    ASSERT_TRUE(shadows.create(2000, bytes));
    EXPECT_LE(shadows.table_bytes(), bytes + 1024);
    EXPECT_GE(shadows.table_bytes(), bytes / 3);
  }
}

TEST(Shadows, ThinOutTheSampleWhereTheCacheOutgrowsTheirMemory) {
  Stream s(1000);
  const auto sampled = [&s] {
    unsigned wanted = 0;
    for (std::uint64_t key = 0; key < 40000; ++key) wanted += s.shadows.wants(spread(key)) ? 1U : 0U;
    return wanted;
  };
  const unsigned before = sampled();
  const std::uint64_t bytes = s.shadows.table_bytes();
  s.shadows.resize(100000);
  for (std::uint64_t key = 0; key < 100; ++key) s.ask(key);
  EXPECT_LT(sampled(), before / 64);
  EXPECT_EQ(s.shadows.table_bytes(), bytes);
  s.shadows.resize(1000);
  for (std::uint64_t key = 0; key < 20000; ++key) s.ask(key);
  EXPECT_EQ(sampled(), before);
}

TEST(Shadows, WidenTheWindowForKeysThatComeBackOnce) {
  constexpr std::uint64_t entries = 4000;
  Stream s(entries);
  const double before = s.shadows.share();
  // Each key is asked for twice, 1,200 other keys apart: too late for a window of .17.
  for (std::uint64_t key = 0; key < 30 * entries; ++key) {
    s.ask(key);
    if (key >= entries * 3 / 10) s.ask(key - entries * 3 / 10);
  }
  EXPECT_GT(s.shadows.share(), before);
  EXPECT_EQ(s.shadows.window(1000), 400U);
}

TEST(Shadows, NarrowTheWindowForALoop) {
  constexpr std::uint64_t entries = 4000;
  Stream s(entries);
  const double before = s.shadows.share();
  for (std::uint64_t n = 0; n < 60 * entries; ++n) s.ask(n % (entries * 5 / 4));
  EXPECT_LT(s.shadows.share(), before);
  EXPECT_EQ(s.shadows.window(10), 1U);  // never none
}

TEST(Shadows, ChangeTheirMindWhenTheLoadDoes) {
  constexpr std::uint64_t entries = 2000;
  Stream s(entries);
  for (std::uint64_t n = 0; n < 60 * entries; ++n) s.ask(n % (entries * 5 / 4));
  const double loop = s.shadows.share();
  for (std::uint64_t key = 1 << 20; key < (1 << 20) + 60 * entries; ++key) {
    s.ask(key);
    s.ask(key - entries * 3 / 10);
  }
  EXPECT_GT(s.shadows.share(), loop);
}

TEST(Shadows, AreFedAndDrainedByAllThreadsAtOnce) {
  constexpr std::uint64_t entries = 1000;
  Stream s(entries);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&s, t] {
      for (std::uint64_t n = 0; n < 30000; ++n) {
        s.ask(t << 32 | n % 1500);
        if (n % 5000 == 0) s.shadows.resize(n % 10000 == 0 ? 500 : 1000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Whatever was lost on the way, the share is one of the three.
  EXPECT_TRUE(std::ranges::count(Shadows::shares, s.shadows.share()) == 1);
}

}  // namespace
}  // namespace tiercache::l1::test
