// SPDX-License-Identifier: Apache-2.0
//
// What the machine says is applied: tokens of writes rest on it.
#include <tiercache/invalidation/machine.hpp>

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tiercache::invalidation {
namespace {

class AppliedSink final : public BusSink {
 public:
  void on_invalidate(ShardId, std::string_view key, std::uint64_t, std::uint64_t, std::uint64_t) noexcept override {
    lines += "invalidate " + std::string(key) + "; ";
  }
  void on_clear(ShardId, std::string_view, std::uint64_t, std::uint64_t) noexcept override { lines += "clear; "; }
  void on_gap(ShardId, GapReason reason) noexcept override { lines += "gap " + std::string(name(reason)) + "; "; }
  void on_coherent(ShardId, SteadyTime) noexcept override {}
  void on_epoch(ShardId, std::uint64_t) noexcept override {}
  void on_applied(ShardId, std::uint64_t epoch, std::uint64_t sequence) noexcept override {
    lines += "applied " + std::to_string(epoch) + "." + std::to_string(sequence) + "; ";
  }
  std::string take() { return std::exchange(lines, {}); }
  std::string lines;
};

class Applied : public ::testing::Test {
 protected:
  explicit Applied(const MachineOptions& options = {}) : machine(options, sink, 1) {
    EXPECT_EQ(machine.tick(now), Machine::Action::connect);
    EXPECT_EQ(machine.connected(now), Machine::Action::subscribe);
    machine.subscribed(0, now);
    sink.take();
  }
  std::string hear(Kind kind, std::uint64_t epoch, std::uint64_t sequence) {
    const std::vector<Item> items{{"k", 0}};
    const auto bytes = encode({kind, 0, epoch, sequence, 9, 1}, kind == Kind::heartbeat ? std::vector<Item>{} : items);
    EXPECT_EQ(machine.message(0, bytes, now), "");
    return sink.take();
  }
  AppliedSink sink;
  Machine machine;
  SteadyTime now{std::chrono::seconds(1)};
};

TEST_F(Applied, IsToldAfterEachNumberedMessageAndHeartbeat) {
  EXPECT_EQ(hear(Kind::heartbeat, 5, 7), "applied 5.7; ");
  EXPECT_EQ(hear(Kind::invalidate, 5, 8), "invalidate k; applied 5.8; ") << "not before it is applied";
  EXPECT_EQ(hear(Kind::clear, 5, 9), "clear; applied 5.9; ");
  EXPECT_EQ(hear(Kind::invalidate, 5, 0), "invalidate k; ") << "unnumbered: it has no place";
}

TEST_F(Applied, IsToldAfterTheGapThatVoidsWhatWasMissed) {
  hear(Kind::heartbeat, 5, 7);
  EXPECT_EQ(hear(Kind::invalidate, 5, 10), "gap lost; invalidate k; applied 5.10; ");
  EXPECT_EQ(hear(Kind::invalidate, 5, 3), "gap regressed; invalidate k; applied 5.3; ");
  EXPECT_EQ(hear(Kind::invalidate, 6, 1), "gap epoch_changed; invalidate k; applied 6.1; ");
}

class AppliedReplay : public Applied {
 protected:
  AppliedReplay() : Applied(logged()) {
    hear(Kind::heartbeat, 5, 7);
    machine.disconnected(now);
    now += std::chrono::seconds(5);
    EXPECT_EQ(machine.tick(now), Machine::Action::connect);
    EXPECT_EQ(machine.connected(now), Machine::Action::subscribe);
    machine.subscribed(0, now);
    sink.take();
  }
  static MachineOptions logged() {
    MachineOptions options;
    options.replay = true;
    return options;
  }
  std::string read(std::uint64_t last, const std::vector<std::uint64_t>& numbers) {
    std::vector<std::string> messages;
    for (const std::uint64_t n : numbers)
      messages.push_back(encode({Kind::invalidate, 0, 5, n, 9, 1}, std::vector<Item>{{"logged", 0}}));
    machine.page(0, {Machine::Page::State::found, last, messages}, now);
    return sink.take();
  }
};

// While numbers are missing, what comes over the link has been applied and what was before it has not.
TEST_F(AppliedReplay, IsToldAtTheEndOfAReplayAndNotBefore) {
  EXPECT_EQ(hear(Kind::invalidate, 5, 10), "invalidate k; ");
  EXPECT_EQ(read(10, {8}), "invalidate logged; ");
  EXPECT_EQ(read(10, {9}), "invalidate logged; applied 5.10; ");
  EXPECT_EQ(hear(Kind::invalidate, 5, 11), "invalidate k; applied 5.11; ");
}

TEST_F(AppliedReplay, IsToldOfTheLogsLastNumberWhereTheLinkHasCarriedNone) {
  EXPECT_EQ(read(9, {8, 9}), "invalidate logged; invalidate logged; applied 5.9; ");
}

TEST_F(AppliedReplay, IsToldAfterTheGapOfALogThatDoesNotReachBack) {
  hear(Kind::invalidate, 5, 10);
  EXPECT_EQ(read(10, {}), "gap log_lost; applied 5.10; ");
}

}  // namespace
}  // namespace tiercache::invalidation
