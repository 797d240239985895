// SPDX-License-Identifier: Apache-2.0
#include <tiercache/base/log.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace tiercache {
namespace {

using namespace std::chrono_literals;
using SteadyPoint = std::chrono::steady_clock::time_point;

TEST(Log, LinesBelowTheThresholdAreNotWanted) {
  std::vector<std::string> lines;
  const Log log([&](LogLevel, std::string_view line) { lines.emplace_back(line); }, LogLevel::warn);
  EXPECT_FALSE(log.wants(LogLevel::info));
  EXPECT_TRUE(log.wants(LogLevel::warn));
  log(LogLevel::debug, "no");
  log(LogLevel::error, "yes");
  EXPECT_EQ(lines, std::vector<std::string>{"yes"});
}

TEST(Log, WithoutASinkOrSwitchedOffWantsNothing) {
  EXPECT_FALSE(Log().wants(LogLevel::error));
  EXPECT_FALSE(Log(nullptr, LogLevel::debug).wants(LogLevel::error));
  EXPECT_FALSE(Log([](LogLevel, std::string_view) {}, LogLevel::off).wants(LogLevel::error));
  Log()(LogLevel::error, "goes nowhere");
}

TEST(Log, ASinkThatThrowsLosesItsLineOnly) {
  const Log log([](LogLevel, std::string_view) { throw std::runtime_error("disk full"); }, LogLevel::debug);
  EXPECT_NO_THROW(log(LogLevel::error, "line"));
}

TEST(OncePer, IsTrueAtFirstThenOnceAnInterval) {
  OncePer once(100ms);
  const SteadyPoint t0 = SteadyPoint(5s);
  EXPECT_TRUE(once(t0));
  EXPECT_FALSE(once(t0));
  EXPECT_FALSE(once(t0 + 99ms));
  EXPECT_TRUE(once(t0 + 100ms));
  EXPECT_FALSE(once(t0 + 199ms));
  EXPECT_TRUE(once(t0 + 1h));
}

TEST(OncePer, OneOfManyThreadsGetsTheTurn) {
  for (int round = 0; round < 50; ++round) {
    OncePer once(1h);
    std::atomic<int> turns{0};
    std::atomic<bool> go{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        while (!go.load()) std::this_thread::yield();
        if (once(SteadyPoint(5s))) turns.fetch_add(1);
      });
    }
    go = true;
    for (auto& t : threads) t.join();
    ASSERT_EQ(turns.load(), 1);
  }
}

}  // namespace
}  // namespace tiercache
