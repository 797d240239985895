// SPDX-License-Identifier: Apache-2.0
//
// Batches, expire, idle ttls, evict.
#include "fixture.hpp"

#include <array>

namespace tiercache::l1::test {
namespace {

struct Batch {
  std::vector<std::string_view> keys;
  std::vector<std::uint64_t> hashes;
  std::vector<Pin> out;
  std::size_t run(Typed<std::uint64_t>& t, std::uint32_t generation = 0) {
    hashes.assign(keys.size(), 0);
    out.clear();
    out.resize(keys.size());
    const std::size_t hits = t.table->find_many(t.view, keys, hashes.data(), generation, fake_now_ms, out.data());
    for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(hashes[i], t.hash(keys[i]));
    return hits;
  }
};

TEST(FindMany, AnswersAsFindDoesKeyByKey) {
  std::mt19937_64 random(test_seed());
  Typed<std::uint64_t> t(small_options());
  std::vector<std::string> names;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    names.push_back("key" + std::to_string(i));
    if (i % 3 != 0) t.put(names.back(), std::uint64_t{i});
  }
  for (unsigned round = 0; round < 2000; ++round) {
    Batch batch;
    std::vector<const Entry*> expected;
    std::size_t hits = 0;
    for (std::size_t n = random() % 70; n != 0; --n) {
      const bool again = !batch.keys.empty() && random() % 8 == 0;
      batch.keys.push_back(again ? batch.keys[random() % batch.keys.size()] : std::string_view(names[random() % names.size()]));
      // Alone, so with a pin to spare; of a longer batch the rest is empty.
      const Pin alone = t.find(batch.keys.back());
      expected.push_back(hits < pins_per_thread() ? alone.entry() : nullptr);
      if (expected.back() != nullptr) ++hits;
    }
    ASSERT_EQ(batch.run(t), hits);
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(batch.out[i].entry(), expected[i]) << i;
    ASSERT_EQ(pins_exhausted(), hits == pins_per_thread());
  }
  EXPECT_VALID(*t.table);
}

// Where the thread's pins do not suffice, it is the last keys that get none: also when an earlier one lies in another line than
// its home, and so is found later than those behind it.
TEST(FindMany, TheRestOfABatchIsLeftOutWherePinsRunOut) {
  std::mt19937_64 random(test_seed());
  Typed<std::uint64_t> t(small_options());
  std::vector<std::string> names;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    std::string name = "key" + std::to_string(i);
    if (t.put(name, std::uint64_t{i}) == PutStatus::stored) names.push_back(std::move(name));
  }
  std::erase_if(names, [&](const std::string& name) { return !t.find(name); });
  ASSERT_GE(names.size(), 1000U);
  for (unsigned round = 0; round < 2000; ++round) {
    Batch batch;
    for (unsigned n = 0; n < 2 * pins_per_thread(); ++n) batch.keys.push_back(names[random() % names.size()]);
    ASSERT_EQ(batch.run(t), pins_per_thread());
    for (unsigned i = 0; i < batch.out.size(); ++i) ASSERT_EQ(static_cast<bool>(batch.out[i]), i < pins_per_thread()) << i;
  }
  EXPECT_VALID(*t.table);
}

TEST(FindMany, LeavesOutWhatIsVoid) {
  Typed<std::uint64_t> t(small_options());
  EntryMeta expired, other;
  expired.hard_expiry_ms = fake_now_ms;
  other.generation = 3;
  t.put("expired", 1, expired);
  t.put("other", 2, other);
  t.put("here", 3);
  Batch batch;
  batch.keys = {"expired", "here", "other", "nobody", "here"};
  EXPECT_EQ(batch.run(t), 2U);
  EXPECT_FALSE(batch.out[0] || batch.out[2] || batch.out[3]);
  EXPECT_EQ(t.value(batch.out[1]), 3U);
  EXPECT_EQ(batch.out[1].entry(), batch.out[4].entry());
  batch.out.clear();
  batch.keys.clear();
  EXPECT_EQ(batch.run(t), 0U);
  EXPECT_VALID(*t.table);
}

TEST(Expire, SetsAnEarlierALaterOrNoExpiry) {
  Typed<std::uint64_t> t(small_options());
  EntryMeta meta;
  meta.hard_expiry_ms = fake_now_ms + 100;
  meta.soft_lead_ms = 7;
  meta.version = 11;
  ASSERT_EQ(t.put("k", 1, meta), PutStatus::stored);
  const auto expire = [&](std::int64_t at) { return t.table->expire(t.view, "k", t.hash("k"), 0, fake_now_ms, at); };
  const std::int64_t start = fake_now_ms;
  EXPECT_TRUE(expire(start + 50));
  EXPECT_EQ(t.find("k").entry()->hard_expiry_ms(), start + 50);
  EXPECT_TRUE(expire(start + 500));
  fake_now_ms = start + 499;
  {
    const Pin found = t.find("k");
    ASSERT_TRUE(found);
    EXPECT_EQ(found.entry()->soft_lead_ms(), 7U);
    EXPECT_EQ(found.entry()->version(), 11U);
    EXPECT_EQ(found.entry()->view(), t.view);
  }
  EXPECT_TRUE(expire(0));
  fake_now_ms = start + (std::int64_t{1} << 40);
  ASSERT_TRUE(t.find("k"));
  EXPECT_EQ(t.find("k").entry()->hard_expiry_ms(), 0);
  EXPECT_TRUE(expire(fake_now_ms));
  EXPECT_FALSE(expire(0)) << "an expired entry does not come back";
  EXPECT_FALSE(t.find("k"));
  EXPECT_VALID(*t.table);
}

TEST(Expire, KnowsOnlyWhatIsPresent) {
  Typed<std::uint64_t> t(small_options());
  const auto expire = [&](std::string_view key, std::uint32_t generation) {
    return t.table->expire(t.view, key, t.hash(key), generation, fake_now_ms, fake_now_ms + 10);
  };
  EXPECT_FALSE(expire("nobody", 0));
  EntryMeta meta;
  meta.generation = 5;
  t.put("k", 1, meta);
  EXPECT_FALSE(expire("k", 4));
  EXPECT_FALSE(expire("k", 6));
  EXPECT_EQ(t.find("k", 5).entry()->hard_expiry_ms(), 0);
  EXPECT_TRUE(expire("k", 5));
  meta.idle_ttl_ms = 100;
  t.put("idles", 1, meta);
  fake_now_ms += 1000;
  EXPECT_FALSE(expire("idles", 5));
  EXPECT_VALID(*t.table);
}

TEST(Evict, LeavesTicketsValidAndAnEraseDoesNot) {
  Typed<std::uint64_t> t(small_options());
  EXPECT_FALSE(t.table->evict(t.view, "k", t.hash("k")));
  t.put("k", 1);
  Ticket ticket = t.ticket("k");
  EXPECT_TRUE(t.table->evict(t.view, "k", t.hash("k")));
  EXPECT_FALSE(t.find("k"));
  EXPECT_FALSE(t.table->evict(t.view, "k", t.hash("k")));
  EXPECT_EQ(t.fill(ticket, "k", 2), PutStatus::stored);
  EXPECT_EQ(t.value(t.find("k")), 2U);
  ticket = t.ticket("k");
  EXPECT_TRUE(t.erase("k"));
  EXPECT_EQ(t.fill(ticket, "k", 3), PutStatus::fenced);
  EXPECT_EQ(t.table->stats().evictions, 1U);
  EXPECT_EQ(t.table->stats().invalidations, 1U);
  EXPECT_VALID(*t.table);
}

TEST(IdleWord, KeepsATtlToWithinTwoUnitsAndNeverLess) {
  std::mt19937_64 random(test_seed());
  constexpr std::int64_t longest = std::int64_t{49} * 24 * 3600 * 1000;
  for (unsigned n = 0; n < 200'000; ++n) {
    const std::int64_t ttl = 1 + static_cast<std::int64_t>(random() % (std::uint64_t{1} << (1 + random() % 32))) % longest;
    const std::int64_t now = static_cast<std::int64_t>(random() % (std::uint64_t{1} << 45));
    const std::uint32_t word = idle::make(ttl, now);
    ASSERT_NE(word, 0U);
    const std::int64_t unit = std::int64_t{1} << idle::shift(word);
    ASSERT_FALSE(idle::expired(word, now));
    ASSERT_FALSE(idle::expired(word, now + ttl - 1)) << ttl << " at " << now;
    ASSERT_FALSE(idle::expired(word, now + ttl)) << ttl << " at " << now;
    ASSERT_TRUE(idle::expired(word, now + ttl + 2 * unit)) << ttl << " at " << now;
    ASSERT_TRUE(2 * unit <= 128 || 2 * unit <= ttl / 500 + 1) << ttl;
    // It stays so for long, until the last use wraps.
    ASSERT_TRUE(idle::expired(word, now + 2 * ttl + 2 * unit));
    // A use anew.
    const std::int64_t later = now + ttl / 2;
    const std::uint32_t touched = idle::touched(word, later);
    ASSERT_FALSE(idle::expired(touched, later + ttl)) << ttl;
    ASSERT_TRUE(idle::expired(touched, later + ttl + 2 * unit)) << ttl;
    ASSERT_EQ(idle::touched(touched, later), touched);
  }
  EXPECT_EQ(idle::make(0, 5), 0U);
  EXPECT_EQ(idle::make(-1, 5), 0U);
}

TEST(IdleWord, TakesTheLongestForWhatIsLonger) {
  constexpr std::int64_t day = std::int64_t{24} * 3600 * 1000;
  const std::uint32_t word = idle::make(std::int64_t{1} << 47, 0);
  EXPECT_FALSE(idle::expired(word, 49 * day));
  EXPECT_TRUE(idle::expired(word, 51 * day));
}

TEST(IdleTtl, AnEntryThatIsNotReadGoesAndAHitPushesItOut) {
  Typed<std::uint64_t> t(small_options());
  EntryMeta meta;
  meta.idle_ttl_ms = 10'000;
  t.put("read", 1, meta);
  t.put("unread", 2, meta);
  t.put("plain", 3);
  for (int n = 0; n < 20; ++n) {
    fake_now_ms += 5000;
    // However often it is hit it never counts as so hot that a hit need not look.
    for (int hit = 0; hit < 5; ++hit) ASSERT_TRUE(t.find("read")) << n;
    if (n == 1) {
      EXPECT_TRUE(t.table->visit(t.view, "read", t.hash("read"), 0, fake_now_ms, [](const void*, const Entry&) {}));
    }
    if (n == 2) {
      EXPECT_FALSE(t.find("unread"));
    }
  }
  EXPECT_EQ(t.table->stats().expirations, 1U);
  fake_now_ms += 10'000;
  EXPECT_TRUE(t.find("read")) << "never less than asked";
  fake_now_ms += 10'000 + 128;
  EXPECT_FALSE(t.find("read"));
  EXPECT_TRUE(t.find("plain"));
  EXPECT_VALID(*t.table);
}

TEST(IdleTtl, IsKeptByAnEntryThatReplacesAHotOneWithout) {
  Typed<std::uint64_t> t(small_options());
  t.put("k", 1);
  for (int hit = 0; hit < 10; ++hit) ASSERT_TRUE(t.find("k"));
  EntryMeta meta;
  meta.idle_ttl_ms = 1000;
  t.put("k", 2, meta);
  EXPECT_TRUE(t.find("k"));
  fake_now_ms += 2000;
  EXPECT_FALSE(t.find("k"));
  t.put("k", 3);
  fake_now_ms += 2000;
  EXPECT_TRUE(t.find("k"));
  EXPECT_VALID(*t.table);
}

TEST(IdleTtl, AHardExpiryHoldsBesides) {
  Typed<std::uint64_t> t(small_options());
  EntryMeta meta;
  meta.idle_ttl_ms = 1000;
  meta.hard_expiry_ms = fake_now_ms + 3000;
  t.put("k", 1, meta);
  for (int n = 0; n < 5; ++n, fake_now_ms += 500) ASSERT_TRUE(t.find("k"));
  fake_now_ms += 499;
  ASSERT_TRUE(t.find("k"));
  fake_now_ms += 1;
  EXPECT_FALSE(t.find("k"));
}

TEST(IdleTtl, WhatIdledTooLongMakesRoomUnasked) {
  Options o = small_options(64 << 10);
  Typed<std::array<char, 100>> t(o);
  EntryMeta meta;
  meta.idle_ttl_ms = 1000;
  for (int i = 0; i < 20; ++i) t.put("idle" + std::to_string(i), {}, meta);
  fake_now_ms += 5000;
  for (int i = 0; i < 2000; ++i) t.put("new" + std::to_string(i), {});
  EXPECT_EQ(t.table->stats().expirations, 20U);
  EXPECT_VALID(*t.table);
}

}  // namespace
}  // namespace tiercache::l1::test
