// SPDX-License-Identifier: Apache-2.0
#include "return_watch.hpp"

#include "clock.hpp"

#include <gtest/gtest.h>

namespace tiercache::demo {
namespace {

/// 1,000 reads a second in made-up time.
struct Reads {
  std::int64_t now = 0;
  std::uint64_t reads = 0;
  std::uint64_t by_l1 = 0;
  void pass(ReturnWatch& watch, double seconds, bool l1) {
    for (int i = 0; i < static_cast<int>(seconds * 1000); ++i) {
      now += ns_per_ms;
      ++reads;
      by_l1 += l1 ? 1 : 0;
      watch.look(now, reads, by_l1);
    }
  }
};

TEST(ReturnWatch, SaysNothingBeforeItsWindowIsFull) {
  ReturnWatch watch(2 * ns_per_s, ns_per_s);
  Reads r;
  r.pass(watch, 2.9, true);
  EXPECT_EQ(watch.share(), 0);
  r.pass(watch, 0.2, true);
  EXPECT_EQ(watch.share(), 1);
}

TEST(ReturnWatch, CountsNothingFromBeforeItsBegin) {
  ReturnWatch watch(2 * ns_per_s, ns_per_s);
  Reads r;
  r.pass(watch, 2, false);  // while L1 was not valid
  r.pass(watch, 1.2, true);
  EXPECT_EQ(watch.share(), 1);
}

TEST(ReturnWatch, MovesOn) {
  ReturnWatch watch(0, ns_per_s);
  Reads r;
  r.pass(watch, 2, false);  // empty, yet
  EXPECT_EQ(watch.share(), 0);
  r.pass(watch, 0.5, true);
  EXPECT_NEAR(watch.share(), 0.5, 0.1);
  r.pass(watch, 1, true);
  EXPECT_EQ(watch.share(), 1);
  r.pass(watch, 2, false);
  EXPECT_EQ(watch.share(), 0) << "what was reached once and lost again is not reached";
}

TEST(ReturnWatch, WithoutReadsThereIsNoShare) {
  ReturnWatch watch(0, ns_per_s);
  for (std::int64_t now = 0; now < 3 * ns_per_s; now += ns_per_ms) watch.look(now, 7, 7);
  EXPECT_EQ(watch.share(), 0);
}

}  // namespace
}  // namespace tiercache::demo
