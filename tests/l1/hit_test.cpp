// SPDX-License-Identifier: Apache-2.0
//
// What a repeated hit does not do: allocate, and enter the kernel. An executable of its own: it replaces malloc. Left out under
// sanitizers, which replace malloc themselves and make system calls of their own inside the hit.
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

struct Hits {
  Typed<std::uint64_t> t{small_options(8 << 20)};
  std::vector<std::string> keys;

  Hits() {
    for (std::uint64_t i = 0; i < 1000; ++i) {
      keys.push_back("user:" + std::to_string(i));
      t.put(keys.back(), std::uint64_t{i});
    }
  }
  /// Half pinned, half visited; the number of hits.
  [[gnu::noinline]] std::uint64_t run(std::uint64_t n) {
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::string& key = keys[i % keys.size()];
      const std::uint64_t hash = t.hash(key);
      if (i % 2 == 0) {
        if (Pin pin = t.table->find(t.view, key, hash, 0, coarse_now_ms())) ++found;
      } else {
        t.table->visit(t.view, key, hash, 0, coarse_now_ms(), [&](const void*, const Entry&) { ++found; });
      }
    }
    return found;
  }
};

TEST(Hit, TenMillionAllocateNothing) {
  Hits h;
  const std::uint64_t warm = allocations;
  EXPECT_GT(warm, 0U) << "the counter counts";
  const std::uint64_t found = h.run(hits);
  EXPECT_EQ(allocations, warm);
  EXPECT_EQ(found, hits);
  EXPECT_VALID(*h.t.table);
}

TEST(Hit, TenMillionMakeNoSystemCallWhileAnotherThreadWritesTheSameKeys) {
  const int status = in_child([] {
    Hits h;
    std::atomic<bool> begun{false};
    std::thread writer([&] {  // not under the filter
      for (std::uint64_t i = 0;; ++i) {
        h.t.put(h.keys[i % h.keys.size()], std::uint64_t{i});
        begun = true;
      }
    });
    while (!begun) std::this_thread::yield();
    h.run(1000);
    forbid_system_calls();
    syscall(SYS_exit_group, h.run(hits) == hits ? 0 : 1);
  });
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Hit, TheFilterWouldHaveCaughtAContendedMutex) {
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
