// SPDX-License-Identifier: Apache-2.0
//
// What a hit through the facade does not do: allocate, and enter the kernel. With Redis and the bus running beside it; links the
// build that ships. An executable of its own: it replaces malloc.
#include "instances.hpp"

#include <hot_path.hpp>

namespace tiercache::testing {
namespace {

constexpr std::uint64_t hits = 10'000'000;

struct Hits {
  explicit Hits(const std::string& url) {
    Config config = instance_config(url);
    config.bus.staleness_budget = 60s;  // the bus thread may be kept waiting on a loaded machine; hits are what is measured
    instance.emplace(config);
    for (int i = 0; i < 1000; ++i) {
      keys.push_back("user:" + std::to_string(i));
      EXPECT_TRUE(instance->view.put(keys.back(), i, {.ttl = 3600s}).ok());
    }
    instance->wait_coherent();
    for (const std::string& key : keys) instance->warm(key);
  }
  /// Half by handle, half by visit; the number of hits in L1.
  [[gnu::noinline]] std::uint64_t run(std::uint64_t n) {
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::string& key = keys[i % keys.size()];
      if (i % 2 == 0) {
        const Handle<int> h = instance->view.get(key);
        if (h && h.source() == Source::l1) ++found;
      } else {
        instance->view.visit(key, [&](int) { ++found; });
      }
    }
    return found;
  }
  std::optional<Instance> instance;
  std::vector<std::string> keys;
};

TEST(FacadeHit, TenMillionAllocateNothing) {
  RedisServer server;
  Hits h(server.url());
  const std::uint64_t warm = allocations;
  EXPECT_GT(warm, 0U) << "the counter counts";
  EXPECT_EQ(h.run(hits), hits);
  EXPECT_EQ(allocations, warm);
}

TEST(FacadeHit, TenMillionMakeNoSystemCall) {
  RedisServer server;
  const int status = in_child([&] {
    Hits h(server.url());
    h.run(10'000);
    forbid_system_calls();  // of this thread; the bus and heartbeat threads go on
    syscall(SYS_exit_group, h.run(hits) == hits ? 0 : 1);
  });
  ASSERT_TRUE(WIFEXITED(status)) << "killed by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace tiercache::testing
