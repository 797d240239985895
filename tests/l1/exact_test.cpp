// SPDX-License-Identifier: Apache-2.0
//
// What a table says it holds against what it holds: the granules that its arena has given out, the bytes in use of malloc's
// chunks (their own words included) and the pages of its tables; in flight, pinned, and retired but not freed besides. Not RSS,
// which tells of other things. An executable of its own: it replaces malloc.
#include "fixture.hpp"

#include "core.hpp"

#include <array>
#include <barrier>
#include <deque>
#include <list>
#include <map>
#include <thread>
#include <unordered_map>

namespace tiercache::l1::test {
inline constinit std::atomic<std::int64_t> in_use{0};

/// A chunk's size is in the word before it, with three flags.
inline std::int64_t chunk_at(void* memory) noexcept {
  return memory == nullptr ? 0 : static_cast<std::int64_t>(static_cast<std::size_t*>(memory)[-1] & ~std::size_t{7});
}
inline void* taken(void* memory) noexcept {
  in_use.fetch_add(chunk_at(memory), std::memory_order_relaxed);
  return memory;
}
}  // namespace tiercache::l1::test

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t n) { return tiercache::l1::test::taken(__libc_malloc(n)); }
void* calloc(std::size_t n, std::size_t m) { return tiercache::l1::test::taken(__libc_calloc(n, m)); }
void* realloc(void* p, std::size_t n) {
  const std::int64_t before = tiercache::l1::test::chunk_at(p);
  void* made = __libc_realloc(p, n);
  if (made != nullptr || n == 0) tiercache::l1::test::in_use.fetch_sub(before, std::memory_order_relaxed);
  return tiercache::l1::test::taken(made);
}
void* aligned_alloc(std::size_t a, std::size_t n) { return tiercache::l1::test::taken(__libc_memalign(a, n)); }
void* memalign(std::size_t a, std::size_t n) { return tiercache::l1::test::taken(__libc_memalign(a, n)); }
void free(void* p) {
  tiercache::l1::test::in_use.fetch_sub(tiercache::l1::test::chunk_at(p), std::memory_order_relaxed);
  __libc_free(p);
}
}

namespace tiercache::l1::test {
namespace {

// The one way to a private member that the language leaves: what the arena has given out is nobody's business but this test's.
template <Core* Table::*Member>
struct Opened {
  friend Core& core_of(Table& table) { return *(table.*Member); }
};
Core& core_of(Table& table);
template struct Opened<&Table::core_>;

/// Made before the table, so that what the test itself allocates before is left out.
struct Held {
  std::int64_t before = in_use;
  [[nodiscard]] std::uint64_t by(Table& table) const {
    const Core& core = core_of(table);
    const std::uint64_t pages = core.bucket_count * (sizeof(Bucket) + Eviction::stamps_bytes);
    return static_cast<std::uint64_t>(in_use - before) + core.arena.granules_taken() * Arena::granule_bytes + pages;
  }
};

#define EXPECT_EXACT(held, table)                                                                           \
  do {                                                                                                      \
    const auto said_ = static_cast<double>((table).stats().used_bytes);                                     \
    const auto true_ = static_cast<double>((held).by(table));                                               \
    EXPECT_NEAR(said_ / true_, 1, .01) << "says " << said_ << ", holds " << true_ << " without its tables " \
                                       << said_ - static_cast<double>((table).stats().fixed_bytes);         \
  } while (false)

/// Keys that need no memory of their own.
std::string key_of(std::size_t i) { return "k" + std::to_string(i); }

/// Stores n values of make(i), looks; pins some, erases all but a third, looks; frees, looks.
template <class V, class Make>
void expect_exact(std::uint64_t capacity, std::size_t n, Make&& make) {
  std::vector<Pin> pins;
  pins.reserve(pins_per_thread());
  const Held held;
  Typed<V> t(small_options(capacity));
  EXPECT_EXACT(held, *t.table);
  for (std::size_t i = 0; i < n; ++i) t.put(key_of(i), make(i));
  ASSERT_GT(t.table->stats().used_bytes, 2 * t.table->stats().fixed_bytes) << "too little to see a mistake";
  EXPECT_EXACT(held, *t.table);
  for (std::size_t i = n; i != 0 && pins.size() < pins_per_thread(); --i) {
    if (Pin pin = t.find(key_of(i - 1))) pins.push_back(std::move(pin));
  }
  EXPECT_EQ(pins.size(), pins_per_thread());
  for (std::size_t i = 0; i < n; ++i) {
    if (i % 3 != 0) t.erase(key_of(i));
  }
  EXPECT_EXACT(held, *t.table);
  t.table->drain();
  EXPECT_GT(t.table->stats().retired_bytes, 0U);
  EXPECT_EXACT(held, *t.table);
  EXPECT_VALID(*t.table);
  pins.clear();
  t.table->drain();
  EXPECT_EQ(t.table->stats().retired_bytes, 0U);
  EXPECT_EXACT(held, *t.table);
}

TEST(Exact, PlainValues) {
  expect_exact<std::array<char, 128>>(4 << 20, 30'000, [](std::size_t) { return std::array<char, 128>{}; });
}
TEST(Exact, ShortStrings) {
  expect_exact<std::string>(4 << 20, 50'000, [](std::size_t i) { return std::string(i % 16, 's'); });
}
TEST(Exact, StringsOfMixedSizes) {
  expect_exact<std::string>(8 << 20, 40'000, [](std::size_t i) { return std::string(i * 7919 % 700, 'm'); });
}
TEST(Exact, StringsJustTooLongForTheObject) {
  expect_exact<std::string>(4 << 20, 40'000, [](std::size_t i) { return std::string(16 + i % 17, 'j'); });
}
TEST(Exact, LongStrings) {
  expect_exact<std::string>(16 << 20, 5000, [](std::size_t i) { return std::string(3000 + i * 7919 % 20'000, 'l'); });
}
TEST(Exact, VectorsOfNumbersAndOfStrings) {
  expect_exact<std::vector<int>>(4 << 20, 20'000, [](std::size_t i) { return std::vector<int>(i % 150); });
  expect_exact<std::vector<std::string>>(8 << 20, 20'000,
                                         [](std::size_t i) { return std::vector<std::string>(i % 6, std::string(i % 90, 'v')); });
}
TEST(Exact, OtherContainers) {
  expect_exact<std::map<int, std::string>>(4 << 20, 10'000, [](std::size_t i) {
    std::map<int, std::string> made;
    for (std::size_t n = 0; n < i % 8; ++n) made.emplace(static_cast<int>(n), std::string(i % 40, 'm'));
    return made;
  });
  expect_exact<std::unordered_map<std::string, int>>(4 << 20, 10'000, [](std::size_t i) {
    std::unordered_map<std::string, int> made;
    for (std::size_t n = 0; n < i % 20; ++n) made.emplace(std::string(n * 3, 'k'), 1);
    return made;
  });
  expect_exact<std::unordered_map<int, int>>(4 << 20, 10'000, [](std::size_t i) {
    std::unordered_map<int, int> made;
    for (std::size_t n = 0; n < i % 20; ++n) made.emplace(static_cast<int>(n), 1);
    return made;
  });
  expect_exact<std::list<std::uint64_t>>(4 << 20, 10'000, [](std::size_t i) { return std::list<std::uint64_t>(i % 9); });
  expect_exact<std::deque<std::uint64_t>>(8 << 20, 8000, [](std::size_t i) { return std::deque<std::uint64_t>(i % 300); });
  expect_exact<std::unique_ptr<std::string>>(4 << 20, 30'000,
                                             [](std::size_t i) { return std::make_unique<std::string>(i % 60, 'u'); });
}
TEST(Exact, EntriesOutsideTheArena) {
  expect_exact<std::array<char, 2500>>(8 << 20, 5000, [](std::size_t) { return std::array<char, 2500>{}; });
  struct alignas(64) Wide {
    char bytes[192];
  };
  expect_exact<Wide>(8 << 20, 30'000, [](std::size_t) { return Wide{}; });
}

TEST(Exact, WithThreadsStoppedInsideAVisitAndWithPinsInTheirHands) {
  constexpr std::size_t threads_count = 4, keys = 4000;
  const Held held;
  Typed<std::string> t(small_options(8 << 20));
  for (std::size_t i = 0; i < keys; ++i) t.put(key_of(i), std::string(1000 + i % 500, 'x'));
  std::barrier stopped(threads_count + 1);
  std::vector<std::thread> threads;
  for (std::size_t id = 0; id < threads_count; ++id) {
    threads.emplace_back([&, id] {
      std::vector<Pin> pins;
      for (std::size_t i = keys - 1; i != 0 && pins.size() < pins_per_thread(); --i) {
        if (i % threads_count != id) continue;
        if (Pin pin = t.find(key_of(i))) pins.push_back(std::move(pin));
      }
      const std::string key = key_of(keys - 200 - id);
      EXPECT_TRUE(t.table->visit(t.view, key, t.hash(key), 0, fake_now_ms, [&](const void*, const Entry&) {
        stopped.arrive_and_wait();
        stopped.arrive_and_wait();
      }));
    });
  }
  stopped.arrive_and_wait();
  EXPECT_EXACT(held, *t.table);
  for (std::size_t i = 0; i < keys; ++i) t.erase(key_of(i));
  t.table->drain();
  const std::uint64_t withheld = t.table->stats().retired_bytes;
  EXPECT_GT(withheld, threads_count * (pins_per_thread() + 1) * 1000);
  EXPECT_EXACT(held, *t.table);
  // Others go on, evict and reuse.
  for (std::size_t i = 0; i < 4 * keys; ++i) t.put(key_of(i), std::string(i % 3000, 'y'));
  EXPECT_EXACT(held, *t.table);
  EXPECT_LE(t.table->stats().used_bytes, std::uint64_t{8} << 20);
  stopped.arrive_and_wait();
  for (auto& thread : threads) thread.join();
  t.table->drain();
  EXPECT_EQ(t.table->stats().retired_bytes, 0U);
  EXPECT_EXACT(held, *t.table);
  EXPECT_VALID(*t.table);
}

TEST(Exact, AnEntryCostsLessThan100BytesMoreThanItsKeyAndValue) {
  struct Value {
    char bytes[128];
  };
  Options o = small_options(24 << 20);
  o.expected_entry_bytes = 192;
  const Held held;
  Typed<Value> t(o);
  for (std::size_t i = 0; i < 120'000; ++i) {
    std::string key = std::to_string(1'000'000 + i);
    key.insert(0, 20 - key.size(), 'k');
    ASSERT_EQ(t.put(key, Value{}), PutStatus::stored);
  }
  const L1Stats s = t.table->stats();
  EXPECT_GT(s.entries, 95'000U);
  EXPECT_EQ(s.payload_bytes, s.entries * (20 + sizeof(Value)));
  const auto each = static_cast<double>(s.used_bytes - s.payload_bytes) / static_cast<double>(s.entries);
  std::printf("%.1f bytes an entry over key and value, of %llu entries\n", each, static_cast<unsigned long long>(s.entries));
  EXPECT_LT(each, 100);
  EXPECT_GT(each, 44) << "header and cold part alone are as much";
  EXPECT_EXACT(held, *t.table);
  EXPECT_VALID(*t.table);
}

}  // namespace
}  // namespace tiercache::l1::test
