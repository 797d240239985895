// SPDX-License-Identifier: Apache-2.0
#include "scenario.hpp"

#include <iostream>
#include <streambuf>

namespace tiercache::l1::model {

namespace {

// The checker makes a suite of its own for each run, of a type that it knows; the suite makes the scenario.
const ScenarioInfo* current = nullptr;
bool vary = false;
Fences fences_of_search = Fences::both;
alignas(64) unsigned char memory[scenario_bytes];

/// Not a string's: while the checker runs, allocations are its own, and what outlives it must not come from there.
struct Nowhere : std::streambuf {
  int overflow(int c) override { return c; }
};

template <int threads>
struct Suite : rl::test_suite<Suite<threads>, threads> {
  Scenario* scenario = nullptr;
  void before() {
    pace.begin(threads, false);
    scenario = current->make(memory);
    scenario->before();
    pace.begin(threads, vary, fences_of_search);
  }
  void thread(unsigned id) {
    scenario->thread(id);
    pace.finished();
  }
  void after() {
    pace.begin(threads, false);
    scenario->after();
    scenario->~Scenario();
  }
};

}  // namespace

Outcome run(const ScenarioInfo& scenario, const How& how) {
  current = &scenario;
  vary = how.search == Search::random;
  fences_of_search = how.fences;
  Nowhere nowhere;
  std::ostream quiet(&nowhere);
  rl::test_params params;
  params.iteration_count = how.runs;
  params.output_stream = how.trace ? &std::cout : &quiet;
  params.progress_stream = &quiet;
  params.search_type = how.search == Search::full      ? rl::sched_full
                       : how.search == Search::bounded ? rl::sched_bound
                                                       : rl::sched_random;
  params.context_bound = how.bound;
  params.execution_depth_limit = 8000;
  Outcome outcome;
  outcome.passed = scenario.threads == 2 ? rl::simulate<Suite<2>>(params) : rl::simulate<Suite<3>>(params);
  outcome.runs = params.stop_iteration;
  if (!outcome.passed) outcome.what = rl::test_result_str(params.test_result);
  return outcome;
}

std::vector<ScenarioInfo> all_scenarios() {
  std::vector<ScenarioInfo> all = bucket_scenarios();
  for (const auto& more : {conditional_scenarios(), hazard_scenarios()}) all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace tiercache::l1::model
