// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kinds.hpp"
#include "verdict.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tiercache::chaos {

/// The result of a run: what the table and the JSON file show, and what the exit status is made of.
struct ChaosReport {
  struct Times {
    std::uint64_t count = 0;
    double p50_ms = 0, p99_ms = 0, max_ms = 0;
  };
  struct Wrong {
    Verdict verdict{};
    std::string source;
    unsigned instance = 0, session = 0;
    std::uint32_t key = 0;
    std::uint64_t version = 0;
    double staleness_ms = 0;
    double took_ms = 0;
    std::string write_kind;
    std::vector<std::string> history;  ///< what had been acknowledged, and the faults of that time
  };

  std::string command;   ///< that repeats the run
  std::string revision;  ///< of the sources, if the command said it
  std::string machine;   ///< processors, memory, kernel
  std::string redis;     ///< version
  std::string date;      ///< UTC, when the run ended
  double seconds = 0;
  unsigned instances = 0, threads = 0;
  std::uint32_t keys = 0;
  std::uint64_t seed = 0;
  double budget_ms = 0, heartbeat_ms = 0;
  std::string ablated;
  std::uint64_t reads = 0, by_l1 = 0, by_l2 = 0, by_loader = 0, unanswered = 0;
  std::uint64_t within = 0, excused = 0, steps_back = 0;
  double max_staleness_ms = 0;
  std::uint64_t by_put_many = 0, by_erase_many = 0, grouped_puts = 0;  ///< of the writes
  std::uint64_t writes = 0, superseded = 0, write_failures = 0, repeated = 0;
  std::uint64_t violations = 0;
  std::array<std::uint64_t, verdict_count> violations_by{};
  std::vector<Wrong> wrong;  ///< the first of them
  std::uint64_t audited = 0, audit_present = 0, audit_wrong = 0, audit_excused = 0, audit_errors = 0;
  std::vector<std::string> wrong_copies;  ///< the first of them
  std::array<std::uint64_t, fault_count> fault_counts{};
  std::array<std::uint64_t, fault_count> fault_verified{};  ///< of them: the effect was seen
  std::array<Times, fault_count> recovery_of{};
  Times recovery;
  double recovery_bar_ms = 0;  ///< the p99 may take that long: two heartbeats and a reconnect
  std::uint64_t recovery_interrupted = 0;
  double longest_recovery_ms = 0;  ///< of any, also those that were interrupted

  [[nodiscard]] std::uint64_t fault_total() const noexcept;
  [[nodiscard]] std::uint64_t verified_total() const noexcept;
  /// Why the run failed, a sentence each; empty: it passed.
  [[nodiscard]] std::vector<std::string> findings() const;
  /// How many violations of each sort.
  [[nodiscard]] std::string violations_text() const;
  [[nodiscard]] std::string table() const;
  [[nodiscard]] std::string json() const;
  /// For a reader who knows nothing of the run (docs/chaos_report.md).
  [[nodiscard]] std::string markdown() const;
};

/// Of times in nanoseconds.
[[nodiscard]] ChaosReport::Times times_of(std::vector<std::int64_t> ns);

}  // namespace tiercache::chaos
