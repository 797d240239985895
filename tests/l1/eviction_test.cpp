// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <tiercache/l1/cache.hpp>

#include "sketch.hpp"

namespace tiercache::l1::test {
namespace {

using namespace std::chrono_literals;

std::uint32_t identity(std::uint64_t key) { return static_cast<std::uint32_t>(mix64(key) >> 32); }

TEST(Sketch, CountsToFifteenAndForgetsHalf) {
  Sketch s;
  std::atomic<std::uint64_t> additions{0};
  ASSERT_TRUE(s.create(1000));
  EXPECT_EQ(s.estimate(identity(1)), 0U);
  for (unsigned n = 1; n <= 30; ++n) {
    s.add(identity(1), additions);
    EXPECT_EQ(s.estimate(identity(1)), std::min(n, 15U));
  }
  // Ten additions an expected entry later everything was halved at least once.
  for (std::uint64_t i = 0; i < 20000; ++i) s.add(identity(1000 + i), additions);
  EXPECT_LT(s.estimate(identity(1)), 15U);
}

TEST(Sketch, TellsFrequentKeysFromRareOnes) {
  Sketch s;
  std::atomic<std::uint64_t> additions{0};
  ASSERT_TRUE(s.create(4096));
  for (unsigned n = 0; n < 8; ++n) {
    for (std::uint64_t i = 0; i < 200; ++i) s.add(identity(i), additions);
  }
  for (std::uint64_t i = 1000; i < 3000; ++i) s.add(identity(i), additions);
  unsigned wrong = 0;
  for (std::uint64_t i = 0; i < 200; ++i) wrong += s.estimate(identity(i)) > s.estimate(identity(i + 1000)) ? 0U : 1U;
  EXPECT_LE(wrong, 4U);
}

TEST(Admission, AOneTimeScanDoesNotWashOutWhatIsUsed) {
  Typed<std::uint64_t> t(small_options(256 << 10));
  const auto read = [&](const std::string& key) {
    if (t.find(key)) return true;
    t.table->count_miss(t.hash(key));
    t.fill(t.ticket(key), key, 1);
    return false;
  };
  for (int n = 0; n < 5; ++n) {
    for (int i = 0; i < 1000; ++i) read("hot" + std::to_string(i));
  }
  for (int i = 0; i < 20000; ++i) {
    read("scan" + std::to_string(i));
    if (i % 4 == 0) read("hot" + std::to_string(i / 4 % 1000));
  }
  unsigned kept = 0;
  for (int i = 0; i < 1000; ++i) kept += t.find("hot" + std::to_string(i)) ? 1U : 0U;
  EXPECT_GE(kept, 900U);
  EXPECT_GT(t.table->stats().evictions + t.table->stats().not_promoted, 15000U);
  EXPECT_VALID(*t.table);
}

TEST(Admission, AKeyThatComesBackSoonAfterItLeftIsKeptThroughAScan) {
  Options o = small_options(256 << 10);
  o.capacity_objects = 1000;
  Typed<std::uint64_t> t(o);
  const auto read = [&](const std::string& key) {
    if (t.find(key)) return true;
    t.table->count_miss(t.hash(key));
    t.fill(t.ticket(key), key, 1);
    return false;
  };
  for (int i = 0; i < 5000; ++i) read("old" + std::to_string(i));
  // Often asked for, at distances that the small queue does not bridge.
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 100; ++i) read("back" + std::to_string(i));
    for (int i = 0; i < 400; ++i) read("scan" + std::to_string(round * 400 + i));
  }
  unsigned kept = 0;
  for (int i = 0; i < 100; ++i) kept += t.find("back" + std::to_string(i)) ? 1U : 0U;
  EXPECT_GE(kept, 90U);
  EXPECT_GT(t.table->stats().promoted, 90U);
  EXPECT_VALID(*t.table);
}

TEST(Admission, AValueSoLargeThatManyWouldHaveToGoMustBeAskedForMoreOftenThanThey) {
  Options o = small_options(1 << 20);
  o.expected_entry_bytes = 64;
  Typed<std::string> t(o);
  for (int i = 0; i < 20000; ++i) {
    const std::string key = "k" + std::to_string(i);
    t.table->count_miss(t.hash(key));
    t.fill(t.ticket(key), key, "v");
  }
  const std::uint64_t entries = t.table->stats().entries;
  EXPECT_EQ(t.fill(t.ticket("large"), "large", std::string(100000, 'x')), PutStatus::not_hot);
  EXPECT_GE(t.table->stats().entries + 3, entries);
  EXPECT_EQ(t.table->stats().not_promoted, 1U);
  for (int i = 0; i < 8; ++i) t.table->count_miss(t.hash("large"));
  EXPECT_EQ(t.fill(t.ticket("large"), "large", std::string(100000, 'x')), PutStatus::stored);
  EXPECT_EQ(t.put("larger", std::string(110000, 'x')), PutStatus::stored) << "a put need not earn its place";
  EXPECT_VALID(*t.table);
}

TEST(Admission, WhatAThreadAskedForAndHasNotCountedYetCountsForItsNextFill) {
  Options o = small_options(8 << 20);  // so large that sixteen askings may wait
  o.expected_entry_bytes = 64;
  Typed<std::string> t(o);
  for (int i = 0; i < 160000; ++i) {
    const std::string key = "k" + std::to_string(i);
    t.table->count_miss(t.hash(key));
    t.fill(t.ticket(key), key, "v");
  }
  ASSERT_GT(t.table->stats().evictions + t.table->stats().not_promoted, 0U) << "it is not full";
  EXPECT_EQ(t.fill(t.ticket("large"), "large", std::string(800000, 'x')), PutStatus::not_hot);
  for (int i = 0; i < 12; ++i) t.table->count_miss(t.hash("large"));
  EXPECT_EQ(t.fill(t.ticket("large"), "large", std::string(800000, 'x')), PutStatus::stored);
  for (int i = 0; i < 17; ++i) t.table->count_miss(t.hash("larger"));  // one more than may wait
  EXPECT_EQ(t.fill(t.ticket("larger"), "larger", std::string(800000, 'x')), PutStatus::stored);
  EXPECT_VALID(*t.table);
}

TEST(Admission, APresentKeyIsRefreshedWithoutATest) {
  Typed<std::uint64_t> t(small_options(64 << 10));
  for (int i = 0; i < 5000; ++i) {
    t.put("k" + std::to_string(i), 1);
  }
  ASSERT_TRUE(t.find("k4999"));
  for (int i = 0; i < 200; ++i) ASSERT_EQ(t.fill(t.ticket("k4999"), "k4999", 2), PutStatus::stored) << i;
  EXPECT_VALID(*t.table);
}

TEST(Eviction, KeepsWhatIsUsedBetweenTheHandsRounds) {
  Typed<std::uint64_t> t(small_options(128 << 10));
  for (int i = 0; i < 200; ++i) t.put("used" + std::to_string(i), 1);
  for (int i = 0; i < 20000; ++i) {
    t.put("stream" + std::to_string(i), 1);
    for (int n = 0; n < 4; ++n) static_cast<void>(t.find("used" + std::to_string((i * 4 + n) % 200)));
  }
  unsigned kept = 0;
  for (int i = 0; i < 200; ++i) kept += t.find("used" + std::to_string(i)) ? 1U : 0U;
  EXPECT_GE(kept, 180U);
  EXPECT_VALID(*t.table);
}

TEST(Eviction, WhatACacheThatFillsUpSeesDoesNotChooseTheWindow) {
  Options options = small_options(4 << 20);
  options.capacity_objects = 3000;
  Typed<std::uint64_t> t(options);
  const double before = t.table->stats().small_queue_share;
  // Each key is asked for again at once and never more: the longer the small queue of a cache of four, the more it hits.
  const auto ask = [&t](int key) {
    const std::string name = std::to_string(key);
    if (t.find(name)) return;
    t.table->count_miss(t.hash(name));
    t.fill(t.ticket(name), name, 1);
  };
  // Fewer than fit: with 2,900 one process in 200 has a bucket that is full before the cache is.
  for (int i = 2; i < 2000; ++i) {
    ask(i);
    ask(i - 2);
  }
  EXPECT_EQ(t.table->stats().evictions, 0U);
  EXPECT_EQ(t.table->stats().small_queue_share, before);
}

TEST(Eviction, ExpiredEntriesGoFirst) {
  Typed<std::uint64_t> t(small_options(128 << 10));
  EntryMeta brief;
  brief.hard_expiry_ms = fake_now_ms + 10;
  for (int i = 0; i < 600; ++i) t.put("brief" + std::to_string(i), 1, brief);
  for (int i = 0; i < 600; ++i) t.put("lasting" + std::to_string(i), 1);
  const std::uint64_t evicted = t.table->stats().evictions;
  fake_now_ms += 10;
  for (int i = 0; i < 400; ++i) ASSERT_EQ(t.put("n" + std::to_string(i), 1), PutStatus::stored);
  EXPECT_GT(t.table->stats().expirations, 100U);
  EXPECT_LE(t.table->stats().evictions - evicted, 8U);
  EXPECT_VALID(*t.table);
}

CacheOptions cache_options(std::uint64_t capacity = 1 << 20) {
  CacheOptions o;
  o.table = small_options(capacity);
  return o;
}

TEST(CacheAlone, PutGetVisitErase) {
  auto cache = Cache<std::string>::create(cache_options()).value();
  EXPECT_FALSE(cache->get("k"));
  EXPECT_EQ(cache->put("k", "v"), PutStatus::stored);
  EXPECT_EQ(*cache->get("k"), "v");
  EXPECT_EQ(cache->get("k")->size(), 1U);
  EXPECT_TRUE(cache->visit("k", [](const std::string& v) { EXPECT_EQ(v, "v"); }));
  EXPECT_TRUE(cache->erase("k"));
  EXPECT_FALSE(cache->visit("k", [](const std::string&) { FAIL(); }));
  EXPECT_VALID(*cache);
}

TEST(CacheAlone, ClearVoidsEverythingAtOnceAndTheMemoryComesBack) {
  auto cache = Cache<std::uint64_t>::create(cache_options(128 << 10)).value();
  for (std::uint64_t i = 0; i < 1000; ++i) cache->put(std::to_string(i), i);
  auto held = cache->get("999");
  cache->clear();
  for (std::uint64_t i = 0; i < 1000; i += 10) EXPECT_FALSE(cache->get(std::to_string(i)));
  EXPECT_EQ(*held, 999U);
  const std::uint64_t evicted = cache->stats().evictions;
  for (std::uint64_t i = 0; i < 800; ++i) ASSERT_EQ(cache->put("new" + std::to_string(i), i), PutStatus::stored);
  EXPECT_GT(cache->stats().expirations, 300U);
  EXPECT_LE(cache->stats().evictions - evicted, 40U);
  held = {};
  EXPECT_VALID(*cache);
}

TEST(CacheAlone, JitterOnlyEverShortensATtl) {
  auto cache = Cache<int>::create(cache_options()).value();
  for (int i = 0; i < 500; ++i) cache->put(std::to_string(i), i, 1000ms);
  fake_now_ms += 899;
  unsigned alive = 0;
  for (int i = 0; i < 500; ++i) alive += cache->get(std::to_string(i)) ? 1U : 0U;
  EXPECT_EQ(alive, 500U);
  fake_now_ms += 51;
  alive = 0;
  for (int i = 0; i < 500; ++i) alive += cache->get(std::to_string(i)) ? 1U : 0U;
  EXPECT_GT(alive, 150U);
  EXPECT_LT(alive, 350U);
  fake_now_ms += 50;
  for (int i = 0; i < 500; ++i) EXPECT_FALSE(cache->get(std::to_string(i)));
  EXPECT_VALID(*cache);
}

TEST(CacheAlone, PastThePinsAHandleIsACopy) {
  auto cache = Cache<std::string>::create(cache_options()).value();
  cache->put("k", "value");
  std::vector<Handle<std::string>> handles;
  for (unsigned i = 0; i < pins_per_thread() + 5; ++i) handles.push_back(cache->get("k"));
  const std::string* first = handles.front().get();
  EXPECT_NE(handles.back().get(), first);
  for (auto& handle : handles) EXPECT_EQ(*handle, "value");
  cache.reset();
  for (auto& handle : handles) EXPECT_EQ(*handle, "value") << "handles outlive the cache";
}

}  // namespace
}  // namespace tiercache::l1::test
