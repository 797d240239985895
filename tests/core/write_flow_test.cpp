// SPDX-License-Identifier: Apache-2.0
//
// Writes, L1-only stores, views and own echoes, without Redis: the flows over a remote store in memory.
#include "fakes.hpp"
#include "race_name.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <thread>

namespace tiercache::testing {
namespace {

using namespace std::chrono_literals;

// A reader's L2 request is answered with the old value; before it lands, this process writes; a read after the write's return
// must not board the old flight (where, without the remedy, it would wait, and be given the old value).
class OwnWrite : public ::testing::TestWithParam<bool> {};
TEST_P(OwnWrite, IsReadThoughAFetchOfTheOldValueIsInFlight) {
  const bool remedy = GetParam();
  lab::ablate(lab::Remedy::flight_detach, !remedy);
  {
    FakeStore store;
    IntView view(store);
    ASSERT_TRUE(view.put("a", 1).ok());
    std::promise<void> answered;
    std::promise<void> go;
    std::atomic<bool> first{true};
    store.remote->after = [&](const RemoteRequest& q, RemoteReply&) {
      if (q.op == RemoteOp::get && first.exchange(false)) {
        answered.set_value();
        go.get_future().wait();
      }
    };
    auto reader = std::async(std::launch::async, [&] { return IntView::value(view.get("a")); });
    answered.get_future().wait();
    ASSERT_TRUE(view.put("a", 2).ok());
    const auto r = view.get("a", {.deadline = 100ms});
    if (remedy) {
      EXPECT_EQ(IntView::value(r), 2);
    } else {
      EXPECT_TRUE(r.error && r.error->code == Errc::deadline_exceeded);
    }
    go.set_value();
    EXPECT_EQ(reader.get(), 1);
    if (remedy) {
      EXPECT_EQ(IntView::value(view.get("a")), 2);
    }
  }
  lab::ablate(lab::Remedy::flight_detach, false);
}
INSTANTIATE_TEST_SUITE_P(Races, OwnWrite, ::testing::Bool(), race_name);

TEST(WriteFlow, UnknownOutcomeErasesLocallyAndIsDistinct) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 1).ok());
  ASSERT_TRUE(view.get("a").pin);
  store.remote->fail[RemoteOp::put] = Error{Errc::outcome_unknown, "no answer"};
  const auto r = view.put("a", 2);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::outcome_unknown);
  EXPECT_FALSE(view.view->probe("a"));
}

// A newer value stands in Redis, and its announcement may still be on its way: what L1 holds is older than what the caller was
// just told of.
TEST(WriteFlow, SupersededErasesLocally) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 1, {.version = 1}).ok());
  ASSERT_TRUE(view.get("a").pin);
  store.remote->fail[RemoteOp::put] = Error{Errc::superseded, "the same or a newer version stands"};
  const auto r = view.put("a", 2, {.version = 2});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::superseded);
  EXPECT_FALSE(view.view->probe("a"));
}

TEST(WriteFlow, EraseManyIsOneRequestAShard) {
  FakeStore store;
  IntView view(store);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(view.put("k" + std::to_string(i), i).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(view.get("k" + std::to_string(i)).pin);
  const std::string_view ids[] = {"k0", "k1", "k2", "k3", "k4"};
  ASSERT_TRUE(view.view->erase(ids, {}).ok());
  EXPECT_EQ(store.remote->count(RemoteOp::erase), 1);
  EXPECT_TRUE(store.remote->data.empty());
  for (const auto id : ids) EXPECT_FALSE(view.view->probe(id));
}

// 4,096 bytes is what the log of announcements keeps of a message: 42 of head, and for each key 10 and its name.
TEST(WriteFlow, EraseManyIsAnnouncedInMessagesThatTheLogKeeps) {
  FakeStore store;
  IntView view(store);
  std::vector<std::string> names;
  for (int i = 0; i < 300; ++i) names.push_back(std::string(static_cast<std::size_t>(i), 'k') + std::to_string(i));
  std::size_t announced = 0;
  std::size_t least = 4096;  // of what two messages in a row hold together
  std::size_t last = 4096;
  store.remote->before = [&](const RemoteRequest& q) {
    if (q.op != RemoteOp::erase) return;
    std::size_t bytes = 42;
    for (const std::string& key : q.keys) bytes += 10 + key.size();
    EXPECT_LE(bytes, 4096U);
    least = std::min(least, last + bytes);
    last = bytes;
    announced += q.keys.size();
  };
  ASSERT_TRUE(view.view->erase(std::vector<std::string_view>(names.begin(), names.end()), {}).ok());
  EXPECT_EQ(announced, names.size());
  EXPECT_GE(least, 4096U) << "no more messages than needed";
}

TEST(WriteFlow, ClearVoidsEntriesFillsAndFlightsOfThisViewOnly) {
  FakeStore store;
  IntView view(store);
  const auto other = store.view<std::string>("other");
  const std::string s = "s";
  ASSERT_TRUE(other->put("a", &s, {}).ok());
  ASSERT_TRUE(other->read("a", {}, nullptr).has_value());
  ASSERT_TRUE(view.put("a", 1).ok());
  ASSERT_TRUE(view.get("a").pin);
  ASSERT_TRUE(view.view->clear({}).ok());
  EXPECT_FALSE(view.view->probe("a"));
  EXPECT_TRUE(other->probe("a"));
}

TEST(WriteFlow, TooLargeIsRefusedBeforeAnythingIsSent) {
  FakeStore store(true, [](Config& c) { c.max_value_bytes = 100; });
  const auto view = store.view<std::string>("s");
  const std::string s(200, 'x');
  EXPECT_EQ(view->put("a", &s, {}).error().code, Errc::too_large);
  EXPECT_EQ(store.remote->count(RemoteOp::put), 0);
}

TEST(L1Only, PutGetEraseClearAndLoadWorkWithoutRedis) {
  FakeStore store(false);
  IntView view(store);
  EXPECT_FALSE(view.get("a").has_value());
  ASSERT_TRUE(view.put("a", 1).ok());
  EXPECT_EQ(IntView::value(view.get("a")), 1);
  ASSERT_TRUE(view.put("a", 2).ok());
  EXPECT_EQ(IntView::value(view.get("a")), 2);
  ASSERT_TRUE(view.erase("a").ok());
  EXPECT_FALSE(view.get("a").has_value());
  const auto loaded = view.load("a", []() -> std::optional<int> { return 3; });
  EXPECT_EQ(IntView::value(loaded), 3);
  EXPECT_FALSE(loaded.error);
  EXPECT_EQ(view.get("a").source, Source::l1);
  EXPECT_TRUE(*view.view->exists("a", {}));
  ASSERT_TRUE(view.view->clear({}).ok());
  EXPECT_FALSE(view.get("a").has_value());
}

TEST(L1Only, PutDuringALoadIsNotOverwrittenByIt) {
  FakeStore store(false);
  IntView view(store);
  const auto r = view.load("a", [&]() -> std::optional<int> {
    EXPECT_TRUE(view.put("a", 2).ok());
    return 1;
  });
  EXPECT_EQ(IntView::value(r), 1);
  EXPECT_EQ(IntView::value(view.get("a")), 2);
}

TEST(Views, SameNameWithAnotherTypeFailsEveryCallWithTheReason) {
  FakeStore store;
  IntView first(store);
  const auto second = store.view<std::string>("n");
  ASSERT_NE(second->error(), nullptr);
  EXPECT_THAT(second->error()->message, ::testing::HasSubstr("view n"));
  const std::string s = "s";
  EXPECT_EQ(second->put("a", &s, {}).error().code, Errc::invalid_argument);
  EXPECT_EQ(second->read("a", {}, nullptr).error->code, Errc::invalid_argument);
  EXPECT_FALSE(second->probe("a"));
  EXPECT_EQ(store.view<int>("n")->error(), nullptr);
}

TEST(OwnEcho, OfAnAnsweredWriteLeavesALaterFillAlone) {
  FakeStore store;
  IntView view(store);
  std::uint64_t write = 0;
  store.remote->before = [&](const RemoteRequest& q) {
    if (q.op == RemoteOp::put) write = q.write_id;
  };
  for (const bool remedy : {true, false}) {
    lab::ablate(lab::Remedy::own_echo, !remedy);
    ASSERT_TRUE(view.put("a", 1).ok());
    ASSERT_TRUE(view.get("a").pin);
    store.core->on_invalidate(0, "dev:app:n:a", 0, store.core->origin, write);
    EXPECT_EQ(static_cast<bool>(view.view->probe("a")), remedy);
  }
  lab::ablate(lab::Remedy::own_echo, false);
}

TEST(OwnEcho, OfAnUnansweredWriteIsApplied) {
  FakeStore store;
  IntView view(store);
  ASSERT_TRUE(view.put("a", 1).ok());
  std::uint64_t write = 0;
  store.remote->before = [&](const RemoteRequest& q) {
    if (q.op == RemoteOp::put) write = q.write_id;
  };
  store.remote->fail[RemoteOp::put] = Error{Errc::outcome_unknown, "no answer"};
  ASSERT_FALSE(view.put("a", 2).ok());
  ASSERT_TRUE(view.get("a").pin);  // the old value, read before Redis ran the late put
  store.core->on_invalidate(0, "dev:app:n:a", 0, store.core->origin, write);
  EXPECT_FALSE(view.view->probe("a")) << "the late put's announcement was taken for one already applied";
}

}  // namespace
}  // namespace tiercache::testing
