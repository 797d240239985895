// SPDX-License-Identifier: Apache-2.0
//
// Stores with a condition: put_when() and compare_and_swap(), alone and against each other.
#include "fixture.hpp"

#include <barrier>
#include <thread>

namespace tiercache::l1::test {
namespace {

PutStatus put_when(Typed<std::uint64_t>& t, When when, std::string_view key, std::uint64_t value, EntryMeta meta = {},
                   Pin* pin = nullptr) {
  return t.table->put_when(when, t.view, key, t.hash(key), &value, meta, pin);
}
PutStatus swap(Typed<std::uint64_t>& t, const Pin& expected, std::string_view key, std::uint64_t value, Pin* pin = nullptr) {
  return t.table->compare_and_swap(expected, t.view, key, t.hash(key), &value, {}, pin);
}

TEST(PutWhen, AbsentStoresOnceAndPresentOnlyOver) {
  Typed<std::uint64_t> t(small_options());
  EXPECT_EQ(put_when(t, When::present, "k", 1), PutStatus::unmatched);
  EXPECT_FALSE(t.find("k"));
  EXPECT_EQ(put_when(t, When::absent, "k", 2), PutStatus::stored);
  EXPECT_EQ(put_when(t, When::absent, "k", 3), PutStatus::unmatched);
  EXPECT_EQ(t.value(t.find("k")), 2U);
  EXPECT_EQ(put_when(t, When::present, "k", 4), PutStatus::stored);
  EXPECT_EQ(t.value(t.find("k")), 4U);
  EXPECT_EQ(put_when(t, When::always, "k", 5), PutStatus::stored);
  EXPECT_EQ(put_when(t, When::always, "other", 6), PutStatus::stored);
  EXPECT_EQ(t.value(t.find("k")), 5U);
  EXPECT_EQ(t.table->stats().entries, 2U);
  EXPECT_VALID(*t.table);
}

TEST(PutWhen, AVoidEntryIsAbsent) {
  Typed<std::uint64_t> t(small_options());
  EntryMeta meta;
  meta.hard_expiry_ms = fake_now_ms + 10;
  ASSERT_EQ(t.put("expires", 1, meta), PutStatus::stored);
  EXPECT_EQ(put_when(t, When::absent, "expires", 2), PutStatus::unmatched);
  fake_now_ms += 10;
  EXPECT_EQ(put_when(t, When::present, "expires", 2), PutStatus::unmatched);
  EXPECT_EQ(put_when(t, When::absent, "expires", 3), PutStatus::stored);
  EXPECT_EQ(t.value(t.find("expires")), 3U);

  EntryMeta idle;
  idle.idle_ttl_ms = 1000;
  ASSERT_EQ(t.put("idles", 1, idle), PutStatus::stored);
  EXPECT_EQ(put_when(t, When::absent, "idles", 2), PutStatus::unmatched);
  fake_now_ms += 2000;
  EXPECT_EQ(put_when(t, When::present, "idles", 2), PutStatus::unmatched);
  EXPECT_EQ(put_when(t, When::absent, "idles", 3), PutStatus::stored);

  EntryMeta old;
  old.generation = 7;
  ASSERT_EQ(t.put("older", 1, old), PutStatus::stored);
  EntryMeta now;
  now.generation = 8;
  EXPECT_EQ(put_when(t, When::present, "older", 2, now), PutStatus::unmatched);
  EXPECT_EQ(put_when(t, When::absent, "older", 3, now), PutStatus::stored);
  EXPECT_EQ(t.value(t.find("older", 8)), 3U);
  EXPECT_EQ(t.table->stats().entries, 3U);
  EXPECT_VALID(*t.table);
}

TEST(PutWhen, WhatIsUnmatchedStaysTheCallersAndSpoilsNoTicket) {
  Typed<std::string> t(small_options());
  ASSERT_EQ(t.put("k", std::string(300, 'a')), PutStatus::stored);
  const std::uint64_t used = t.table->stats().used_bytes;
  const Ticket ticket = t.ticket("k");
  std::string value(500, 'b');
  Pin pin;
  EXPECT_EQ(t.table->put_when(When::absent, t.view, "k", t.hash("k"), &value, {}, &pin), PutStatus::unmatched);
  EXPECT_EQ(value, std::string(500, 'b'));
  EXPECT_FALSE(pin);
  EXPECT_EQ(t.table->stats().used_bytes, used);
  EXPECT_EQ(t.fill(ticket, "k", "filled"), PutStatus::stored);
  // A conditional put that is done is a put: it does.
  const Ticket outdated = t.ticket("k");
  EXPECT_EQ(t.table->put_when(When::present, t.view, "k", t.hash("k"), &value, {}, &pin), PutStatus::stored);
  EXPECT_EQ(t.value(pin), std::string(500, 'b'));
  EXPECT_EQ(t.fill(outdated, "k", "late"), PutStatus::fenced);
  pin.reset();
  EXPECT_VALID(*t.table);
}

TEST(CompareAndSwap, StoresOverThePinnedEntryOnly) {
  Typed<std::uint64_t> t(small_options());
  const Pin nothing;
  Pin first;
  ASSERT_EQ(swap(t, nothing, "k", 1, &first), PutStatus::stored);
  ASSERT_TRUE(first);
  EXPECT_EQ(swap(t, nothing, "k", 2), PutStatus::unmatched) << "an empty pin expects the key to be absent";
  Pin second;
  EXPECT_EQ(swap(t, first, "k", 2, &second), PutStatus::stored);
  EXPECT_EQ(swap(t, first, "k", 3), PutStatus::unmatched) << "that entry was replaced";
  EXPECT_EQ(t.value(t.find("k")), 2U);
  EXPECT_EQ(t.value(first), 1U) << "and stays readable";
  EXPECT_EQ(swap(t, second, "other", 3), PutStatus::unmatched) << "another key's entry";
  EXPECT_FALSE(t.find("other"));
  t.erase("k");
  EXPECT_EQ(swap(t, second, "k", 4), PutStatus::unmatched) << "that entry was erased";
  EXPECT_FALSE(t.find("k"));
  ASSERT_EQ(t.put("k", 2), PutStatus::stored);
  EXPECT_EQ(swap(t, second, "k", 5), PutStatus::unmatched) << "an equal value is not the same entry";
  EXPECT_VALID(*t.table);
}

TEST(CompareAndSwap, NoIncrementOfManyThreadsIsLost) {
  constexpr unsigned threads_count = 4, keys_count = 3;
  const unsigned increments = 3000;
  Typed<std::uint64_t> t(small_options());
  const auto keys = keys_of_one_bucket(t, keys_count);
  std::atomic<std::uint64_t> refused{0};
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < threads_count; ++id) {
    threads.emplace_back([&, id] {
      for (unsigned n = 0; n < increments; ++n) {
        const std::string& key = keys[(n + id) % keys_count];
        for (;;) {
          const Pin now = t.find(key);
          const PutStatus status = swap(t, now, key, now ? t.value(now) + 1 : 1);
          if (status == PutStatus::stored) break;
          if (status != PutStatus::unmatched) ++refused;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::uint64_t sum = 0;
  for (const auto& key : keys) {
    const Pin now = t.find(key);
    ASSERT_TRUE(now);
    sum += t.value(now);
  }
  EXPECT_EQ(sum, std::uint64_t{threads_count} * increments);
  EXPECT_EQ(refused, 0U);
  EXPECT_EQ(t.table->stats().evictions, 0U);
  EXPECT_VALID(*t.table);
}

TEST(PutWhen, OfManyThreadsThatStoreAnAbsentKeyExactlyOneDoes) {
  constexpr unsigned threads_count = 4;
  constexpr std::uint64_t keys_count = 400;
  Typed<std::uint64_t> t(small_options());
  const auto near = keys_of_one_bucket(t, 8);
  std::atomic<unsigned> winners[keys_count]{};
  std::atomic<std::uint64_t> winner[keys_count]{};
  std::barrier together(threads_count);
  std::atomic<std::uint64_t> odd{0};
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < threads_count; ++id) {
    threads.emplace_back([&, id] {
      for (std::uint64_t k = 0; k < keys_count; ++k) {
        together.arrive_and_wait();
        // Each round another key of one bucket, whose last entry one of the threads erased: void and empty slots, and neighbours.
        const std::string& key = near[k % near.size()];
        const PutStatus status = put_when(t, When::absent, key, k * 10 + id);
        if (status == PutStatus::stored) {
          ++winners[k];
          winner[k] = k * 10 + id;
        } else if (status != PutStatus::unmatched) {
          ++odd;
        }
        together.arrive_and_wait();
        const Pin found = t.find(key);
        if (!found || t.value(found) != winner[k]) ++odd;
        together.arrive_and_wait();
        if (id == k % threads_count) t.erase(near[(k + 1) % near.size()]);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (std::uint64_t k = 0; k < keys_count; ++k) ASSERT_EQ(winners[k], 1U) << k;
  EXPECT_EQ(odd, 0U);
  EXPECT_VALID(*t.table);
}

TEST(PutWhen, NoStoreOverWhatIsPresentOutlivesAnErase) {
  Typed<std::uint64_t> t(small_options());
  constexpr unsigned rounds_count = 3000;
  std::barrier together(2);
  std::uint64_t left = 0;
  std::thread eraser([&] {
    for (unsigned n = 0; n < rounds_count; ++n) {
      together.arrive_and_wait();
      t.erase("k");
      together.arrive_and_wait();
    }
  });
  for (unsigned n = 0; n < rounds_count; ++n) {
    Pin before;
    ASSERT_EQ(put_when(t, When::always, "k", 1, {}, &before), PutStatus::stored);
    together.arrive_and_wait();
    if (n % 2 == 0) put_when(t, When::present, "k", 2);
    else swap(t, before, "k", 2);
    together.arrive_and_wait();
    // Whichever came first, the key is gone: these only store over what is there, and the erase removes either.
    if (t.find("k")) ++left;
  }
  eraser.join();
  EXPECT_EQ(left, 0U);
  EXPECT_VALID(*t.table);
}

}  // namespace
}  // namespace tiercache::l1::test
