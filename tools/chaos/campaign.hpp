// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bag.hpp"
#include "board.hpp"
#include "field.hpp"
#include "recovery.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tiercache::chaos {

/// Which fault is on when: one that meets Redis at a time, and meanwhile up to two that meet one instance each. The parent turns
/// it every few milliseconds.
class Campaign {
 public:
  struct Entry {
    FaultKind kind{};
    unsigned target = 0;
    std::int64_t began = 0;
    std::int64_t ended = 0;  ///< 0: it is on
  };

  Campaign(Field& field, const Board& board, FaultSet kinds);

  void turn(std::int64_t now);
  /// No new fault; those that are on end when they end.
  void wind_down() noexcept { winding_down_ = true; }
  /// Nothing is on, and every instance has recovered from what was.
  [[nodiscard]] bool quiet() const noexcept;

  [[nodiscard]] const std::array<std::uint64_t, fault_count>& counts() const noexcept { return counts_; }
  /// Of the counts: those whose effect was seen.
  [[nodiscard]] const std::array<std::uint64_t, fault_count>& verified() const noexcept { return verified_; }
  [[nodiscard]] std::uint64_t total() const noexcept;
  [[nodiscard]] const Recovery& recovery() const noexcept { return recovery_; }
  [[nodiscard]] std::int64_t longest_recovery() const noexcept { return longest_; }
  /// Those of the last minute, oldest first.
  [[nodiscard]] const std::vector<Entry>& log() const noexcept { return log_; }
  /// What is on, for a progress line.
  [[nodiscard]] std::string text() const;

 private:
  struct LaneState {
    Bag bag;
    std::optional<Fault> fault;
    std::int64_t next = 0;
  };

  void start(LaneState& lane, bool on_redis, std::int64_t now);
  void over(LaneState& lane, std::int64_t now);
  void observe(std::int64_t now);
  [[nodiscard]] bool redis_answers() const noexcept;
  [[nodiscard]] bool takes(unsigned instance) const noexcept;
  template <class F>
  void for_met(const Fault& fault, F&& f) const;

  Field& field_;
  const Board& board_;
  demo::Random random_;
  Recovery recovery_;
  std::array<LaneState, 3> lanes_;  // Redis's, and two of instances'
  std::array<std::uint64_t, fault_count> counts_{};
  std::array<std::uint64_t, fault_count> verified_{};
  std::vector<Entry> log_;
  std::int64_t longest_ = 0;
  std::int64_t losses_from_ = 0;  // when Redis was whole again; the instances may not know yet
  bool winding_down_ = false;
};

}  // namespace tiercache::chaos
