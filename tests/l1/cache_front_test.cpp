// SPDX-License-Identifier: Apache-2.0
//
// The typed front of L1 alone.
#include "fixture.hpp"

#include <tiercache/l1/cache.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <numeric>
#include <thread>

namespace tiercache::l1::test {
namespace {

using namespace std::chrono_literals;

CacheOptions front_options(std::uint64_t capacity = 1 << 20) {
  CacheOptions o;
  o.table.capacity_bytes = capacity;
  o.table.expected_entry_bytes = 96;
  o.table.now_ms = &fake_now;
  o.ttl_jitter = 0;
  return o;
}

template <class V>
std::unique_ptr<Cache<V>> make(const CacheOptions& options = front_options()) {
  auto made = Cache<V>::create(options);
  EXPECT_TRUE(made) << made.error().message;
  return std::move(*made);
}

std::string name_of(int i) { return "key:" + std::to_string(i); }

TEST(CacheFront, CopyOutlivesTheCacheAndTakesNoPin) {
  auto cache = make<std::string>();
  ASSERT_EQ(cache->put("a", "long enough to lie on the heap, surely"), PutStatus::stored);
  std::vector<Handle<std::string>> pins;
  while (!pins_exhausted()) pins.push_back(cache->get("a"));
  const std::optional<std::string> copy = cache->get_copy("a");
  EXPECT_FALSE(cache->get_copy("b"));
  pins.clear();
  EXPECT_TRUE(cache->validate());
  cache.reset();
  EXPECT_EQ(copy, "long enough to lie on the heap, surely");
}

TEST(CacheFront, ConditionalPutsStoreOnlyWhereTheyMatch) {
  auto cache = make<int>();
  EXPECT_EQ(cache->replace("k", 1), PutStatus::unmatched);
  EXPECT_FALSE(cache->get("k"));
  EXPECT_EQ(cache->put_if_absent("k", 2), PutStatus::stored);
  EXPECT_EQ(cache->put_if_absent("k", 3), PutStatus::unmatched);
  EXPECT_EQ(cache->get_copy("k"), 2);
  EXPECT_EQ(cache->replace("k", 4), PutStatus::stored);
  EXPECT_EQ(cache->get_copy("k"), 4);
}

TEST(CacheFront, ClearedAndExpiredKeysAreAbsentForConditionalPuts) {
  auto cache = make<int>();
  ASSERT_EQ(cache->put("cleared", 1), PutStatus::stored);
  cache->clear();
  EXPECT_EQ(cache->replace("cleared", 2), PutStatus::unmatched);
  EXPECT_EQ(cache->put_if_absent("cleared", 3), PutStatus::stored);
  ASSERT_EQ(cache->put("expired", 1, 100ms), PutStatus::stored);
  fake_now_ms += 100;
  EXPECT_EQ(cache->replace("expired", 2), PutStatus::unmatched);
  EXPECT_EQ(cache->put_if_absent("expired", 3), PutStatus::stored);
}

TEST(CacheFront, SwapNeedsTheVeryValueThatTheHandleHolds) {
  auto cache = make<int>();
  ASSERT_EQ(cache->put("k", 1), PutStatus::stored);
  const Handle<int> held = cache->get("k");
  EXPECT_EQ(cache->compare_and_swap(held, 2), PutStatus::stored);
  EXPECT_EQ(*held, 1) << "the handle keeps what it had";
  EXPECT_EQ(cache->compare_and_swap(held, 3), PutStatus::unmatched);
  EXPECT_EQ(cache->get_copy("k"), 2);
  ASSERT_EQ(cache->put("k", 1), PutStatus::stored);
  EXPECT_EQ(cache->compare_and_swap(held, 3), PutStatus::unmatched) << "an equal value is another one";
  EXPECT_EQ(cache->compare_and_swap(Handle<int>(), 3), PutStatus::unmatched);
}

TEST(CacheFront, SwapsOfSeveralThreadsLoseNoUpdate) {
  auto cache = make<std::uint64_t>();
  ASSERT_EQ(cache->put("sum", 0), PutStatus::stored);
  constexpr int rounds = 5'000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < rounds;) {
        const Handle<std::uint64_t> held = cache->get("sum");
        ASSERT_TRUE(held);
        if (cache->compare_and_swap(held, *held + 1) == PutStatus::stored) ++i;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(cache->get_copy("sum"), 3U * rounds);
  EXPECT_TRUE(cache->validate());
}

TEST(CacheFront, ACopiedHandleSwapsNothing) {
  auto cache = make<int>();
  ASSERT_EQ(cache->put("k", 1), PutStatus::stored);
  std::vector<Handle<int>> pins;
  while (!pins_exhausted()) pins.push_back(cache->get("k"));
  const Handle<int> copy = cache->get("k");
  ASSERT_TRUE(copy);
  EXPECT_FALSE(copy.pinned());
  EXPECT_EQ(cache->compare_and_swap(copy, 2), PutStatus::unmatched);
}

TEST(CacheFront, ManyAnswersInOrderAndBeyondTheThreadsPins) {
  auto cache = make<std::string>();
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) {
    names.push_back(name_of(i));
    if (i % 3 != 0) {
      ASSERT_EQ(cache->put(names.back(), "value " + std::to_string(i)), PutStatus::stored);
    }
  }
  const std::vector<std::string_view> keys(names.begin(), names.end());
  for (const std::size_t held : {std::size_t{0}, std::size_t{5}, std::size_t{pins_per_thread()}}) {
    std::vector<Handle<std::string>> before;
    for (std::size_t i = 0; i < held; ++i) before.push_back(cache->get(names[1]));
    const auto handles = cache->get_many(keys);
    ASSERT_EQ(handles.size(), keys.size());
    unsigned pinned = 0;
    for (int i = 0; i < 100; ++i) {
      const auto& h = handles[static_cast<std::size_t>(i)];
      ASSERT_EQ(static_cast<bool>(h), i % 3 != 0) << i << " with " << held << " pins held";
      if (h) {
        EXPECT_EQ(*h, "value " + std::to_string(i));
      }
      pinned += h.pinned() ? 1 : 0;
    }
    EXPECT_LE(pinned, pins_per_thread() / 2);
    EXPECT_EQ(pinned == 0, held == pins_per_thread());
  }
  EXPECT_TRUE(cache->get_many({}).empty());
}

TEST(CacheFront, ManyOfWhatCannotBeCopiedArePinnedAsFarAsPinsGo) {
  auto cache = make<std::unique_ptr<int>>();
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i) {
    names.push_back(name_of(i));
    ASSERT_EQ(cache->put(names.back(), std::make_unique<int>(i)), PutStatus::stored);
  }
  const std::vector<std::string_view> keys(names.begin(), names.end());
  const auto handles = cache->get_many(keys);
  for (std::size_t i = 0; i < handles.size(); ++i) {
    ASSERT_EQ(static_cast<bool>(handles[i]), i < pins_per_thread()) << i;
    if (handles[i]) {
      EXPECT_EQ(**handles[i], static_cast<int>(i));
    }
  }
}

TEST(CacheFront, IdleValuesGoAndReadOnesStay) {
  CacheOptions o = front_options();
  o.idle_ttl = 10s;
  auto cache = make<int>(o);
  ASSERT_EQ(cache->put("read", 1), PutStatus::stored);
  ASSERT_EQ(cache->put("idle", 2), PutStatus::stored);
  ASSERT_EQ(cache->put("own", 3, 0ms, 60s), PutStatus::stored);
  ASSERT_EQ(cache->put("never", 4, 0ms, 0ms), PutStatus::stored);
  ASSERT_EQ(cache->put("hard", 5, 15s), PutStatus::stored);
  for (int i = 0; i < 4; ++i) {
    fake_now_ms += 5'000;
    EXPECT_TRUE(cache->get("read")) << i;
    EXPECT_EQ(static_cast<bool>(cache->get("hard")), i < 2) << "reads do not push the hard ttl out";
  }
  EXPECT_FALSE(cache->get("idle"));
  EXPECT_TRUE(cache->get("own"));
  fake_now_ms += 200'000;
  EXPECT_FALSE(cache->get("own"));
  EXPECT_FALSE(cache->get("read"));
  EXPECT_TRUE(cache->get("never"));
}

TEST(CacheFront, ExpireGivesAnotherTtlToWhatIsThere) {
  auto cache = make<int>();
  EXPECT_FALSE(cache->expire("k", 1s));
  ASSERT_EQ(cache->put("k", 1, 1s), PutStatus::stored);
  EXPECT_TRUE(cache->expire("k", 10s));
  fake_now_ms += 9'999;
  EXPECT_TRUE(cache->get("k"));
  EXPECT_TRUE(cache->expire("k", 0ms));
  fake_now_ms += 1'000'000;
  EXPECT_TRUE(cache->get("k"));
  EXPECT_TRUE(cache->expire("k", -1ms));
  EXPECT_FALSE(cache->get("k"));
}

TEST(CacheFront, EvictRemovesOnce) {
  auto cache = make<int>();
  ASSERT_EQ(cache->put("k", 1), PutStatus::stored);
  EXPECT_TRUE(cache->evict("k"));
  EXPECT_FALSE(cache->evict("k"));
  EXPECT_FALSE(cache->get("k"));
  EXPECT_EQ(cache->stats().invalidations, 0U);
}

TEST(CacheFront, ResizeShrinksAtOnceAndGrowsUpToItsBound) {
  CacheOptions o = front_options(1 << 20);
  o.table.resize_max_bytes = 2 << 20;
  o.table.expected_entry_bytes = 224;
  auto cache = make<std::array<char, 160>>(o);
  const auto fill = [&] {
    for (int i = 0; i < 40'000; ++i) static_cast<void>(cache->put(name_of(i), {}));
    return cache->stats().used_bytes;
  };
  EXPECT_GT(fill(), 900U << 10);
  ASSERT_TRUE(cache->resize(800 << 10));
  EXPECT_LE(cache->stats().used_bytes, 800U << 10);
  EXPECT_LE(fill(), 808U << 10);
  ASSERT_TRUE(cache->resize(2 << 20));
  EXPECT_GT(fill(), 1800U << 10);
  const Result<void> refused = cache->resize(3 << 20);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_TRUE(cache->validate());
}

TEST(CacheFront, WorkloadNamesTheHotKeyAndRisesWithTheCapacity) {
  auto cache = make<std::array<char, 64>>(front_options(8 << 20));
  for (int round = 0; round < 6; ++round) {
    for (int i = 0; i < 60'000; ++i) {
      if (!cache->get(name_of(i))) static_cast<void>(cache->put(name_of(i), {}));
      static_cast<void>(cache->get(name_of(7)));
    }
  }
  const auto hot = cache->hottest(3);
  ASSERT_FALSE(hot.empty());
  EXPECT_EQ(hot.front().key, name_of(7));
  EXPECT_GT(hot.front().share, 0.3);
  const auto curve = cache->miss_curve();
  ASSERT_EQ(curve.size(), 65U);
  EXPECT_GT(curve.back().hit_ratio, curve.front().hit_ratio);
  const auto cold = cache->coldest(10);
  EXPECT_LE(cold.size(), 10U);
  ASSERT_FALSE(cold.empty());
  EXPECT_NE(cold.front().key, name_of(7));
}

TEST(CacheFront, BadOptionsAreNamed) {
  CacheOptions o = front_options();
  o.idle_ttl = -1ms;
  auto made = Cache<int>::create(o);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("idle_ttl"), std::string::npos);
  o.idle_ttl = std::chrono::hours(50 * 24);
  EXPECT_FALSE(Cache<int>::create(o));
}

}  // namespace
}  // namespace tiercache::l1::test
