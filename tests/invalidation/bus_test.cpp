// SPDX-License-Identifier: Apache-2.0
//
// The bus over a real redis-server, in good weather, and its start and end.
#include "instance.hpp"

#include <tcp_proxy.hpp>

#include <tiercache/base/lab.hpp>
#include <tiercache/invalidation/message.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tiercache::testing {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::size_t invalidations(const std::vector<std::string>& lines) {
  const auto is = [](const std::string& line) { return line.starts_with("invalidate"); };
  return static_cast<std::size_t>(std::count_if(lines.begin(), lines.end(), is));
}

TEST(Bus, AFreshBusIsSubscribedLearnsTheEpochAndIsCoherentForOneBudgetFromTheSendTime) {
  RedisServer redis;
  const InstanceOptions options;
  Instance a(redis, options);
  const SteadyTime before = std::chrono::steady_clock::now();
  ASSERT_TRUE(a.started()) << a.sink().text();
  const SteadyTime until = *a.sink().coherent_until();
  EXPECT_GE(until, before + options.budget);
  EXPECT_LE(until, std::chrono::steady_clock::now() + options.budget);
  EXPECT_EQ(a.sink().lines()[0], "gap 0 subscribed");
  EXPECT_EQ(a.sink().lines("epoch").size(), 1U);
  BusStats s;
  ASSERT_TRUE(eventually([&] {  // an echo may be seen before its answer is counted, and counts as seen before its lag does
    s = a.stats();
    return s.heartbeats_seen >= 5 && s.heartbeats_sent >= 4 && s.lag.count >= 3;
  }));
  EXPECT_TRUE(s.enabled);
  EXPECT_TRUE(s.subscribed);
  EXPECT_EQ(s.connects, 1U);
  EXPECT_GE(s.heartbeats_sent, 4U);
  EXPECT_GE(s.lag.count, 3U);
  EXPECT_EQ(s.malformed, 0U);
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

TEST(Bus, TwoBusesHearEachOthersWritesEachInTheSameOrderAndWithoutAGap) {
  RedisServer redis;
  Instance a(redis);
  Instance b(redis);
  ASSERT_TRUE(a.started());
  ASSERT_TRUE(b.started());
  constexpr std::size_t writes = 200;
  const auto write = [](Instance& who, const std::string& name) {
    for (std::size_t i = 1; i <= writes; ++i) ASSERT_EQ(who.erase("dev:users:user:" + name + std::to_string(i), i), "");
  };
  std::thread other([&] { write(b, "b"); });
  write(a, "a");
  other.join();
  const auto all = [](const std::vector<std::string>& lines) { return invalidations(lines) == 2 * writes; };
  ASSERT_TRUE(a.sink().wait_for(all)) << a.sink().text();
  ASSERT_TRUE(b.sink().wait_for(all)) << b.sink().text();
  const auto heard = a.sink().lines("invalidate");
  EXPECT_EQ(heard, b.sink().lines("invalidate"));
  std::map<char, std::size_t> last;
  for (const std::string& line : heard) {  // "invalidate 0 dev:users:user:a12 v0 w12": each writer's own order
    const std::size_t number = std::stoul(line.substr(line.rfind('w') + 1));
    EXPECT_EQ(number, ++last[line[std::string("invalidate 0 dev:users:user:").size()]]);
  }
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
  EXPECT_THAT(b.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

TEST(Bus, AClearIsHeard) {
  RedisServer redis;
  Instance a(redis);
  Instance b(redis);
  ASSERT_TRUE(b.started());
  ASSERT_EQ(a.clear("user", 7), "");
  EXPECT_NE(b.sink().wait_line("clear 0 user"), 0U) << b.sink().text();
  EXPECT_THAT(b.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

TEST(Bus, EachShardHasAChannelAStreamAndAHeartbeatOfItsOwn) {
  RedisServer redis;
  InstanceOptions options;
  options.shards = 17;  // two hex digits, and more than one
  options.budget = milliseconds(3000);
  options.heartbeat = milliseconds(200);
  Instance a(redis, options);
  ASSERT_TRUE(a.started());
  for (int shard = 0; shard < 17; ++shard) EXPECT_NE(a.sink().wait_line("coherent " + std::to_string(shard) + " "), 0U) << shard;
  ASSERT_EQ(a.erase("dev:users:user:{10}:k", 5, 16), "");
  EXPECT_NE(a.sink().wait_line("invalidate 16 dev:users:user:{10}:k v0 w5"), 0U) << a.sink().text();
  EXPECT_EQ(a.sink().lines("gap").size(), 17U);
}

TEST(Bus, NoiseOnTheChannelIsCountedAndHarmless) {
  RedisServer redis;
  Instance a(redis);
  ASSERT_TRUE(a.started());
  redis.command({"PUBLISH", "dev:users:!bus", "noise"});
  redis.command({"PUBLISH", "dev:users:!bus", ""});
  ASSERT_TRUE(eventually([&] { return a.stats().malformed == 2; }));
  EXPECT_TRUE(a.coherent_after(a.sink().lines().size()));
  EXPECT_THAT(a.sink().lines("gap"), ElementsAre("gap 0 subscribed"));
}

/// Thread tc-bus reads a message and is held before it applies it; meanwhile the write was answered; then it is let go.
TEST(Bus, ThePausePointLiesBetweenReadingAndApplying) {
  RedisServer redis;
  std::atomic<bool> held{false};
  std::atomic<bool> let_go{false};
  std::atomic<bool> armed{false};
  lab::hook = [&](lab::Point p, std::string_view key) {
    if (p != lab::Point::bus_message || !armed) return;
    EXPECT_EQ(key, "dev:users:!bus");
    held = true;
    eventually([&] { return let_go.load(); });
  };
  {
    Instance a(redis);
    ASSERT_TRUE(a.started());
    armed = true;
    ASSERT_TRUE(eventually([&] { return held.load(); }));
    ASSERT_EQ(a.erase("dev:users:user:k", 1), "");
    EXPECT_THAT(a.sink().lines("invalidate"), IsEmpty());
    let_go = true;
    EXPECT_NE(a.sink().wait_line("invalidate 0 dev:users:user:k"), 0U);
  }
  lab::hook = nullptr;
}

TEST(Bus, ThreadsHaveNamesAndBlockAllSignals) {
  RedisServer redis;
  Instance a(redis);
  ASSERT_TRUE(a.started());
  std::map<std::string, std::string> blocked;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm") >> std::ws, name);
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("SigBlk:")) blocked[name] = line.substr(line.size() - 16);
    }
  }
  for (const char* name : {"tc-bus", "tc-beat"}) {
    ASSERT_TRUE(blocked.contains(name));
    const std::uint64_t mask = std::stoull(blocked[name], nullptr, 16);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGALRM}) EXPECT_TRUE(mask >> (signal - 1) & 1) << signal;
  }
}

TEST(Bus, AfterStopNothingReachesTheSink) {
  RedisServer redis;
  Instance a(redis);
  Instance b(redis);
  ASSERT_TRUE(a.started());
  ASSERT_TRUE(b.started());
  std::atomic<bool> end{false};
  std::thread writer([&] {
    for (std::uint64_t i = 1; !end; ++i) b.erase("dev:users:user:k", i);
  });
  ASSERT_TRUE(a.sink().wait_for([](const auto& lines) { return invalidations(lines) > 50; }));
  a.stop();
  const std::size_t heard = a.sink().lines().size();
  const std::size_t other = invalidations(b.sink().lines());
  EXPECT_TRUE(b.sink().wait_for([&](const auto& lines) { return invalidations(lines) > other + 50; }));
  end = true;
  writer.join();
  EXPECT_EQ(a.sink().lines().size(), heard);
}

TEST(Bus, StopWakesAReaderThatHasNothingToRead) {
  RedisServer redis;
  InstanceOptions options;
  options.budget = std::chrono::minutes(30);
  options.heartbeat = std::chrono::minutes(10);
  Instance a(redis, options);
  a.start();
  ASSERT_NE(a.sink().wait_line("gap 0 subscribed"), 0U);
  const SteadyTime before = std::chrono::steady_clock::now();
  a.stop();
  EXPECT_LT(std::chrono::steady_clock::now() - before, milliseconds(2000));
}

TEST(Bus, StopWhileConnectingToABlackHoleEndsByItsDeadline) {
  RedisServer redis;
  TcpProxy proxy(redis.port());
  proxy.accept(TcpProxy::Accept::half_open);  // accepted by the kernel, never answered
  InstanceOptions options;
  options.bus_url = redis.url_at(proxy.port());
  options.connect_timeout = std::chrono::minutes(1);
  Instance a(redis, options);
  a.start();
  ASSERT_TRUE(eventually([&] { return proxy.accepted() == 1; }));
  const SteadyTime before = std::chrono::steady_clock::now();
  a.stop(milliseconds(300));
  EXPECT_LT(std::chrono::steady_clock::now() - before, milliseconds(1500));
  EXPECT_THAT(a.sink().lines(), IsEmpty());
}

/// A remote that never answers: each call takes until its deadline.
class DeadRemote final : public RemotePort {
 public:
  bool start(const RemoteRequest& request, RemoteReply& reply, std::coroutine_handle<>) noexcept override {
    std::unique_lock lock(mutex_);
    inside_ = true;
    ++calls_;
    left_ = request.deadline.left();
    changed_.notify_all();
    changed_.wait_until(lock, request.deadline.at(), [] { return false; });
    inside_ = false;
    reply.error = Error{Errc::outcome_unknown, "dead"};
    return true;
  }
  [[nodiscard]] bool available() const noexcept override { return true; }
  [[nodiscard]] RemoteStats stats() const override { return {}; }
  void close(Deadline) noexcept override {}

  bool wait_inside(int calls) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return inside_ && calls_ >= calls; });
  }
  bool inside() {
    const std::lock_guard lock(mutex_);
    return inside_;
  }
  Duration left() {
    const std::lock_guard lock(mutex_);
    return left_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool inside_ = false;
  int calls_ = 0;
  Duration left_{};
};

TEST(Bus, HeartbeatsThatFailAreTriedAgainEachWithinTwoIntervalsAndStopWaitsForTheOneUnderWay) {
  RedisServer redis;
  DeadRemote remote;
  RecordingSink sink;
  std::vector<std::string> log;
  std::mutex log_mutex;
  l2::Options l2;
  l2.url = redis.url();
  invalidation::Options options;
  options.staleness_budget = milliseconds(1000);
  options.heartbeat = milliseconds(100);
  const auto bus = invalidation::open_bus(options, l2, {"dev", "users", 1}, remote,
                                          Log(
                                              [&](LogLevel, std::string_view line) {
                                                const std::lock_guard lock(log_mutex);
                                                log.emplace_back(line);
                                              },
                                              LogLevel::warn));
  bus->start(sink);
  ASSERT_TRUE(remote.wait_inside(3));
  EXPECT_LE(remote.left(), milliseconds(200));
  bus->stop(Deadline::after(milliseconds(1)));
  EXPECT_FALSE(remote.inside());  // so that the owner may destroy it now
  EXPECT_EQ(bus->stats().heartbeats_sent, 0U);
  EXPECT_THAT(sink.lines("coherent"), IsEmpty());
  const std::lock_guard lock(log_mutex);
  EXPECT_EQ(std::count_if(log.begin(), log.end(), [](const auto& l) { return l.find("heartbeat failed") != l.npos; }), 1);
}

TEST(Bus, ABusThatIsSwitchedOffDoesNothing) {
  RedisServer redis;
  RecordingSink sink;
  l2::Options l2;
  l2.url = redis.url();
  const l2::Naming naming{"dev", "users", 1};
  const auto remote = l2::open_client(l2, naming, Log{});
  invalidation::Options options;
  options.enabled = false;
  const auto bus = invalidation::open_bus(options, l2, naming, *remote, Log{});
  bus->start(sink);
  EXPECT_FALSE(bus->stats().enabled);
  bus->stop(Deadline::never());
  EXPECT_THAT(sink.lines(), IsEmpty());
  remote->close(Deadline::after(std::chrono::seconds(5)));
}

}  // namespace
}  // namespace tiercache::testing
