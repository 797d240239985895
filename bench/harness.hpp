// SPDX-License-Identifier: Apache-2.0
//
// What every bench shares: interleaved repetitions by Google Benchmark, medians, ratios against the peers of the same run, a
// table and build/bench/SUITE.json.
#pragma once

#include <string>
#include <vector>

namespace tiercache::bench {

/// One line of the result: our figure `name` and its ratio to `peer` in this run, more is better. peer "": the figure alone.
struct Row {
  std::string name;
  double value = 0;
  std::string unit;
  std::string peer;
  double ratio = 0;
};

/// Benchmarks are registered as "WORKLOAD/STRUCTURE"; the structure "ours" is divided by each other structure of its workload.
/// `--out FILE` names the JSON file (default: SUITE.json in ../../bench beside the build folder of the program); everything else
/// goes to Google Benchmark. Returns the process's exit status: 1 when a benchmark reported an error.
int run_suite(const std::string& suite, int argc, char** argv);

}  // namespace tiercache::bench
