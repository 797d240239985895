// SPDX-License-Identifier: Apache-2.0
#include "row.hpp"

#include <gtest/gtest.h>

namespace tiercache::demo {
namespace {

TEST(Row, ATextNamesItsKeyAndVersionAndHasItsSize) {
  for (const std::size_t size : {std::size_t{0}, row_bytes_min, std::size_t{100}, std::size_t{100'000}}) {
    const std::string text = make_text({123, 456}, size);
    EXPECT_EQ(text.size(), std::max(size, row_bytes_min));
    const auto name = parse_text(text, size);
    ASSERT_TRUE(name);
    EXPECT_EQ(name->key, 123U);
    EXPECT_EQ(name->version, 456U);
  }
  const RowName longest{4294967295U, 18446744073709551615ULL};
  EXPECT_EQ(parse_text(make_text(longest, 0), 0)->version, longest.version);
}

TEST(Row, WhatIsNotATextOfThatSizeHasNoName) {
  const std::string good = make_text({7, 8}, 100);
  EXPECT_FALSE(parse_text(good, 101));
  EXPECT_FALSE(parse_text({}, 0));
  EXPECT_FALSE(parse_text(std::string(100, 'x'), 100));
  EXPECT_FALSE(parse_text("7 " + std::string(98, 'x'), 100));
  std::string other = good;
  other.back() = static_cast<char>(other.back() + 1);
  EXPECT_FALSE(parse_text(other, 100)) << "the padding belongs to key and version";
}

TEST(Row, ProbesAreToldByTheirPhysicalKey) {
  EXPECT_EQ(KeyText(42, 100).view(), "42");
  EXPECT_EQ(KeyText(163, 100).view(), "p63");
  EXPECT_EQ(KeyText(4294967295U, 4294967295U).view(), "p0");
  EXPECT_TRUE(is_probe("demo:run-1:row:p63"));
  EXPECT_FALSE(is_probe("demo:run-1:row:63"));
  EXPECT_FALSE(is_probe("demo:p1:row:"));
  EXPECT_FALSE(is_probe(""));
}

}  // namespace
}  // namespace tiercache::demo
