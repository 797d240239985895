// SPDX-License-Identifier: Apache-2.0
//
// Stores that want the key to be so or so: put_when and compare_and_swap.
#include "fixture.hpp"

#include <thread>

namespace tiercache::l1::test {
namespace {

struct Conditional : ::testing::Test {
  Typed<Tracked> t{small_options()};

  PutStatus put_when(When when, std::string_view key, Tracked&& value) {
    return t.table->put_when(when, t.view, key, t.hash(key), &value, {});
  }
  PutStatus swap(const Pin& expected, std::string_view key, Tracked&& value) {
    return t.table->compare_and_swap(expected, t.view, key, t.hash(key), &value, {});
  }
  std::uint64_t version(std::string_view key) {
    const Pin pin = t.find(key);
    return pin ? t.value(pin).version : 0;
  }
};

TEST_F(Conditional, AStoreIsDoneOnlyWhereTheKeyIsAsItWants) {
  EXPECT_EQ(put_when(When::present, "k", Tracked(1, 1)), PutStatus::unmatched);
  EXPECT_EQ(version("k"), 0U);
  EXPECT_EQ(put_when(When::absent, "k", Tracked(1, 2)), PutStatus::stored);
  EXPECT_EQ(put_when(When::absent, "k", Tracked(1, 3)), PutStatus::unmatched);
  EXPECT_EQ(version("k"), 2U);
  EXPECT_EQ(put_when(When::present, "k", Tracked(1, 4)), PutStatus::stored);
  EXPECT_EQ(version("k"), 4U);
  EXPECT_VALID(*t.table);
}

TEST_F(Conditional, ASwapIsDoneOnceForAnEntry) {
  EXPECT_EQ(swap({}, "k", Tracked(1, 1)), PutStatus::stored);
  EXPECT_EQ(swap({}, "k", Tracked(1, 2)), PutStatus::unmatched);
  const Pin first = t.find("k");
  EXPECT_EQ(swap(first, "k", Tracked(1, 3)), PutStatus::stored);
  EXPECT_EQ(swap(first, "k", Tracked(1, 4)), PutStatus::unmatched);
  EXPECT_EQ(version("k"), 3U);
  const Pin second = t.find("k");
  t.erase("k");
  EXPECT_EQ(swap(second, "k", Tracked(1, 5)), PutStatus::unmatched);
  EXPECT_EQ(version("k"), 0U);
  EXPECT_VALID(*t.table);
}

TEST_F(Conditional, CountingBySwapsLosesNothing) {
  constexpr std::uint64_t each = 5000;
  t.put("k", Tracked(1, 0));
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 3; ++id) {
    threads.emplace_back([&] {
      for (std::uint64_t done = 0; done < each;) {
        const Pin pin = t.find("k");
        if (pin && swap(pin, "k", Tracked(1, t.value(pin).version + 1)) == PutStatus::stored) ++done;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(version("k"), 3 * each);
  EXPECT_VALID(*t.table);
}

/// Only one thread puts, and erases at once; others make new values of what they find. After the erase there is nothing left.
TEST_F(Conditional, NothingMadeOfAnErasedEntryOutlivesTheErase) {
  const std::uint64_t erases = 100000ULL * rounds(1);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> swaps{0}, replacements{0};
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 2; ++id) {
    threads.emplace_back([&, id] {
      while (!stop.load(std::memory_order_relaxed)) {
        if (id == 0) {
          const Pin pin = t.find("k");
          if (pin && swap(pin, "k", Tracked(1, t.value(pin).version)) == PutStatus::stored) ++swaps;
        } else if (put_when(When::present, "k", Tracked(1, 7)) == PutStatus::stored) {
          ++replacements;
        }
      }
    });
  }
  std::uint64_t outlived = 0;
  for (std::uint64_t n = 1; n <= erases; ++n) {
    if (t.put("k", Tracked(1, n)) != PutStatus::stored) continue;
    if (n % 64 == 0) std::this_thread::yield();
    t.erase("k");
    if (t.find("k")) ++outlived;
    t.erase("k");
  }
  stop.store(true);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(outlived, 0U);
  EXPECT_GT(swaps.load(), 0U);
  EXPECT_GT(replacements.load(), 0U);
  EXPECT_EQ(version("k"), 0U);
  EXPECT_VALID(*t.table);
}

}  // namespace
}  // namespace tiercache::l1::test
