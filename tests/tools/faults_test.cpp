// SPDX-License-Identifier: Apache-2.0
#include "faults.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace tiercache::demo {
namespace {

/// Turns the clockwork in steps of 5 ms of made-up time and notes what it does.
struct Rehearsal {
  struct Event {
    double at_s;
    std::string what;
  };
  std::vector<Event> events;
  double now_s = 0;
  bool restarted = false;
  unsigned fault_on = 0;

  Faults run(double seconds, double budget_s, bool own_redis, bool known_duration = true) {
    FaultTargets on;
    const auto note = [this](const std::string& what) { events.push_back({now_s, what}); };
    on.stop_reader = [note](unsigned i, bool b) { note((b ? "stop " : "resume ") + std::to_string(i)); };
    on.cut_link = [note](unsigned i, bool b) { note((b ? "cut " : "heal ") + std::to_string(i)); };
    on.fault_on = [this](bool b) { fault_on += b ? 1 : 0; };
    on.coherent_since = [this] { return restarted ? now_ns() : 0; };
    if (own_redis) {
      on.kill_redis = [note] { note("kill"); };
      on.start_redis = [this, note] {
        note("start");
        restarted = true;
      };
    }
    const auto ns = [](double s) { return static_cast<std::int64_t>(s * 1e9); };
    Faults faults({known_duration ? ns(seconds) : 0, ns(budget_s), 3}, on);
    for (now_s = 0; now_s < seconds; now_s += 0.005) faults.turn(ns(now_s), 1 + ns(now_s), now_s / seconds);
    faults.heal();
    return faults;
  }
  [[nodiscard]] double when(const std::string& what) const {
    for (const Event& e : events) {
      if (e.what == what) return e.at_s;
    }
    return NAN;
  }
};

TEST(Faults, ATenSecondRunHasThemAllBeforeTheKill) {
  Rehearsal r;
  const Faults f = r.run(10, 0.5, true);
  EXPECT_NEAR(r.when("resume 0") - r.when("stop 0"), 1.5, 0.02);
  EXPECT_NEAR(r.when("heal 1") - r.when("cut 1"), 0.25, 0.02);
  EXPECT_LT(r.when("heal 2"), 5) << "the second cut ends before the kill";
  EXPECT_NEAR(r.when("kill"), 5, 0.02);
  EXPECT_NEAR(r.when("start") - r.when("kill"), 3, 0.02);
  EXPECT_TRUE(f.settled());
  EXPECT_FALSE(f.redis_down());
  EXPECT_GE(f.recovery_ms(), 0);
  EXPECT_EQ(r.fault_on, 1U);
}

TEST(Faults, TheShortestRunStillHasOneOfEach) {
  const double least = static_cast<double>(Faults::duration_min(500 * ns_per_ms)) / 1e9;
  EXPECT_LE(least, 6);
  Rehearsal r;
  const Faults f = r.run(least, 0.5, true);
  EXPECT_GE(f.counts().readers_stopped, 1U);
  EXPECT_GE(f.counts().links_cut, 1U);
  EXPECT_EQ(f.counts().redis_killed, 1U);
  EXPECT_LT(r.when("start"), least * 0.85) << "time is left to recover";
}

TEST(Faults, ALongRunRepeatsThemOnEveryInstanceAndAlsoAfterTheKill) {
  Rehearsal r;
  const Faults f = r.run(60, 0.5, true);
  for (const char* what : {"stop 0", "stop 1", "stop 2", "cut 0", "cut 1", "cut 2"}) EXPECT_LT(r.when(what), 30) << what;
  EXPECT_GT(f.counts().readers_stopped, 6U);
  std::size_t after = 0;
  for (const Rehearsal::Event& e : r.events) after += e.at_s > r.when("start") + 1 && e.what.starts_with("stop") ? 1 : 0;
  EXPECT_GE(after, 3U);
}

TEST(Faults, EveryFaultIsEndedBeforeTheNextOneBegins) {
  for (const double seconds : {6.0, 10.0, 20.0, 33.0, 60.0}) {
    Rehearsal r;
    r.run(seconds, 0.5, true);
    std::string open;
    for (const Rehearsal::Event& e : r.events) {
      const bool ends = e.what.starts_with("resume") || e.what.starts_with("heal") || e.what == "start";
      EXPECT_EQ(open.empty(), !ends) << seconds << " s: " << e.what << " at " << e.at_s << " while on: " << open;
      open = ends ? "" : e.what;
    }
    EXPECT_EQ(open, "") << seconds << " s";
  }
}

TEST(Faults, SomebodyElsesRedisIsNotKilled) {
  Rehearsal r;
  const Faults f = r.run(20, 0.5, false);
  EXPECT_EQ(f.counts().redis_killed, 0U);
  EXPECT_GT(f.counts().readers_stopped, 2U);
  EXPECT_TRUE(f.settled());
}

TEST(Faults, ATraceOfUnknownLengthHasThemToo) {
  Rehearsal r;
  const Faults f = r.run(20, 0.5, true, false);
  EXPECT_EQ(f.counts().redis_killed, 1U);
  EXPECT_NEAR(f.killed_at_fraction(), 0.5, 0.01);
  EXPECT_GE(f.counts().readers_stopped, 2U);
}

}  // namespace
}  // namespace tiercache::demo
