// SPDX-License-Identifier: Apache-2.0
#include "bag.hpp"
#include "plan.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

namespace tiercache::chaos {
namespace {

const auto any = [](FaultKind) { return true; };

TEST(Kinds, StandInTheirOwnPlacesUnderNamesOfTheirOwn) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < faults.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(faults[i].kind), i);
    EXPECT_TRUE(FaultSet::all().has(faults[i].kind));
    EXPECT_TRUE(names.insert(faults[i].name).second) << faults[i].name;
  }
  EXPECT_TRUE(FaultSet().empty());
  EXPECT_FALSE(FaultSet::of(FaultKind::delay).has(FaultKind::dribble));
}

TEST(Kinds, AnOwnedKeyIsPlainAndTheSessionsOwn) {
  constexpr std::uint32_t sessions = 12;
  for (std::uint32_t key = 0; key < 4 * sessions * 3; ++key) {
    for (std::uint32_t s = 0; s < sessions; ++s) {
      const std::uint32_t owned = owned_key(key, s, sessions);
      EXPECT_LT(owned, 4 * sessions * 3);
      EXPECT_EQ(write_kind_of(owned), WriteKind::plain);
      EXPECT_EQ(owner_of(owned, sessions), s);
    }
  }
}

TEST(BagTest, DrawsEachKindAsOftenAsAnyOther) {
  Bag bag(FaultSet::all(), Lane::redis);
  demo::Random random(1);
  std::map<FaultKind, int> drawn;
  for (int i = 0; i < 11 * 7; ++i) ++drawn[*bag.draw(random, any)];
  EXPECT_EQ(drawn.size(), 11U);
  for (const auto& [kind, n] : drawn) {
    EXPECT_EQ(n, 7) << info(kind).name;
    EXPECT_EQ(info(kind).lane, Lane::redis);
  }
}

TEST(BagTest, WhatMayNotBeDrawnNowComesLater) {
  Bag bag(FaultSet::of(FaultKind::delay, FaultKind::dribble), Lane::instance);
  demo::Random random(1);
  const auto no_delay = [](FaultKind k) { return k != FaultKind::delay; };
  EXPECT_EQ(bag.draw(random, no_delay), FaultKind::dribble);
  EXPECT_EQ(bag.draw(random, no_delay), std::nullopt);
  EXPECT_EQ(bag.draw(random, any), FaultKind::delay);
  EXPECT_TRUE(Bag(FaultSet::of(FaultKind::delay), Lane::redis).empty());
}

TEST(BagTest, WhatCameToNothingComesAgainBeforeTheOthersHaveAllComeButOnlyOnce) {
  Bag bag(FaultSet::of(FaultKind::delay, FaultKind::dribble, FaultKind::flip), Lane::instance);
  demo::Random random(1);
  std::map<FaultKind, int> drawn;
  const auto draw = [&] {
    const FaultKind kind = *bag.draw(random, any);
    ++drawn[kind];
    if (kind == FaultKind::flip) bag.put_back(kind);
  };
  for (int i = 0; i < 4; ++i) draw();
  EXPECT_EQ(drawn[FaultKind::flip], 2);
  EXPECT_EQ(drawn[FaultKind::delay], 1);
  EXPECT_EQ(drawn[FaultKind::dribble], 1);
  for (int i = 0; i < 4; ++i) draw();
  EXPECT_EQ(drawn[FaultKind::flip], 4);
  EXPECT_EQ(drawn[FaultKind::delay], 2);
}

TEST(ChaosAblation, EveryNameFindsItsOwnAndNoOtherTextFindsOne) {
  std::set<std::uint64_t> remedies;
  for (const Ablation& a : ablations) {
    EXPECT_EQ(find_ablation(a.name), &a);
    EXPECT_TRUE(remedies.insert(a.remedies).second) << a.name;
  }
  for (const char* text : {"", "x", "Lease", "lease ", "atomic_write", ", "}) EXPECT_EQ(find_ablation(text), nullptr) << text;
}

}  // namespace
}  // namespace tiercache::chaos
