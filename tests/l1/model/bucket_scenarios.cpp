// SPDX-License-Identifier: Apache-2.0
//
// Installs, removals and tickets in one bucket.
#include "scenario.hpp"

namespace tiercache::l1::model {
namespace {

/// Two keys are installed at once, one over an old entry; a third thread reads and helps.
struct TwoInstalls : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) expect(world.store(0, 1, 2), "a put is refused");
    if (id == 1) expect(world.store(1, 2, 1), "a put is refused");
    if (id == 2) {
      expect(world.read(2, 1) != 0, "a replaced key is missing");
      world.help(2);
      expect(world.read(2, 1) != 0, "a replaced key is missing");
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 2) && world.content(2) == contents(2, 1), "an install is lost");
  }
};

/// The same key put by two threads, and helped by a third.
struct SameKey : Scenario {
  void thread(unsigned id) override {
    if (id < 2) {
      expect(world.store(id, 1, static_cast<int>(id) + 1), "a put is refused");
      const int read = world.read(id, 1);
      expect(read != 0, "an installed key is missing");
    } else {
      world.help(2);
      static_cast<void>(world.read(2, 1));
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) != 0, "an install is lost");
  }
};

/// A fill whose ticket is older than an erase, the erase, and a helper. Nothing of before the erase may stand after it.
struct FillVersusErase : Scenario {
  std::uint64_t fence = 0;
  void before() override { expect(world.ticket(fence), "no ticket"); }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.store(0, 1, 1, {.ticket = &fence}));
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      expect(world.read(1, 1) == 0, "an older fill is read after erase returned");
    }
    if (id == 2) {
      world.help(2);
      static_cast<void>(world.read(2, 1));
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) == 0, "an older fill is in the table after erase returned");
  }
};

/// A fill with a ticket, a put and an erase of one key: the fill is older than both.
struct FillVersusPutVersusErase : Scenario {
  std::uint64_t fence = 0;
  void before() override { expect(world.ticket(fence), "no ticket"); }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.store(0, 1, 1, {.ticket = &fence}));
    if (id == 1) {
      expect(world.store(1, 1, 2), "a put is refused");
      expect(world.read(1, 1) != contents(1, 1), "an older fill is read after a put");
    }
    if (id == 2) static_cast<void>(world.erase(2, 1));
  }
  void after() override {
    world.check();
    expect(world.content(1) != contents(1, 1), "an older fill stands after a put and an erase");
  }
};

/// The whole of a read-through: ticket, read of the source, fill. The writer changes the source and then erases.
struct ReadThrough : Scenario {
  Channel<int> source;
  Channel<int> erased;
  void before() override { source.send(1); }
  void thread(unsigned id) override {
    if (id == 0) {
      std::uint64_t fence = 0;
      if (!world.ticket(fence)) return;
      const int version = source.peek();
      static_cast<void>(world.store(0, 1, version, {.ticket = &fence}));
    }
    if (id == 1) {
      source.poke(2);
      static_cast<void>(world.erase(1, 1));
      expect(world.read(1, 1) != contents(1, 1), "the old value is read after the writer's erase");
      erased.send(1);
    }
    if (id == 2) {
      const bool after = erased.receive() != 0;
      const int read = world.read(2, 1);
      expect(!after || read != contents(1, 1), "another thread reads the old value after the writer's erase");
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) != contents(1, 1), "the old value stands after the writer's erase");
  }
};

/// As ReadThrough, with a put as the invalidation.
struct ReadThroughVersusPut : Scenario {
  Channel<int> source;
  void before() override { source.send(1); }
  void thread(unsigned id) override {
    if (id == 0) {
      std::uint64_t fence = 0;
      if (!world.ticket(fence)) return;
      static_cast<void>(world.store(0, 1, source.peek(), {.ticket = &fence}));
    } else {
      source.poke(2);
      expect(world.store(1, 1, 2), "a put is refused");
      expect(world.read(1, 1) == contents(1, 2), "the old value is read after a put");
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 2), "the old value stands after a put");
  }
};

/// One thread puts twice, so uses its descriptor twice; another key comes in between; a reader sees a value at all times.
struct DescriptorUsedAgain : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) {
      expect(world.store(0, 1, 2), "a put is refused");
      expect(world.store(0, 2, 1), "a put is refused");
    } else {
      expect(world.read(id, 1) != 0, "a replaced key is missing");
      world.help(id);
      world.help(id);
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 2) && world.content(2) == contents(2, 1), "an install is lost");
  }
};

/// Two installs in a slot that is emptied again and again: the empty words tell which removal it was, also a late helper.
struct InstallVersusRemovals : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) {
      expect(world.store(0, 1, 2), "a put is refused");
      expect(world.store(0, 1, 3), "a put is refused");
      const int read = world.read(0, 1);
      expect(read == 0 || read == contents(1, 3), "an older value is read after a put");
    }
    if (id == 1) {
      for (int i = 0; i < 3; ++i) static_cast<void>(world.evict(1, 1));
    }
    if (id == 2) world.help(2);
  }
  void after() override {
    world.check();
    expect(world.content(1) == 0 || world.content(1) == contents(1, 3), "an older value stands after a put");
  }
};

/// A helper that is late meets the descriptor's next use, for another slot.
struct LateForDescriptor : Scenario {
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    world.stop_in_install(0, 1, 2);
  }
  void thread(unsigned id) override {
    world.help(id);
    if (id == 0) expect(world.store(0, 2, 1), "a put is refused");
  }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 2) && world.content(2) == contents(2, 1), "an install is lost");
  }
};

/// A helper that is late meets a descriptor that was written for an install which then was not begun: the bucket had changed.
struct LateForNothing : Scenario {
  std::uint64_t outdated = 0;
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    outdated = world.bucket.control().peek();
    world.stop_in_install(0, 1, 2);
  }
  void thread(unsigned id) override {
    world.help(id);
    if (id == 1) return;
    Entry* entry = world.allocate(2, 1);
    expect(entry != nullptr, "no entry is free");
    expect(!world.install(0, outdated, Buckets::slots[1], *entry), "an install begins that must not");
    world.free(*entry);
  }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 2) && world.content(2) == 0, "an install is lost");
  }
};

/// A helper that is late finds the slot emptied by a later removal.
struct LateForRemovals : Scenario {
  void before() override { world.stop_in_install(2, 1, 1); }
  void thread(unsigned id) override {
    world.help(id);
    if (id == 1) return;
    expect(world.evict(0, 1), "an entry is lost");
    expect(world.store(0, 1, 2), "a put is refused");
    expect(world.evict(0, 1), "an entry is lost");
  }
  void after() override {
    world.check();
    expect(world.content(1) == 0, "a removed entry is back");
  }
};

/// A helper that is late finds a later entry at the old one's address, unless it held that.
struct LateForAddress : Scenario {
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    world.stop_in_install(2, 1, 2);
  }
  void thread(unsigned id) override {
    world.help(id);
    if (id == 1) return;
    world.reclaim();
    expect(world.store(0, 1, 3), "a put is refused");
    world.reclaim();
  }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 3), "an install is lost");
  }
};

/// As LateForAddress, but the old entry is evicted and freed before the helper holds it, while the install is pending: its owner
/// is stopped for good.
struct LateForEvicted : Scenario {
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    world.stop_in_install(2, 1, 2);
  }
  void thread(unsigned id) override {
    if (id == 0) world.help(0);
    if (id == 1) {
      static_cast<void>(world.evict(1, 1));
      world.reclaim();
      expect(world.store(1, 1, 3), "a put is refused");
    }
  }
  void after() override {
    world.check();
    expect(world.content(1) == contents(1, 3), "an install is lost");
  }
};

}  // namespace

std::vector<ScenarioInfo> bucket_scenarios() {
  return {
      {"two installs and a helper", 3, make<TwoInstalls>},
      {"two puts of one key", 3, make<SameKey>},
      {"a fill and an erase", 3, make<FillVersusErase>},
      {"a fill, a put and an erase", 3, make<FillVersusPutVersusErase>},
      {"a read-through and an erase", 3, make<ReadThrough>},
      {"a read-through and a put", 2, make<ReadThroughVersusPut>},
      {"a descriptor used again", 3, make<DescriptorUsedAgain>},
      {"an install whose slot is emptied", 3, make<InstallVersusRemovals>},
      {"a helper late for a descriptor", 2, make<LateForDescriptor>},
      {"a helper late for an install given up", 2, make<LateForNothing>},
      {"a helper late for removals", 2, make<LateForRemovals>},
      {"a helper late for an address", 2, make<LateForAddress>},
      {"a helper late for an evicted entry", 2, make<LateForEvicted>},
  };
}

}  // namespace tiercache::l1::model
