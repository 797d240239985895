// SPDX-License-Identifier: Apache-2.0
//
// Updates and waits for a lease over a remote store that can be told to fail: what is called, what is not, what the caller is
// told.
#include "fakes.hpp"

namespace tiercache::testing {
namespace {

class UpdateFlow : public ::testing::Test {
 protected:
  Result<WriteToken> update(const WriteOptions& options = {}, std::uint64_t answer = 0, bool throws = false) {
    const auto write = [&]() -> std::uint64_t {
      ++writes;
      if (throws) throw std::runtime_error("the row is locked");
      return answer;
    };
    return view.view->update("k", detail::DatabaseWriteRef(write), options);
  }

  FakeStore store;
  IntView view{store};
  int writes = 0;
};

TEST_F(UpdateFlow, GatesWritesAndUngatesByOneToken) {
  std::vector<std::string> story;
  std::string token;
  store.remote->before = [&](const RemoteRequest& q) {
    story.push_back(q.op == RemoteOp::gate ? "gate" : q.op == RemoteOp::ungate ? "ungate" : "else");
    if (q.op == RemoteOp::gate) {
      EXPECT_EQ(writes, 0);
      EXPECT_EQ(q.lease_ms, 30'000);
      token = q.token;
    } else {
      EXPECT_EQ(writes, 1);
      EXPECT_EQ(q.token, token);
    }
    EXPECT_EQ(q.version, 0U);
    EXPECT_TRUE(q.head.empty());
  };
  ASSERT_TRUE(update().ok());
  EXPECT_EQ(story, (std::vector<std::string>{"gate", "ungate"}));
  EXPECT_FALSE(token.empty());
}

TEST_F(UpdateFlow, CarriesTheVersionOfTheOptionsAndThenTheNewerOneThatWasWritten) {
  std::vector<std::uint64_t> versions;
  store.remote->before = [&](const RemoteRequest& q) {
    versions.push_back(q.version);
    if (q.version != 0) {
      EXPECT_EQ(q.ttl_ms, 600'000);
      detail::Envelope e;
      std::string bytes(q.head);
      bytes.append(8, '\0');
      EXPECT_EQ(detail::open_envelope(bytes, "dev:app:n:k", 1, 1, e), detail::Verdict::tombstone);
    }
  };
  ASSERT_TRUE(update({.version = 4}, 6).ok());
  ASSERT_TRUE(update({.version = 4}).ok());
  ASSERT_TRUE(update({}, 9).ok());
  EXPECT_EQ(versions, (std::vector<std::uint64_t>{4, 6, 4, 4, 0, 9}));
}

TEST_F(UpdateFlow, LeavesNoVersionWhereTombstonesAreOff) {
  FakeStore other(true, [](Config& c) { c.tombstone_ttl = std::chrono::milliseconds(0); });
  IntView off(other);
  other.remote->before = [](const RemoteRequest& q) { EXPECT_EQ(q.version, 0U); };
  const auto write = []() -> std::uint64_t { return 6; };
  ASSERT_TRUE(off.view->update("k", detail::DatabaseWriteRef(write), {.version = 4}).ok());
  ASSERT_TRUE(off.view->erase(std::vector<std::string_view>{"k"}, {.version = 4}).ok());
}

TEST_F(UpdateFlow, WithoutAGateTheDatabaseIsNotWritten) {
  for (const Errc why : {Errc::unavailable, Errc::deadline_exceeded, Errc::refused}) {
    store.remote->fail[RemoteOp::gate] = Error{why, "no"};
    const auto r = update();
    ASSERT_FALSE(r.ok());
    EXPECT_EQ(r.error().code, why);
  }
  EXPECT_EQ(store.remote->count(RemoteOp::ungate), 0);
  store.remote->fail[RemoteOp::gate] = Error{Errc::outcome_unknown, "sent"};
  EXPECT_EQ(update().error().code, Errc::unavailable);
  EXPECT_EQ(store.remote->count(RemoteOp::ungate), 1) << "it may stand";
  EXPECT_EQ(writes, 0);
}

TEST_F(UpdateFlow, EndsAlsoAfterAThrowAndKeepsNoVersionOfWhatWasNotWritten) {
  std::vector<std::uint64_t> versions;
  store.remote->before = [&](const RemoteRequest& q) { versions.push_back(q.version); };
  const auto r = update({.version = 4}, 6, true);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::update_failed);
  EXPECT_NE(r.error().message.find("the row is locked"), std::string::npos);
  EXPECT_EQ(versions, (std::vector<std::uint64_t>{4, 0}));
}

TEST_F(UpdateFlow, AnEndThatIsNotAnsweredIsTriedAgainAndThenTold) {
  store.remote->fail[RemoteOp::ungate] = Error{Errc::outcome_unknown, "sent"};
  const auto r = update();
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::outcome_unknown);
  EXPECT_EQ(writes, 1);
  EXPECT_EQ(store.remote->count(RemoteOp::ungate), 2);
}

// The end was done: to repeat it would tell nobody of a replica, and "outcome_unknown" would say less than is known.
TEST_F(UpdateFlow, AnEndThatTooFewReplicasHaveIsToldAndNotTriedAgain) {
  store.remote->fail[RemoteOp::ungate] = Error{Errc::unreplicated, "of 1 replicas 0 confirmed it"};
  const auto r = update();
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Errc::unreplicated);
  EXPECT_EQ(writes, 1);
  EXPECT_EQ(store.remote->count(RemoteOp::ungate), 1);
}

TEST_F(UpdateFlow, AnswersThePlaceOfItsEndInTheStream) {
  std::uint64_t at = 6;
  store.remote->after = [&](const RemoteRequest& q, RemoteReply& reply) {
    reply.stream = 5;
    reply.sequence = ++at;
    EXPECT_EQ(at, q.op == RemoteOp::gate ? 7U : 8U);
  };
  const auto token = update();
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(*token, WriteToken(0, 5, 8));
}

TEST_F(UpdateFlow, TakesTheKeyFromL1BeforeTheWrite) {
  ASSERT_TRUE(view.put("k", 1).ok());
  ASSERT_EQ(IntView::value(view.get("k")), 1);
  ASSERT_EQ(view.get("k").source, Source::l1);
  store.remote->before = [&](const RemoteRequest& q) {
    if (q.op == RemoteOp::ungate) {
      EXPECT_FALSE(view.view->probe("k"));
    }
  };
  ASSERT_TRUE(update().ok());
}

TEST(WaitFlow, AWaiterWhoseTimeIsUpIsToldSoAndDoesNotLoad) {
  // All who wait would load at once, beside the load that they waited for.
  FakeStore store;
  IntView view(store);
  store.remote->leases["dev:app:n:k"] = "another's";
  int loads = 0;
  const auto r = view.load("k", [&]() -> std::optional<int> { return ++loads; }, {.deadline = std::chrono::milliseconds(30)});
  EXPECT_EQ(loads, 0);
  EXPECT_FALSE(r.has_value());
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::deadline_exceeded);
}

TEST(WaitFlow, AWaiterWhoseRequestRunsOutOfTimeDoesNotLoadEither) {
  FakeStore store;
  IntView view(store);
  store.remote->leases["dev:app:n:k"] = "another's";
  int asked = 0;
  store.remote->before = [&](const RemoteRequest& q) {
    if (q.op != RemoteOp::lease_get || ++asked != 2) return;
    while (!q.deadline.passed()) std::this_thread::yield();  // the call's own, which is sooner than l2.call_timeout
    store.remote->fail[q.op] = Error{Errc::deadline_exceeded, "no answer came in time"};
  };
  int loads = 0;
  const auto r = view.load("k", [&]() -> std::optional<int> { return ++loads; }, {.deadline = std::chrono::milliseconds(200)});
  EXPECT_EQ(loads, 0);
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->code, Errc::deadline_exceeded);
}

TEST(WaitFlow, AWaiterLoadsForItselfWhenRedisGoesAway) {
  FakeStore store;
  IntView view(store);
  store.remote->leases["dev:app:n:k"] = "another's";
  for (const Errc why : {Errc::unavailable, Errc::deadline_exceeded}) {  // of the request, not of the call
    int asked = 0;
    store.remote->fail.clear();
    store.remote->before = [&](const RemoteRequest& q) {
      if (q.op == RemoteOp::lease_get && ++asked == 2) store.remote->fail[q.op] = Error{why, "no answer"};
    };
    const auto r = view.load("k", [] { return std::optional<int>(3); }, {.deadline = std::chrono::seconds(20)});
    EXPECT_EQ(IntView::value(r), 3);
    ASSERT_TRUE(r.error);
    EXPECT_EQ(r.error->code, why);
  }
}

TEST(WaitFlow, AWaiterWhoMeetsAnUpdateLoadsForItselfAlone) {
  FakeStore store;
  IntView view(store);
  store.remote->after = [](const RemoteRequest& q, RemoteReply& reply) {
    if (q.op == RemoteOp::lease_get) reply.lease = LeaseState::gated;
  };
  for (int i = 1; i <= 2; ++i) {
    const auto r = view.load("k", [&]() -> std::optional<int> { return i; });
    EXPECT_EQ(IntView::value(r), i) << "L1 kept what was loaded under a gate";
    EXPECT_FALSE(r.error);
  }
  EXPECT_EQ(store.remote->count(RemoteOp::lease_fill), 0);
  EXPECT_EQ(store.core->snapshot().gates.gated, 2U);
}

TEST(Wakes, AWordThatComesBeforeTheWaitIsNotLost) {
  detail::Wakes wakes;
  const auto ticket = wakes.ticket("k");
  wakes.wake("k");
  wakes.wait(ticket, std::chrono::hours(1));
  EXPECT_TRUE(wakes.moved(ticket));
  const auto all = wakes.ticket("other");
  EXPECT_FALSE(wakes.moved(all));
  wakes.wake_all();
  wakes.wait(all, std::chrono::hours(1));
}

TEST(Wakes, EveryWaiterOfTheKeyIsWoken) {
  detail::Wakes wakes;
  std::atomic<int> woken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        const auto ticket = wakes.ticket("k");
        wakes.wait(ticket, std::chrono::hours(1));
        ++woken;
      }
    });
  while (woken < 8 * 200) wakes.wake("k");
  for (auto& t : threads) t.join();
}

}  // namespace
}  // namespace tiercache::testing
