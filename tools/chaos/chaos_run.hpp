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
  unsigned threads = 3;
  std::uint32_t keys = 4'000;
  unsigned budget_ms = 500;
  unsigned reads_a_write = 1500;
  std::uint64_t seed = 42;
  const Ablation* ablate = nullptr;  ///< null: nothing
  FaultSet faults = FaultSet::all();
  bool pauses_everywhere = false;      ///< else in the first instance only: who pauses reads more slowly
  bool until_first_violation = false;  ///< the run ends with the first one
  bool quiet = false;                  ///< no progress lines
  std::string json;                    ///< empty: no file
  bool verbose = false;
};

/// The whole run, from the private servers to the last comparison; prints progress on stdout. SIGINT and SIGTERM must be blocked
/// in every thread: the run takes them from the queue. Call it on the main thread.
[[nodiscard]] Result<ChaosReport> run_chaos(const ChaosOptions& options);

/// Switches off one remedy after the other; each run is to find a violation. One line each on stdout. -> exit status.
int self_test(const ChaosOptions& options);

}  // namespace tiercache::chaos
