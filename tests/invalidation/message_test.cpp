// SPDX-License-Identifier: Apache-2.0
#include <tiercache/invalidation/message.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace tiercache::invalidation {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const Head some_head{Kind::invalidate, 7, 0x1122334455667788, 9, 0xa1b2c3d4e5f60718, 42};

std::string invalidate_of(std::vector<Item> items) { return encode(some_head, items); }

std::vector<std::pair<std::string, std::string>> corpus() {
  std::vector<std::pair<std::string, std::string>> files;
  for (const auto& entry : std::filesystem::directory_iterator(TIERCACHE_MESSAGE_CORPUS)) {
    std::ifstream in(entry.path(), std::ios::binary);
    files.emplace_back(entry.path().filename().string(), std::string(std::istreambuf_iterator<char>(in), {}));
  }
  return files;
}

TEST(Message, BytesAreTheOnesOfTheFrozenTable) {
  const std::vector<Item> items{{"ab", 0x0102030405060708}};
  const std::string expected(
      "TCB\x01\x01\x00\x00\x07"
      "\x11\x22\x33\x44\x55\x66\x77\x88"
      "\x00\x00\x00\x00\x00\x00\x00\x09"
      "\xa1\xb2\xc3\xd4\xe5\xf6\x07\x18"
      "\x00\x00\x00\x00\x00\x00\x00\x2a"
      "\x00\x01"
      "\x00\x02\x01\x02\x03\x04\x05\x06\x07\x08"
      "ab",
      54);
  EXPECT_EQ(encode(some_head, items), expected);
}

TEST(Message, EveryFieldComesBackAsItWasWritten) {
  const std::vector<Item> items{{"dev:users:user:1", 0}, {"dev:users:user:2", 5}};
  const std::string bytes = encode(some_head, items);
  const Parsed parsed = parse(bytes);
  ASSERT_EQ(parsed.status, ParseStatus::ok) << parsed.problem;
  EXPECT_EQ(parsed.head.kind, Kind::invalidate);
  EXPECT_EQ(parsed.head.shard, 7);
  EXPECT_EQ(parsed.head.epoch, some_head.epoch);
  EXPECT_EQ(parsed.head.sequence, 9U);
  EXPECT_EQ(parsed.head.origin, some_head.origin);
  EXPECT_EQ(parsed.head.number, 42U);
  EXPECT_EQ(parsed.items.size(), 2);
  EXPECT_EQ(std::vector<Item>(parsed.items.begin(), parsed.items.end()), items);
}

TEST(Message, CorpusFilesParseAsTheirNamesSay) {
  const auto files = corpus();
  ASSERT_GE(files.size(), 31U);
  for (const auto& [name, bytes] : files) {
    const Parsed parsed = parse(bytes);
    const ParseStatus expected = name.starts_with("bad_")   ? ParseStatus::malformed
                                 : name.starts_with("new_") ? ParseStatus::unsupported
                                                            : ParseStatus::ok;
    EXPECT_EQ(parsed.status, expected) << name << ": " << parsed.problem;
    EXPECT_EQ(parsed.problem.empty(), expected == ParseStatus::ok) << name;
    if (parsed.status == ParseStatus::ok) {
      EXPECT_EQ(encode(parsed), bytes) << name;
    }
  }
}

TEST(Message, EveryProperPrefixIsMalformed) {
  const std::string bytes = invalidate_of({{"dev:users:user:1", 0}, {"dev:users:user:2", 5}});
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(parse(std::string_view(bytes).substr(0, n)).status, ParseStatus::malformed) << n;
  }
}

TEST(Message, AnythingAfterTheLastItemIsRefused) {
  EXPECT_THAT(std::string(parse(invalidate_of({{"k", 0}}) + "x").problem), StartsWith("count"));
  EXPECT_THAT(std::string(parse(encode(Head{}, {}) + "x").problem), StartsWith("count"));
}

TEST(Message, ItemsOfTheWrongNumberAreRefused) {
  Head head = some_head;
  const std::vector<Item> one{{"k", 0}};
  EXPECT_THAT(std::string(parse(encode(head, {})).problem), StartsWith("count"));
  EXPECT_EQ(parse(invalidate_of(std::vector<Item>(1024, one[0]))).status, ParseStatus::ok);
  EXPECT_THAT(std::string(parse(invalidate_of(std::vector<Item>(1025, one[0]))).problem), StartsWith("count"));
  head.kind = Kind::heartbeat;
  EXPECT_THAT(std::string(parse(encode(head, one)).problem), StartsWith("count"));
  head.kind = Kind::clear;
  EXPECT_EQ(parse(encode(head, one)).status, ParseStatus::ok);
  EXPECT_THAT(std::string(parse(encode(head, {})).problem), StartsWith("count"));
  EXPECT_THAT(std::string(parse(encode(head, std::vector<Item>(2, one[0]))).problem), StartsWith("count"));
}

TEST(Message, LengthsAreBounded) {
  EXPECT_EQ(parse(invalidate_of({{std::string(2048, 'k'), 0}})).status, ParseStatus::ok);
  EXPECT_THAT(std::string(parse(invalidate_of({{std::string(2049, 'k'), 0}})).problem), StartsWith("item length"));
  EXPECT_THAT(std::string(parse(invalidate_of({{"", 0}})).problem), StartsWith("item length"));
  const std::string longest(2048, 'k');
  EXPECT_EQ(parse(invalidate_of(std::vector<Item>(509, Item{longest, 0}))).status, ParseStatus::ok);
  EXPECT_THAT(std::string(parse(invalidate_of(std::vector<Item>(510, Item{longest, 0}))).problem), HasSubstr("1 MiB"));
  Head clear = some_head;
  clear.kind = Kind::clear;
  EXPECT_EQ(parse(encode(clear, std::vector<Item>{{std::string(64, 'v'), 0}})).status, ParseStatus::ok);
  EXPECT_THAT(std::string(parse(encode(clear, std::vector<Item>{{std::string(65, 'v'), 0}})).problem), StartsWith("item length"));
}

TEST(Message, ForbiddenBytesInNamesAreRefused) {
  for (int c = 0; c < 256; ++c) {
    const std::string name(1, static_cast<char>(c));
    const bool good_key = c > 0x20 && c != 0x7f;
    EXPECT_EQ(parse(invalidate_of({{name, 0}})).status == ParseStatus::ok, good_key) << c;
    Head clear = some_head;
    clear.kind = Kind::clear;
    const bool good_name = c < 128 && (std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-');
    EXPECT_EQ(parse(encode(clear, std::vector<Item>{{name, 0}})).status == ParseStatus::ok, good_name) << c;
  }
}

TEST(Message, AVersionInAClearIsRefused) {
  Head clear = some_head;
  clear.kind = Kind::clear;
  EXPECT_THAT(std::string(parse(encode(clear, std::vector<Item>{{"user", 1}})).problem), StartsWith("item version"));
}

TEST(Message, AWakeNamesKeysAndHasNeitherNumberNorVersions) {
  Head wake = some_head;
  wake.kind = Kind::wake;
  wake.sequence = 0;
  const std::vector<Item> keys{{"dev:users:user:1", 0}, {"dev:users:user:2", 0}};
  const std::string bytes = encode(wake, keys);
  const Parsed parsed = parse(bytes);
  ASSERT_EQ(parsed.status, ParseStatus::ok) << parsed.problem;
  EXPECT_EQ(std::vector<Item>(parsed.items.begin(), parsed.items.end()), keys);
  EXPECT_EQ(parse(encode(wake, std::vector<Item>(1024, keys[0]))).status, ParseStatus::ok);
  EXPECT_THAT(std::string(parse(encode(wake, std::vector<Item>(1025, keys[0]))).problem), StartsWith("count"));
  EXPECT_THAT(std::string(parse(encode(wake, {})).problem), StartsWith("count"));
  EXPECT_THAT(std::string(parse(encode(wake, std::vector<Item>{{"k", 1}})).problem), StartsWith("item version"));
  wake.sequence = 1;
  EXPECT_THAT(std::string(parse(encode(wake, keys)).problem), StartsWith("sequence"));
}

TEST(Message, AClearOfEveryViewHasNoItemsAndMayAskForHaste) {
  Head head = some_head;
  head.kind = Kind::clear_all;
  head.hurry = true;
  const Parsed parsed = parse(encode(head, {}));
  ASSERT_EQ(parsed.status, ParseStatus::ok) << parsed.problem;
  EXPECT_EQ(parsed.head.kind, Kind::clear_all);
  EXPECT_TRUE(parsed.head.hurry);
  EXPECT_EQ(encode(parsed), encode(head, {}));
  EXPECT_THAT(std::string(parse(encode(head, std::vector<Item>{{"user", 0}})).problem), StartsWith("count"));
}

TEST(Message, ASequenceThatIncrCannotGiveIsRefused) {
  Head head = some_head;
  head.sequence = sequence_max;
  EXPECT_EQ(parse(encode(head, std::vector<Item>{{"k", 0}})).status, ParseStatus::ok);
  head.sequence = sequence_max + 1;
  EXPECT_THAT(std::string(parse(encode(head, std::vector<Item>{{"k", 0}})).problem), StartsWith("sequence"));
}

TEST(Message, ANewerReleaseIsToldFromNoise) {
  for (const auto& [at, field] : {std::pair{3, "format"}, std::pair{4, "kind"}, std::pair{5, "flags"}}) {
    std::string bytes = invalidate_of({{"k", 0}});
    bytes[static_cast<std::size_t>(at)] = '\x7f';
    const Parsed parsed = parse(bytes);
    EXPECT_EQ(parsed.status, ParseStatus::unsupported);
    EXPECT_THAT(std::string(parsed.problem), StartsWith(field));
  }
}

/// Mutations of good messages, each checked as the fuzz target checks. The copy has its exact size on the heap, so that the
/// address sanitizer sees a read beyond it.
TEST(Message, RandomMutationsNeverBreakTheParser) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::vector<std::string> bases;
  for (auto& [name, bytes] : corpus()) {
    if (bytes.size() < 4096) bases.push_back(bytes);
  }
  std::size_t taken = 0;
  constexpr std::size_t rounds = 400'000;
  for (std::size_t i = 0; i < rounds; ++i) {
    std::string bytes = bases[random() % bases.size()];
    for (std::uint64_t n = random() % 4; n > 0 && !bytes.empty(); --n) {
      const std::size_t at = random() % bytes.size();
      switch (random() % 5) {
        case 0: bytes[at] = static_cast<char>(random()); break;
        case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8)); break;
        case 2: bytes.erase(at, 1 + random() % 3); break;
        case 3: bytes.insert(at, 1, static_cast<char>(random())); break;
        default: bytes.resize(at); break;
      }
    }
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const Parsed parsed = parse(std::string_view(exact.data(), exact.size()));
    if (parsed.status == ParseStatus::ok) {
      ++taken;
      ASSERT_EQ(encode(parsed), bytes);
    } else {
      ASSERT_FALSE(parsed.problem.empty());
    }
  }
  EXPECT_GT(taken, rounds / 20);
  EXPECT_LT(taken, rounds);
}

}  // namespace
}  // namespace tiercache::invalidation
