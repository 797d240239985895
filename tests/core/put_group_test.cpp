// SPDX-License-Identifier: Apache-2.0
//
// Group commit and put_many seen from a store: own echoes, answers, and a checker over many writers.
#include "fakes.hpp"
#include "instances.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace tiercache::testing {
namespace {

/// L2 answers the puts of "a" and "b" as members of one group announced under number 5.
void answer_as_a_group(FakeStore& store) {
  store.remote->after = [](const RemoteRequest& q, RemoteReply& reply) {
    if (q.op != RemoteOp::put) return;
    reply.announced_as = 5;
    reply.announced_for = 2;
  };
}

TEST(GroupEcho, IsSkippedOnceEveryCallerHasErased) {
  FakeStore store;
  IntView view(store);
  answer_as_a_group(store);
  ASSERT_TRUE(view.put("a", 1).ok());
  ASSERT_TRUE(view.put("b", 1).ok());
  ASSERT_TRUE(view.get("a").pin);
  store.core->on_invalidate(0, "dev:app:n:a", 0, store.core->origin, 5);
  EXPECT_TRUE(view.view->probe("a")) << "both had erased: the echo has nothing left to do";
}

TEST(GroupEcho, IsAppliedWhileACallerHasNotErased) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("b", 0).ok());
  answer_as_a_group(store);
  ASSERT_TRUE(view.get("b").pin);
  ASSERT_TRUE(view.put("a", 1).ok());  // b's caller has not been woken yet
  store.core->on_invalidate(0, "dev:app:n:b", 0, store.core->origin, 5);
  EXPECT_FALSE(view.view->probe("b"));
}

TEST(GroupEcho, CountsOfTwoGroupsInOneSlotNeverAddUp) {
  detail::AnsweredWrites writes;
  constexpr std::uint64_t apart = 4096;
  writes.answered(7, 2);
  writes.answered(7 + apart, 2);
  writes.answered(7, 2);
  writes.answered(7 + apart, 2);
  EXPECT_FALSE(writes.was_answered(7));
  EXPECT_FALSE(writes.was_answered(7 + apart));
  writes.answered(9, 3);
  writes.answered(9, 3);
  EXPECT_FALSE(writes.was_answered(9));
  writes.answered(9, 3);
  EXPECT_TRUE(writes.was_answered(9));
}

// Three puts go as one group. The caller of the second is held between its answer and its local erase, while L1 holds the key's
// old value and the others have returned. Then the group's own echo arrives.
class GroupEchoRace : public Race {};
TEST_P(GroupEchoRace, HeldCallerRow15) {
  const Ablated ablated(lab::Remedy::group_echo, !remedy());
  Gate gate(lab::Point::write_reply_to_erase);
  Config config = instance_config(server.url());
  config.bus.staleness_budget = 30s;  // L1 is valid throughout
  config.bus.heartbeat = 500ms;       // few go unanswered while Redis stands still: three in a row would open the circuit
  Instance a(config);
  a.wait_coherent();
  const std::array<std::string, 3> keys{"k0", "k1", "k2"};
  for (const auto& k : keys) ASSERT_TRUE(a.view.put(k, 1).ok());
  a.warm("k1");
  lab::put_lanes = 1;
  lab::bus_reader_stopped = true;
  const std::uint64_t commands = a.store().stats().l2.commands;
  server.pause();
  auto blocker = std::async(std::launch::async, [&] { return a.view.put("lane", 1).ok(); });
  ASSERT_TRUE(eventually([&] { return a.store().stats().l2.commands > commands; }));
  std::vector<std::future<bool>> puts;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    puts.push_back(std::async(std::launch::async, [&, i] {
      if (i == 1) gate.arm();
      return a.view.put(keys[i], 2).ok();
    }));
    ASSERT_TRUE(eventually([&] { return a.store().stats().l2.queued_puts == i + 1; }));
  }
  const std::uint64_t groups = a.store().stats().l2.put_groups;
  server.resume();
  EXPECT_TRUE(blocker.get());
  EXPECT_TRUE(puts[0].get());
  EXPECT_TRUE(puts[2].get());
  gate.wait_reached();
  ASSERT_EQ(a.store().stats().l2.put_groups - groups, 1U);
  lab::bus_reader_stopped = false;
  a.wait_applied();
  EXPECT_EQ(a.view.visit("k1", [](int) {}), !remedy()) << "the echo must void what the held caller has not";
  gate.open();
  EXPECT_TRUE(puts[1].get());
  EXPECT_EQ(a.get("k1"), 2);
  lab::put_lanes = 2;
}
INSTANTIATE_TEST_SUITE_P(Races, GroupEchoRace, ::testing::Bool(), race_name);

TEST(CachePutMany, StoresAllAndOtherInstancesSeeIt) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  std::map<std::string, int> rows;
  for (int i = 0; i < 200; ++i) rows["k" + std::to_string(i)] = i;
  for (const auto& r : a.view.put_many(rows)) ASSERT_TRUE(r.ok());
  b.warm("k7");
  for (const auto& [key, value] : rows) EXPECT_EQ(b.get(key), value);
  const std::vector<std::pair<std::string_view, int>> again{{"k7", 70}, {"k8", 80}};
  const auto answers = a.view.put_many(std::span(again));
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_TRUE(answers[0].ok() && answers[1].ok());
  EXPECT_EQ(a.get("k7"), 70);
  EXPECT_TRUE(eventually([&] { return b.get("k7") == 70 && b.get("k8") == 80; }));
  EXPECT_TRUE(a.view.put_many(std::map<std::string, int>{}).empty());
}

// Each token of the group is enough for the other instance not to answer from before it.
TEST(CachePutMany, ItsTokensReadItsWritesElsewhere) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  for (int i = 0; i < 50; ++i) {
    std::vector<std::pair<std::string, int>> rows;
    for (const char* key : {"x", "y", "z"}) rows.emplace_back(key, i);
    const auto answers = a.view.put_many(rows);
    for (std::size_t k = 0; k < rows.size(); ++k) {
      ASSERT_TRUE(answers[k].ok());
      ASSERT_FALSE(answers[k]->empty());
      const auto h = b.view.get(rows[k].first, {.after = *answers[k]});
      ASSERT_TRUE(h);
      EXPECT_EQ(*h, i);
    }
  }
  a.wait_coherent();
  const auto answers = a.view.put_many(std::map<std::string, int>{{"x", 50}});
  b.warm("x");
  b.wait_applied();
  ASSERT_TRUE(eventually([&] { return b.view.get("x", {.after = *answers[0]}).source() == Source::l1; }))
      << "once it was applied, L1 answers with the token too";
}

TEST(CachePutMany, WorksOverShards) {
  RedisServer server;
  Config config = instance_config(server.url());
  config.l2.shards = 4;
  Instance a(config);
  std::map<std::string, int> rows;
  for (int i = 0; i < 50; ++i) rows["k" + std::to_string(i)] = i;
  for (const auto& r : a.view.put_many(rows)) ASSERT_TRUE(r.ok());
  for (const auto& [key, value] : rows) EXPECT_EQ(a.get(key), value);
}

// An announcement above 4 KiB is logged as a mark, over which no instance can be told what it missed.
TEST(CachePutMany, OfLongKeysIsAnnouncedInMessagesThatTheLogKeeps) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  a.wait_coherent();  // the first heartbeat begins the epoch, and the log with it
  std::map<std::string, int> rows;
  for (int i = 0; i < 64; ++i) rows[std::string(200, 'k') + std::to_string(i)] = i;
  for (const auto& r : a.view.put_many(rows)) ASSERT_TRUE(r.ok());
  EXPECT_EQ(server.command({"EVAL",
                            "local marks = 0 for _, e in ipairs(redis.call('XRANGE', KEYS[1], '2', '+')) do "
                            "if e[2][2] == '' then marks = marks + 1 end end return marks",
                            "1", "test:races:!log"}),
            "0");
  EXPECT_GE(std::stoi(server.command({"XLEN", "test:races:!log"})), 4) << "64 names of 200 bytes take four messages";
}

// Tags join in the script of one put; a batch with tags must not lose them.
TEST(CachePutMany, KeepsTheTags) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  for (const auto& r : a.view.put_many(std::map<std::string, int>{{"x", 1}, {"y", 2}}, {.tags = {"t"}})) ASSERT_TRUE(r.ok());
  ASSERT_TRUE(a.view.erase_tag("t").ok());
  EXPECT_FALSE(a.view.get("x"));
  EXPECT_FALSE(a.view.get("y"));
}

TEST(CachePutMany, AnswersEachPairOnItsOwn) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  ASSERT_TRUE(a.view.put("newer", 9, {.version = 9}).ok());
  const std::vector<std::pair<std::string, int>> rows{{"good", 1}, {"{bad}", 2}, {"newer", 3}};
  const auto answers = a.view.put_many(rows, {.version = 5});
  EXPECT_TRUE(answers[0].ok());
  ASSERT_FALSE(answers[1].ok());
  EXPECT_EQ(answers[1].error().code, Errc::invalid_argument);
  ASSERT_FALSE(answers[2].ok());
  EXPECT_EQ(answers[2].error().code, Errc::superseded);
  EXPECT_EQ(a.get("good"), 1);
  EXPECT_EQ(a.get("newer"), 9);
}

TEST(CachePutMany, AKeyOfAnotherTypeIsRefusedAloneAndErasedAsAnyRefusedPut) {
  RedisServer server;
  Instance a(instance_config(server.url()));
  server.command({"LPUSH", "test:races:n:list", "x"});
  const std::vector<std::pair<std::string, int>> rows{{"good", 1}, {"list", 2}, {"fine", 3}};
  const auto answers = a.view.put_many(rows, {.version = 5});
  EXPECT_TRUE(answers[0].ok());
  ASSERT_FALSE(answers[1].ok());
  EXPECT_EQ(answers[1].error().code, Errc::refused);
  EXPECT_EQ(answers[1].error().message, "WRONGTYPE the key holds another type than a string; the key was erased instead");
  EXPECT_TRUE(answers[2].ok());
  EXPECT_EQ(a.get("good"), 1);
  EXPECT_EQ(a.get("fine"), 3);
  EXPECT_TRUE(a.view.put("list", 2, {.version = 5}).ok());
}

TEST(CachePutMany, OneValueTooLargeIsRefusedAndTheOthersAreStored) {
  FakeStore store(true, [](Config& c) { c.max_value_bytes = 100; });
  const auto view = store.view<std::string>("s");
  const std::string small = "s";
  const std::string large(200, 'x');
  const std::string_view ids[] = {"a", "b", "c"};
  const void* const values[] = {&small, &large, &small};
  const auto answers = view->put_many(ids, values, {});
  EXPECT_TRUE(answers[0].ok());
  ASSERT_FALSE(answers[1].ok());
  EXPECT_EQ(answers[1].error().code, Errc::too_large);
  EXPECT_TRUE(answers[2].ok());
  EXPECT_EQ(store.remote->count(RemoteOp::put_many), 1);
  EXPECT_EQ(store.remote->data.size(), 2U);
}

TEST(CachePutMany, AnUnknownOutcomeIsEveryPairsAndEveryKeyLeavesL1) {
  FakeStore store;
  IntView view(store);
  const std::string_view ids[] = {"a", "b"};
  const int one = 1;
  const void* const values[] = {&one, &one};
  for (const auto& r : view.view->put_many(ids, values, {})) ASSERT_TRUE(r.ok());
  for (const auto id : ids) ASSERT_TRUE(view.get(id).pin);
  store.remote->fail[RemoteOp::put_many] = Error{Errc::outcome_unknown, "no answer"};
  for (const auto& r : view.view->put_many(ids, values, {})) {
    ASSERT_FALSE(r.ok());
    EXPECT_EQ(r.error().code, Errc::outcome_unknown);
  }
  for (const auto id : ids) EXPECT_FALSE(view.view->probe(id));
}

TEST(CachePutMany, FillsL1WhereL1IsAllThereIs) {
  FakeStore store(false);
  IntView view(store);
  const std::string_view ids[] = {"a", "b"};
  const int values_of[] = {1, 2};
  const void* const values[] = {&values_of[0], &values_of[1]};
  for (const auto& r : view.view->put_many(ids, values, {})) ASSERT_TRUE(r.ok());
  EXPECT_EQ(IntView::value(view.get("b")), 2);
}

// 32 threads write rows of rising versions to 8 keys and read them back through two instances. At each instant the highest
// version acknowledged is known: its own store must never be behind it by a read that began after, the other one by D at most.
TEST(PutGroupChecker, ManyWritersOnFewKeysReadTheirOwnWrites) {
  constexpr int threads = 32;
  constexpr int rounds = 40;
  constexpr std::size_t keys = 8;
  RedisServer server;
  Instance a(instance_config(server.url()));
  Instance b(instance_config(server.url()));
  a.wait_coherent();
  b.wait_coherent();
  std::array<std::atomic<int>, keys> clock{};
  std::array<std::array<std::atomic<int>, keys>, 2> acknowledged{};  // by the store that was told
  std::atomic<int> behind{0};
  std::atomic<int> failed{0};
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      std::minstd_rand random(seed + static_cast<unsigned>(t));
      const std::size_t who = static_cast<std::size_t>(t) % 4 == 0 ? 1U : 0U;
      Instance& mine = who == 0 ? a : b;
      for (int i = 0; i < rounds; ++i) {
        const std::size_t k = random() % keys;
        const std::string id = "k" + std::to_string(k);
        const int version = ++clock[k];
        const auto r = mine.view.put(id, version, {.version = static_cast<std::uint64_t>(version)});
        if (!r.ok() && r.error().code != Errc::superseded) ++failed;
        std::atomic<int>& known = acknowledged[who][k];
        for (int seen = known; seen < version && !known.compare_exchange_weak(seen, version);) {
        }
        const int floor = known;
        if (mine.get(id) < floor) ++behind;
      }
    });
  }
  for (std::thread& t : running) t.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(behind, 0);
  EXPECT_GT(a.store().stats().l2.put_groups, 0U);
  a.wait_applied();
  b.wait_applied();
  for (std::size_t k = 0; k < keys; ++k) {
    if (clock[k] == 0) continue;
    EXPECT_EQ(a.get("k" + std::to_string(k)), clock[k]);
    EXPECT_EQ(b.get("k" + std::to_string(k)), clock[k]);
  }
}

}  // namespace
}  // namespace tiercache::testing
