// SPDX-License-Identifier: Apache-2.0
#include <tiercache/base/stats.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <thread>
#include <vector>

namespace tiercache {
namespace {

using Snapshot = HistogramSnapshot;

TEST(Histogram, BucketsBeginWhereTheLastOneEnds) {
  EXPECT_EQ(Snapshot::lower(0), 0U);
  for (std::size_t i = 1; i < Snapshot::size; ++i) {
    ASSERT_GT(Snapshot::lower(i), Snapshot::lower(i - 1)) << i;
    ASSERT_EQ(Snapshot::index(Snapshot::lower(i)), i);
    ASSERT_EQ(Snapshot::index(Snapshot::lower(i) - 1), i - 1);
  }
}

void expect_in_its_bucket(std::uint64_t us) {
  const std::size_t i = Snapshot::index(us);
  ASSERT_LT(i, Snapshot::size) << us;
  ASSERT_LE(Snapshot::lower(i), us) << us;
  if (i + 1 < Snapshot::size) {
    ASSERT_LT(us, Snapshot::lower(i + 1)) << us;
  }
}

TEST(Histogram, EveryValueLiesInItsBucket) {
  for (std::uint64_t us = 0; us < 1'000'000; ++us) expect_in_its_bucket(us);
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 1'000'000; ++i) expect_in_its_bucket(random() >> (random() % 64));
  for (unsigned bit = 0; bit < 64; ++bit) {
    expect_in_its_bucket(std::uint64_t{1} << bit);
    expect_in_its_bucket((std::uint64_t{1} << bit) - 1);
  }
  expect_in_its_bucket(std::numeric_limits<std::uint64_t>::max());
}

TEST(Histogram, BucketsAreAtMostAQuarterWide) {
  for (std::size_t i = Snapshot::sub; i + 1 < Snapshot::size; ++i) {
    ASSERT_LE(4 * (Snapshot::lower(i + 1) - Snapshot::lower(i)), Snapshot::lower(i)) << i;
  }
}

TEST(Histogram, LastBucketBeginsNearFourMinutes) { EXPECT_EQ(Snapshot::lower(Snapshot::size - 1), std::uint64_t{7} << 25); }

TEST(Histogram, CountsAndSumsWhatWasRecorded) {
  Histogram h;
  for (const std::uint64_t us : {0U, 3U, 3U, 900U}) h.record_us(us);
  const Snapshot s = h.snapshot();
  EXPECT_EQ(s.count, 4U);
  EXPECT_EQ(s.sum_us, 906);
  EXPECT_EQ(s.counts[Snapshot::index(3)], 2U);
}

TEST(Histogram, QuantileOfNothingIsZero) { EXPECT_EQ(Snapshot().quantile(0.99), 0); }

TEST(Histogram, QuantileIsAboveTheTrueOneByLessThanABucket) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    Histogram h;
    std::vector<std::uint64_t> values;
    for (int i = 0; i < 1000; ++i) values.push_back(random() % 10'000'000 >> (random() % 20));
    for (const std::uint64_t v : values) h.record_us(v);
    std::sort(values.begin(), values.end());
    for (const double q : {0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const auto rank = static_cast<std::size_t>(std::ceil(q * 1000)) - 1;
      const double exact = static_cast<double>(values[rank]);
      const double told = h.snapshot().quantile(q);
      EXPECT_GT(told, exact) << q;
      EXPECT_LE(told, exact * 1.25 + 1) << q;
    }
  }
}

TEST(Histogram, QuantileAboveTheLastBoundIsTheLastBound) {
  Histogram h;
  h.record_us(std::numeric_limits<std::uint32_t>::max());
  EXPECT_EQ(h.snapshot().quantile(0.5), static_cast<double>(Snapshot::lower(Snapshot::size - 1)));
}

TEST(Histogram, SumOfTwoIsTheHistogramOfBoth) {
  Histogram a, b, both;
  for (const std::uint64_t us : {1U, 20U, 300U}) a.record_us(us), both.record_us(us);
  for (const std::uint64_t us : {20U, 4000U}) b.record_us(us), both.record_us(us);
  Snapshot sum = a.snapshot();
  sum += b.snapshot();
  EXPECT_EQ(sum.counts, both.snapshot().counts);
  EXPECT_EQ(sum.count, 5U);
  EXPECT_EQ(sum.sum_us, 4341);
}

TEST(Histogram, LosesNothingToConcurrentRecording) {
  Histogram h;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < 50'000; ++i) h.record_us(i % 8);
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(h.snapshot().count, 200'000U);
  EXPECT_EQ(h.snapshot().sum_us, 4 * 50'000 * 3.5);
}

TEST(ErrorCounts, CountByKind) {
  ErrorCounts errors;
  errors.count(Errc::refused);
  errors.count(Errc::internal);
  errors.count(Errc::internal);
  const auto s = errors.snapshot();
  EXPECT_EQ(s[static_cast<std::size_t>(Errc::refused)], 1U);
  EXPECT_EQ(s[static_cast<std::size_t>(Errc::internal)], 2U);
  EXPECT_EQ(s[static_cast<std::size_t>(Errc::closed)], 0U);
}

}  // namespace
}  // namespace tiercache
