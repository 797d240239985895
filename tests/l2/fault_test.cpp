// SPDX-License-Identifier: Apache-2.0
//
// Redis stopped, killed, demoted, restarted; links cut. Every call ends by its deadline and says what may be assumed.
#include "l2_test.hpp"
#include "tcp_proxy.hpp"

#include <gtest/gtest.h>

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <system_error>

namespace tiercache::testing {
namespace {

TEST(Fault, NoServerAtAllLeavesTheClientUnavailableAndFast) {
  Client c(Client::options_of("redis://127.0.0.1:" + std::to_string(RedisServer::free_port())));
  EXPECT_FALSE(c.port().available());
  const Stopwatch watch;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(code(c.get("1", Deadline::after(10s))), Errc::unavailable);
    EXPECT_EQ(code(c.put("1", "v", 0, Deadline::after(10s))), Errc::unavailable);
  }
  EXPECT_LT(watch.elapsed(), 5s);
}

TEST(Fault, AServerThatComesLaterIsFound) {
  const std::uint16_t port = RedisServer::free_port();
  Client c(Client::options_of("redis://127.0.0.1:" + std::to_string(port)));
  ASSERT_FALSE(c.port().available());
  RedisServer server{{.port = port}};
  ASSERT_TRUE(eventually([&] { return c.port().available(); }));
  EXPECT_FALSE(c.put("1", "v").error);
}

TEST(Fault, AKilledServerIsUnavailableAtOnceAndFoundAgain) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "v").error);
  server.kill9();
  EXPECT_EQ(code(c.get("1", Deadline::after(10s))), Errc::unavailable);
  ASSERT_TRUE(eventually([&] { return !c.port().available(); }));
  const Stopwatch watch;
  const RemoteReply away = c.put("1", "v", 0, Deadline::after(30s));
  EXPECT_LT(watch.elapsed(), 5s);
  ASSERT_EQ(code(away), Errc::unavailable);
  EXPECT_NE(away.error->message.find("127.0.0.1:" + std::to_string(server.port())), std::string::npos) << away.error->message;
  server.restart();
  ASSERT_TRUE(eventually([&] { return c.port().available(); }));
  EXPECT_FALSE(c.put("1", "w").error);
  EXPECT_EQ(c.value("1"), "w");
  EXPECT_GE(c.port().stats().reconnects, 1U);
}

// Stopped: the kernel goes on to take bytes and connections, nothing answers.
TEST(Fault, AStoppedServerEndsCallsAtTheirDeadline) {
  RedisServer server;
  l2::Options o = Client::options_of(server.url());
  o.connect_timeout = 150ms;
  Client c(o);
  ASSERT_FALSE(c.put("1", "v").error);
  ASSERT_FALSE(c.put("1", "v").error);  // so that the server knows the script of a second put
  server.pause();
  {
    const Stopwatch watch;
    EXPECT_EQ(code(c.put("1", "w", 0, Deadline::after(200ms))), Errc::outcome_unknown);
    EXPECT_LT(watch.elapsed(), 200ms + slack);
  }
  {
    const Stopwatch watch;
    const auto error = code(c.get("1", Deadline::after(100ms)));
    EXPECT_TRUE(error == Errc::deadline_exceeded || error == Errc::unavailable);
    EXPECT_LT(watch.elapsed(), 100ms + slack);
  }
  ASSERT_TRUE(eventually([&] { return !c.port().available(); }));  // a handshake was not answered either
  {
    const Stopwatch watch;
    EXPECT_EQ(code(c.get("1", Deadline::after(30s))), Errc::unavailable);
    EXPECT_LT(watch.elapsed(), 5s);
  }
  EXPECT_GE(c.port().stats().timeouts, 1U);
  server.resume();
  ASSERT_TRUE(eventually([&] { return c.port().available(); }));
  EXPECT_EQ(c.value("1"), "w");  // the write of unknown outcome did happen
}

// Every call's own deadline passes before or with the connect's, and while callers connect the thread's attempts are not the only
// ones: the circuit must open all the same.
TEST(Fault, AHungServerUnderLoadCostsAFewTimeoutsThenNothing) {
  RedisServer server;
  l2::Options o;  // the defaults
  o.url = server.url();
  Client c(o);
  ASSERT_FALSE(c.put("1", "v").error);
  server.pause();
  std::atomic<int> timeouts{0};
  std::atomic<int> refused_at_once{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        const auto error = code(c.get("1"));
        if (error == Errc::deadline_exceeded) ++timeouts;
        if (error == Errc::unavailable) ++refused_at_once;
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_LE(timeouts, 2 * 16);  // of 80: those under way when the third one ended, and those that waited for their connections
  EXPECT_EQ(timeouts + refused_at_once, 80);
  EXPECT_FALSE(c.port().available());
  const Stopwatch watch;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(code(c.get("1", Deadline::after(30s))), Errc::unavailable);
  EXPECT_LT(watch.elapsed(), 5s);
  server.resume();
  ASSERT_TRUE(eventually([&] { return c.port().available(); }));
  EXPECT_EQ(c.value("1"), "v");
}

TEST(Fault, ThreeTimeoutsInARowOpenTheCircuitAndASuccessBetweenThemDoesNot) {
  RedisServer server;
  TcpProxy proxy(server.port());
  l2::Options o = Client::options_of(server.url_at(proxy.port()));
  o.connect_timeout = 2s;  // far longer than the calls: no handshake of the thread's is what opens it
  Client c(o);
  const auto time_out = [&] {
    proxy.set(TcpProxy::to_client, LinkFault::blackhole());
    const auto error = code(c.get("1", Deadline::after(50ms)));
    proxy.heal();
    return error;
  };
  // Side by side, so that each has a handshake behind it and only the answers are missing.
  const auto several_time_out = [&](int count) {
    std::vector<std::future<RemoteReply>> calls;
    server.pause();
    for (int i = 0; i < count; ++i)
      calls.push_back(std::async(std::launch::async, [&] { return c.get("1", Deadline::after(200ms)); }));
    for (auto& call : calls) EXPECT_EQ(code(call.get()), Errc::deadline_exceeded);
  };
  for (int i = 0; i < 4; ++i) {  // one each time, then a success
    EXPECT_EQ(time_out(), Errc::deadline_exceeded);
    ASSERT_TRUE(c.port().available());
    ASSERT_FALSE(c.put("1", "v").error);
  }
  several_time_out(3);
  EXPECT_FALSE(c.port().available());
  EXPECT_EQ(code(c.get("1", Deadline::after(30s))), Errc::unavailable);
  server.resume();
  ASSERT_TRUE(eventually([&] { return c.port().available(); }));
  EXPECT_EQ(c.value("1"), "v");
}

// Killed while the answers are awaited.
TEST(Fault, AServerKilledMidCallLeavesAWriteUnknownAndAReadUnavailable) {
  for (const bool write : {true, false}) {
    RedisServer server;
    TcpProxy proxy(server.port());
    Client c(Client::options_of(server.url_at(proxy.port())));
    ASSERT_FALSE(c.put("1", "v").error);
    server.pause();
    const auto before = proxy.taken(TcpProxy::to_server);
    auto call = std::async(std::launch::async,
                           [&] { return write ? c.put("1", "w", 0, Deadline::after(30s)) : c.get("1", Deadline::after(30s)); });
    ASSERT_TRUE(eventually([&] { return proxy.taken(TcpProxy::to_server) > before; }));
    server.kill9();
    ASSERT_EQ(call.wait_for(10s), std::future_status::ready);
    const auto error = code(call.get());
    EXPECT_EQ(error, write ? Errc::outcome_unknown : Errc::unavailable);
  }
}

TEST(Fault, AnIdleConnectionTheServerClosedIsNoticedBeforeItIsUsed) {
  RedisServer server;
  Client c(server);
  for (int i = 0; i < 5; ++i) {
    ASSERT_NE(server.command({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}), "0");
    ASSERT_FALSE(c.put("1", std::to_string(i)).error) << i;  // a write, which would not be repeated had it been sent
  }
  EXPECT_EQ(c.value("1"), "4");
  EXPECT_TRUE(c.port().available());
}

TEST(Fault, AReadIsRepeatedOnceWhenItsConnectionBreaks) {
  RedisServer server;
  TcpProxy proxy(server.port());
  Client c(Client::options_of(server.url_at(proxy.port())));
  ASSERT_FALSE(c.put("1", "v").error);
  proxy.set(TcpProxy::to_client, LinkFault::blackhole());
  const auto before = proxy.taken(TcpProxy::to_server);
  auto call = std::async(std::launch::async, [&] { return c.get("1", Deadline::after(30s)); });
  ASSERT_TRUE(eventually([&] { return proxy.taken(TcpProxy::to_server) > before; }));
  proxy.heal();
  proxy.cut();
  const RemoteReply r = call.get();
  ASSERT_FALSE(r.error) << r.error->message;
  EXPECT_EQ(r.values.at(0)->bytes.substr(payload_at), "v");
}

TEST(Fault, AReplicaRefusesWritesAndAPromotionIsFound) {
  RedisServer server;
  Client c(server);
  ASSERT_FALSE(c.put("1", "v").error);
  ASSERT_EQ(server.command({"REPLICAOF", "127.0.0.1", std::to_string(RedisServer::free_port())}), "OK");
  const auto connects = c.port().stats().connects;
  const RemoteReply r = c.put("1", "w");
  ASSERT_EQ(code(r), Errc::refused);
  EXPECT_TRUE(r.error->message.starts_with("READONLY")) << r.error->message;
  EXPECT_EQ(code(c.heartbeat(1)), Errc::refused);
  EXPECT_EQ(c.value("1"), "v");                    // reads go on
  EXPECT_GT(c.port().stats().connects, connects);  // another connection: the address may mean another server by now
  ASSERT_EQ(server.command({"CONFIG", "SET", "replica-serve-stale-data", "no"}), "OK");
  EXPECT_EQ(code(c.get("1")), Errc::refused);
  ASSERT_EQ(server.command({"REPLICAOF", "NO", "ONE"}), "OK");
  EXPECT_FALSE(c.put("1", "w").error);
}

TEST(Fault, AWrongPasswordIsUnavailableWithTheReason) {
  RedisServer server{{.password = "right"}};
  l2::Options o = Client::options_of(server.url());
  o.password = "hunter2";
  Client c(o);
  const RemoteReply r = c.get("1");
  ASSERT_EQ(code(r), Errc::unavailable);
  EXPECT_NE(r.error->message.find("WRONGPASS"), std::string::npos) << r.error->message;
  EXPECT_EQ(r.error->message.find("hunter2"), std::string::npos);
}

TEST(Fault, AnExhaustedPoolHonoursTheDeadlineOfWhoWaits) {
  RedisServer server;
  l2::Options o = Client::options_of(server.url());
  o.pool_size = 1;
  Client c(o);
  server.pause();
  const auto commands = c.port().stats().commands;
  auto holder = std::async(std::launch::async, [&] { return c.get("1", Deadline::after(30s)); });
  ASSERT_TRUE(eventually([&] { return c.port().stats().commands > commands; }));
  const Stopwatch watch;
  const RemoteReply r = c.put("1", "v", 0, Deadline::after(100ms));
  EXPECT_EQ(code(r), Errc::deadline_exceeded);  // nothing was sent
  EXPECT_GE(watch.elapsed(), 99ms);
  EXPECT_LT(watch.elapsed(), 100ms + slack);
  server.resume();
  EXPECT_FALSE(holder.get().error);
  EXPECT_FALSE(c.value("1"));
}

// One call holds the pool's only connection, its question lost on the way; further callers queue.
TEST(Fault, CallersThatHoldOrAwaitTheWholePoolDoNotStarveHeartbeatsAndLeases) {
  RedisServer server;
  TcpProxy proxy(server.port());
  l2::Options o = Client::options_of(server.url_at(proxy.port()));
  o.pool_size = 1;
  Client c(o);
  ASSERT_EQ(c.lease(RemoteOp::lease_get, "2", "t").lease, LeaseState::granted);
  proxy.set(TcpProxy::to_server, LinkFault::blackhole());
  const auto before = proxy.taken(TcpProxy::to_server);
  std::vector<std::future<RemoteReply>> calls;
  for (int i = 0; i < 4; ++i) calls.push_back(std::async(std::launch::async, [&] { return c.get("1", Deadline::after(60s)); }));
  ASSERT_TRUE(eventually([&] { return proxy.taken(TcpProxy::to_server) > before; }));
  proxy.heal();
  for (std::uint64_t beat = 1; beat <= 5; ++beat) {
    const RemoteReply r = c.heartbeat(beat);
    ASSERT_FALSE(r.error) << r.error->message;
  }
  EXPECT_TRUE(c.lease(RemoteOp::lease_renew, "2", "t").applied);
  EXPECT_TRUE(c.lease(RemoteOp::lease_release, "2", "t").applied);
  EXPECT_FALSE(c.keyed(RemoteOp::ping, {}).error);
  EXPECT_EQ(code(c.get("1", Deadline::after(100ms))), Errc::deadline_exceeded);  // callers leave it alone although it is idle
  EXPECT_EQ(c.port().stats().connects, 2U);
  c.port().close(Deadline::after(5s));
  for (auto& call : calls) EXPECT_TRUE(call.get().error);
}

TEST(Fault, AServerThatTakesNoMoreClientsLeavesTheOpenOnesAtWork) {
  RedisServer server{{.args = {"--maxclients", "5"}}};
  l2::Options o = Client::options_of(server.url());
  o.pool_size = 16;
  o.call_timeout = 20s;
  Client c(o);
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) failed += c.put(std::to_string(t), "v").error.has_value();
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(failed, 0);
  EXPECT_LE(c.port().stats().connections, 5U);
}

TEST(Fault, CloseEndsWhatRunsAndWhatComes) {
  RedisServer server;
  l2::Options o = Client::options_of(server.url());
  o.pool_size = 2;
  Client c(o);
  server.pause();
  std::vector<std::future<RemoteReply>> calls;
  for (int i = 0; i < 4; ++i) calls.push_back(std::async(std::launch::async, [&] { return c.get("1", Deadline::after(60s)); }));
  ASSERT_TRUE(eventually([&] { return c.port().stats().commands >= 1; }));
  const Stopwatch watch;
  c.port().close(Deadline::after(5s));
  EXPECT_LT(watch.elapsed(), 5s);
  for (auto& call : calls) {
    const auto error = code(call.get());
    EXPECT_TRUE(error == Errc::closed || error == Errc::unavailable);
  }
  EXPECT_LT(watch.elapsed(), 10s);
  EXPECT_EQ(code(c.get("1")), Errc::closed);
  EXPECT_FALSE(c.port().available());
}

TEST(Fault, CloseDoesNotWaitForAConnectUnderWay) {
  RedisServer server;
  TcpProxy proxy(server.port());
  l2::Options o = Client::options_of(server.url_at(proxy.port()));
  o.connect_timeout = 60s;
  Client c(o);
  ASSERT_TRUE(c.port().available());
  proxy.accept(TcpProxy::Accept::half_open);
  proxy.cut();
  EXPECT_TRUE(c.get("1", Deadline::after(50ms)).error);
  ASSERT_TRUE(eventually([&] { return proxy.connections() >= 1; }));  // the thread's, in its handshake
  const Stopwatch watch;
  c.port().close(Deadline::after(30s));
  EXPECT_LT(watch.elapsed(), 10s);
}

TEST(Fault, HowLongTheOpenerWaitsIsItsChoice) {
  RedisServer server;
  TcpProxy proxy(server.port());
  proxy.accept(TcpProxy::Accept::half_open);
  l2::Options o = Client::options_of(server.url_at(proxy.port()));
  o.connect_timeout = 60s;
  const Stopwatch watch;
  const auto at_once = l2::open_client(o, naming, {}, 0ms);
  EXPECT_LT(watch.elapsed(), 5s);
  EXPECT_FALSE(at_once->available());
  const auto soon = l2::open_client(o, naming, {}, 50ms);
  EXPECT_GE(watch.elapsed(), 49ms);
  EXPECT_LT(watch.elapsed(), 10s);
  proxy.heal();
  proxy.cut();
  EXPECT_TRUE(eventually([&] { return at_once->available() && soon->available(); }));
}

// No address space holds such a stack.
TEST(Fault, AThreadThatCannotBeStartedIsReportedAndTheOpenersMaskStays) {
  pthread_attr_t before;
  pthread_attr_t huge;
  ASSERT_EQ(pthread_getattr_default_np(&before), 0);
  ASSERT_EQ(pthread_attr_init(&huge), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&huge, std::size_t{1} << 47), 0);
  RedisServer server;
  const l2::Options o = Client::options_of(server.url());
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
  EXPECT_THROW(static_cast<void>(l2::open_client(o, naming, {})), std::system_error);
  ASSERT_EQ(pthread_setattr_default_np(&before), 0);
  pthread_attr_destroy(&huge);
  pthread_attr_destroy(&before);
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGTERM), 0);
}

TEST(Fault, TheThreadHasANameAndTakesNoSignals) {
  RedisServer server;
  const Client c(server);
  bool found = false;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream status(task.path() / "status");
    const std::string text{std::istreambuf_iterator<char>(status), {}};
    if (!text.starts_with("Name:\ttc-l2\n")) continue;
    found = true;
    const std::uint64_t blocked = std::stoull(text.substr(text.find("SigBlk:") + 7), nullptr, 16);
    EXPECT_NE(blocked & (1ULL << (SIGTERM - 1)), 0U);
    EXPECT_NE(blocked & (1ULL << (SIGUSR1 - 1)), 0U);
  }
  EXPECT_TRUE(found);
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGTERM), 0);  // the opener's mask is as it was
}

}  // namespace
}  // namespace tiercache::testing
