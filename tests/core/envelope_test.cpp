// SPDX-License-Identifier: Apache-2.0
#include "envelope.hpp"

#include <tiercache/base/bytes.hpp>

#include <gtest/gtest.h>

#include <random>

namespace tiercache::detail {
namespace {

std::string sealed(std::string_view key, std::string_view payload, Envelope e = {}) {
  if (e.schema == 0) e.schema = 3;
  if (e.codec == 0) e.codec = 1;
  std::string bytes = seal(e, key, payload);
  append_be<8>(bytes, 0x1122334455667788ULL);
  return bytes.append(payload);
}

TEST(Envelope, ComesBackAsItWasSealed) {
  Envelope in;
  in.schema = 3;
  in.codec = 1;
  in.version = 0xFFFFFFFFFFFFFFF0ULL;
  in.hard_ttl_ms = 60'000;
  in.soft_lead_ms = 10'000;
  const std::string bytes = sealed("k", "payload", in);
  Envelope out;
  ASSERT_EQ(open_envelope(bytes, "k", 3, 1, out), Verdict::good);
  EXPECT_EQ(out.version, in.version);
  EXPECT_EQ(out.hard_ttl_ms, in.hard_ttl_ms);
  EXPECT_EQ(out.soft_lead_ms, in.soft_lead_ms);
  EXPECT_EQ(out.epoch, 0x1122334455667788ULL);
  EXPECT_EQ(out.payload, "payload");
}

TEST(Envelope, LayoutIsFrozen) {
  Envelope e;
  e.schema = 0x0102;
  e.codec = 2;
  e.version = 7;
  e.hard_ttl_ms = 0x0A0B0C;
  e.soft_lead_ms = 1;
  const std::string head = seal(e, "prod:shop:user:42", "abc");
  ASSERT_EQ(head.size(), envelope_head_bytes);
  const auto hex = [](std::string_view s) {
    std::string out;
    for (const char c : s) {
      constexpr char digits[] = "0123456789abcdef";
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[static_cast<unsigned char>(c) & 15];
    }
    return out;
  };
  EXPECT_EQ(hex(head.substr(0, 16)),
            "54434501"
            "0102"
            "02"
            "00"
            "0000000000000007");
  EXPECT_EQ(hex(head.substr(32, 12)),
            "0000000a0b0c"
            "000000000001");
}

TEST(Envelope, OfAnotherKeyIsPoison) {
  Envelope out;
  EXPECT_EQ(open_envelope(sealed("k1", "payload"), "k2", 3, 1, out), Verdict::poison);
}

TEST(Envelope, WithAnyFlippedBitIsNeverGood) {
  const std::string good = sealed("k", "some payload bytes");
  for (std::size_t byte = 0; byte < good.size(); ++byte) {
    if (byte >= 48 && byte < 56) continue;  // the epoch is Redis' own and outside the checksum
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[byte] = static_cast<char>(bad[byte] ^ (1 << bit));
      Envelope out;
      EXPECT_NE(open_envelope(bad, "k", 3, 1, out), Verdict::good) << "byte " << byte << " bit " << bit;
    }
  }
}

TEST(Envelope, CutShortAnywhereIsNeverGood) {
  const std::string good = sealed("k", "some payload bytes");
  for (std::size_t n = 0; n < good.size(); ++n) {
    Envelope out;
    EXPECT_NE(open_envelope(std::string_view(good).substr(0, n), "k", 3, 1, out), Verdict::good) << n;
  }
}

TEST(Envelope, OfANewerSchemaFormatOrFlagIsForeignAndOfAnOlderSchemaPoison) {
  Envelope out;
  EXPECT_EQ(open_envelope(sealed("k", "p"), "k", 2, 1, out), Verdict::foreign);  // 3 > 2: a newer deploy's value
  EXPECT_EQ(open_envelope(sealed("k", "p"), "k", 4, 1, out), Verdict::poison);   // 3 < 4: ours to replace
  EXPECT_EQ(open_envelope(sealed("k", "p"), "k", 3, 2, out), Verdict::foreign);  // another codec
  std::string newer = sealed("k", "p");
  newer[3] = 2;
  EXPECT_EQ(open_envelope(newer, "k", 3, 1, out), Verdict::foreign);
  std::string flagged = sealed("k", "p");
  flagged[7] = 1;
  EXPECT_EQ(open_envelope(flagged, "k", 3, 1, out), Verdict::foreign);
  EXPECT_EQ(open_envelope("hello", "k", 3, 1, out), Verdict::foreign);
  EXPECT_EQ(open_envelope("", "k", 3, 1, out), Verdict::foreign);
}

TEST(Envelope, OfNothingButAVersionIsATombstone) {
  Envelope in;
  in.flags = envelope_tombstone;
  in.version = 7;
  std::string bytes = sealed("k", "", in);
  Envelope out;
  EXPECT_EQ(open_envelope(bytes, "k", 3, 1, out), Verdict::tombstone);
  bytes[15] = 8;  // the scripts keep the newer of two versions in place
  EXPECT_EQ(open_envelope(bytes, "k", 3, 1, out), Verdict::tombstone);
  EXPECT_EQ(open_envelope(bytes, "k", 2, 9, out), Verdict::tombstone) << "absent to builds of any schema and codec";
  EXPECT_EQ(open_envelope(bytes + "x", "k", 3, 1, out), Verdict::foreign) << "a flag before a payload is none of ours";
  EXPECT_EQ(open_envelope(bytes.substr(0, 55), "k", 3, 1, out), Verdict::foreign);
}

TEST(Envelope, SurvivesRandomBytes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  for (int i = 0; i < 200'000; ++i) {
    std::string bytes(rng() % 100, '\0');
    for (char& c : bytes) c = static_cast<char>(rng());
    if (rng() % 2 == 0 && bytes.size() >= 4) bytes.replace(0, 4, std::string("TCE\x01", 4));
    Envelope out;
    ASSERT_NE(open_envelope(bytes, "k", 3, 1, out), Verdict::good);
  }
}

}  // namespace
}  // namespace tiercache::detail
