// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan.hpp"

#include <cstdint>
#include <string>

namespace tiercache::sim {

struct Settings {
  std::uint64_t seeds = 1000;
  std::uint64_t first = 1;
  unsigned jobs = 0;  ///< 0: one a processor
  bool trace = false;
  bool hashes = false;
  bool repeat = false;  ///< each seed twice, which must be the same run
  std::string json;
  const Ablation* ablation = nullptr;
};

/// Runs the seeds, reports, and answers the exit status: 0 if no seed broke the promise; with an ablation as without.
int run_campaign(const Settings& settings);
/// Every ablation in turn, until a seed is found that notices it.
int run_self_test(const Settings& settings);
/// That clocks, entropy, threads and waits are the world's.
int check_system();

}  // namespace tiercache::sim
