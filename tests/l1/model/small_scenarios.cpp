// SPDX-License-Identifier: Apache-2.0
#include "scenario.hpp"

namespace tiercache::l1::model {
namespace {

struct SmallInstalls : Scenario {
  void thread(unsigned id) override { expect(world.store(id, static_cast<int>(id) + 1, 1), "a put is refused"); }
  void after() override {
    world.check();
    expect(world.content(1) != 0 && world.content(2) != 0, "an install is lost");
  }
};

struct SmallFillVersusErase : Scenario {
  std::uint64_t fence = 0;
  void before() override { expect(world.ticket(fence), "no ticket"); }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.store(0, 1, 1, {.ticket = &fence}));
    else static_cast<void>(world.erase(1, 1));
  }
  void after() override {
    world.check();
    expect(world.content(1) == 0, "an older fill is in the table after erase returned");
  }
};

struct SmallReadVersusErase : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) {
      static_cast<void>(world.read(0, 1));
    } else {
      static_cast<void>(world.erase(1, 1));
      world.reclaim();
    }
  }
};

struct SmallPush : Scenario {
  Entry* first = nullptr;
  void before() override { first = world.allocate(1, 1); }
  void thread(unsigned id) override {
    if (id == 0) world.retire(*first);
    else if (Entry* list = Stack::take(world.retired)) world.free(*list);
  }
};

struct SmallMemory : Scenario {
  Entry* first = nullptr;
  void before() override { first = world.allocate(1, 1); }
  void thread(unsigned id) override {
    if (id == 0) world.free(*first);
    else expect(world.allocate(1, 2) != nullptr, "no entry is free");
  }
  void after() override {}
};

struct SmallTrim : Scenario {
  Entry* first = nullptr;
  void before() override { first = world.allocate(1, 1); }
  void thread(unsigned id) override {
    if (id == 0) world.free(*first);
    else static_cast<void>(world.trim());
  }
};

struct SmallSwaps : Scenario {
  const Entry* pinned = nullptr;
  bool swapped[2] = {};
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    pinned = world.find(0, 1, 1);
  }
  void thread(unsigned id) override {
    swapped[id] = world.store(id, 1, static_cast<int>(id) + 2, {.when = When::same, .same = pinned});
  }
  void after() override {
    world.check();
    expect(swapped[0] != swapped[1], "both swaps were done, or neither");
  }
};

struct SmallSwapVersusErase : Scenario {
  const Entry* pinned = nullptr;
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    pinned = world.find(0, 1, 1);
  }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.store(0, 1, 2, {.when = When::same, .same = pinned}));
    else static_cast<void>(world.erase(1, 1));
  }
  void after() override {
    world.check();
    expect(world.content(1) == 0, "a swap of an erased entry is in the table after erase returned");
  }
};

struct SmallHelp : Scenario {
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    world.stop_in_install(2, 1, 2);
  }
  void thread(unsigned id) override { world.help(id); }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 2), "an install is lost");
  }
};

}  // namespace

std::vector<ScenarioInfo> small_scenarios() {
  return {
      {"a push and a take", 2, make<SmallPush>, true},
      {"memory given back and taken", 2, make<SmallMemory>, true},
      {"memory and its page given back", 2, make<SmallTrim>, true},
      {"two helpers of one install", 2, make<SmallHelp>},
      {"two installs", 2, make<SmallInstalls>},
      {"two swaps of one entry", 2, make<SmallSwaps>},
      {"a swap and an erase", 2, make<SmallSwapVersusErase>},
      {"a fill and an erase", 2, make<SmallFillVersusErase>},
      {"a read and an erase that frees", 2, make<SmallReadVersusErase>},
  };
}

}  // namespace tiercache::l1::model
