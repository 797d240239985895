// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/stats.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tiercache::demo {

/// The result of a run: what the table and the JSON file show, and what the exit code is made of.
struct Report {
  struct Quantiles {
    double p50 = 0, p99 = 0, p999 = 0;
  };
  struct TraceFacts {
    std::uint64_t requests = 0;
    std::uint64_t unique_keys = 0;
    double bound = 0;
  };
  struct FaultFacts {
    unsigned readers_stopped = 0;
    unsigned links_cut = 0;
    unsigned redis_killed = 0;
    std::string ablated;  ///< empty: every check is in
  };

  double seconds = 0;
  unsigned instances = 0;
  unsigned threads = 0;  ///< workers an instance
  std::uint64_t seed = 0;
  double budget_ms = 0;
  std::uint64_t reads = 0, writes = 0;  ///< of the workload; the probes are counted apart
  std::uint64_t reads_by_l1 = 0, reads_by_l2 = 0;
  std::uint64_t probe_reads = 0, probe_writes = 0;
  std::uint64_t db_queries = 0;
  std::uint64_t errors = 0, degraded = 0;  ///< from here on with the probes
  std::uint64_t stale_reads = 0, stale_reads_beyond_budget = 0;
  double max_staleness_ms = 0;
  std::uint64_t lost = 0, wrong = 0, checked_keys = 0;
  std::optional<double> recovery_ms;  ///< none: Redis was not killed, or L1 did not become valid again
  Quantiles l1_hit_us, l2_hit_us, load_us, bus_lag_us;
  std::optional<double> l1_ratio_before;     ///< of the quarter before the kill; none: cannot be judged
  std::optional<double> l1_ratio_last;       ///< of the last window of that length in which L1 was valid again
  static constexpr double return_min = 0.5;  ///< the share of `before` that `last` must reach
  std::optional<TraceFacts> trace;
  std::optional<FaultFacts> faults;

  [[nodiscard]] std::uint64_t operations() const noexcept { return reads + writes; }
  [[nodiscard]] double l1_hit_ratio() const noexcept;
  [[nodiscard]] double l2_hit_ratio() const noexcept;  ///< of the reads that missed L1
  [[nodiscard]] double overall_hit_ratio() const noexcept;

  /// Why the run failed, a sentence each; empty: it passed.
  [[nodiscard]] std::vector<std::string> faults_found() const;
  [[nodiscard]] std::string table() const;
  [[nodiscard]] std::string json() const;
};

/// `divide`: 1000 for a histogram that was kept in nanoseconds.
[[nodiscard]] Report::Quantiles quantiles(const HistogramSnapshot& histogram, double divide = 1);

/// 1234567 -> "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t n);
/// printf into a string.
[[nodiscard]] std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

}  // namespace tiercache::demo
