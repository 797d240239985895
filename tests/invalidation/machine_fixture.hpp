// SPDX-License-Identifier: Apache-2.0
//
// One machine in virtual time, with a sink that records, and the messages it is fed.
#pragma once

#include "recording_sink.hpp"

#include <tiercache/base/lab.hpp>
#include <tiercache/invalidation/machine.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace tiercache::invalidation {

using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Action = Machine::Action;

inline constexpr std::uint64_t me = 111;
inline constexpr std::uint64_t other = 222;
inline constexpr std::uint64_t epoch_a = 5001;
inline constexpr std::uint64_t epoch_b = 5002;

inline SteadyTime at(std::int64_t ms) { return SteadyTime(milliseconds(ms)); }

class MachineTest : public ::testing::Test {
 protected:
  ~MachineTest() override { lab::ablated_mask.store(0); }

  void make(std::uint32_t shards = 0, std::uint64_t seed = 1, bool replay = false) {
    MachineOptions options;
    options.shards = shards;
    options.origin = me;
    options.budget = milliseconds(2000);
    options.replay = replay;
    machine_ = std::make_unique<Machine>(options, sink_, seed);
  }
  void link_up(std::int64_t ms) {
    ASSERT_EQ(machine_->tick(at(ms)), Action::connect);
    ASSERT_EQ(machine_->connected(at(ms)), Action::subscribe);
    for (ShardId s = 0; s < machine_->shard_count(); ++s) machine_->subscribed(s, at(ms));
  }
  /// Up, with a baseline of `sequence` under epoch_a; the sink has been emptied.
  void settle(std::uint64_t sequence) {
    make();
    link_up(0);
    heartbeat(1, other, 1, sequence);
    sink_.take();
  }
  /// As settle(), with a log; then the link breaks and stands again.
  void settle_and_reconnect(std::uint64_t sequence) {
    make(0, 1, true);
    link_up(0);
    heartbeat(1, other, 1, sequence);
    machine_->disconnected(at(10));
    link_up(200);
    sink_.take();
  }
  static std::string logged(std::uint64_t sequence, std::string_view key, std::uint64_t epoch = epoch_a) {
    return encode({Kind::invalidate, 0, epoch, sequence, other, 9}, std::vector<Item>{{key, 3}});
  }
  /// "shard epoch from" of what is wanted, or "nothing".
  std::string wanted(std::int64_t ms) {
    const auto w = machine_->wanted(at(ms));
    if (!w) return "nothing";
    return std::to_string(w->shard) + " " + std::to_string(w->epoch) + " " + std::to_string(w->from);
  }
  bool found(std::int64_t ms, std::uint64_t last, const std::vector<std::string>& messages, ShardId shard = 0) {
    return machine_->page(shard, {Machine::Page::State::found, last, messages}, at(ms));
  }
  bool lost(std::int64_t ms) { return machine_->page(0, {Machine::Page::State::lost, 0, {}}, at(ms)); }
  std::string_view invalidate(std::int64_t ms, std::uint64_t sequence, std::string_view key, std::uint64_t epoch = epoch_a,
                              ShardId shard = 0) {
    const std::vector<Item> items{{key, 3}};
    return machine_->message(shard, encode({Kind::invalidate, shard, epoch, sequence, other, 9}, items), at(ms));
  }
  std::string_view heartbeat(std::int64_t ms, std::uint64_t origin, std::uint64_t number, std::uint64_t sequence,
                             std::uint64_t epoch = epoch_a, ShardId shard = 0) {
    return machine_->message(shard, encode({Kind::heartbeat, shard, epoch, sequence, origin, number}, {}), at(ms));
  }
  std::uint64_t gaps(GapReason r) const { return machine_->counters().gaps[static_cast<std::size_t>(r)].load(); }

  tiercache::testing::RecordingSink sink_;
  std::unique_ptr<Machine> machine_;
};

}  // namespace tiercache::invalidation
