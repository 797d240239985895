// SPDX-License-Identifier: Apache-2.0
//
// Races of tags and of writes that Redis refuses.
#include "instances.hpp"

namespace tiercache::testing {
namespace {

// B loads k, which will bear tag t: the database says 1. Before B fills L2, a writer commits 2 to the database and erases t. k
// does not bear t yet, so the erase finds nothing of it. Then B's fill arrives. Without the stamp Redis would hold 1, and every
// instance after it.
class LoadVersusTagErase : public Race {};
TEST_P(LoadVersusTagErase, Row2) {
  const Ablated ablated(lab::Remedy::tag_stamp, !remedy());
  Gate gate(lab::Point::load_to_lease_fill);
  Config config = instance_config(server.url());
  config.lease_ttl = 60s;  // outlasts the erase: what refuses the fill must be the stamp
  Instance a(config);
  Instance b(config);
  a.wait_coherent();
  b.wait_coherent();
  std::atomic<int> database{1};
  const auto load = [&] { return Loaded<int>{database.load(), 0, {}, {"t"}}; };
  auto loader = std::async(std::launch::async, [&] {
    gate.arm();
    const auto h = b.view.get_or_load("k", load);
    return h ? *h : -1;
  });
  gate.wait_reached();
  database = 2;
  ASSERT_TRUE(a.view.erase_tag("t").ok());
  gate.open();
  EXPECT_EQ(loader.get(), 1) << "it asked before the erase";

  const auto h = a.view.get_or_load("k", load);
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, remedy() ? 2 : 1);
  const auto other = b.view.get_or_load("k", load);
  ASSERT_TRUE(other);
  EXPECT_EQ(*other, remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, LoadVersusTagErase, ::testing::Bool(), race_name);

// As above, but the fill arrives before the erase and the value is on its way into B's L1: the member that the erase names is
// what the fill's fence knows.
TEST(LoadVersusTagErase, AFillThatCameFirstIsNamedByTheErase) {
  RedisServer server;
  Gate gate(lab::Point::l2_reply_to_l1_commit);
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  b.wait_coherent();
  auto loader = std::async(std::launch::async, [&] {
    gate.arm();
    const auto h = b.view.get_or_load("k", [] { return Loaded<int>{1, 0, {}, {"t"}}; });
    return h ? *h : -1;
  });
  gate.wait_reached();
  ASSERT_TRUE(a.view.erase_tag("t").ok());
  b.wait_applied();
  gate.open();
  EXPECT_EQ(loader.get(), 1);
  b.wait_coherent();
  EXPECT_EQ(b.get("k"), -1);
}

// A reader of the eraser's own process asks after the erase, while the load of before still runs: it must not board it.
TEST(LoadVersusTagErase, NobodyBoardsALoadOfBefore) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  a.wait_coherent();
  std::promise<void> loading;
  std::promise<void> go_on;
  auto loader = std::async(std::launch::async, [&] {
    return *a.view.get_or_load("k", [&] {
      loading.set_value();
      go_on.get_future().wait();
      return Loaded<int>{1, 0, {}, {"t"}};
    });
  });
  loading.get_future().wait();
  ASSERT_TRUE(a.view.erase_tag("t").ok());
  auto reader = std::async(std::launch::async, [&] {
    return *a.view.get_or_load("k", [] { return Loaded<int>{2, 0, {}, {"t"}}; });
  });
  ASSERT_TRUE(eventually([&] { return a.store().stats().leases.waited > 0; })) << "it joined the flight instead";
  go_on.set_value();
  EXPECT_EQ(loader.get(), 1);
  EXPECT_EQ(reader.get(), 2);
  EXPECT_EQ(a.get("k"), 2);
}

// k is 1 in Redis and in B's L1. The writer commits 2 to the database and puts it; Redis, out of memory, refuses. Without the
// erase that follows, everyone would go on reading 1 until its ttl, with the writer told no more than that it was refused.
class RefusedPut : public Race {};
TEST_P(RefusedPut, Row23) {
  const Ablated ablated(lab::Remedy::refused_put, !remedy());
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("k", 1).ok());
  b.warm("k");
  server.command({"CONFIG", "SET", "maxmemory", "1"});
  ASSERT_EQ(a.view.put("k", 2).error().code, Errc::refused);
  b.wait_applied();
  b.wait_coherent();
  const auto h = b.view.get_or_load("k", [] { return 2; });
  ASSERT_TRUE(h);
  EXPECT_EQ(*h, remedy() ? 2 : 1);
}
INSTANTIATE_TEST_SUITE_P(Races, RefusedPut, ::testing::Bool(), race_name);

}  // namespace
}  // namespace tiercache::testing
