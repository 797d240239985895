// SPDX-License-Identifier: Apache-2.0
//
// Stores that want the key to be so or so (put_when, compare_and_swap), against each other and against what removes the key.
#include "scenario.hpp"

namespace tiercache::l1::model {
namespace {

/// Two threads swap the same entry for their own; a third reads and helps. One of them does it.
struct TwoSwaps : Scenario {
  const Entry* pinned = nullptr;
  bool swapped[2] = {};
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    pinned = world.find(0, 1, 1);
  }
  void thread(unsigned id) override {
    if (id == 2) {
      expect(world.read(2, 1) != 0, "a swapped key is missing");
      world.help(2);
      return;
    }
    const int version = static_cast<int>(id) + 2;
    swapped[id] = world.store(id, 1, version, {.when = When::same, .same = pinned});
    if (swapped[id]) expect(world.read(id, 1) == contents(1, version), "a swap that was done is not there");
    else expect(world.read(id, 1) != contents(1, 1), "a swap is refused, and the entry is still there");
  }
  void after() override {
    world.check();
    expect(swapped[0] != swapped[1], "both swaps were done, or neither");
    expect(world.content(1) == contents(1, swapped[0] ? 2 : 3), "the swap that was done is not there");
  }
};

/// Two threads store a key that must be absent; a third reads and helps.
struct TwoAdds : Scenario {
  bool added[2] = {};
  void thread(unsigned id) override {
    if (id == 2) {
      const int first = world.read(2, 1);
      world.help(2);
      const int second = world.read(2, 1);
      expect(first == 0 || second == first, "what was stored as the first is replaced");
      return;
    }
    added[id] = world.store(id, 1, static_cast<int>(id) + 1, {.when = When::absent});
    expect(world.read(id, 1) != 0, "a key is missing that was stored or there");
  }
  void after() override {
    world.check();
    expect(added[0] != added[1], "both stores were done, or neither");
    expect(world.content(1) == contents(1, added[0] ? 1 : 2), "the store that was done is not there");
  }
};

/// Two threads count in one entry, by reading it and swapping it for the next: no count is lost.
struct Count : Scenario {
  unsigned counted[2] = {};
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    for (int i = 0; i < 3 && counted[id] == 0; ++i) {
      const Entry* entry = world.find(id, 1, 1);
      expect(entry != nullptr, "a swapped key is missing");
      const int version = version_of(World::value(*entry, 1)) + 1;
      if (world.store(id, 1, version, {.when = When::same, .same = entry})) ++counted[id];
      Hazards::clear(world.records[id].pin(1));
      world.reclaim();  // the address would be used again, if the pin did not hold it
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 1 + static_cast<int>(counted[0] + counted[1])), "a count is lost");
  }
};

/// A swap and an erase: whichever is first, the key is gone. What was made of an erased value must not outlive the erase.
struct SwapVersusErase : Scenario {
  const Entry* pinned = nullptr;
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    pinned = world.find(0, 1, 1);
  }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.store(0, 1, 2, {.when = When::same, .same = pinned}));
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      expect(world.read(1, 1) == 0, "a swap of an erased entry is read after erase returned");
    }
    if (id == 2) {
      world.help(2);
      static_cast<void>(world.read(2, 1));
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) == 0, "a swap of an erased entry is in the table after erase returned");
  }
};

/// As SwapVersusErase, for a store that wants any entry of the key, while the first may be evicted.
struct ReplaceVersusErase : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.store(0, 1, 2, {.when = When::present}));
    if (id == 1) static_cast<void>(world.erase(1, 1));
    if (id == 2) static_cast<void>(world.evict(2, 1));
  }
  void after() override {
    world.check();
    expect(world.content(1) == 0, "a store over an erased entry is in the table after erase returned");
  }
};

/// A store that wants the key absent waits for nobody: an erase makes room for it, and does not take it away unless it is later.
struct AddVersusErase : Scenario {
  bool added = false;
  bool erased = false;
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) added = world.store(0, 1, 2, {.when = When::absent});
    else erased = world.erase(1, 1);
  }
  void after() override {
    world.check();
    expect(erased, "an erase removes nothing that was there");
    expect(world.content(1) == 0 || (added && world.content(1) == contents(1, 2)), "an erased entry is back");
  }
};

/// An eviction is no invalidation: the ticket of before still stands, and the fill goes in.
struct FillVersusEvict : Scenario {
  std::uint64_t fence = 0;
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    expect(world.ticket(fence), "no ticket");
  }
  void thread(unsigned id) override {
    if (id == 0) {
      expect(world.store(0, 1, 2, {.ticket = &fence}), "a fill is refused for an eviction");
      const int read = world.read(0, 1);
      expect(read == 0 || read == contents(1, 2), "an older value is read after a fill");
    }
    if (id == 1) {
      static_cast<void>(world.evict(1, 1));
      std::uint64_t later = 0;
      expect(!world.ticket(later) || later == fence, "an eviction invalidates");
    }
    if (id == 2) {
      static_cast<void>(world.read(2, 1));
      static_cast<void>(world.evict(2, 1));
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) == 0 || world.content(1) == contents(1, 2), "an older value stands after a fill");
  }
};

/// A fill is refused because an install is pending whose owner is stopped for good: it leaves the bucket so that tickets are
/// given.
struct RefusedFillFinishes : Scenario {
  std::uint64_t outdated = 0;
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    expect(world.ticket(outdated), "no ticket");
    world.stop_in_install(2, 1, 2);
  }
  void thread(unsigned id) override {
    expect(!world.store(id, 1, 3, {.ticket = &outdated}), "an outdated fill is done");
    std::uint64_t fence = 0;
    expect(world.ticket(fence), "no ticket after a refused fill");
    expect(world.read(id, 1) == contents(1, 2), "an install is lost");
  }
};

}  // namespace

std::vector<ScenarioInfo> conditional_scenarios() {
  return {
      {"two swaps of one entry", 3, make<TwoSwaps>},
      {"two stores of an absent key", 3, make<TwoAdds>},
      {"counting by swaps", 2, make<Count>},
      {"a swap and an erase", 3, make<SwapVersusErase>},
      {"a store over an entry, an erase and an eviction", 3, make<ReplaceVersusErase>},
      {"a store of an absent key and an erase", 2, make<AddVersusErase>},
      {"a fill and evictions", 3, make<FillVersusEvict>},
      {"a refused fill and an install of a stopped thread", 2, make<RefusedFillFinishes>},
  };
}

}  // namespace tiercache::l1::model
