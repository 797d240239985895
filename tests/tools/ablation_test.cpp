// SPDX-License-Identifier: Apache-2.0
#include "ablation.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace tiercache::demo {
namespace {

TEST(Ablation, EveryNameFindsItsOwnRemedy) {
  std::set<lab::Remedy> remedies;
  for (const Ablation& a : ablations) {
    EXPECT_EQ(find_ablation(a.name), &a);
    EXPECT_TRUE(remedies.insert(a.remedy).second) << a.name;
  }
}

// A part of a name that is let in would ablate nothing, and the run would look as if the checker had missed something.
TEST(Ablation, NoOtherTextFindsOne) {
  for (const char* text : {"", "x", "Lease", "lease ", " fence", "atomic_write", ", ", "lease, fence"}) {
    EXPECT_EQ(find_ablation(text), nullptr) << text;
  }
  const std::string names = ablation_names();
  EXPECT_EQ(names, "lease, fence, heartbeat, generation, atomic-write, replay");
  std::size_t found = 0;
  for (std::size_t from = 0; from < names.size(); ++from) {
    for (std::size_t size = 1; size <= names.size() - from; ++size) {
      if (const Ablation* a = find_ablation(names.substr(from, size))) {
        EXPECT_EQ(a->name, names.substr(from, size));
        ++found;
      }
    }
  }
  EXPECT_EQ(found, ablations.size());
}

}  // namespace
}  // namespace tiercache::demo
