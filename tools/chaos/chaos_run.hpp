// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "chaos_report.hpp"
#include "plan.hpp"

#include <tiercache/base/result.hpp>

#include <cstdint>
#include <string>

namespace tiercache::chaos {

struct ChaosOptions {
  double minutes = 3;
  unsigned instances = 4;
  unsigned threads = 6;
  std::uint32_t keys = 4'000;
  unsigned budget_ms = 500;
  unsigned writes_a_second = 8'500;
  std::uint64_t seed = 42;
  const Ablation* plan = nullptr;  ///< whose schedule the run follows; null: none's
  bool ablates = false;            ///< the plan's remedy is switched off
  FaultSet faults = FaultSet::all();
  bool pauses_everywhere = false;      ///< else in the first instance only: who pauses reads more slowly
  bool until_first_violation = false;  ///< the run ends at once with the first one
  bool quiet = false;                  ///< no progress lines
  std::string json, markdown;          ///< files; empty: none
  std::string command, revision;       ///< what the report says of them
  bool verbose = false;
};

/// The whole run, from the private servers to the last comparison; prints progress on stdout. SIGINT and SIGTERM must be blocked
/// in every thread: the run takes them from the queue. Call it on the main thread.
[[nodiscard]] Result<ChaosReport> run_chaos(const ChaosOptions& options);

/// The options under which a plan is tried.
[[nodiscard]] ChaosOptions following(const Ablation& plan, ChaosOptions options);

/// Switches off one remedy after the other; each run is to find a violation. One line each on stdout. -> exit status.
int self_test(const ChaosOptions& options);

}  // namespace tiercache::chaos
