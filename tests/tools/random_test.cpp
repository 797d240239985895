// SPDX-License-Identifier: Apache-2.0
#include "random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace tiercache::demo {
namespace {

TEST(Random, TheSameSeedGivesTheSameNumbersAndAnotherOneOthers) {
  Random a(1);
  Random b(1);
  Random c(2);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t x = a.next();
    EXPECT_EQ(x, b.next());
    differs |= x != c.next();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, NumbersStayInTheirRangeAndFillIt) {
  Random random(3);
  std::vector<int> seen(7);
  for (int i = 0; i < 7000; ++i) {
    const std::uint64_t n = random.below(7);
    ASSERT_LT(n, 7U);
    ++seen[n];
    const double u = random.unit();
    ASSERT_TRUE(u >= 0 && u < 1);
  }
  for (const int s : seen) EXPECT_NEAR(s, 1000, 200);
}

// The share of every rank that can be told apart from chance lies within 5 standard deviations of the law.
TEST(Zipf, RanksComeAsOftenAsTheLawSays) {
  for (const double s : {0.0, 0.6, 0.99, 1.5}) {
    constexpr std::uint32_t n = 1000;
    constexpr int samples = 400'000;
    const ZipfSampler zipf(n, s);
    Random random(11);
    std::vector<int> seen(n);
    for (int i = 0; i < samples; ++i) {
      const std::uint32_t rank = zipf(random);
      ASSERT_LT(rank, n);
      ++seen[rank];
    }
    double total = 0;
    for (std::uint32_t r = 0; r < n; ++r) total += std::pow(r + 1, -s);
    for (std::uint32_t r = 0; r < n; ++r) {
      const double p = std::pow(r + 1, -s) / total;
      if (p * samples < 50) break;
      EXPECT_NEAR(seen[r], p * samples, 5 * std::sqrt(samples * p * (1 - p))) << "s " << s << ", rank " << r;
    }
  }
}

TEST(Zipf, OneKeyIsAlwaysItself) {
  const ZipfSampler zipf(1, 0.99);
  Random random(1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(zipf(random), 0U);
}

}  // namespace
}  // namespace tiercache::demo
