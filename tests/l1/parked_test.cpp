// SPDX-License-Identifier: Apache-2.0
//
// Lock-freedom, tried: a victim thread is held before every instruction of our own code in turn. While it is held, another thread
// must complete an operation on the same key or bucket, and be answered right; then the victim goes on, and in the end the table
// must be valid and the victim's own answer right. For every pair of operations, in two forms:
//
// * passes: in one run of the victim it is held before every instruction, the rival running at each stop. What the rival did
//   leads the victim astray, into its retries; so further passes begin at the first address that was never held at, until every
//   address that the undisturbed operation executes was. An address is held at a few times only, or the retries would never end.
//   Which way an operation takes depends on what the table has seen (use counters, the sketch's age, the sweep's position, the
//   shadows' samples), so each run has a table of its own: up to where it is held first it does what the recorded one did, and
//   each pass holds at one address more at least. Other ways are other victims.
// * isolated: a fresh run for instruction k of the undisturbed operation, the rival running there only. Some k, or with
//   TIERCACHE_STRESS all.
#include "stepped_operations.hpp"
#include "stepper.hpp"

#include <cctype>

namespace tiercache::l1::test {
namespace {

[[nodiscard]] bool stress() { return std::getenv("TIERCACHE_STRESS") != nullptr; }

Options scarce() {
  Options o = small_options(32 << 10);
  o.resize_max_bytes = 64 << 10;  // so that there are pages to give back
  o.expected_entry_bytes = 512;   // and yet tables that leave room for a bucket and more
  return o;
}

/// One victim operation against one rival operation, on a table of their own.
class Pair {
 public:
  Pair(Stepper& stepper, const VictimOperation& victim, const RivalOperation& rival)
      : stepper_(stepper), victim_(victim), rival_(rival) {
    // Once at full speed, so that both threads have their records; then recorded.
    for (const auto mode : {Plan::Mode::once, Plan::Mode::record}) {
      plan_.mode = mode;
      plan_.hold_at = 1;
      plan_.coverage = &coverage_;
      attempt();
    }
    length_ = stepper_.count();
  }

  void passes() {
    plan_.mode = Plan::Mode::pass;
    for (std::uint64_t missing = coverage_.missing(); missing != 0 && !failed_; missing = coverage_.missing()) {
      attempt();
      require(failed_ || coverage_.missing() < missing, "a pass took another way than the recorded run");
    }
    if (failed_) return;
    EXPECT_EQ(coverage_.missing(), 0U) << "of " << coverage_.addresses() << " addresses, " << what();
  }
  void isolated(std::uint64_t first, std::uint64_t stride) {
    plan_.mode = Plan::Mode::once;
    for (plan_.hold_at = first; plan_.hold_at <= length_ && !failed_; plan_.hold_at += stride) attempt();
  }

  [[nodiscard]] std::uint64_t length() const { return length_; }
  [[nodiscard]] std::uint64_t addresses() const { return coverage_.addresses(); }
  [[nodiscard]] std::uint64_t stops() const { return stops_; }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  [[nodiscard]] std::string what() const { return std::string(victim_.name) + " against " + rival_.name; }
  void require(bool right, const std::string& otherwise) {
    if (right) return;
    failed_ = true;
    ADD_FAILURE() << what() << ", held before +0x" << std::hex << stepper_.held_at() << std::dec << ": " << otherwise;
  }

  void attempt() {
    scene_.clear();
    table_ = Typed<Marked>(scarce());
    scene_.counted = 0;
    victim_.prepare(scene_);
    const std::function<void()> here = [this] { victim_.prepare_here(scene_); };
    const std::function<void()> stepped = [this] { victim_.run(scene_); };
    bool rivalled = false;
    for (auto event = stepper_.start(plan_, here, stepped); event == Stepper::Event::held; event = stepper_.resume()) {
      ++stops_;
      rivalled = true;
      for (unsigned n = 0; n < 2; ++n) rival_.run(scene_, ++version_);
      if (scene_.t.table->stats().used_bytes > scene_.capacity) scene_.wrong = "over the budget";
    }
    require(!stepper_.stuck(), "others did not finish until it went on");
    const char* verdict = victim_.verdict(scene_, rivalled && rival_.writes, rivalled && rival_.invalidates);
    require(verdict == nullptr, verdict != nullptr ? verdict : "");
    require(scene_.wrong == nullptr, scene_.wrong != nullptr ? scene_.wrong : "");
    const auto valid = scene_.t.table->validate();
    require(valid.ok(), valid.ok() ? "" : valid.error().message);
  }

  Stepper& stepper_;
  const VictimOperation& victim_;
  const RivalOperation& rival_;
  Typed<Marked> table_{scarce()};
  Scene scene_{table_};
  Coverage coverage_;
  Plan plan_;
  std::uint64_t length_ = 0;
  std::uint64_t stops_ = 0;
  std::uint64_t version_ = Scene::before;
  bool failed_ = false;
};

class Parked : public ::testing::TestWithParam<std::size_t> {};

TEST_P(Parked, AThreadHeldAnywhereHoldsUpNobody) {
  const VictimOperation& victim = victim_operations[GetParam()];
  const std::uint64_t seed = test_seed();
  Stepper stepper;
  std::uint64_t pass_stops = 0, isolated_stops = 0, length_min = ~std::uint64_t{0}, length_max = 0, addresses = 0;
  for (const RivalOperation& rival : rival_operations) {
    Pair pair(stepper, victim, rival);
    ASSERT_GT(pair.length(), 10U);
    pair.passes();
    ASSERT_FALSE(pair.failed());
    const std::uint64_t before = pair.stops();
    EXPECT_GE(before, pair.addresses());
    const std::uint64_t stride = stress() ? 1 : pair.length() / 8 + 1;
    pair.isolated(1 + seed % stride, stride);
    ASSERT_FALSE(pair.failed());
    pass_stops += before;
    isolated_stops += pair.stops() - before;
    length_min = std::min(length_min, pair.length());
    length_max = std::max(length_max, pair.length());
    addresses = std::max(addresses, pair.addresses());
  }
  std::printf("%s: %llu to %llu instructions at %llu addresses; against %zu operations held %llu times in passes, %llu alone\n",
              victim.name, static_cast<unsigned long long>(length_min), static_cast<unsigned long long>(length_max),
              static_cast<unsigned long long>(addresses), std::size(rival_operations),
              static_cast<unsigned long long>(pass_stops), static_cast<unsigned long long>(isolated_stops));
}

INSTANTIATE_TEST_SUITE_P(Operations, Parked, ::testing::Range<std::size_t>(0, std::size(victim_operations)),
                         [](const auto& which) {
                           std::string name = victim_operations[which.param].name;
                           std::replace_if(
                               name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
                           return name;
                         });

TEST(ParkedScan, APinCopiedWhileAScanIsHeldIsNotMissed) {
  // The scan is held between a free pin slot and the last one; meanwhile the pin on a retired entry is copied from the last to
  // the free one and dropped. The scan saw the free slot too early and sees the last one too late.
  Stepper scanner;
  std::uint64_t stops = 0;
  bool held = true;
  for (std::uint64_t k = 1; held; k += stress() ? 1 : 20) {
    Typed<Tracked> t(small_options(32 << 10));
    t.put("k", Tracked(1, 42));
    t.put("spacer", Tracked(2, 2));
    // All slots, in the order of a scan; the one that was given back last is taken next.
    detail::Record& record = *detail::this_record();
    std::vector<Pin> spacers;
    std::vector<std::pair<detail::HazardSlot*, std::size_t>> slots;
    while (detail::has_free_pin(record)) {
      slots.emplace_back(&detail::free_pin(record), spacers.size());
      spacers.push_back(t.find("spacer"));
    }
    ASSERT_EQ(slots.size(), pins_per_thread());
    std::ranges::sort(slots);
    spacers[slots.back().second].reset();
    Pin last = t.find("k");
    Pin first = std::move(spacers[slots.front().second]);
    first.reset();
    t.erase("k");
    Plan plan;
    plan.mode = Plan::Mode::once;
    plan.hold_at = k;
    const std::function<void()> scan = [&] { t.table->drain(); };
    held = scanner.start(plan, scan) == Stepper::Event::held;
    if (held) {
      ++stops;
      first = last.duplicate();
      last.reset();
      ASSERT_EQ(scanner.resume(), Stepper::Event::done);
      ASSERT_EQ(t.value(first).mark, Tracked::alive) << "held at instruction " << k;
      ASSERT_EQ(t.value(first).version, 42U);
    }
    first.reset();
    last.reset();
    spacers.clear();
    t.table->drain();
    ASSERT_EQ(t.table->stats().retired_bytes, 0U);
    EXPECT_VALID(*t.table);
  }
  EXPECT_GT(stops, 10U);
}

// The harness itself: a thread held with a spin lock taken is noticed, and where.
TEST(ParkedHarness, WouldNoticeALock) {
  std::atomic<bool> lock{false};
  std::atomic<bool> inside{false};
  const auto locked_section = [&] {
    while (lock.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
    inside = true;
    for (volatile int i = 0; i < 50;) {
      const int next = i + 1;
      i = next;
    }
    inside = false;
    lock.store(false, std::memory_order_release);
  };
  Stepper stepper;
  Coverage coverage;
  const std::function<void()> stepped = locked_section;
  Plan plan;
  plan.coverage = &coverage;
  ASSERT_EQ(stepper.start(plan, stepped), Stepper::Event::done);
  const std::uint64_t length = stepper.count();
  ASSERT_GT(length, 60U);
  plan.mode = Plan::Mode::once;
  plan.patience = std::chrono::milliseconds(20);
  unsigned free = 0, stuck = 0;
  for (std::uint64_t k = 1; k <= length; k += k < 60 ? 1 : length / 6) {
    plan.hold_at = k;
    ASSERT_EQ(stepper.start(plan, stepped), Stepper::Event::held);
    const bool with_lock = inside;
    locked_section();
    ASSERT_EQ(stepper.resume(), Stepper::Event::done);
    (stepper.stuck() ? stuck : free) += 1;
    if (with_lock) {
      EXPECT_TRUE(stepper.stuck()) << "held at instruction " << k << " with the lock";
    }
  }
  EXPECT_GT(stuck, 10U);
  EXPECT_GT(free, 1U);
}

// The passes themselves: they hold at every address that an operation executes, also where the rival leads it astray.
TEST(ParkedHarness, PassesCoverEveryAddress) {
  Stepper stepper;
  Coverage coverage;
  std::atomic<bool> astray{false};
  volatile int sum = 0;
  const std::function<void()> stepped = [&] {
    if (astray) return;
    for (int i = 0; i < 3; ++i) sum = sum + i;
    if (astray) return;
    sum = sum * 7;
  };
  Plan plan;
  plan.coverage = &coverage;
  ASSERT_EQ(stepper.start(plan, stepped), Stepper::Event::done);
  plan.mode = Plan::Mode::pass;
  unsigned passes = 0;
  for (; coverage.missing() != 0 && passes < 1000; ++passes) {
    astray = false;
    for (auto event = stepper.start(plan, stepped); event == Stepper::Event::held; event = stepper.resume()) astray = true;
  }
  EXPECT_EQ(coverage.missing(), 0U);
  EXPECT_GT(passes, 1U);
}

}  // namespace
}  // namespace tiercache::l1::test
