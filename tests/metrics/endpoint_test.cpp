// SPDX-License-Identifier: Apache-2.0
#include "exposition.hpp"
#include "http_client.hpp"
#include "snapshots.hpp"

#include <tiercache/metrics/endpoint.hpp>

#include <gtest/gtest.h>

#include <signal.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <stdexcept>
#include <thread>

namespace tiercache::test {
namespace {

using namespace std::chrono_literals;
using metrics::Endpoint;
using metrics::EndpointOptions;

std::vector<StoreSnapshot> one_store() { return {filled_snapshot()}; }

std::unique_ptr<Endpoint> must_start(metrics::Pull pull, const EndpointOptions& options = {}) {
  auto endpoint = Endpoint::start(options, std::move(pull));
  if (!endpoint.ok()) throw std::runtime_error(endpoint.error().message);
  return std::move(endpoint).value();
}

metrics::Pull with_health(Health health) {
  return [health] {
    StoreSnapshot s = filled_snapshot();
    s.health = health;
    return std::vector{s};
  };
}

TEST(Endpoint, ServesMetricsOverALoopbackSocket) {
  const auto endpoint = must_start(one_store);
  ASSERT_NE(endpoint->port(), 0);
  const HttpAnswer answer = http(endpoint->port(), "GET", "/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(answer.body, metrics::render_text(one_store()));
  EXPECT_EQ(read_exposition(answer.body).error_text(), "");
}

TEST(Endpoint, HeadHasTheHeadersWithoutTheBody) {
  const auto endpoint = must_start(one_store);
  const HttpAnswer answer = http(endpoint->port(), "HEAD", "/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("Content-Length"), std::to_string(metrics::render_text(one_store()).size()));
  EXPECT_EQ(answer.body, "");
}

TEST(Endpoint, HealthIsOkOrTellsTheReason) {
  const auto healthy = must_start(with_health({HealthState::ok, true, true, ""}));
  const HttpAnswer ok = http(healthy->port(), "GET", "/healthz");
  EXPECT_EQ(ok.status, 200);
  EXPECT_EQ(ok.body, "ok");

  const auto sick = must_start(with_health({HealthState::degraded, false, false, "redis \"a\\b\"\n is away"}));
  const HttpAnswer bad = http(sick->port(), "GET", "/healthz");
  EXPECT_EQ(bad.status, 503);
  EXPECT_EQ(bad.headers.at("Content-Type"), "application/json");
  EXPECT_EQ(bad.body,
            "{\"status\":\"degraded\",\"stores\":[{\"env\":\"prod\",\"resource\":\"shop\",\"state\":\"degraded\","
            "\"reason\":\"redis \\\"a\\\\b\\\"\\u000a is away\"}]}\n");
}

TEST(Endpoint, HealthOfSeveralStoresIsThatOfTheWorstAndListsOnlyTheSick) {
  const auto endpoint = must_start([] {
    std::vector<StoreSnapshot> stores(3, filled_snapshot());
    stores[0].resource = "fine";
    stores[1].health = {HealthState::degraded, false, false, "x"};
    stores[2].health = {HealthState::closed, false, false, "closed"};
    return stores;
  });
  const HttpAnswer answer = http(endpoint->port(), "GET", "/healthz");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body.rfind("{\"status\":\"closed\"", 0), 0U) << answer.body;
  EXPECT_EQ(answer.body.find("fine"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("\"degraded\""), std::string::npos) << answer.body;
}

TEST(Endpoint, OtherPathsAndMethodsAreRefused) {
  const auto endpoint = must_start(one_store);
  EXPECT_EQ(http(endpoint->port(), "GET", "/").status, 404);
  EXPECT_EQ(http(endpoint->port(), "GET", "/metrics/../etc/passwd").status, 404);
  EXPECT_EQ(http(endpoint->port(), "GET", "/" + std::string(5000, 'a')).status, 404);
  EXPECT_EQ(http(endpoint->port(), "DELETE", "/metrics").status, 405);
}

TEST(Endpoint, APullThatThrowsIsA500AndTheNextScrapeWorks) {
  std::atomic<bool> broken{true};
  const auto endpoint = must_start([&]() -> std::vector<StoreSnapshot> {
    if (broken) throw std::runtime_error("store is gone");
    return one_store();
  });
  EXPECT_EQ(http(endpoint->port(), "GET", "/metrics").status, 500);
  EXPECT_EQ(http(endpoint->port(), "GET", "/healthz").status, 500);
  broken = false;
  EXPECT_EQ(http(endpoint->port(), "GET", "/metrics").status, 200);
}

TEST(Endpoint, APortThatIsTakenIsAnErrorThatNamesIt) {
  const auto first = must_start(one_store);
  EndpointOptions options;
  options.port = first->port();
  const auto second = Endpoint::start(options, one_store);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::unavailable);
  EXPECT_NE(second.error().message.find("127.0.0.1:" + std::to_string(options.port)), std::string::npos)
      << second.error().message;
  EXPECT_NE(second.error().message.find("in use"), std::string::npos) << second.error().message;
}

TEST(Endpoint, AnAddressThatIsNotOursOrNoneIsAnErrorThatNamesIt) {
  for (const char* address : {"203.0.113.7", "no-such-host", "2001:db8::7"}) {
    EndpointOptions options;
    options.address = address;
    const auto endpoint = Endpoint::start(options, one_store);
    ASSERT_FALSE(endpoint.ok()) << address;
    EXPECT_NE(endpoint.error().message.find(address), std::string::npos) << endpoint.error().message;
  }
}

TEST(Endpoint, EachBadOptionIsRefusedByName) {
  const auto refused = [](auto change) {
    EndpointOptions options;
    change(options);
    const auto endpoint = Endpoint::start(options, one_store);
    return endpoint.ok() ? std::string("accepted") : endpoint.error().message;
  };
  EXPECT_NE(refused([](auto& o) { o.address = ""; }).find("address"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.threads = 0; }).find("threads"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.threads = 17; }).find("threads"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.pending_max = 0; }).find("pending_max"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.request_bytes_max = 10; }).find("request_bytes_max"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.request_timeout = 0ms; }).find("request_timeout"), std::string::npos);
  const auto no_pull = Endpoint::start({}, nullptr);
  ASSERT_FALSE(no_pull.ok());
  EXPECT_EQ(no_pull.error().code, Errc::invalid_argument);
}

TEST(Endpoint, ARequestOverTheByteLimitEndsItsConnectionOnly) {
  const auto endpoint = must_start(one_store);
  RawConnection greedy(endpoint->port());
  std::string request = "GET /metrics HTTP/1.1\r\n";
  for (int i = 0; i < 2000; ++i) request += "X-Header-" + std::to_string(i) + ": some value\r\n";
  (void)greedy.send(request + "\r\n");
  bool closed = false;
  const HttpAnswer answer = parse_answer(greedy.receive_all(10'000, &closed));
  EXPECT_TRUE(closed);
  EXPECT_NE(answer.status, 200);
  EXPECT_EQ(http(endpoint->port(), "GET", "/metrics").status, 200);
}

TEST(Endpoint, GarbageEndsItsConnectionOnly) {
  const auto endpoint = must_start(one_store);
  for (const std::string& garbage : {std::string("\0\1\2\r\n\r\n", 7), std::string(3000, 'x'), std::string("GET\r\n\r\n"),
                                     std::string("POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n")}) {
    RawConnection peer(endpoint->port());
    ASSERT_TRUE(peer.send(garbage));
    EXPECT_NE(parse_answer(peer.receive_all(200)).status, 200);
  }
  EXPECT_EQ(http(endpoint->port(), "GET", "/metrics").status, 200);
}

// Slow peers on every thread: each is cut off at the deadline, and a good one that queued behind them is answered.
TEST(Endpoint, APeerThatSendsNothingOrReadsNothingIsCutOffAtTheDeadline) {
  EndpointOptions options;
  options.threads = 2;
  options.request_timeout = 300ms;
  const auto endpoint = must_start(one_store, options);
  RawConnection silent(endpoint->port());
  RawConnection dribbling(endpoint->port());
  ASSERT_TRUE(dribbling.send("GET /met"));
  EXPECT_EQ(http(endpoint->port(), "GET", "/metrics").status, 200);
  bool closed = false;
  (void)silent.receive_all(10'000, &closed);
  EXPECT_TRUE(closed);
  (void)dribbling.receive_all(10'000, &closed);
  EXPECT_TRUE(closed);
}

TEST(Endpoint, MoreConnectionsThanItHoldsAreAllAnsweredInTheEnd) {
  EndpointOptions options;
  options.threads = 1;
  options.pending_max = 1;
  const auto endpoint = must_start(one_store, options);
  std::vector<std::future<int>> statuses;
  for (int i = 0; i < 12; ++i) {
    statuses.push_back(std::async(std::launch::async, [&] { return http(endpoint->port(), "GET", "/healthz").status; }));
  }
  for (auto& status : statuses) EXPECT_EQ(status.get(), 200);
}

TEST(Endpoint, StopEndsOpenConnectionsAtOnceFreesThePortAndMayBeRepeated) {
  EndpointOptions options;
  options.request_timeout = 60s;
  auto endpoint = must_start(one_store, options);
  const std::uint16_t port = endpoint->port();
  RawConnection silent(port);
  ASSERT_TRUE(silent.send("GET "));
  const auto begin = std::chrono::steady_clock::now();
  endpoint->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);  // far below the request's own 60 s
  bool closed = false;
  (void)silent.receive_all(10'000, &closed);
  EXPECT_TRUE(closed);
  endpoint->stop();
  endpoint.reset();
  options.port = port;
  EXPECT_TRUE(Endpoint::start(options, one_store).ok());
}

TEST(Endpoint, LeavesTheProcessesSigpipeAlone) {
  struct sigaction before {};
  sigaction(SIGPIPE, nullptr, &before);
  const auto endpoint = must_start(one_store);
  struct sigaction after {};
  sigaction(SIGPIPE, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
}

TEST(Endpoint, ThreadsAreNamedAndBlockAllSignals) {
  const auto endpoint = must_start(one_store);
  int named = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string comm;
    std::getline(std::ifstream(task.path() / "comm"), comm);
    if (comm != "tc-http") continue;
    ++named;
    std::ifstream status(task.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("SigBlk:", 0) != 0) continue;
      const auto blocked = std::stoull(line.substr(7), nullptr, 16);
      for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGALRM}) EXPECT_TRUE(blocked >> (signal - 1) & 1U) << signal;
    }
  }
  EXPECT_EQ(named, 3);  // two that answer, one that accepts
}

// Writers move the counters while several scrapers read: ThreadSanitizer sees a race if there is one, and each text must be
// well-formed with counts that never fall from one scrape to the next.
TEST(Endpoint, ScrapesWhileCountersMoveAreWellFormedAndNeverFall) {
  Histogram latency;
  ErrorCounts errors;
  std::atomic<std::uint64_t> hits{0};
  const auto endpoint = must_start([&] {
    StoreSnapshot s = filled_snapshot();
    s.l2.latency = latency.snapshot();
    s.errors = errors.snapshot();
    s.views[0].l1_hits = hits.load(std::memory_order_relaxed);
    return std::vector{s};
  });
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([&] {
      for (std::uint64_t n = 1; !stop.load(std::memory_order_relaxed); ++n) {
        latency.record_us(n % 100'000);
        errors.count(Errc::refused);
        hits.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  std::vector<std::thread> scrapers;
  for (int i = 0; i < 2; ++i) {
    scrapers.emplace_back([&] {
      double last_count = 0;
      double last_hits = 0;
      for (int n = 0; n < 15; ++n) {
        const Exposition out = read_exposition(http(endpoint->port(), "GET", "/metrics").body);
        EXPECT_EQ(out.error_text(), "");
        const double count = out.value("tiercache_l2_latency_seconds_count").value_or(-1);
        const double now_hits = out.value("tiercache_hits_total", {{"view", "user"}, {"tier", "l1"}}).value_or(-1);
        EXPECT_GE(count, last_count);
        EXPECT_GE(now_hits, last_hits);
        last_count = count;
        last_hits = now_hits;
      }
      EXPECT_GT(last_count, 0);
    });
  }
  for (auto& t : scrapers) t.join();
  stop = true;
  for (auto& t : writers) t.join();
}

}  // namespace
}  // namespace tiercache::test
