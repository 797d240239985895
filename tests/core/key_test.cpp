// SPDX-License-Identifier: Apache-2.0
#include "key.hpp"

#include <gtest/gtest.h>

namespace tiercache::detail {
namespace {

TEST(Key, IsEnvResourceTypeId) {
  const KeySpace keys("prod", "shop", 0);
  const PhysicalKey key = keys.physical("user", "42");
  EXPECT_EQ(key.text, "prod:shop:user:42");
  EXPECT_EQ(key.shard, 0);
  EXPECT_EQ(keys.shard_count(), 1U);
}

TEST(Key, MayHoldColonsInItsId) {
  const KeySpace keys("prod", "shop", 0);
  const auto parts = keys.parse("prod:shop:user:tenant:7:42");
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->type, "user");
  EXPECT_EQ(parts->id, "tenant:7:42");
}

TEST(Key, CarriesTheSlotTagOfItsShard) {
  for (const std::uint32_t shards : {1U, 2U, 16U, 255U, 256U, 257U, 16384U}) {
    const KeySpace keys("e", "r", shards);
    for (int i = 0; i < 200; ++i) {
      const std::string id = "id" + std::to_string(i);
      const PhysicalKey key = keys.physical("t", id);
      ASSERT_LT(key.shard, shards);
      ASSERT_EQ(keys.shard_of("t", id), key.shard);
      const auto parts = keys.parse(key.text);
      ASSERT_TRUE(parts) << key.text;
      EXPECT_EQ(parts->type, "t");
      EXPECT_EQ(parts->id, id);
      const std::size_t open = key.text.find('{');
      const std::size_t close = key.text.find('}');
      ASSERT_NE(open, std::string::npos);
      EXPECT_GE(close - open - 1, 2U);
      EXPECT_EQ(std::stoul(key.text.substr(open + 1, close - open - 1), nullptr, 16), key.shard);
    }
  }
}

TEST(Key, FormatIsFrozen) {
  // A changed mapping would split the fleet at a deploy: old and new builds would look for one key in two places.
  EXPECT_EQ(KeySpace("prod", "shop", 16).physical("user", "42").text, "prod:shop:user:{06}:42");
  EXPECT_EQ(KeySpace("prod", "shop", 1024).physical("user", "42").text, "prod:shop:user:{3b6}:42");
}

TEST(Key, OfAnotherSpaceIsNotParsed) {
  const KeySpace plain("prod", "shop", 0);
  EXPECT_FALSE(plain.parse("prod:shop2:user:42"));
  EXPECT_FALSE(plain.parse("prod:shop:user"));
  EXPECT_FALSE(plain.parse("prod:shop:user:"));
  EXPECT_FALSE(plain.parse("prod:shop::42"));
  EXPECT_FALSE(plain.parse(""));
  const KeySpace tagged("prod", "shop", 16);
  EXPECT_FALSE(tagged.parse("prod:shop:user:42"));
  EXPECT_FALSE(tagged.parse("prod:shop:user:{02:42"));
  EXPECT_FALSE(tagged.parse("prod:shop:user:{02}:"));
}

TEST(Key, NamesAreChecked) {
  EXPECT_TRUE(check_name("env", "prod-1.a_B").ok());
  EXPECT_TRUE(check_name("env", std::string(64, 'a')).ok());
  for (const std::string& bad : {std::string(), std::string(65, 'a'), std::string("a:b"), std::string("a b"), std::string("!seq"),
                                 std::string("a*"), std::string("\xc3\xa4")}) {
    const Result<void> r = check_name("env", bad);
    ASSERT_FALSE(r.ok()) << bad;
    EXPECT_EQ(r.error().code, Errc::invalid_argument);
    EXPECT_EQ(r.error().message.rfind("env: ", 0), 0U) << r.error().message;
  }
}

TEST(Key, IdsAreChecked) {
  EXPECT_EQ(id_fault("a"), nullptr);
  EXPECT_EQ(id_fault(std::string(1024, 'x')), nullptr);
  EXPECT_EQ(id_fault("\xc3\xa4:*?[]"), nullptr);
  for (const std::string& bad : {std::string(), std::string(1025, 'x'), std::string("a b"), std::string("a\nb"),
                                 std::string(1, '\0'), std::string("a{b"), std::string("b}"), std::string("\x7f")})
    EXPECT_NE(id_fault(bad), nullptr) << bad;
}

}  // namespace
}  // namespace tiercache::detail
