// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <tiercache/base/lab.hpp>

#include <functional>
#include <map>
#include <unordered_map>

namespace tiercache::l1::test {
namespace {

TEST(Table, AFreshTableIsEmptyAndValid) {
  Typed<int> t(small_options());
  EXPECT_FALSE(t.find("a"));
  EXPECT_FALSE(t.erase("a"));
  EXPECT_EQ(t.table->stats().entries, 0U);
  EXPECT_EQ(t.table->stats().used_bytes, t.table->stats().fixed_bytes);
  EXPECT_VALID(*t.table);
}

TEST(Table, WhatWasPutIsFoundWithItsMeta) {
  Typed<std::string> t(small_options());
  EntryMeta meta;
  meta.version = 77;
  meta.generation = 5;
  meta.shard = 3;
  meta.hard_expiry_ms = 123456789012;
  meta.soft_lead_ms = 250;
  ASSERT_EQ(t.put("key", "value", meta), PutStatus::stored);
  Pin pin = t.find("key", 5);
  ASSERT_TRUE(pin);
  EXPECT_EQ(t.value(pin), "value");
  EXPECT_EQ(pin.entry()->version(), 77U);
  EXPECT_EQ(pin.entry()->generation(), 5U);
  EXPECT_EQ(pin.entry()->shard(), 3U);
  EXPECT_EQ(pin.entry()->hard_expiry_ms(), 123456789012);
  EXPECT_EQ(pin.entry()->soft_lead_ms(), 250U);
  EXPECT_EQ(pin.entry()->key(), "key");
  pin.reset();
  EXPECT_VALID(*t.table);
}

TEST(Table, PutReplacesAndKeepsOneEntry) {
  Typed<int> t(small_options());
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(t.put("k", int{i}), PutStatus::stored);
  EXPECT_EQ(t.value(t.find("k")), 999);
  EXPECT_EQ(t.table->stats().entries, 1U);
  EXPECT_VALID(*t.table);
}

TEST(Table, KeysOfAllLengthsAndEqualPrefixesAreTold) {
  Typed<std::uint64_t> t(small_options(8 << 20));
  std::string key;
  for (std::uint64_t n = 0; n < 600; ++n) {
    ASSERT_EQ(t.put(key, std::uint64_t{n}), PutStatus::stored) << n;
    key += static_cast<char>('a' + n % 26);
  }
  key.clear();
  for (std::uint64_t n = 0; n < 600; ++n) {
    Pin pin = t.find(key);
    ASSERT_TRUE(pin) << n;
    EXPECT_EQ(t.value(pin), n);
    key += static_cast<char>('a' + n % 26);
  }
  // One byte changed anywhere is another key.
  for (std::size_t at = 0; at < 40; ++at) {
    for (std::size_t n = at + 1; n < 40; ++n) {
      std::string other = key.substr(0, n);
      other[at] ^= 1;
      EXPECT_FALSE(t.find(other));
    }
  }
  EXPECT_VALID(*t.table);
}

TEST(Table, ViewsAreKeySpacesOfTheirOwn) {
  Typed<int> t(small_options());
  const ViewId other = *t.table->add_view(type_ops<int>());
  int one = 1, two = 2;
  ASSERT_EQ(t.table->put(t.view, "k", t.table->hash(t.view, "k"), &one, {}), PutStatus::stored);
  EXPECT_FALSE(t.table->find(other, "k", t.table->hash(other, "k"), 0, 0));
  // Even under the same hash: the entry's view decides.
  EXPECT_FALSE(t.table->find(other, "k", t.table->hash(t.view, "k"), 0, 0));
  ASSERT_EQ(t.table->put(other, "k", t.table->hash(other, "k"), &two, {}), PutStatus::stored);
  EXPECT_EQ(t.value(t.find("k")), 1);
  EXPECT_EQ(t.table->stats().entries, 2U);
  EXPECT_VALID(*t.table);
}

TEST(Table, TheViewRegistryIsBoundedAndRefusesIncompleteTypes) {
  Typed<int> t(small_options());
  EXPECT_FALSE(t.table->add_view(nullptr).ok());
  TypeOps broken;
  EXPECT_FALSE(t.table->add_view(&broken).ok());
  for (std::size_t i = 1; i < max_views; ++i) ASSERT_TRUE(t.table->add_view(type_ops<int>()).ok());
  EXPECT_FALSE(t.table->add_view(type_ops<int>()).ok());
  const auto last = static_cast<ViewId>(max_views - 1);
  int value = 9;
  EXPECT_EQ(t.table->put(last, "k", t.table->hash(last, "k"), &value, {}), PutStatus::stored);
  EXPECT_VALID(*t.table);
}

TEST(Table, OptionsOutOfRangeAreRefusedByName) {
  Options o = small_options();
  o.capacity_bytes = 1000;
  auto made = Table::create(o);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, Errc::invalid_argument);
  EXPECT_NE(made.error().message.find("capacity_bytes"), std::string::npos);
  o = small_options();
  o.expected_entry_bytes = 8;
  EXPECT_FALSE(Table::create(o).ok());
}

TEST(Table, EraseRemovesAndSaysSo) {
  Typed<int> t(small_options());
  t.put("k", 1);
  EXPECT_TRUE(t.erase("k"));
  EXPECT_FALSE(t.erase("k"));
  EXPECT_FALSE(t.find("k"));
  EXPECT_EQ(t.table->stats().invalidations, 1U);
  t.table->drain();
  EXPECT_EQ(t.table->stats().used_bytes, t.table->stats().fixed_bytes);
  EXPECT_VALID(*t.table);
}

TEST(Table, AFullBucketEvictsWithinItself) {
  Typed<int> t(small_options());
  const auto keys = keys_of_one_bucket(t, 40);
  for (std::size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(t.put(keys[i], static_cast<int>(i)), PutStatus::stored);
  unsigned present = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (Pin pin = t.find(keys[i])) {
      EXPECT_EQ(t.value(pin), static_cast<int>(i));
      ++present;
    }
  }
  EXPECT_EQ(present, slots_per_bucket);
  EXPECT_TRUE(t.find(keys.back()));
  EXPECT_EQ(t.table->stats().evictions, 40U - slots_per_bucket);
  EXPECT_VALID(*t.table);
}

TEST(Table, AFullBucketGivesUpAVoidEntryBeforeAUsedOne) {
  Typed<int> t(small_options());
  const auto keys = keys_of_one_bucket(t, slots_per_bucket + 1);
  for (std::size_t i = 0; i < slots_per_bucket; ++i) {
    EntryMeta meta;
    if (i == 3) meta.hard_expiry_ms = fake_now_ms + 10;
    t.put(keys[i], 1, meta);
    for (int n = 0; n < 3 && i == 3; ++n) EXPECT_TRUE(t.find(keys[i]));  // the most used of all
  }
  fake_now_ms += 10;
  t.put(keys[slots_per_bucket], 1);
  for (std::size_t i = 0; i <= slots_per_bucket; ++i) EXPECT_EQ(static_cast<bool>(t.find(keys[i])), i != 3) << i;
  EXPECT_EQ(t.table->stats().expirations, 1U);
  EXPECT_VALID(*t.table);
}

TEST(Fence, AFillWithATicketOfBeforeAnEraseIsRefused) {
  Typed<int> t(small_options());
  const Ticket before = t.ticket("k");
  EXPECT_FALSE(t.erase("k"));  // nothing there, yet the read in flight is outdated
  EXPECT_EQ(t.fill(before, "k", 1), PutStatus::fenced);
  EXPECT_FALSE(t.find("k"));
  EXPECT_EQ(t.fill(t.ticket("k"), "k", 2), PutStatus::stored);
  EXPECT_EQ(t.value(t.find("k")), 2);
  EXPECT_EQ(t.table->stats().refused_fence, 1U);
  EXPECT_VALID(*t.table);
}

TEST(Fence, WithoutItTheOutdatedFillIsAccepted) {
  Typed<int> t(small_options());
  const Ticket before = t.ticket("k");
  t.erase("k");
  lab::ablate(lab::Remedy::fence);
  EXPECT_EQ(t.fill(before, "k", 1), PutStatus::stored);
  lab::ablate(lab::Remedy::fence, false);
  EXPECT_TRUE(t.find("k"));
  EXPECT_VALID(*t.table);
}

TEST(Fence, AFillDoesNotOverwriteAPutThatCameAfterItsTicket) {
  Typed<int> t(small_options());
  const Ticket before = t.ticket("k");
  t.put("k", 2);
  EXPECT_EQ(t.fill(before, "k", 1), PutStatus::fenced);
  EXPECT_EQ(t.value(t.find("k")), 2);
  EXPECT_VALID(*t.table);
}

TEST(Fence, FillsDoNotRefuseEachOther) {
  Typed<int> t(small_options());
  const Ticket a = t.ticket("k");
  const Ticket b = t.ticket("k");
  EXPECT_EQ(t.fill(a, "k", 1), PutStatus::stored);
  EXPECT_EQ(t.fill(b, "k", 1), PutStatus::stored);
  EXPECT_VALID(*t.table);
}

TEST(Fence, ADefaultTicketIsNeverGood) {
  Typed<int> t(small_options());
  EXPECT_EQ(t.fill(Ticket{}, "k", 1), PutStatus::fenced);
}

TEST(Fence, ItsWrapIsHarmlessAwayFromTheExactMultiple) {
  Typed<int> t(small_options());
  const Ticket before = t.ticket("k");
  for (int i = 0; i < (1 << 22) - 1; ++i) t.erase("k");
  EXPECT_EQ(t.fill(before, "k", 1), PutStatus::fenced);
  t.erase("k");  // the documented bound: exactly 2^22 later the ticket reads as fresh
  EXPECT_EQ(t.ticket("k").fence, before.fence);
  t.erase("k");
  EXPECT_EQ(t.fill(before, "k", 1), PutStatus::fenced);
  EXPECT_VALID(*t.table);
}

TEST(Fill, ARefusedValueIsStillTheCallers) {
  Typed<std::string> t(small_options());
  const std::string text(100, 'x');
  std::string value = text;
  const Ticket before = t.ticket("k");
  t.erase("k");
  EXPECT_EQ(t.table->fill(before, t.view, "k", t.hash("k"), &value, {}), PutStatus::fenced);
  EXPECT_EQ(value, text);
  EXPECT_VALID(*t.table);
}

TEST(Generation, EntriesOfAnotherGenerationAreAbsent) {
  Typed<int> t(small_options());
  EntryMeta meta;
  meta.generation = 4;
  t.put("k", 1, meta);
  EXPECT_TRUE(t.find("k", 4));
  EXPECT_FALSE(t.find("k", 3)) << "a caller that was held up sees nothing";
  EXPECT_TRUE(t.find("k", 4)) << "and leaves the entry alone";
  EXPECT_FALSE(t.find("k", 5));
  EXPECT_EQ(t.table->stats().entries, 0U) << "an outdated entry is unlinked by who meets it";
  EXPECT_VALID(*t.table);
}

TEST(Generation, AFillBegunUnderAnOlderGenerationLeavesTheNewerEntryAlone) {
  Typed<int> t(small_options());
  EntryMeta newer, older;
  newer.generation = 2;
  older.generation = 1;
  const Ticket a = t.ticket("k");
  EXPECT_EQ(t.fill(a, "k", 2, newer), PutStatus::stored);
  EXPECT_EQ(t.fill(a, "k", 1, older), PutStatus::fenced);
  EXPECT_EQ(t.value(t.find("k", 2)), 2);
  EXPECT_VALID(*t.table);
}

TEST(Expiry, AnEntryIsAbsentFromItsHardExpiryOn) {
  Typed<int> t(small_options());
  EntryMeta meta;
  meta.hard_expiry_ms = fake_now_ms + 100;
  t.put("k", 1, meta);
  fake_now_ms += 99;
  EXPECT_TRUE(t.find("k"));
  fake_now_ms += 1;
  EXPECT_FALSE(t.find("k"));
  EXPECT_EQ(t.table->stats().expirations, 1U);
  EXPECT_EQ(t.table->stats().entries, 0U);
  EXPECT_VALID(*t.table);
}

TEST(Visit, WorksNestedAndEndsAtItsBound) {
  Typed<int> t(small_options());
  for (int i = 0; i < 10; ++i) t.put(std::to_string(i), int{i});
  int deepest = -1;
  std::function<void(int)> nest = [&](int depth) {
    const std::string key = std::to_string(depth);
    t.table->visit(t.view, key, t.hash(key), 0, fake_now_ms, [&](const void* value, const Entry& entry) {
      EXPECT_EQ(*static_cast<const int*>(value), depth);
      EXPECT_EQ(entry.key(), key);
      deepest = depth;
      t.put("other", int{depth});
      t.erase("other");
      nest(depth + 1);
    });
  };
  nest(0);
  EXPECT_EQ(deepest, 5);
  EXPECT_TRUE(t.table->visit(t.view, "1", t.hash("1"), 0, fake_now_ms, [](const void*, const Entry&) {}));
  EXPECT_VALID(*t.table);
}

TEST(Visit, AThrowPassesThroughAndLeavesNothingBehind) {
  Typed<int> t(small_options());
  t.put("k", 1);
  for (int i = 0; i < 20; ++i) {
    EXPECT_THROW(t.table->visit(t.view, "k", t.hash("k"), 0, fake_now_ms, [](const void*, const Entry&) { throw 1; }), int);
  }
  EXPECT_VALID(*t.table);
}

TEST(Values, AreDestroyedExactlyOnce) {
  {
    Typed<Tracked> t(small_options(64 << 10));
    for (std::uint64_t i = 0; i < 20000; ++i) {
      const std::string key = std::to_string(i * 7919 % 2000);
      switch (i % 5) {
        case 0: t.erase(key); break;
        case 1: t.fill(t.ticket(key), key, Tracked(i, i)); break;
        default: t.put(key, Tracked(i, i));
      }
    }
    EXPECT_VALID(*t.table);
    t.table->drain();
    EXPECT_EQ(static_cast<std::uint64_t>(Tracked::living.load()), t.table->stats().entries);
  }
  EXPECT_EQ(Tracked::living.load(), 0);
}

struct alignas(64) Wide {
  std::uint64_t x[8];
};
TEST(Values, KeepTheirAlignment) {
  Typed<Wide> t(small_options());
  Typed<long double> u(small_options());
  for (std::size_t n = 1; n < 40; ++n) {
    const std::string key(n, 'k');
    Wide wide{{n}};
    ASSERT_EQ(t.table->put(t.view, key, t.hash(key), &wide, {}), PutStatus::stored);
    u.put(key, static_cast<long double>(n));
    Pin a = t.find(key), b = u.find(key);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.value()) % 64, 0U);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.value()) % alignof(long double), 0U);
    EXPECT_EQ(t.value(a).x[0], n);
  }
  EXPECT_VALID(*t.table);
  EXPECT_VALID(*u.table);
}

TEST(Model, RandomOperationsAgreeWithAMap) {
  // Room for all, so nothing but erase and expiry removes.
  std::mt19937_64 random(test_seed());
  Typed<std::string> t(small_options(16 << 20));
  std::map<std::string, std::pair<std::string, std::int64_t>> model;
  for (int step = 0; step < 60000; ++step) {
    const std::string key = "key" + std::to_string(random() % 500);
    switch (random() % 8) {
      case 0: {
        auto it = model.find(key);
        const bool there = it != model.end() && (it->second.second == 0 || it->second.second > fake_now_ms);
        const bool removed = t.erase(key);
        if (there) {
          EXPECT_TRUE(removed);
        }
        model.erase(key);
        break;
      }
      case 1:
      case 2: {
        EntryMeta meta;
        if (random() % 2) meta.hard_expiry_ms = fake_now_ms + 1 + static_cast<std::int64_t>(random() % 500);
        std::string value(random() % 300, static_cast<char>('a' + random() % 26));
        const Ticket ticket = t.ticket(key);
        const bool put = random() % 2 == 0;
        ASSERT_EQ(put ? t.put(key, std::string(value), meta) : t.fill(ticket, key, std::string(value), meta), PutStatus::stored);
        model[key] = {value, meta.hard_expiry_ms};
        break;
      }
      case 3: fake_now_ms += static_cast<std::int64_t>(random() % 3); break;
      default: {
        auto it = model.find(key);
        const bool there = it != model.end() && (it->second.second == 0 || it->second.second > fake_now_ms);
        Pin pin = t.find(key);
        ASSERT_EQ(static_cast<bool>(pin), there) << key;
        if (there) {
          EXPECT_EQ(t.value(pin), it->second.first);
        }
      }
    }
  }
  EXPECT_VALID(*t.table);
}

struct Picture {
  std::uint64_t bytes;
};
std::uint64_t footprint(const Picture& p) { return p.bytes; }

TEST(Footprint, CountsWhatAValueOwns) {
  EXPECT_EQ(heap_footprint(7), 0U);
  EXPECT_EQ(heap_footprint(std::string("short")), 0U);
  EXPECT_GE(heap_footprint(std::string(1000, 'x')), 1000U);
  EXPECT_LE(heap_footprint(std::string(1000, 'x')), 1100U);
  const std::vector<std::string> two{std::string(100, 'x'), std::string(100, 'y')};
  EXPECT_GE(heap_footprint(two), 200 + 2 * sizeof(std::string));
  EXPECT_GE(heap_footprint(std::map<int, std::string>{{1, std::string(100, 'x')}}), 100U);
  EXPECT_GE(heap_footprint(std::unordered_map<int, int>{{1, 2}, {3, 4}}), 2 * 24U);
  EXPECT_GE(heap_footprint(std::make_unique<std::string>(100, 'x')), 100U);
  EXPECT_EQ(heap_footprint(std::unique_ptr<int>()), 0U);
  EXPECT_GE(heap_footprint(std::tuple<int, std::string>(1, std::string(100, 'x'))), 100U);
  EXPECT_EQ(heap_footprint(Picture{12345}), 12345U);
}

TEST(Footprint, AValueWhoseFootprintChangesLaterDoesNotDriftTheBudget) {
  Typed<std::shared_ptr<Picture>> t(small_options());
  auto ops = *type_ops<std::shared_ptr<Picture>>();
  ops.heap_bytes = [](const void* v) noexcept -> std::uint64_t {
    return (*static_cast<const std::shared_ptr<Picture>*>(v))->bytes;
  };
  const ViewId view = *t.table->add_view(&ops);
  auto shared = std::make_shared<Picture>(Picture{1000});
  auto value = shared;
  ASSERT_EQ(t.table->put(view, "k", t.table->hash(view, "k"), &value, {}), PutStatus::stored);
  shared->bytes = 50000;
  EXPECT_VALID(*t.table);
  t.table->erase(view, "k", t.table->hash(view, "k"));
  t.table->drain();
  EXPECT_EQ(t.table->stats().used_bytes, t.table->stats().fixed_bytes);
  t.table.reset();
}

}  // namespace
}  // namespace tiercache::l1::test
