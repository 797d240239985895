// SPDX-License-Identifier: Apache-2.0
#include <tiercache/base/bytes.hpp>
#include <tiercache/base/hash.hpp>

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace tiercache {
namespace {

// Frozen: other versions of this library and other programs compute the same for values that stand in Redis. A change here
// makes every stored value a miss. The empty string's value is the one that XXH3's author publishes.
TEST(WireHash, IsTheSameForEver) {
  EXPECT_EQ(wire_hash(""), (WireHash{0x99aa06d3014798d8, 0x6001c324468d497f}));
  EXPECT_EQ(wire_hash("prod:shop:user:42"), (WireHash{0x27a124f71c35da50, 0x3e96f7f1a8a74fb6}));
  EXPECT_EQ(wire_hash("e:r:t:{07}:id:with:colons"), (WireHash{0xe1f9af92aa7f28f5, 0xd933db7181b02061}));
  EXPECT_EQ(wire_hash(std::string(1024, 'k')), (WireHash{0x44a3a57f695daee5, 0x686d3de82e988280}));
}

// The envelope stores high, then low, big-endian: that is what xxHash itself calls canonical.
TEST(WireHash, InBigEndianIsXxhashsCanonicalForm) {
  const std::string key = "prod:shop:user:42";
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(key.data(), key.size()));
  const char* digest = reinterpret_cast<const char*>(canonical.digest);
  EXPECT_EQ(load_be<8>(digest), wire_hash(key).high);
  EXPECT_EQ(load_be<8>(digest + 8), wire_hash(key).low);
}

TEST(Checksum, IsTheSameForEver) {
  EXPECT_EQ(checksum32("head", "body"), 0x5f9fae33U);
  EXPECT_EQ(checksum32("", ""), 0xe10017f3U);
}

TEST(Checksum, NoticesEveryFlippedBitAndWhereTheHeadEnds) {
  const std::string head = "some head";
  const std::string body = "some body";
  const std::uint32_t good = checksum32(head, body);
  for (std::size_t bit = 0; bit < 8 * head.size(); ++bit) {
    std::string bad = head;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(checksum32(bad, body), good) << bit;
  }
  for (std::size_t bit = 0; bit < 8 * body.size(); ++bit) {
    std::string bad = body;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(checksum32(head, bad), good) << bit;
  }
  EXPECT_NE(checksum32("some heads", "ome body"), good);
}

TEST(LocalHash, DependsOnTheSeedAndTheWholeKey) {
  EXPECT_EQ(local_hash("key", 7), local_hash("key", 7));
  EXPECT_NE(local_hash("key", 7), local_hash("key", 8));
  EXPECT_NE(local_hash("key", 7), local_hash("kez", 7));
  EXPECT_NE(local_hash(std::string_view("a\0b", 3), 7), local_hash("a", 7));
}

TEST(Mix64, KeepsDifferentInputsDifferent) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 10'000; ++i) seen.insert(mix64(i));
  EXPECT_EQ(seen.size(), 10'000U);
}

TEST(RandomU64, UsesAllBitsAndDoesNotRepeat) {
  std::uint64_t any = 0;
  std::uint64_t all = ~std::uint64_t{0};
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t r = random_u64();
    any |= r;
    all &= r;
    seen.insert(r);
  }
  EXPECT_EQ(seen.size(), 200U);
  EXPECT_EQ(any, ~std::uint64_t{0});
  EXPECT_EQ(all, 0U);
}

}  // namespace
}  // namespace tiercache
