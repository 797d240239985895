// SPDX-License-Identifier: Apache-2.0
//
// Runs every scenario as production is. `--trace` prints the interleavings that fail; with a NAME, only the scenarios whose name
// contains it are run.
#include "scenario.hpp"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>

namespace tiercache::l1::model {
namespace {

int tell(const std::string& how, const ScenarioInfo& scenario, const How& wanted) {
  const auto begin = std::chrono::steady_clock::now();
  const Outcome outcome = run(scenario, wanted);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::cout << (outcome.passed ? "ok      " : "FAILED  ") << how << ": " << scenario.name << ": " << outcome.runs << " runs, "
            << took.count() << " s " << outcome.what << '\n'
            << std::flush;
  return outcome.passed ? 0 : 1;
}

int model_test(bool trace, const std::string& only) {
  const bool stress = std::getenv("TIERCACHE_STRESS") != nullptr;
  int failures = 0;
  int met = 0;
  const auto wanted = [&](const ScenarioInfo& one) {
    const bool is = std::string(one.name).find(only) != std::string::npos;
    met += is ? 1 : 0;
    return is;
  };
  for (const ScenarioInfo& scenario : all_scenarios()) {
    if (!wanted(scenario)) continue;
    How how;
    how.trace = trace;
    how.runs = stress ? 1'000'000 : 20'000;
    failures += tell("random", scenario, how);
  }
  for (const ScenarioInfo& scenario : small_scenarios()) {
    if (!wanted(scenario)) continue;
    for (const Fences fences : {Fences::both, Fences::global}) {
      How how;
      how.trace = trace;
      how.fences = fences;
      how.search = scenario.complete ? Search::full : Search::bounded;
      how.bound = stress ? 3 : 2;
      const std::string bound = scenario.complete ? "all" : "up to " + std::to_string(how.bound) + " switches";
      failures += tell(bound + (fences == Fences::both ? ", full fences" : ", membarrier"), scenario, how);
    }
  }
  std::cout << failures << " failed\n";
  return failures == 0 && met != 0 ? 0 : 1;
}

}  // namespace
}  // namespace tiercache::l1::model

int main(int argc, char** argv) {
  bool trace = false;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--trace") == 0) trace = true;
    else only = argv[i];
  }
  return tiercache::l1::model::model_test(trace, only);
}
