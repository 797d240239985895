// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <thread>

namespace tiercache::l1::test {
namespace {

TEST(Budget, EveryCapacityFrom32KiBHoldsAReasonableNumberOfEntries) {
  for (const std::uint64_t capacity : {32ULL << 10, 64ULL << 10, 256ULL << 10, 1ULL << 20, 8ULL << 20}) {
    Typed<std::uint64_t> t(small_options(capacity));
    const std::uint64_t n = capacity / 32;
    for (std::uint64_t i = 0; i < n; ++i) ASSERT_EQ(t.put("key" + std::to_string(i), std::uint64_t{i}), PutStatus::stored);
    const L1Stats s = t.table->stats();
    EXPECT_LE(s.used_bytes, capacity);
    EXPECT_LT(s.fixed_bytes, capacity / 2) << capacity;
    EXPECT_GE(s.entries * 64, (capacity - s.fixed_bytes) / 2) << capacity;
    EXPECT_TRUE(t.find("key" + std::to_string(n - 1)));
    EXPECT_VALID(*t.table);
  }
}

TEST(Budget, HeapAndLargeEntriesAreCounted) {
  Typed<std::string> t(small_options(4 << 20));
  const std::uint64_t before = t.table->stats().used_bytes;
  ASSERT_EQ(t.put("heap", std::string(100000, 'x')), PutStatus::stored);
  EXPECT_GE(t.table->stats().used_bytes, before + 100000);
  Typed<std::array<char, 10000>> u(small_options(4 << 20));
  const std::uint64_t empty = u.table->stats().used_bytes;
  ASSERT_EQ(u.put("external", std::array<char, 10000>{}), PutStatus::stored);
  EXPECT_GE(u.table->stats().used_bytes, empty + 10000);
  EXPECT_LE(u.table->stats().used_bytes, empty + 12000);
  EXPECT_VALID(*t.table);
  EXPECT_VALID(*u.table);
  u.erase("external");
  u.table->drain();
  EXPECT_EQ(u.table->stats().used_bytes, empty);
}

TEST(Budget, EntriesOverTheLimitAreRefusedAndNothingChanges) {
  Typed<std::string> t(small_options(1 << 20));
  const std::uint64_t before = t.table->stats().used_bytes;
  std::string big(1 << 18, 'x');
  EXPECT_EQ(t.table->put(t.view, "k", t.hash("k"), &big, {}), PutStatus::too_large);
  EXPECT_EQ(big.size(), std::size_t{1} << 18);
  EXPECT_EQ(t.put(std::string(70000, 'k'), "v"), PutStatus::too_large);
  EXPECT_FALSE(t.find(std::string(70000, 'k')));
  EXPECT_EQ(t.table->stats().used_bytes, before);
  EXPECT_EQ(t.table->stats().refused_too_large, 2U);
  EXPECT_VALID(*t.table);
}

TEST(Budget, WhereAllIsPinnedAPutIsRefusedAndRecoversWithThePins) {
  Options o = small_options(64 << 10);
  o.max_entry_bytes = 16 << 10;
  Typed<std::array<char, 6000>> t(o);
  std::vector<Pin> pins;
  PutStatus status = PutStatus::stored;
  for (int i = 0; i < 20 && status == PutStatus::stored; ++i) {
    Pin pin;
    status = t.put(std::to_string(i), {}, {}, &pin);
    if (pin) pins.push_back(std::move(pin));
  }
  EXPECT_EQ(status, PutStatus::no_room);
  EXPECT_GE(pins.size(), 6U);
  EXPECT_LE(t.table->stats().used_bytes, o.capacity_bytes);
  EXPECT_VALID(*t.table);
  pins.clear();
  EXPECT_EQ(t.put("again", {}), PutStatus::stored);
  EXPECT_VALID(*t.table);
}

TEST(Budget, TheNumberOfEntriesCanBeLimited) {
  Options o = small_options(1 << 20);
  o.capacity_objects = 100;
  Typed<int> t(o);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(t.put(std::to_string(i), int{i}), PutStatus::stored);
    ASSERT_LE(t.table->stats().entries, 100U);
  }
  EXPECT_GE(t.table->stats().entries, 60U);
  EXPECT_VALID(*t.table);
}

TEST(Budget, ALargeEntryEvictsManySmallOnes) {
  Typed<std::string> t(small_options(1 << 20));
  for (int i = 0; i < 20000; ++i) t.put(std::to_string(i), "v");
  ASSERT_EQ(t.put("large", std::string(100000, 'x')), PutStatus::stored);
  EXPECT_TRUE(t.find("large"));
  EXPECT_LE(t.table->stats().used_bytes, std::uint64_t{1} << 20);
  EXPECT_VALID(*t.table);
}

TEST(Budget, AFragmentedArenaStillTakesLongerEntries) {
  Typed<std::array<char, 100>> small(small_options(1 << 20));
  const ViewId wide = *small.table->add_view(type_ops<std::array<char, 1500>>());
  for (int i = 0; i < 20000; ++i) small.put(std::to_string(i), {});
  unsigned stored = 0;
  for (int i = 0; i < 200; ++i) {
    std::array<char, 1500> value{};
    const std::string key = "w" + std::to_string(i);
    stored += small.table->put(wide, key, small.table->hash(wide, key), &value, {}) == PutStatus::stored ? 1U : 0U;
  }
  EXPECT_EQ(stored, 200U);
  EXPECT_VALID(*small.table);
}

TEST(Budget, HoldsAtEveryInstantUnderConcurrentMixedSizes) {
  const std::uint64_t seed = test_seed();
  for (const std::uint64_t capacity : {32ULL << 10, 1ULL << 20}) {
    Typed<std::string> t(small_options(capacity));
    const ViewId block = *t.table->add_view(type_ops<std::array<char, 3000>>());
    std::atomic<bool> stop{false};
    std::uint64_t most = 0;
    std::thread sampler([&] {
      while (!stop.load(std::memory_order_relaxed)) most = std::max(most, t.table->stats().used_bytes);
    });
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < 3; ++id) {
      threads.emplace_back([&, id] {
        std::mt19937_64 random(seed + id);
        std::vector<Pin> held;
        for (unsigned i = 0; i < 30000; ++i) {
          const std::string key = std::to_string(random() % 3000);
          switch (random() % 6) {
            case 0: t.erase(key); break;
            case 1: {
              std::array<char, 3000> value{};
              t.table->put(block, key, t.table->hash(block, key), &value, {});
              break;
            }
            case 2: t.fill(t.ticket(key), key, std::string(random() % 1500, 'f')); break;
            case 3:
              if (Pin pin = t.find(key)) held.push_back(std::move(pin));
              if (held.size() > 6) held.erase(held.begin());
              break;
            default: t.put(key, std::string(random() % 700, 'p'));
          }
        }
      });
    }
    for (auto& thread : threads) thread.join();
    stop = true;
    sampler.join();
    EXPECT_LE(most, capacity + capacity / 100);
    EXPECT_GE(most, capacity / 2);
    EXPECT_VALID(*t.table);
  }
}

}  // namespace
}  // namespace tiercache::l1::test
