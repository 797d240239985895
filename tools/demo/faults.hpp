// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "clock.hpp"

#include <tiercache/base/result.hpp>

#include <cstdint>
#include <functional>
#include <string>

namespace tiercache::demo {

/// What the faults act on; the demo's own, or a test's.
struct FaultTargets {
  std::function<void(unsigned instance, bool on)> stop_reader;
  std::function<void(unsigned instance, bool on)> cut_link;
  std::function<void()> kill_redis;              ///< null: Redis is not ours to kill
  std::function<void()> start_redis;             ///< returns when it accepts connections
  std::function<std::int64_t()> coherent_since;  ///< since when L1 is valid on every instance; 0: it is not
  std::function<void(bool)> fault_on;
};

/// The faults of a run, as a clockwork that the parent turns.
///
/// Halfway Redis is killed and stays down 3 s (in runs below 10 s: 0.3 of the run). Around that, whenever there is room, bus
/// faults in rounds: the reader of one instance is stopped for 3 budgets with its socket open, then the bus link of the next one
/// is cut for half a budget, and again; each round begins one instance further. A link is cut for less than the validity lasts,
/// so the instance goes on answering from L1 and only the reconnect can tell it what it missed.
class Faults {
 public:
  struct Times {
    std::int64_t duration = 0;  ///< ns; 0: unknown (a trace)
    std::int64_t budget = 0;
    unsigned instances = 0;
  };
  struct Counts {
    unsigned readers_stopped = 0;
    unsigned links_cut = 0;
    unsigned redis_killed = 0;
  };

  Faults(Times times, FaultTargets targets) : times_(times), on_(std::move(targets)) {}

  /// What a run must last at least, in ns, for one stopped reader and one cut link before the kill.
  [[nodiscard]] static std::int64_t duration_min(std::int64_t budget) noexcept;

  /// Does what is due. `fraction`: of the run's work that is done.
  void turn(std::int64_t since_start, std::int64_t now, double fraction);
  /// Ends what is still on.
  void heal();

  [[nodiscard]] bool redis_down() const noexcept { return redis_ == Redis::down; }
  /// Redis is up, and L1 was valid everywhere after its last start.
  [[nodiscard]] bool settled() const noexcept { return redis_ == Redis::up || redis_ == Redis::recovered; }
  [[nodiscard]] double killed_at_fraction() const noexcept { return killed_at_; }        ///< -1: was not killed
  [[nodiscard]] double recovered_at_fraction() const noexcept { return recovered_at_; }  ///< -1: has not recovered
  [[nodiscard]] double recovery_ms() const noexcept { return recovery_ms_; }             ///< -1: has not recovered
  [[nodiscard]] const Counts& counts() const noexcept { return counts_; }
  /// What is on, for a progress line; empty: nothing.
  [[nodiscard]] std::string text() const;

 private:
  enum class Redis : std::uint8_t { up, down, recovering, recovered };
  enum class Bus : std::uint8_t { idle, reader_stopped, cut };

  void turn_redis(std::int64_t now, double fraction);
  void turn_bus(std::int64_t since_start, std::int64_t now);
  void end_bus_fault();
  void start();
  [[nodiscard]] std::int64_t room(std::int64_t since_start) const noexcept;
  [[nodiscard]] std::int64_t downtime() const noexcept;

  const Times times_;
  FaultTargets on_;
  Redis redis_ = Redis::up;
  Bus bus_ = Bus::idle;
  unsigned step_ = 0;  // of the round: 0 stop a reader, 1 and 2 cut a link
  unsigned round_ = 0;
  std::int64_t next_bus_ = -1;     // when the bus fault that is on ends, or the next one may begin
  std::int64_t redis_change_ = 0;  // when it was killed, or accepted connections again
  double killed_at_ = -1;
  double recovered_at_ = -1;
  double recovery_ms_ = -1;
  Counts counts_;
};

}  // namespace tiercache::demo
