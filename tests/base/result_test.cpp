// SPDX-License-Identifier: Apache-2.0
#include <tiercache/base/ports.hpp>
#include <tiercache/base/result.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

namespace tiercache {
namespace {

Result<int> parse(bool good) {
  if (good) return 7;
  return Error{Errc::invalid_argument, "not a number"};
}

TEST(Result, HoldsAValueOrAnError) {
  const Result<int> good = parse(true);
  EXPECT_TRUE(good.ok());
  EXPECT_TRUE(static_cast<bool>(good));
  EXPECT_EQ(*good, 7);
  const Result<int> bad = parse(false);
  EXPECT_FALSE(bad.ok());
  EXPECT_FALSE(static_cast<bool>(bad));
  EXPECT_EQ(bad.error().code, Errc::invalid_argument);
  EXPECT_EQ(bad.error().message, "not a number");
}

TEST(Result, CarriesWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> made = std::make_unique<int>(3);
  EXPECT_EQ(**made, 3);
  const std::unique_ptr<int> taken = std::move(made).value();
  EXPECT_EQ(*taken, 3);
}

TEST(Result, OfAnErrorTypeKeepsTheTwoApart) {
  const Result<std::string> text = std::string("fine");
  EXPECT_TRUE(text.ok());
  EXPECT_EQ(text->size(), 4U);
  Result<std::string> copy = text;
  copy.value() += "!";
  EXPECT_EQ(*text, "fine");
  EXPECT_EQ(*copy, "fine!");
}

TEST(Result, OfNothingIsFineOrAnError) {
  EXPECT_TRUE(Result<void>().ok());
  const Result<void> bad = Error{Errc::closed, "shut"};
  EXPECT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().message, "shut");
}

TEST(Result, AnErrorCanBeMovedOut) {
  Result<int> bad = parse(false);
  const Error error = std::move(bad).error();
  EXPECT_EQ(error.message, "not a number");
}

#ifndef NDEBUG
TEST(ResultDeathTest, TakingWhatIsNotThereIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH((void)parse(false).value(), "");
  EXPECT_DEATH((void)parse(true).error(), "");
}
#endif

TEST(Names, EveryErrorKindAndGapReasonHasItsOwn) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < errc_count; ++i) names.insert(name(static_cast<Errc>(i)));
  EXPECT_EQ(names.size(), errc_count);
  EXPECT_EQ(names.count("unknown"), 0U);
  EXPECT_EQ(name(static_cast<Errc>(errc_count)), "unknown") << "errc_count is too small";
  names.clear();
  for (std::size_t i = 0; i < gap_reason_count; ++i) names.insert(name(static_cast<GapReason>(i)));
  EXPECT_EQ(names.size(), gap_reason_count);
}

}  // namespace
}  // namespace tiercache
