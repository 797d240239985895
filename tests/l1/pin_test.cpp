// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <future>
#include <thread>

namespace tiercache::l1::test {
namespace {

TEST(Pins, OutliveEraseEvictionAndReplacement) {
  Options o = small_options(64 << 10);
  o.policy = Policy::lru;  // the other would keep what was read through the stream of puts below
  Typed<Tracked> t(o);
  t.put("erased", Tracked(1, 10));
  t.put("replaced", Tracked(2, 20));
  t.put("evicted", Tracked(3, 30));
  Pin erased = t.find("erased"), replaced = t.find("replaced"), evicted = t.find("evicted");
  t.erase("erased");
  t.put("replaced", Tracked(2, 21));
  for (std::uint64_t i = 0; i < 5000; ++i) t.put(std::to_string(i), Tracked(i, i));
  EXPECT_FALSE(t.find("evicted"));
  t.table->drain();
  for (const auto& [pin, version] : {std::pair{&erased, 10U}, {&replaced, 20U}, {&evicted, 30U}}) {
    EXPECT_EQ(t.value(*pin).mark, Tracked::alive);
    EXPECT_EQ(t.value(*pin).version, version);
  }
  EXPECT_GT(t.table->stats().retired_bytes, 0U) << "pinned bytes stay in the budget";
  EXPECT_VALID(*t.table);
  erased.reset(), replaced.reset(), evicted.reset();
  t.table->drain();
  EXPECT_EQ(t.table->stats().retired_bytes, 0U);
  EXPECT_VALID(*t.table);
}

TEST(Pins, OutliveTheTableAndItsMemoryGoesWithTheLast) {
  Pin kept, copy;
  {
    Typed<Tracked> t(small_options());
    for (std::uint64_t i = 0; i < 100; ++i) t.put(std::to_string(i), Tracked(i, i + 1));
    kept = t.find("42");
    copy = kept.duplicate();
  }
  EXPECT_EQ(static_cast<const Tracked*>(kept.value())->version, 43U);
  EXPECT_EQ(Tracked::living.load(), 1);
  kept.reset();
  { Typed<int> later(small_options()); }
  EXPECT_EQ(static_cast<const Tracked*>(copy.value())->mark, Tracked::alive);
  EXPECT_EQ(copy.entry()->key(), "42");
  copy.reset();
  { Typed<int> later(small_options()); }
  EXPECT_EQ(Tracked::living.load(), 0);
}

TEST(Pins, OfAThreadAreBoundedAndComeBack) {
  Typed<int> t(small_options());
  t.put("k", 7);
  std::vector<Pin> pins;
  while (!pins_exhausted()) {
    pins.push_back(t.find("k"));
    ASSERT_TRUE(pins.back());
  }
  EXPECT_EQ(pins.size(), pins_per_thread());
  EXPECT_FALSE(t.find("k"));
  EXPECT_FALSE(pins.front().duplicate());
  int seen = 0;
  EXPECT_TRUE(t.table->visit(t.view, "k", t.hash("k"), 0, fake_now_ms,
                             [&](const void* value, const Entry&) { seen = *static_cast<const int*>(value); }));
  EXPECT_EQ(seen, 7);
  EXPECT_EQ(t.put("k", 8), PutStatus::stored) << "storing needs no pin";
  EXPECT_TRUE(t.erase("k"));
  pins.pop_back();
  Pin stored;
  EXPECT_EQ(t.put("n", 9, {}, &stored), PutStatus::stored);
  EXPECT_TRUE(stored);
  Pin none;
  EXPECT_EQ(t.put("m", 9, {}, &none), PutStatus::stored);
  EXPECT_FALSE(none) << "stored, though there was no pin left";
  pins.clear();
  EXPECT_TRUE(t.find("n"));
  stored.reset();
  EXPECT_VALID(*t.table);
}

TEST(Pins, PutHandsOutAPinOnWhatItStored) {
  Typed<Tracked> t(small_options());
  Pin pin;
  t.put("k", Tracked(1, 2), {}, &pin);
  t.put("k", Tracked(1, 3));
  t.erase("k");
  t.table->drain();
  EXPECT_EQ(t.value(pin).version, 2U);
  t.put("k", Tracked(1, 4), {}, &pin);
  EXPECT_EQ(t.value(pin).version, 4U);
  pin.reset();
  EXPECT_VALID(*t.table);
}

TEST(Pins, MoveToOtherThreadsAndOutliveTheirMaker) {
  Typed<Tracked> t(small_options());
  for (std::uint64_t i = 0; i < 8; ++i) t.put(std::to_string(i), Tracked(i, i));
  std::vector<Pin> pins;
  std::thread([&] {
    for (std::uint64_t i = 0; i < 8; ++i) pins.push_back(t.find(std::to_string(i)));
  }).join();
  for (std::uint64_t i = 0; i < 8; ++i) t.erase(std::to_string(i));
  t.table->drain();
  // The next thread may get the ended one's record: the slots of the living pins are not its.
  std::thread([&] {
    t.put("x", Tracked(1, 1));
    std::vector<Pin> own;
    while (!pins_exhausted()) own.push_back(t.find("x"));
    for (std::uint64_t i = 0; i < 8; ++i) {
      EXPECT_EQ(t.value(pins[i]).version, i);
      EXPECT_EQ(t.value(pins[i]).mark, Tracked::alive);
    }
    for (std::size_t i = 0; i < 4; ++i) pins.pop_back();
  }).join();
  pins.clear();
  t.table->drain();
  EXPECT_EQ(t.table->stats().retired_bytes, 0U);
  EXPECT_VALID(*t.table);
}

TEST(Pins, ReleasedElsewhereComeBackToTheirMaker) {
  Typed<int> t(small_options());
  t.put("k", 1);
  for (int round = 0; round < 5; ++round) {
    std::vector<Pin> pins;
    while (!pins_exhausted()) pins.push_back(t.find("k"));
    ASSERT_EQ(pins.size(), pins_per_thread());
    std::thread([&] { pins.clear(); }).join();
    EXPECT_FALSE(pins_exhausted());
  }
  EXPECT_VALID(*t.table);
}

TEST(Pins, CopiesOfARetiredEntryHandedAlongNeverLoseIt) {
  // Thread A passes one retired entry back and forth between two slots, copying before it drops the original, while the main
  // thread reclaims without end: a scan that met the old slot late and the new one early would free it.
  Typed<Tracked> t(small_options());
  t.put("k", Tracked(1, 42));
  std::atomic<bool> stop{false}, begun{false};
  std::thread holder([&] {
    t.put("spacer", Tracked(2, 2));
    Pin pin = t.find("k");
    std::vector<Pin> spacers;  // so that the two slots lie as far apart as they can
    while (spacers.size() + 2 < pins_per_thread()) spacers.push_back(t.find("spacer"));
    begun = true;
    while (!stop.load(std::memory_order_relaxed)) {
      Pin next = pin.duplicate();
      pin = std::move(next);
      if (t.value(pin).mark != Tracked::alive || t.value(pin).version != 42) {
        ADD_FAILURE() << "a pinned value was destroyed";
        return;
      }
    }
  });
  while (!begun) std::this_thread::yield();
  t.erase("k");
  for (unsigned i = 0; i < 100000; ++i) t.table->drain();
  stop = true;
  holder.join();
  t.table->drain();
  EXPECT_EQ(t.table->stats().retired_bytes, 0U);
  EXPECT_VALID(*t.table);
}

TEST(Threads, PastTheLimitMissAreRefusedAndStillErase) {
  Typed<int> t(small_options());
  t.put("k", 1);
  t.put("m", 2);
  std::atomic<unsigned> inside{0};
  std::promise<void> leave;
  const std::shared_future<void> left = leave.get_future().share();
  std::vector<std::thread> threads;
  // One record is this thread's already; so one of these gets none.
  for (unsigned i = 0; i < detail::max_threads; ++i) {
    threads.emplace_back([&] {
      static_cast<void>(thread_index());
      ++inside;
      left.wait();
    });
  }
  while (inside < detail::max_threads) std::this_thread::yield();
  std::thread([&] {
    EXPECT_EQ(thread_index(), detail::max_threads);
    EXPECT_TRUE(pins_exhausted());
    EXPECT_FALSE(t.find("k"));
    EXPECT_EQ(t.put("k", 3), PutStatus::no_room);
    const Ticket ticket = t.ticket("k");
    EXPECT_TRUE(t.erase("k"));
    EXPECT_NE(t.ticket("k").fence, ticket.fence);
    EXPECT_FALSE(t.erase("k"));
  }).join();
  EXPECT_FALSE(t.find("k"));
  EXPECT_TRUE(t.find("m")) << "a thread that is inside already notices nothing";
  leave.set_value();
  for (auto& thread : threads) thread.join();
  EXPECT_VALID(*t.table);
  std::thread([&] { EXPECT_TRUE(t.find("m")) << "records come back"; }).join();
}

TEST(Threads, HaveIndicesOfTheirOwn) {
  const std::uint32_t mine = thread_index();
  EXPECT_EQ(thread_index(), mine);
  std::thread([&] { EXPECT_NE(thread_index(), mine); }).join();
}

}  // namespace
}  // namespace tiercache::l1::test
