// SPDX-License-Identifier: Apache-2.0
//
// Races that need a process of their own: one that dies between two steps, one that is stopped and resumed. The child is forked
// before this process has a thread, and talks through shared memory.
#include "child_process.hpp"

namespace tiercache::testing {
namespace {

std::int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

class ProcessRace : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static bool remedy() { return GetParam(); }
};

// A writer erases k after its database commit and dies in the middle. With one atomic step nobody ever sees the half of it. As
// two commands, the announcement is out and the delete never comes: everyone refills from Redis, with the old value, for ever.
class CrashBetweenAnnounceAndStore : public ProcessRace {};
TEST_P(CrashBetweenAnnounceAndStore, Row5) {
  const bool with = remedy();
  Child writer([with](Shared& shared) {
    lab::ablate(lab::Remedy::atomic_write, !with);
    lab::hook = [](lab::Point p, std::string_view) {
      if (p == lab::Point::publish_to_store) _exit(9);  // the crash
    };
    Instance instance(instance_config(local_url(shared.port)));
    shared.state = 1;
    if (!eventually([&] { return shared.command != 0; })) _exit(3);
    static_cast<void>(instance.view.erase("k"));
    _exit(9);  // with the remedy the crash can only come before or after the step: here it comes after
  });
  RedisServer server;
  writer.shared->port = server.port();
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(b.view.put("k", 1).ok());
  b.warm("k");
  ASSERT_TRUE(eventually([&] { return writer.shared->state == 1; }));
  const std::uint64_t before = b.store().stats().l1.invalidations;
  writer.shared->command = 1;  // the database now says 2
  ASSERT_EQ(WEXITSTATUS(writer.join()), 9);
  ASSERT_TRUE(eventually([&] { return b.store().stats().l1.invalidations > before; })) << "the announcement never came";
  const auto h = b.view.get_or_load("k", [] { return 2; });
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, with ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, CrashBetweenAnnounceAndStore, ::testing::Bool(), race_name);

// The reader's process is stopped for longer than the budget while k is written, and resumed. Its reading threads may run before
// the bus thread has caught up (which is held here, to be certain): a clock that a thread had kept from before would let L1
// answer.
class StoppedAndResumed : public ProcessRace {};
TEST_P(StoppedAndResumed, Row17) {
  const bool with = remedy();
  Child reader([with](Shared& shared) {
    lab::ablate(lab::Remedy::clock_on_read, !with);
    Config config = instance_config(local_url(shared.port));
    config.default_deadline = 300ms;
    Instance instance(config);
    instance.warm("k");
    lab::bus_reader_stopped = true;
    shared.state = 1;
    while (shared.command == 0) {
      const std::int64_t t = now_ns();
      const auto h = instance.view.get("k");
      ++shared.reads;
      const std::int64_t acknowledged = shared.acknowledged;
      if (h && h.source() == Source::l1 && *h == 1 && acknowledged != 0)
        ++(t > acknowledged + 500'000'000 ? shared.beyond : shared.within);
    }
    _exit(0);
  });
  RedisServer server;
  reader.shared->port = server.port();
  Instance a(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  ASSERT_TRUE(eventually([&] { return reader.shared->state == 1 && reader.shared->reads > 0; }));

  kill(reader.pid, SIGSTOP);
  int status = 0;
  ASSERT_EQ(waitpid(reader.pid, &status, WUNTRACED), reader.pid);
  ASSERT_TRUE(a.view.put("k", 2).ok());
  reader.shared->acknowledged = now_ns();
  ASSERT_TRUE(eventually([&] { return now_ns() > reader.shared->acknowledged + 600'000'000; }));
  const std::uint64_t before = reader.shared->reads;
  kill(reader.pid, SIGCONT);
  ASSERT_TRUE(eventually([&] { return reader.shared->reads > before + 100; }));
  reader.shared->command = 1;
  EXPECT_EQ(WEXITSTATUS(reader.join()), 0);
  if (with) {
    EXPECT_EQ(reader.shared->beyond, 0U);
  } else {
    EXPECT_GT(reader.shared->beyond, 0U);
  }
}
INSTANTIATE_TEST_SUITE_P(Races, StoppedAndResumed, ::testing::Bool(), race_name);

// A process that holds k in L1 is stopped and hears of no clear. An acknowledged clear names it while its L1 could still answer,
// and is over when that has lapsed: resumed, it answers nothing of before.
TEST(StoppedProcess, IsNamedByAnAcknowledgedClearUntilItsValidityLapsed) {
  Child reader([](Shared& shared) {
    Config config = instance_config(local_url(shared.port));
    config.instance_name = "the-stopped-one";
    config.bus.staleness_budget = 2s;  // its own, not the clearer's
    Instance instance(config);
    instance.warm("k");
    shared.state = 1;
    while (shared.command == 0) {
      const bool cleared = shared.acknowledged != 0;
      const auto h = instance.view.get("k");
      ++shared.reads;
      if (h) ++(cleared ? shared.beyond : shared.within);
    }
    _exit(0);
  });
  RedisServer server;
  reader.shared->port = server.port();
  Instance a(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  ASSERT_TRUE(eventually([&] { return reader.shared->state == 1 && reader.shared->within > 0; }));

  kill(reader.pid, SIGSTOP);
  int status = 0;
  ASSERT_EQ(waitpid(reader.pid, &status, WUNTRACED), reader.pid);
  const Result<void> named = a.view.clear({.deadline = 800ms, .acknowledged = true});
  ASSERT_FALSE(named.ok());
  EXPECT_EQ(named.error().code, Errc::unacknowledged);
  EXPECT_NE(named.error().message.find("the-stopped-one"), std::string::npos) << named.error().message;
  const auto began = now_ns();
  const Result<void> lapsed = a.view.clear({.acknowledged = true});
  EXPECT_TRUE(lapsed.ok()) << lapsed.error().message;
  EXPECT_GE(now_ns() - began, 2'000'000'000) << "ok before the stopped one's L1 had lapsed";
  reader.shared->acknowledged = now_ns();
  const std::uint64_t before = reader.shared->reads;
  kill(reader.pid, SIGCONT);
  ASSERT_TRUE(eventually([&] { return reader.shared->reads > before + 100; }));
  reader.shared->command = 1;
  EXPECT_EQ(WEXITSTATUS(reader.join()), 0);
  EXPECT_LE(reader.shared->beyond, 1U) << "but for the read that was under way when it was stopped";
}

}  // namespace
}  // namespace tiercache::testing
