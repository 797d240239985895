// SPDX-License-Identifier: Apache-2.0
//
// The kernel of a bucket over a policy whose every atomic operation may be interrupted: a helper is stopped before its n-th, for
// each n, other threads do something in between, and the helper goes on. What a stress test meets once in a million runs is met
// here every time.
#include <tiercache/l1/bucket.hpp>
#include <tiercache/l1/hazard_kernel.hpp>
#include <tiercache/l1/sync.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace tiercache::l1::test {
namespace {

/// Runs `interruption` before the n-th atomic operation of the thread under test.
struct Script {
  int countdown = -1;
  std::function<void()> interruption;
  bool inside = false;
  void step() {
    if (inside || countdown < 0 || countdown-- != 0) return;
    inside = true;
    const auto now = std::exchange(interruption, nullptr);  // it may set the next one
    now();
    inside = false;
  }
} script;

struct SteppedSync {
  template <class T>
  class atomic {
   public:
    atomic(T value = T{}) noexcept : value_(value) {}  // NOLINT(google-explicit-constructor)
    T load(std::memory_order order = relaxed) const noexcept { return script.step(), value_.load(order); }
    void store(T value, std::memory_order order = relaxed) noexcept { script.step(), value_.store(value, order); }
    bool compare_exchange_strong(T& expected, T desired, std::memory_order, std::memory_order) noexcept {
      return script.step(), value_.compare_exchange_strong(expected, desired);
    }

   private:
    std::atomic<T> value_;
  };
  static constexpr std::memory_order relaxed = std::memory_order_relaxed, acquire = std::memory_order_acquire,
                                     release = std::memory_order_release, hazard_check = std::memory_order_seq_cst;
  static void light_barrier() noexcept { script.step(); }
};

using K = Kernel<SteppedSync>;
constexpr std::uint64_t old_address = 0x1000, new_address = 0x2000, later_address = 0x3000;
constexpr std::uint64_t old_word = slot::make(7, old_address), new_word = slot::make(7, new_address);

struct Env {
  BasicDescriptor<SteppedSync>* descriptors;
  std::vector<std::uint64_t>* retired;
  std::uint64_t hazard = 0;

  [[nodiscard]] BasicDescriptor<SteppedSync>& descriptor(std::uint32_t op) const { return descriptors[op]; }
  void protect(std::uint64_t address) {
    script.step();
    hazard = address;
  }
  void unprotect() { hazard = 0; }
  void retire(std::uint64_t address) const { retired->push_back(address); }
};

/// A bucket in which thread 1's install of new_word in slot 3 is pending, over an old entry (seq 5) or over an empty slot.
struct Scene {
  BasicBucket<SteppedSync> bucket{};
  BasicDescriptor<SteppedSync> descriptors[4];
  std::vector<std::uint64_t> retired;
  Env helper{descriptors, &retired}, other{descriptors, &retired};
  std::uint64_t pending = control::make(1, 9, 11);

  explicit Scene(bool replaces) {
    script.countdown = -1;
    if (replaces) bucket.slot(3).store(old_word);
    else bucket.slot(3).store(slot::empty(5));
    descriptors[1].word.store(new_word);
    descriptors[1].slot.store(3);
    bucket.control().store(pending);
  }
  [[nodiscard]] std::uint64_t content() { return bucket.slot(3).load(); }
  [[nodiscard]] auto times_retired(std::uint64_t address) const { return std::count(retired.begin(), retired.end(), address); }

  // What the others do.
  void finish() { static_cast<void>(K::settled(bucket, other)); }
  void remove_new() {
    finish();
    ASSERT_TRUE(K::unlink(bucket, 3, new_word, 11));
    other.retire(new_address);
  }
  /// An eviction of what stood there before: it does not touch the control word.
  void remove_old() {
    if (K::unlink(bucket, 3, old_word, 5)) other.retire(old_address);
  }
  /// Another helper that got as far as the slot, and was stopped before the control word.
  void apply_only() {
    const std::uint64_t before = content();
    if (before == new_word || bucket.control().load() != pending) return;
    bucket.slot(3).store(new_word);
    if (slot::taken(before)) other.retire(slot::address(before));
  }
  void install_later(std::uint64_t word, bool over_new) {
    if (over_new) finish();
    else remove_new();
    const std::uint64_t seen = bucket.control().load();
    ASSERT_TRUE(K::install(bucket, seen, 3, word, 2, descriptors[2], true, other));
  }
};

struct Story {
  const char* name;
  std::function<void(Scene&)> others;
  std::uint64_t expected;  // what must be in the slot in the end
};

const Story stories[] = {
    {"nothing", [](Scene&) {}, new_word},
    {"the install is finished", [](Scene& s) { s.finish(); }, new_word},
    {"another helper applied it and stopped", [](Scene& s) { s.apply_only(); }, new_word},
    {"another helper applied it and stopped, and the new entry was removed",
     [](Scene& s) {
       s.apply_only();
       if (K::unlink(s.bucket, 3, new_word, 11)) s.other.retire(new_address);
     },
     slot::empty(11)},
    {"the old entry is evicted", [](Scene& s) { s.remove_old(); }, new_word},
    {"it is finished and the new entry removed again", [](Scene& s) { s.remove_new(); }, slot::empty(11)},
    {"it is finished and replaced by a later one", [](Scene& s) { s.install_later(slot::make(7, later_address), true); },
     slot::make(7, later_address)},
    {"it is finished, removed, and a later one is installed",
     [](Scene& s) { s.install_later(slot::make(7, later_address), false); }, slot::make(7, later_address)},
    {"the old entry's address is used again, unless a hazard is on it",
     [](Scene& s) {
       const bool free = s.helper.hazard != old_address;
       s.install_later(free ? old_word : slot::make(7, later_address), false);
     },
     0},
};

TEST(Kernel, AHelperStoppedAnywhereNeitherLosesNorRepeatsAnInstall) {
  for (const bool replaces : {true, false}) {
    for (const Story& story : stories) {
      bool interrupted = true;
      for (int n = 0; interrupted; ++n) {
        Scene s(replaces);
        interrupted = false;
        std::uint64_t expected = story.expected;
        script.interruption = [&] {
          interrupted = true;
          story.others(s);
          if (expected == 0) expected = s.content();
        };
        script.countdown = n;
        K::help(s.bucket, s.pending, s.helper);
        script.countdown = -1;
        if (!interrupted) expected = new_word;  // n is past the end: nothing happened in between
        const std::string where = std::string(story.name) + (replaces ? ", over an entry" : ", into an empty slot") +
                                  ", before step " + std::to_string(n);
        EXPECT_EQ(s.content(), expected) << where;
        EXPECT_EQ(control::op(s.bucket.control().load()), 0U) << where;
        EXPECT_EQ(s.times_retired(old_address), replaces ? 1 : 0) << where;
        EXPECT_LE(s.times_retired(new_address), 1) << where;
        EXPECT_EQ(s.helper.hazard, 0U) << where;
        ASSERT_LT(n, 100);
      }
    }
  }
}

TEST(Kernel, AnEntryFreedBeforeTheHazardAndUsedAgainIsNotTakenForTheOldOne) {
  // Two interruptions: the old entry is evicted, and freed unless a hazard was on it by then; later the install is finished, its
  // entry removed, and the next entry comes to lie at the old address, in the same slot, if that was free.
  for (int n = 0; n < 12; ++n) {
    for (int m = 0; m < 12; ++m) {
      Scene s(true);
      bool address_free = false;
      std::uint64_t expected = new_word;
      const std::function<void()> second = [&] {
        s.install_later(address_free ? old_word : slot::make(7, later_address), false);
        expected = s.content();
      };
      script.interruption = [&] {
        s.remove_old();
        address_free = s.times_retired(old_address) == 1 && s.helper.hazard != old_address;
        script.interruption = second;
        script.countdown = m;
      };
      script.countdown = n;
      K::help(s.bucket, s.pending, s.helper);
      script.countdown = -1;
      EXPECT_EQ(s.content(), expected) << "interrupted before step " << n << " and " << m << " steps on";
      EXPECT_EQ(s.times_retired(old_address), 1) << n << " " << m;
    }
  }
}

TEST(Kernel, AnUnlinkedEntryIsProtectedBeforeItIsTakenForTheOldOne) {
  // The hazard must be visible before the slot is looked at again: at every step behind the barrier it stands.
  std::vector<std::uint64_t> hazards;
  for (int n = 0; n < 12; ++n) {
    Scene fresh(true);
    script.interruption = [&] { hazards.push_back(fresh.helper.hazard); };
    script.countdown = n;
    K::help(fresh.bucket, fresh.pending, fresh.helper);
    script.countdown = -1;
  }
  EXPECT_NE(std::find(hazards.begin(), hazards.end(), old_address), hazards.end());
}

TEST(Kernel, AnInstallFailsWhenTheBucketChangedSinceItWasRead) {
  for (int change = 0; change < 3; ++change) {
    Scene s(false);
    s.finish();
    const std::uint64_t seen = s.bucket.control().load();
    if (change == 1) {
      ASSERT_TRUE(K::bump_fence(s.bucket, seen));
    }
    if (change == 2) {
      ASSERT_TRUE(K::install(s.bucket, seen, 1, slot::make(9, later_address), 2, s.descriptors[2], false, s.other));
    }
    EXPECT_EQ(K::install(s.bucket, seen, 0, slot::make(11, 0x4000), 3, s.descriptors[3], false, s.helper), change == 0);
  }
}

TEST(Kernel, TheFenceMovesOnlyAfterAPendingInstallIsInItsSlot) {
  Scene s(true);
  EXPECT_FALSE(K::bump_fence(s.bucket, control::without_op(s.pending)));
  EXPECT_EQ(s.bucket.control().load(), s.pending);
  ASSERT_TRUE(K::bump_fence(s.bucket, K::settled(s.bucket, s.other)));
  EXPECT_EQ(s.content(), new_word);
  EXPECT_EQ(control::fence(s.bucket.control().load()), 10U);
  EXPECT_EQ(control::seq(s.bucket.control().load()), 11U);
}

TEST(Kernel, FieldsWrapWithoutTouchingTheirNeighbours) {
  BasicBucket<SteppedSync> bucket{};
  Scene s(false);
  bucket.control().store(control::make(0, control::fence_mask, 0xffffffff));
  ASSERT_TRUE(K::bump_fence(bucket, bucket.control().load()));
  EXPECT_EQ(bucket.control().load(), control::make(0, 0, 0xffffffff));
  // The next install has sequence 0, which a never used slot reads as: it is skipped, not mistaken for a removal.
  EXPECT_TRUE(K::collides(bucket.control().load(), slot::empty(0), 0));
  K::skip_sequence(bucket, bucket.control().load());
  EXPECT_EQ(bucket.control().load(), control::make(0, 0, 0));
  EXPECT_FALSE(K::collides(bucket.control().load(), slot::empty(0), 0));
}

/// The heavy barrier is what the test says.
struct ScriptedBarrier : StdSync {
  inline static std::function<bool()> script;
  static void full_fence() noexcept {}
  static bool heavy_barrier() noexcept { return script(); }
};

TEST(BarrierShare, ServesThoseWhoAskedBeforeItBegan) {
  using Share = BarrierShare<ScriptedBarrier>;
  Share::Count begun{0}, ended{0};
  const auto run = [&](std::function<bool()> barrier) {
    ScriptedBarrier::script = std::move(barrier);
    return Share::run(begun, ended);
  };
  const std::uint64_t before = Share::ticket(begun);
  EXPECT_FALSE(Share::passed(before, ended));
  std::uint64_t during = 0;
  EXPECT_TRUE(run([&] {
    EXPECT_FALSE(Share::passed(before, ended)) << "it is not over";
    during = Share::ticket(begun);
    return true;
  }));
  EXPECT_TRUE(Share::passed(before, ended));
  EXPECT_FALSE(Share::passed(during, ended)) << "what was unlinked meanwhile may have come after it";
  EXPECT_FALSE(run([] { return false; }));
  EXPECT_FALSE(Share::passed(during, ended)) << "it could not be run";
  EXPECT_TRUE(run([] { return true; }));
  EXPECT_TRUE(Share::passed(during, ended));
}

/// Two records, and one of borrowed hazards.
struct PassingDomain {
  struct Borrowed {
    std::atomic<bool> owned{false};
    Borrowed* next = nullptr;
  };
  std::atomic<std::uint32_t> seen{2};
  std::atomic<std::uint8_t> owned[2]{record_owned, record_owned};
  std::atomic<std::uint64_t> came_by[2]{0, 0};
  Borrowed borrowed;
  std::atomic<Borrowed*> list{&borrowed};

  std::atomic<std::uint32_t>& records_seen() { return seen; }
  std::atomic<std::uint8_t>& ownership(std::uint32_t id) { return owned[id]; }
  std::atomic<std::uint64_t>& passed(std::uint32_t id) { return came_by[id]; }
  std::atomic<Borrowed*>& overflow_list() { return list; }
};

TEST(Passing, WaitsForAllWhoAreInside) {
  using Pass = Passing<StdSync>;
  Pass::Count seals{0};
  PassingDomain domain;
  for (auto& own : domain.came_by) Pass::pass(seals, own);
  const std::uint64_t seal = Pass::seal(seals);
  EXPECT_FALSE(Pass::all_passed(domain, seal)) << "all came by before it";
  Pass::pass(seals, domain.came_by[0]);
  EXPECT_FALSE(Pass::all_passed(domain, seal));
  const std::uint64_t later = Pass::seal(seals);
  Pass::pass(seals, domain.came_by[1]);
  EXPECT_TRUE(Pass::all_passed(domain, seal));
  EXPECT_FALSE(Pass::all_passed(domain, later));
  for (const auto state : {record_unused, record_pins_left}) {
    domain.owned[0] = state;
    EXPECT_TRUE(Pass::all_passed(domain, later)) << "nobody has that record";
  }
  domain.borrowed.owned = true;
  EXPECT_FALSE(Pass::all_passed(domain, later)) << "who borrows does not come by";
}

TEST(BarrierShare, OneThatEndsLateTakesNothingBack) {
  using Share = BarrierShare<ScriptedBarrier>;
  Share::Count begun{0}, ended{0};
  std::uint64_t between = 0;
  bool inside = false;
  ScriptedBarrier::script = [&] {
    if (std::exchange(inside, true)) return true;
    between = Share::ticket(begun);
    return Share::run(begun, ended);  // a second one begins and ends
  };
  EXPECT_TRUE(Share::run(begun, ended));
  EXPECT_TRUE(Share::passed(between, ended));
}

}  // namespace
}  // namespace tiercache::l1::test
