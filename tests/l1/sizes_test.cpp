// SPDX-License-Identifier: Apache-2.0
//
// How much a table and its views may take: quotas, resize, pages that go back to the system.
#include "fixture.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <thread>

namespace tiercache::l1::test {
namespace {

using Kilobyte = std::array<char, 900>;  // with the rest of the entry nearly that; two of them fill a block of the arena

PutStatus put_into(Table& table, ViewId view, const std::string& key, std::string value) {
  return table.put(view, key, table.hash(view, key), &value, {});
}

TEST(Quota, AViewStaysBelowItAndOthersAreLeftAlone) {
  Typed<std::string> t(small_options(2 << 20));
  const ViewId other = *t.table->add_view(type_ops<std::string>());
  constexpr std::uint64_t quota = 100'000;
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(put_into(*t.table, other, "other" + std::to_string(i), std::string(100, 'o')), PutStatus::stored);
  }
  const std::uint64_t others = t.table->view_bytes(other);
  t.table->set_quota(t.view, quota);
  unsigned refused = 0;
  for (int i = 0; i < 5000; ++i) {
    if (t.put("k" + std::to_string(i), std::string(100, 'v')) != PutStatus::stored) ++refused;
    ASSERT_LE(t.table->view_bytes(t.view), quota) << i;
  }
  EXPECT_EQ(refused, 0U);
  EXPECT_GT(t.table->view_bytes(t.view), quota - 1000);
  EXPECT_EQ(t.table->view_bytes(other), others);
  for (int i = 0; i < 2000; ++i) {
    const std::string key = "other" + std::to_string(i);
    ASSERT_TRUE(t.table->find(other, key, t.table->hash(other, key), 0, fake_now_ms));
  }
  // No quota again.
  t.table->set_quota(t.view, 0);
  for (int i = 0; i < 2000; ++i) t.put("more" + std::to_string(i), std::string(100, 'v'));
  EXPECT_GT(t.table->view_bytes(t.view), 2 * quota);
  EXPECT_VALID(*t.table);
}

TEST(Quota, HoldsAlsoWhereValuesGrowInPlace) {
  Typed<std::string> t(small_options(2 << 20));
  constexpr std::uint64_t quota = 100'000;
  t.table->set_quota(t.view, quota);
  constexpr int keys = 300;
  for (int i = 0; i < keys; ++i) ASSERT_EQ(t.put("k" + std::to_string(i), "short"), PutStatus::stored);
  const std::uint64_t most = 2000;  // of an entry
  for (int i = 0; i < keys; ++i) {
    t.put("k" + std::to_string(i), std::string(1500, 'l'));
    ASSERT_LE(t.table->view_bytes(t.view), quota + most) << i;
  }
  // In a view that is full to the quota a value of the same size still replaces the one before.
  unsigned replaced = 0, there = 0;
  for (int i = 0; i < keys; ++i) {
    const std::string key = "k" + std::to_string(i);
    if (!t.find(key)) continue;
    ++there;
    if (t.put(key, std::string(1500, 'm')) == PutStatus::stored) ++replaced;
  }
  EXPECT_GT(there, 30U);
  EXPECT_EQ(replaced, there);
  EXPECT_VALID(*t.table);
}

TEST(Quota, AStoreIsRefusedWhereNothingOfTheViewIsNear) {
  Typed<std::string> t(small_options(8 << 20));
  t.table->set_quota(t.view, 600);
  EXPECT_EQ(t.put("too large for it", std::string(1000, 'x')), PutStatus::no_room);
  EXPECT_EQ(t.table->view_bytes(t.view), 0U);
  // One entry somewhere in thousands of buckets, and a store looks at 64 of them; but the next goes on where it stopped.
  ASSERT_EQ(t.put("first", std::string(400, 'x')), PutStatus::stored);
  unsigned refused = 0, stored = 0;
  for (int i = 0; i < 300; ++i) {
    const PutStatus status = t.put("then" + std::to_string(i), std::string(400, 'x'));
    ASSERT_TRUE(status == PutStatus::stored || status == PutStatus::no_room);
    (status == PutStatus::stored ? stored : refused) += 1;
    ASSERT_LE(t.table->view_bytes(t.view), 600U);
    ASSERT_GT(t.table->view_bytes(t.view), 0U);
  }
  EXPECT_GT(refused, 100U);
  EXPECT_GT(stored, 1U);
  EXPECT_VALID(*t.table);
}

TEST(Quota, ManyThreadsPassItByNoMoreThanAnEntryEach) {
  constexpr unsigned threads_count = 3;
  constexpr std::uint64_t quota = 60'000, entry_max = 700;
  Typed<std::string> t(small_options(2 << 20));
  t.table->set_quota(t.view, quota);
  std::atomic<bool> stop{false};
  std::uint64_t most = 0;
  std::thread sampler([&] {
    while (!stop.load(std::memory_order_relaxed)) most = std::max(most, t.table->view_bytes(t.view));
  });
  std::atomic<unsigned> stored{0};
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < threads_count; ++id) {
    threads.emplace_back([&, id] {
      for (unsigned i = 0; i < 5000; ++i) {
        if (t.put(std::to_string(id) + ":" + std::to_string(i % 700), std::string(i % 500, 'x')) == PutStatus::stored) ++stored;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  stop = true;
  sampler.join();
  EXPECT_LE(most, quota + threads_count * entry_max);
  EXPECT_GT(stored, 3U * 5000 * 9 / 10);
  EXPECT_VALID(*t.table);
}

Options resizable(std::uint64_t capacity, std::uint64_t most) {
  Options o = small_options(capacity);
  o.resize_max_bytes = most;
  o.expected_entry_bytes = 1100;
  return o;
}

TEST(Resize, KeepsEverythingWhenItGrowsAndTakesMoreThen) {
  Typed<Kilobyte> t(resizable(2 << 20, 16 << 20));
  for (int i = 0; i < 1000; ++i) t.put(std::to_string(i), {});
  const std::uint64_t evicted = t.table->stats().evictions;
  ASSERT_TRUE(t.table->resize(16 << 20).ok());
  EXPECT_EQ(t.table->stats().capacity_bytes, std::uint64_t{16} << 20);
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(t.put("more" + std::to_string(i), {}), PutStatus::stored);
  EXPECT_EQ(t.table->stats().evictions, evicted);
  EXPECT_GT(t.table->stats().used_bytes, std::uint64_t{10} << 20);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(t.find(std::to_string(i))) << i;
  EXPECT_VALID(*t.table);
}

TEST(Resize, EvictsBeforeItReturnsWhenItShrinks) {
  Typed<Kilobyte> t(resizable(16 << 20, 0));
  for (int i = 0; i < 14'000; ++i) t.put(std::to_string(i), {});
  ASSERT_GT(t.table->stats().used_bytes, std::uint64_t{13} << 20);
  ASSERT_TRUE(t.table->resize(3 << 20).ok());
  const L1Stats s = t.table->stats();
  EXPECT_EQ(s.capacity_bytes, std::uint64_t{3} << 20);
  EXPECT_LE(s.used_bytes, s.capacity_bytes);
  EXPECT_GT(s.entries, 1000U);
  EXPECT_VALID(*t.table);
  unsigned there = 0;
  for (int i = 0; i < 14'000; ++i) there += t.find(std::to_string(i)) ? 1U : 0U;
  EXPECT_EQ(there, s.entries);
  EXPECT_EQ(t.put("new", {}), PutStatus::stored);
  EXPECT_TRUE(t.find("new"));
  EXPECT_VALID(*t.table);
}

TEST(Resize, RefusesWhatIsOutOfRangeByName) {
  Typed<Kilobyte> t(resizable(2 << 20, 4 << 20));
  const std::uint64_t fixed = t.table->stats().fixed_bytes;
  for (const std::uint64_t bad : {std::uint64_t{0}, 2 * fixed - 1, (std::uint64_t{4} << 20) + 1, ~std::uint64_t{0}}) {
    const auto answer = t.table->resize(bad);
    ASSERT_FALSE(answer.ok()) << bad;
    EXPECT_EQ(answer.error().code, Errc::invalid_argument);
    EXPECT_NE(answer.error().message.find("l1.capacity_bytes"), std::string::npos) << answer.error().message;
    EXPECT_EQ(t.table->stats().capacity_bytes, std::uint64_t{2} << 20);
  }
  EXPECT_TRUE(t.table->resize(2 * fixed).ok());
  EXPECT_TRUE(t.table->resize(4 << 20).ok());
  EXPECT_VALID(*t.table);
}

TEST(Resize, WhatIsPinnedStaysOverUntilItsPinsGo) {
  Typed<Kilobyte> t(resizable(256 << 10, 0));
  const std::uint64_t least = 2 * t.table->stats().fixed_bytes;
  std::vector<Pin> pins;
  for (int i = 0; i < 200; ++i) {
    Pin pin;
    t.put(std::to_string(i), {}, {}, pins.size() < pins_per_thread() ? &pin : nullptr);
    if (pin) pins.push_back(std::move(pin));
  }
  ASSERT_EQ(pins.size(), pins_per_thread());
  ASSERT_TRUE(t.table->resize(least).ok());
  for (const Pin& pin : pins) EXPECT_EQ(t.value(pin)[0], 0);
  pins.clear();
  t.table->drain();
  EXPECT_LE(t.table->stats().used_bytes, least);
  EXPECT_EQ(t.put("again", {}), PutStatus::stored);
  EXPECT_VALID(*t.table);
}

TEST(Resize, GoesUpAndDownUnderLoad) {
  constexpr std::uint64_t most = 8 << 20, least = 1 << 20;
  Typed<Kilobyte> t(resizable(most, 0));
  ASSERT_LE(2 * t.table->stats().fixed_bytes, least);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> stuck{0}, stored{0};
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 3; ++id) {
    threads.emplace_back([&, id] {
      std::mt19937_64 random(id);
      std::vector<Pin> pins;
      while (!stop.load(std::memory_order_relaxed)) {
        const std::string key = std::to_string(random() % 12'000);
        // Refused only while a resize lasts, or others hold what went.
        unsigned tries = 0;
        while (t.put(key, {}) != PutStatus::stored && ++tries < 1000) std::this_thread::yield();
        (tries == 1000 ? stuck : stored) += 1;
        if (Pin pin = t.find(std::to_string(random() % 12'000))) pins.push_back(std::move(pin));
        if (pins.size() > 3) pins.erase(pins.begin());
        if (random() % 8 == 0) t.erase(key);
      }
    });
  }
  std::uint64_t over = 0;
  for (unsigned n = 0; n < rounds(20); ++n) {
    ASSERT_TRUE(t.table->resize(least).ok());
    // Of the others' pins, and of what they were just storing, a little may be over; it goes with what they do next.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (t.table->stats().used_bytes > least && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    for (unsigned look = 0; look < 2000; ++look) over += t.table->stats().used_bytes > least ? 1U : 0U;
    ASSERT_TRUE(t.table->resize(most).ok());
    const std::uint64_t before = stored;
    while (stored < before + 500 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_GE(stored, before + 500);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(over, 0U) << "used bytes passed the smaller capacity again";
  EXPECT_EQ(stuck, 0U);
  EXPECT_VALID(*t.table);
}

TEST(Resize, TwoAtATimeLeaveOneOfTheTwo) {
  Typed<Kilobyte> t(resizable(4 << 20, 8 << 20));
  for (int i = 0; i < 3000; ++i) t.put(std::to_string(i), {});
  for (unsigned n = 0; n < 30; ++n) {
    std::thread other([&] { EXPECT_TRUE(t.table->resize(2 << 20).ok()); });
    EXPECT_TRUE(t.table->resize(8 << 20).ok());
    other.join();
    const std::uint64_t now = t.table->stats().capacity_bytes;
    EXPECT_TRUE(now == 2 << 20 || now == 8 << 20) << now;
    ASSERT_TRUE(t.table->resize(2 << 20).ok());
    ASSERT_LE(t.table->stats().used_bytes, std::uint64_t{2} << 20);
    for (int i = 0; i < 1500; ++i) t.put(std::to_string(i), {});
  }
  EXPECT_VALID(*t.table);
}

/// How many of the pages at these addresses are in memory.
std::size_t resident(const std::vector<const void*>& addresses) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  std::size_t n = 0;
  for (const void* address : addresses) {
    unsigned char in = 0;
    auto* begin = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(address) & ~(page - 1));  // NOLINT
    if (mincore(begin, 1, &in) == 0) n += in & 1U;
  }
  return n;
}

std::vector<const void*> fill_with_kilobytes(Typed<Kilobyte>& t, int count) {
  std::vector<const void*> addresses;
  for (int i = 0; i < count; ++i) {
    Pin pin;
    t.put(std::to_string(i), {}, {}, &pin);
    if (pin) addresses.push_back(pin.entry());
  }
  return addresses;
}

TEST(Resize, GivesFreePagesBackToTheSystem) {
  // Erased before: all, all but one in 16, none.
  for (const int kept_one_in : {0, 16, 1}) {
    Options o = resizable(32 << 20, 0);
    o.huge_pages = false;
    Typed<Kilobyte> t(o);
    const auto addresses = fill_with_kilobytes(t, 26'000);
    ASSERT_EQ(addresses.size(), 26'000U);
    const std::size_t before = resident(addresses);
    EXPECT_EQ(before, addresses.size());
    for (int i = 0; i < 26'000; ++i) {
      if (kept_one_in == 0 || i % kept_one_in != 0) t.erase(std::to_string(i));
    }
    ASSERT_TRUE(t.table->resize(4 << 20).ok());
    const std::size_t after = resident(addresses);
    std::printf("%zu of %zu pages are still there\n", after, before);
    // Four entries lie in a page. One of 16 that is left keeps its own page, and not the neighbouring three.
    EXPECT_LE(after, kept_one_in == 0 ? 0 : kept_one_in == 16 ? before * 3 / 10 : before / 2);
    EXPECT_EQ(t.put("again", {}), PutStatus::stored);
    EXPECT_VALID(*t.table);
  }
}

/// The flags of the mapping that `address` lies in, as the system tells them; empty: unknown.
std::string flags_of_mapping(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) here = begin <= wanted && wanted < end;
    if (here && line.rfind("VmFlags:", 0) == 0) return line.substr(8) + " ";
  }
  return {};
}

TEST(HugePages, AreAskedForAsTheOptionSays) {
  if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) != 0) GTEST_SKIP() << "the system has none";
  for (const bool huge : {true, false}) {
    Options o = resizable(16 << 20, 0);
    o.huge_pages = huge;
    Typed<Kilobyte> t(o);
    const auto addresses = fill_with_kilobytes(t, 5000);
    const std::string flags = flags_of_mapping(addresses.front());
    if (flags.empty()) GTEST_SKIP() << "the system does not tell";
    EXPECT_EQ(flags.find(" hg ") != std::string::npos, huge) << flags;
    EXPECT_TRUE(t.find("1"));
    ASSERT_TRUE(t.table->resize(4 << 20).ok());
    EXPECT_EQ(t.put("again", {}), PutStatus::stored);
    EXPECT_VALID(*t.table);
  }
}

}  // namespace
}  // namespace tiercache::l1::test
