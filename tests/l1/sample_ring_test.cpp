// SPDX-License-Identifier: Apache-2.0
#include "sample_ring.hpp"

#include <gtest/gtest.h>

#include <set>
#include <thread>

namespace tiercache::l1::test {
namespace {

TEST(SampleRing, GivesInOrderAndLosesTheNewWhenFull) {
  SampleRing<int, 8> ring;
  std::uint32_t index = 0;
  int got = 0;
  EXPECT_FALSE(ring.pop(got));
  for (int lap = 0; lap < 3; ++lap) {
    for (int i = 0; i < 8; ++i) EXPECT_TRUE(ring.push(10 * lap + i, index));
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(ring.push(99, index));
    std::set<int> all;
    while (ring.pop(got)) all.insert(got);
    EXPECT_EQ(all.size(), 8U);
    EXPECT_FALSE(all.contains(99));
  }
  EXPECT_EQ(index, 32U);
}

/// Whose copy can be stopped half way.
struct Halting {
  static inline std::atomic<bool> stop{false};
  static inline std::atomic<bool> stopped{false};
  int value = 0;
  bool halts = false;
  Halting() = default;
  Halting(int v, bool h) : value(v), halts(h) {}
  Halting(const Halting&) = default;
  Halting& operator=(const Halting& other) {
    value = -1;
    if (other.halts && stop) {
      stopped = true;
      while (stop) std::this_thread::yield();
    }
    value = other.value;
    halts = false;
    return *this;
  }
};

// A pusher is stopped in the middle of its copy. Laps later the others still push and pop, and never see its half sample; when it
// goes on, its sample is found.
TEST(SampleRing, AStoppedPusherCostsOneCell) {
  SampleRing<Halting, 4> ring;
  Halting::stopped = false;
  Halting::stop = true;
  std::thread pusher([&] {
    std::uint32_t index = 0;
    EXPECT_TRUE(ring.push({7, true}, index));
  });
  while (!Halting::stopped) std::this_thread::yield();
  std::uint32_t index = 0;
  unsigned pushed = 0;
  unsigned popped = 0;
  for (int i = 0; i < 40; ++i) {
    if (ring.push({1, false}, index)) ++pushed;
    for (Halting got; ring.pop(got); ++popped) EXPECT_EQ(got.value, 1);
  }
  EXPECT_EQ(pushed, 30U);
  EXPECT_EQ(popped, 30U);
  Halting::stop = false;
  pusher.join();
  bool found = false;
  for (int i = 0; i < 8; ++i) {
    ring.push({1, false}, index);
    for (Halting got; ring.pop(got);) found |= got.value == 7;
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace tiercache::l1::test
