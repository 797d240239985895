// SPDX-License-Identifier: Apache-2.0
//
// Who loads, and who waits how: one load a key across the fleet, and waiters that are told.
#include "instances.hpp"

namespace tiercache::testing {
namespace {

/// Has who waits for a lease ask again only when it is told, in effect.
struct WithoutPolling {
  WithoutPolling() { lab::lease_poll_ms = 3'600'000; }
  ~WithoutPolling() { lab::lease_poll_ms = 0; }
};

template <class F>
auto in_background(F&& f) {
  return std::async(std::launch::async, std::forward<F>(f));
}

/// B waits for the lease on k that A holds, as far as can be told from outside.
bool waits(Instance& b) {
  return eventually([&] { return b.store().stats().leases.waited == 1; });
}

// B finds A loading the key. It is told when A has stored, and so asks once more and no oftener; without the word it would sleep
// until it polls, which here is never.
class WaiterIsTold : public Race {};
TEST_P(WaiterIsTold, Row19) {
  const Ablated ablated(lab::Remedy::wake, !remedy());
  const WithoutPolling without;
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 30s;  // a link given up as silent would wake B, too
  config.bus.heartbeat = 100ms;
  Instance a(config);
  Instance b(config);
  a.wait_coherent();
  b.wait_coherent();
  std::atomic<bool> loading{false};
  auto leader = in_background([&] {
    return *a.view.get_or_load("k", [&] {
      loading = true;
      EXPECT_TRUE(waits(b));
      return 7;
    });
  });
  ASSERT_TRUE(eventually([&] { return loading.load(); }));
  auto waiter = in_background([&] {
    const auto h = b.view.get_or_load("k", [] { return 8; }, {.deadline = patience});
    return h ? *h : -1;
  });
  EXPECT_EQ(leader.get(), 7);
  if (remedy()) {
    EXPECT_EQ(waiter.get(), 7);
    EXPECT_EQ(b.store().stats().leases.polled, 1U);
    EXPECT_EQ(b.store().stats().leases.woken, 1U);
  } else {
    b.wait_applied();  // the word of A's fill has come, and was not heeded
    EXPECT_EQ(b.store().stats().leases.polled, 0U);
    lab::ablate(lab::Remedy::wake, false);
    EXPECT_TRUE(a.view.put("k", 9).ok());
    EXPECT_EQ(waiter.get(), 9) << "it had slept until then, and did not load";
  }
}
INSTANTIATE_TEST_SUITE_P(Races, WaiterIsTold, ::testing::Bool(), race_name);

/// B waits for A's lease, without polling, while `meanwhile` is done in A's loader; what B gets, its own loader giving 8.
int waiter_gets(RedisServer& server, const std::function<std::optional<int>(Instance& a, Instance& b)>& meanwhile) {
  const WithoutPolling without;
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  a.wait_coherent();
  b.wait_coherent();
  std::atomic<bool> loading{false};
  auto leader = in_background([&] {
    static_cast<void>(a.view.get_or_load("k", [&]() -> std::optional<int> {
      loading = true;
      EXPECT_TRUE(waits(b));
      return meanwhile(a, b);
    }));
  });
  EXPECT_TRUE(eventually([&] { return loading.load(); }));
  const auto h = b.view.get_or_load("k", [] { return 8; }, {.deadline = patience});
  leader.wait();
  return h ? *h : -1;
}

class Waiter : public ::testing::Test {
 protected:
  RedisServer server;
};

TEST_F(Waiter, IsToldWhenTheLeaseIsGivenBackAndLoadsItself) {
  EXPECT_EQ(waiter_gets(server, [](Instance&, Instance&) { return std::nullopt; }), 8);
}
TEST_F(Waiter, IsToldWhenALoaderThrows) {
  EXPECT_EQ(waiter_gets(server, [](Instance&, Instance&) -> std::optional<int> { throw std::runtime_error("no"); }), 8);
}
// The leader's loader is held until B has its answer: so it is the announcement that woke it.
TEST_F(Waiter, IsToldWhenAPutTakesTheLeaseAway) {
  EXPECT_EQ(waiter_gets(server,
                        [](Instance& a, Instance& b) {
                          EXPECT_TRUE(a.view.put("k", 9).ok());
                          EXPECT_TRUE(eventually([&] { return b.store().stats().leases.woken >= 1; }));
                          return 7;
                        }),
            9);
}
TEST_F(Waiter, IsToldWhenItsOwnInstanceTakesTheLeaseAway) {
  EXPECT_EQ(waiter_gets(server,
                        [](Instance&, Instance& b) {
                          EXPECT_TRUE(b.view.put("k", 9).ok());
                          EXPECT_TRUE(eventually([&] { return b.store().stats().leases.woken >= 1; }));
                          return 7;
                        }),
            9);
}
TEST_F(Waiter, IsToldWhenAClearTakesTheLeaseAway) {
  EXPECT_EQ(waiter_gets(server,
                        [](Instance& a, Instance& b) {
                          EXPECT_TRUE(a.view.clear().ok());
                          EXPECT_TRUE(eventually([&] { return b.view.stats().loads == 1; }));
                          return 7;
                        }),
            8);
}
// An update takes the lease and gives none: the waiter loads for itself at once, and is not stored.
TEST_F(Waiter, IsToldWhenAnUpdateBegins) {
  EXPECT_EQ(
      waiter_gets(
          server,
          [](Instance& a, Instance& b) {
            EXPECT_TRUE(
                a.view.update("k", [&] { EXPECT_TRUE(eventually([&] { return b.store().stats().gates.gated == 1; })); }).ok());
            return 7;
          }),
      8);
}
TEST_F(Waiter, AsksByItselfWhereTheWordIsLost) {
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  a.wait_coherent();
  b.wait_coherent();
  std::atomic<bool> loading{false};
  auto leader = in_background([&] {
    return *a.view.get_or_load("k", [&] {
      loading = true;
      EXPECT_TRUE(waits(b));
      lab::bus_reader_stopped = true;
      return 7;
    });
  });
  ASSERT_TRUE(eventually([&] { return loading.load(); }));
  const auto h = b.view.get_or_load("k", [] { return 8; }, {.deadline = patience});
  lab::bus_reader_stopped = false;
  EXPECT_EQ(leader.get(), 7);
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, 7);
  EXPECT_EQ(b.store().stats().leases.woken, 0U);
}
// Redis comes back empty; every L1 of the fleet is void, and everybody asks for everything at once. Each key is loaded once, by
// whoever gets its lease; the others wait. A loader is held until every instance has asked for every key.
class Herd : public Race {};
TEST_P(Herd, Row19) {
  const Ablated ablated(lab::Remedy::lease_wait, !remedy());
  constexpr std::size_t instances = 4;
  constexpr std::size_t keys = 6;
  constexpr std::size_t threads = 3;
  Config config = instance_config(server.url());
  config.default_deadline = patience;
  config.lease_ttl = 5s;
  config.l2.connect_timeout = patience;
  std::vector<std::unique_ptr<Instance>> fleet;
  for (std::size_t i = 0; i < instances; ++i) fleet.push_back(std::make_unique<Instance>(config));
  const auto name = [](std::size_t k) { return "k" + std::to_string(k); };
  for (std::size_t k = 0; k < keys; ++k) ASSERT_TRUE(fleet[0]->view.put(name(k), 1).ok());
  for (auto& instance : fleet) {
    instance->wait_coherent();
    instance->wait_applied();
    for (std::size_t k = 0; k < keys; ++k) instance->warm(name(k));
  }

  lab::bus_link_cut = true;
  for (auto& instance : fleet) ASSERT_TRUE(eventually([&] { return !instance->store().stats().bus.subscribed; }));
  ASSERT_EQ(server.command({"FLUSHALL"}), "OK");
  lab::bus_link_cut = false;
  for (auto& instance : fleet) {
    ASSERT_TRUE(eventually([&] { return instance->store().stats().bus.subscribed; }));
    instance->wait_applied();
    instance->wait_coherent();
  }

  const auto asked = [&] {
    std::uint64_t n = 0;
    for (auto& instance : fleet) {
      const LeaseStats s = instance->store().stats().leases;
      n += s.granted + s.waited;
    }
    return n;
  };
  ASSERT_EQ(asked(), 0U);
  std::array<std::atomic<int>, keys> loads{};
  std::atomic<bool> go{false};
  std::vector<std::future<int>> results;
  for (auto& instance : fleet)
    for (std::size_t k = 0; k < keys; ++k)
      for (std::size_t t = 0; t < threads; ++t)
        results.push_back(in_background([&, k] {
          while (!go) std::this_thread::yield();
          const auto h = instance->view.get_or_load(name(k), [&] {
            ++loads[k];
            EXPECT_TRUE(eventually([&] { return asked() >= instances * keys; }));
            return 2;
          });
          return h ? *h : -1;
        }));
  go = true;
  for (auto& r : results) EXPECT_EQ(r.get(), 2);
  int total = 0;
  for (auto& n : loads) {
    total += n;
    if (remedy()) {
      EXPECT_EQ(n, 1);
    }
  }
  if (!remedy()) {
    EXPECT_GT(total, static_cast<int>(keys));
  }
}
INSTANTIATE_TEST_SUITE_P(Races, Herd, ::testing::Bool(), race_name);

}  // namespace
}  // namespace tiercache::testing
