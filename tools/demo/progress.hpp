// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "shared.hpp"

#include <cstdint>
#include <string>

namespace tiercache::demo {

/// The sum of some threads' slots at one instant.
struct Totals {
  std::uint64_t reads = 0, writes = 0, by_l1 = 0, by_l2 = 0, by_loader = 0, db_queries = 0;
  std::uint64_t degraded = 0, errors = 0, stale = 0, stale_beyond = 0, staleness_max_ns = 0, wrong = 0;
  HistogramSnapshot l1_hit_ns, l2_hit, load;

  void add(const ThreadSlot& slot);
};

enum class Who : std::uint8_t { workers, probes, all };
[[nodiscard]] Totals sum_slots(const SharedBlock& shared, Who who);
[[nodiscard]] HistogramSnapshot sum_bus_lag(const SharedBlock& shared);

/// The share of reads that L1 answered between two instants; 0 without reads.
[[nodiscard]] double l1_ratio(const Totals& from, const Totals& to);

/// A line a second: what happened since the last one.
class Progress {
 public:
  explicit Progress(const SharedBlock& shared) : shared_(shared) {}
  /// `note`: the fault that is on, or empty. `fraction` of the work that is done.
  [[nodiscard]] std::string line(double elapsed_s, double fraction, const std::string& note);

 private:
  const SharedBlock& shared_;
  Totals last_;
  HistogramSnapshot last_lag_;
  double last_s_ = 0;
};

}  // namespace tiercache::demo
