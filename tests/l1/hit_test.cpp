// SPDX-License-Identifier: Apache-2.0
//
// What hits, misses and, in the steady state, writes do not do: allocate, enter the kernel, wait for a lock. An executable of its
// own: it replaces malloc. Left out under sanitizers, which replace malloc themselves and make system calls of their own inside
// the hit.
#include "fixture.hpp"

#include <hot_path.hpp>

#include <csignal>
#include <mutex>
#include <thread>

namespace tiercache::l1::test {
namespace {

using tiercache::testing::allocations;
using tiercache::testing::forbid_system_calls;
using tiercache::testing::in_child;

constexpr std::uint64_t hits = 10'000'000;
constexpr std::uint64_t writes = 2'000'000;

/// A table, keys that are in it, and keys that are not.
struct Hits {
  Typed<std::uint64_t> t{small_options(8 << 20)};
  std::vector<std::string> keys, absent;

  Hits() {
    for (std::uint64_t i = 0; i < 1000; ++i) {
      keys.push_back("user:" + std::to_string(i));
      absent.push_back("nobody:" + std::to_string(i));
      t.put(keys.back(), std::uint64_t{i});
    }
  }
  /// Each of these returns how many of the n were found, or stored.
  [[gnu::noinline]] std::uint64_t find(std::uint64_t n, const std::vector<std::string>& names) {
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::string& key = names[i % names.size()];
      if (Pin pin = t.table->find(t.view, key, t.hash(key), 0, coarse_now_ms())) ++found;
    }
    return found;
  }
  [[gnu::noinline]] std::uint64_t visit(std::uint64_t n, const std::vector<std::string>& names) {
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::string& key = names[i % names.size()];
      t.table->visit(t.view, key, t.hash(key), 0, coarse_now_ms(), [&](const void*, const Entry&) { ++found; });
    }
    return found;
  }
  /// Steady state: over old values, and now and then an erase, so that entries are retired and scanned for all the time.
  [[gnu::noinline]] std::uint64_t write(std::uint64_t n, const std::vector<std::string>& names) {
    std::uint64_t stored = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::string& key = names[i % names.size()];
      if (t.put(key, std::uint64_t{i}) == PutStatus::stored) ++stored;
      if (i % 4 == 0) t.erase(key);
    }
    return stored;
  }
};

struct Job {
  const char* name;
  std::uint64_t (Hits::*run)(std::uint64_t, const std::vector<std::string>&);
  bool present;                        ///< on keys that are in the table
  std::uint64_t times;                 ///< so often
  bool all;                            ///< true: each succeeds, false: none
  std::vector<std::uint32_t> allowed;  ///< system calls
};

const Job jobs[] = {
    {"Find", &Hits::find, true, hits, true, {}},
    {"Visit", &Hits::visit, true, hits, true, {}},
    {"FindOfAnAbsentKey", &Hits::find, false, hits, false, {}},
    {"VisitOfAnAbsentKey", &Hits::visit, false, hits, false, {}},
    // A write may scan for hazards, which begins with a membarrier; it never waits.
    {"PutAndErase", &Hits::write, true, writes, true, {SYS_membarrier}},
};

class Hit : public ::testing::TestWithParam<Job> {};

TEST_P(Hit, AllocatesNothing) {
  const Job& job = GetParam();
  Hits h;
  const auto& names = job.present ? h.keys : h.absent;
  (h.*job.run)(names.size(), names);
  const std::uint64_t warm = allocations;
  EXPECT_GT(warm, 0U) << "the counter counts";
  const std::uint64_t done = (h.*job.run)(job.times, names);
  EXPECT_EQ(allocations, warm);
  EXPECT_EQ(done, job.all ? job.times : 0);
  EXPECT_VALID(*h.t.table);
}

TEST_P(Hit, MakesNoSystemCallWhileAnotherThreadWritesTheSameKeys) {
  const Job& job = GetParam();
  const int status = in_child([&job] {
    Hits h;
    const auto& names = job.present ? h.keys : h.absent;
    std::atomic<bool> begun{false};
    std::thread writer([&] {  // not under the filter
      for (std::uint64_t i = 0;; ++i) {
        h.t.put(h.keys[i % h.keys.size()], std::uint64_t{i});
        begun = true;
      }
    });
    while (!begun) std::this_thread::yield();
    (h.*job.run)(names.size(), names);
    forbid_system_calls(job.allowed);
    const std::uint64_t done = (h.*job.run)(job.times, names);
    syscall(SYS_exit_group, done == (job.all ? job.times : 0) ? 0 : 1);
  });
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

INSTANTIATE_TEST_SUITE_P(Millions, Hit, ::testing::ValuesIn(jobs), [](const auto& job) { return std::string(job.param.name); });

TEST(HitFilter, WouldHaveCaughtAContendedMutex) {
  const int status = in_child([] {
    std::mutex mutex;
    std::atomic<bool> held{false};
    std::thread holder([&] {
      const std::lock_guard lock(mutex);
      held = true;
      for (;;) pause();
    });
    while (!held) std::this_thread::yield();
    forbid_system_calls();
    mutex.lock();
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSYS);
}

}  // namespace
}  // namespace tiercache::l1::test
