// SPDX-License-Identifier: Apache-2.0
//
// Reclamation: what is read is never freed before.
#include "scenario.hpp"

namespace tiercache::l1::model {
namespace {

/// A thread takes a record that nobody has.
void enter(World& world, unsigned id) {
  expect(Hazards::claim(world.ownership(id), false), "a record cannot be claimed");
  Hazards::announce(world, id);
}

/// For before(): nobody has a record but thread 1.
void only_record_1(World& world) {
  world.abandon_records();
  world.ownership(1).set(record_owned);
  world.records_seen().set(2);
}

/// What a thread without a record does.
void read_borrowed(World& world, int key) {
  Overflow* borrowed = Hazards::overflow_acquire(world);
  Hazards::Slot& hazard = borrowed->hazards[0];
  if (const auto match = world.locate(key, hazard); match.entry != nullptr) static_cast<void>(World::value(*match.entry, key));
  Hazards::clear(hazard);
  Hazards::overflow_release(*borrowed);
}

/// A read, an erase that frees at once, and a put that uses the memory again.
struct ReadVersusErase : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.read(0, 1));
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      world.reclaim();
    }
    if (id == 2) {
      static_cast<void>(world.read(2, 1));
      static_cast<void>(world.read(2, 1));
    }
  }
};

/// Entries replaced, freed, and their memory used again under a reader and a helper.
struct ReplaceAndReclaim : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) {
      for (int version = 2; version < 4; ++version) {
        expect(world.store(0, 1, version), "a put is refused");
        world.reclaim();
      }
    }
    if (id == 1) {
      expect(world.read(1, 1) != 0, "a replaced key is missing");
      world.help(1);
      expect(world.read(1, 1) != 0, "a replaced key is missing");
    }
    if (id == 2) {
      world.help(2);
      world.reclaim();
    }
  }
};

/// The entry is unlinked by one thread and freed by another.
struct ReclaimedByAnother : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.read(0, 1));
    if (id == 1) static_cast<void>(world.erase(1, 1));
    if (id == 2) {
      world.reclaim();
      world.reclaim();
    }
  }
};

/// The entry is freed by the thread that unlinked it, with the barrier of another.
struct BarrierOfAnother : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) static_cast<void>(world.read(0, 1));
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      world.reclaim_sealed();
    }
    if (id == 2) {
      world.run_barrier();
      world.run_barrier();
    }
  }
};

/// The entry is freed without any barrier, once the readers have come by.
struct FreedAsAllPass : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      static_cast<void>(world.reclaim_passed(1));
      return;
    }
    for (int n = 0; n < 2; ++n) {
      static_cast<void>(world.read(id, 1));
      world.pass(id);
    }
    static_cast<void>(world.read(id, 1));
  }
};

/// The same, while threads get a record, one after another: the sealing one need not wait for whoever comes later.
struct EnteredAfterTheSeal : Scenario {
  void before() override {
    world.abandon_records();
    enter(world, 1);
    static_cast<void>(world.store(1, 1, 1));
  }
  void thread(unsigned id) override {
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      static_cast<void>(world.reclaim_passed(1));
      return;
    }
    if (!Hazards::claim(world.ownership(0), false)) return;
    Hazards::announce(world, 0);
    static_cast<void>(world.read(0, 1));
    world.pass(0);
    static_cast<void>(world.read(0, 1));
    Hazards::hand_over(world, 0);
  }
};

/// The same, while threads borrow hazards.
struct BorrowedAfterTheSeal : Scenario {
  void before() override {
    only_record_1(world);
    static_cast<void>(world.store(1, 1, 1));
  }
  void thread(unsigned id) override {
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      static_cast<void>(world.reclaim_passed(1));
      return;
    }
    read_borrowed(world, 1);
  }
};

/// A pin on an entry that is retired meanwhile is copied, as in PinCopied, while its thread comes by.
struct PinCopiedInPassing : Scenario {
  void before() override {
    world.records_seen().set(2);
    static_cast<void>(world.store(0, 1, 1));
  }
  void thread(unsigned id) override {
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      static_cast<void>(world.reclaim_passed(1));
      return;
    }
    const Entry* entry = world.find(0, 1, 1);
    if (entry == nullptr) return;
    Record& record = world.records[0];
    for (unsigned from = 1; from < 4; ++from) {
      Hazards::copy(record.pin((from + 1) % 2), entry, entry->flags, flag_retired, world.retired_copies());
      Hazards::clear(record.pin(from % 2));
      world.pass(0);
    }
    static_cast<void>(World::value(*entry, 1));
    Hazards::clear(record.pin(0));
  }
};

/// A reader goes from one entry to another with the same hazard, while the first is freed.
struct HazardUsedAgain : Scenario {
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    static_cast<void>(world.store(0, 2, 1));
  }
  void thread(unsigned id) override {
    if (id == 0) {
      static_cast<void>(world.read(0, 1));
      static_cast<void>(world.read(0, 2));
    } else {
      static_cast<void>(world.erase(1, 1));
      world.reclaim();
    }
  }
};

/// A pin given to another thread and released there, while its owner uses the slot again, for another entry.
struct PinReleasedElsewhere : Scenario {
  const Entry* given = nullptr;
  void before() override {
    static_cast<void>(world.store(0, 1, 1));
    static_cast<void>(world.store(0, 2, 1));
    given = world.find(0, 0, 1);
    world.records[0].free_pins.set(0);  // the other is in use as well
  }
  void thread(unsigned id) override {
    Record& record = world.records[0];
    if (id == 0) {
      for (int i = 0; !Hazards::has_free_pin(record); ++i) {
        if (i == 6) return;
      }
      if (const Entry* other = world.find(0, 0, 2)) {
        record.take(0);
        static_cast<void>(World::value(*other, 2));
        record.release(0, true);
      }
    }
    if (id == 1) {
      static_cast<void>(World::value(*given, 1));
      record.release(0, false);
    }
    if (id == 2) {
      static_cast<void>(world.erase(2, 1));
      world.reclaim();
    }
  }
};

/// A pin on an entry that is retired meanwhile is copied to and fro, the original going each time, under a scan.
struct PinCopied : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) {
      const Entry* entry = world.find(0, 1, 1);
      if (entry == nullptr) return;
      Record& record = world.records[0];
      for (unsigned from = 1; from < 4; ++from) {
        Hazards::copy(record.pin((from + 1) % 2), entry, entry->flags, flag_retired, world.retired_copies());
        Hazards::clear(record.pin(from % 2));
      }
      static_cast<void>(World::value(*entry, 1));
      Hazards::clear(record.pin(0));
    } else {
      static_cast<void>(world.erase(1, 1));
      world.reclaim();
    }
  }
};

/// As PinCopied, but the copy is made by another thread, into its own record, and read on there.
struct PinCopiedByAnother : Scenario {
  Channel<Entry*> given;
  Channel<int> copied;
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 2) {
      const Entry* entry = world.find(2, 0, 1);
      if (entry == nullptr) return given.send(&world.entry(3));
      given.send(const_cast<Entry*>(entry));
      static_cast<void>(copied.wait());
      Hazards::clear(world.records[2].pin(0));
    }
    if (id == 0) {
      const Entry* entry = given.wait();
      if (entry == &world.entry(3)) return;
      Hazards::copy(world.records[0].pin(0), entry, entry->flags, flag_retired, world.retired_copies());
      copied.send(1);
      static_cast<void>(World::value(*entry, 1));
      Hazards::clear(world.records[0].pin(0));
    }
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      world.reclaim();
    }
  }
};

/// Two push, a third takes, reads, and pushes back.
struct RetiredTaken : Scenario {
  void thread(unsigned id) override {
    if (id < 2) {
      Entry* entry = world.allocate(static_cast<int>(id) + 1, 1);
      expect(entry != nullptr, "no entry is free");
      world.retire(*entry);
    } else {
      for (int i = 0; i < 2; ++i) {
        Entry* list = Stack::take(world.retired);
        while (list != nullptr) {
          Entry& entry = *list;
          list = reinterpret_cast<Entry*>(entry.link.load(RelacySync::relaxed));
          world.free(entry);
        }
      }
    }
  }
};

/// One retires, one makes it ready and frees some of it, a third takes what is ready and uses the memory again at once.
struct ReadyTaken : Scenario {
  void thread(unsigned id) override {
    if (id == 2) {
      for (int key = 1; key <= 2; ++key) {
        Entry* entry = world.allocate(key, 1);
        expect(entry != nullptr, "no entry is free");
        world.retire(*entry);
      }
      return;
    }
    for (int i = 0; i < 2; ++i) {
      if (id == 0) {
        world.make_ready();
        static_cast<void>(world.free_ready());
        continue;
      }
      Entry* list = Ready::take(world.ready);
      while (list != nullptr) {
        Entry& entry = *list;
        list = reinterpret_cast<Entry*>(entry.link.load(RelacySync::relaxed));
        world.free(entry);
        Entry* again = world.allocate(3, 1);
        expect(again != nullptr, "no entry is free");
        again->link.store(reinterpret_cast<std::uintptr_t>(again), RelacySync::relaxed);
        world.free(*again);
      }
    }
  }
};

/// Memory is given back, and taken and written by another thread.
struct MemoryUsedAgain : Scenario {
  Entry* first = nullptr;
  void before() override { first = world.allocate(1, 1); }
  void thread(unsigned id) override {
    if (id == 0) world.free(*first);
    for (int i = 0; i < 2; ++i) {
      Entry* entry = world.allocate(1, 2);
      expect(entry != nullptr, "no entry is free");
      world.free(*entry);
    }
  }
};

/// A page is given back to the system while another thread gives its memory back, and takes and writes it again.
struct PageGivenBack : Scenario {
  Entry* first = nullptr;
  void before() override { first = world.allocate(1, 1); }
  void thread(unsigned id) override {
    if (id == 2) {
      for (int i = 0; i < 2; ++i) static_cast<void>(world.trim());
      return;
    }
    if (id == 0) world.free(*first);
    Entry* entry = world.allocate(1, 2);
    if (entry == nullptr) return;  // the page is just being given back
    expect(entry->contents == contents(1, 2), "memory in use is given to the system");
    world.free(*entry);
  }
};

/// A put pins what it stores, before anybody can see it; an erase that frees comes at once.
struct PinnedByPut : Scenario {
  void before() override { static_cast<void>(world.store(0, 1, 1)); }
  void thread(unsigned id) override {
    if (id == 0) {
      expect(world.store(0, 1, 2, {.pin = 1}), "a put is refused");
      const auto* entry = static_cast<const Entry*>(world.records[0].pin(1).peek());
      expect(World::value(*entry, 1) == contents(1, 2), "a pin is not on what was stored");
      Hazards::clear(world.records[0].pin(1));
    }
    if (id == 1) {
      static_cast<void>(world.erase(1, 1));
      world.reclaim();
    }
    if (id == 2) world.reclaim();
  }
};

/// A thread ends and another takes its record, pins and all, while a third frees what the first had read.
struct RecordHandedOver : Scenario {
  void before() override {
    world.abandon_records();
    enter(world, 1);
    static_cast<void>(world.store(1, 1, 1));
  }
  void thread(unsigned id) override {
    if (id == 2) {
      static_cast<void>(world.erase(1, 1));
      world.reclaim();
      return;
    }
    if (!Hazards::claim(world.ownership(0), id == 1)) return;
    Hazards::announce(world, 0);
    Record& record = world.records[0];
    if (Hazards::has_free_pin(record)) {
      const auto pin = static_cast<unsigned>(std::countr_zero(record.free_pins.get())) - op_hazards;
      if (const Entry* entry = world.find(0, pin, 1)) {
        record.take(pin);
        static_cast<void>(World::value(*entry, 1));
        if (id == 0) record.release(pin, true);  // the other leaves its pin behind
      }
    }
    Hazards::hand_over(world, 0);
  }
};

/// Two threads without a record share borrowed hazards, for one entry and another, while a third frees the first.
struct Borrowed : Scenario {
  void before() override {
    only_record_1(world);
    static_cast<void>(world.store(1, 1, 1));
    static_cast<void>(world.store(1, 2, 1));
  }
  void thread(unsigned id) override {
    if (id == 2) {
      static_cast<void>(world.erase(1, 1));
      world.reclaim();
      return;
    }
    read_borrowed(world, static_cast<int>(id) + 1);
  }
};

}  // namespace

std::vector<ScenarioInfo> hazard_scenarios() {
  return {
      {"a read and an erase that frees", 3, make<ReadVersusErase>},
      {"replaced, freed and used again", 3, make<ReplaceAndReclaim>},
      {"unlinked by one, freed by another", 3, make<ReclaimedByAnother>},
      {"freed with another's barrier", 3, make<BarrierOfAnother>},
      {"freed as all come by", 3, make<FreedAsAllPass>},
      {"freed while others enter", 3, make<EnteredAfterTheSeal>},
      {"freed while others borrow", 3, make<BorrowedAfterTheSeal>},
      {"a pin copied in passing", 2, make<PinCopiedInPassing>},
      {"a hazard used again", 2, make<HazardUsedAgain>},
      {"a pin released by another thread", 3, make<PinReleasedElsewhere>},
      {"a pin copied to and fro", 2, make<PinCopied>},
      {"a pin copied by another thread", 3, make<PinCopiedByAnother>},
      {"the retired stack", 3, make<RetiredTaken>},
      {"the ready stack", 3, make<ReadyTaken>},
      {"a bitmap word", 2, make<MemoryUsedAgain>},
      {"a page given back", 3, make<PageGivenBack>},
      {"a put that pins, and an erase that frees", 3, make<PinnedByPut>},
      {"a record handed over", 3, make<RecordHandedOver>},
      {"borrowed hazards", 3, make<Borrowed>},
  };
}

}  // namespace tiercache::l1::model
