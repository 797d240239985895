// SPDX-License-Identifier: Apache-2.0
#include "shared.hpp"
#include "progress.hpp"

#include <gtest/gtest.h>

#include <array>

namespace tiercache::demo {
namespace {

Settings small() {
  Settings s;
  s.instances = 3;
  s.threads = 2;
  s.keys = 10;
  s.probes = probe_count;
  return s;
}

TEST(Shared, WhatOneMappingWritesAnotherReads) {
  const std::array<std::uint32_t, 4> requests{3, 1, 4, 1};
  Result<SharedBlock> parent = SharedBlock::create(
      small(), [](std::uint32_t key) { return key * 2; }, requests);
  ASSERT_TRUE(parent.ok());
  Result<SharedBlock> child = SharedBlock::attach(parent->fd());
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(child->settings().requests, 4U);
  EXPECT_EQ(child->requests()[2], 4U);
  EXPECT_EQ(child->keys().size(), 10U + probe_count);
  EXPECT_EQ(child->keys()[73].size, 146U);
  EXPECT_EQ(child->slots(2).size(), 2U + probe_readers + 1);

  child->slots(2)[1].reads.add(5);
  child->slots(1)[2].reads.add(7);
  child->instances()[2].coherent_since.store(9);
  EXPECT_EQ(sum_slots(*parent, Who::workers).reads, 5U);
  EXPECT_EQ(sum_slots(*parent, Who::probes).reads, 7U);
  EXPECT_EQ(sum_slots(*parent, Who::all).reads, 12U);
  EXPECT_EQ(parent->instances()[2].coherent_since.load(), 9);

  ASSERT_TRUE(child->acks().record(child->keys()[5], 2, 100));
  EXPECT_EQ(parent->acks().staleness(parent->keys()[5], 1, 130), 30);
}

TEST(Shared, AFileThatIsTooSmallIsRefused) { EXPECT_FALSE(SharedBlock::attach(-1).ok()); }

TEST(Progress, ALineShowsWhatHappenedSinceTheLastOne) {
  Result<SharedBlock> block = SharedBlock::create(small(), [](std::uint32_t) { return 100U; }, {});
  ASSERT_TRUE(block.ok());
  Progress progress(*block);
  ThreadSlot& slot = block->slots(0)[0];
  slot.reads.add(1000);
  slot.by_l1.add(800);
  slot.by_l2.add(100);
  const std::string first = progress.line(1, 0.1, "");
  EXPECT_NE(first.find("1,000 op/s"), std::string::npos) << first;
  EXPECT_NE(first.find("L1  80.0 %"), std::string::npos) << first;
  EXPECT_NE(first.find("L2  50.0 %"), std::string::npos) << first;
  slot.reads.add(500);
  const std::string second = progress.line(2, 0.2, "redis is down");
  EXPECT_NE(second.find("500 op/s"), std::string::npos) << second;
  EXPECT_NE(second.find("[redis is down]"), std::string::npos) << second;
}

}  // namespace
}  // namespace tiercache::demo
