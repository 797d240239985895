// SPDX-License-Identifier: Apache-2.0
//
// Can the scenarios fail? Weakens one order or drops one fence or one step of the protocol at a time, and runs the scenarios that
// come by until one of them fails. `mutation_test NAME` runs only those whose name contains NAME.
#include "mutants.hpp"
#include "scenario.hpp"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>

namespace tiercache::l1::model {
namespace {

/// What the short form may run a mutant in one scenario; a mutant that stays alive costs this for each scenario that it concerns.
constexpr unsigned long long runs_max = 100000;
constexpr unsigned long long runs_first = 400;
constexpr unsigned long long runs_excused = 4000;
constexpr unsigned long long runs_to_find_sites = 5000;

struct Result {
  std::string scenario;
  std::string what;
  unsigned long long runs = 0;
};

/// Each round gives every scenario more runs: most mutants die within a thousand, and none should wait for another scenario's
/// end.
Result hunt(const std::vector<ScenarioInfo>& scenarios, std::uint64_t concerned, unsigned long long most) {
  Result result;
  for (unsigned long long runs = runs_first; runs <= most; runs *= 3) {
    for (unsigned i = 0; i < scenarios.size(); ++i) {
      if ((concerned >> i & 1U) == 0) continue;
      sites.scenario = i;
      const Outcome outcome = run(scenarios[i], {Search::random, runs});
      result.runs += outcome.runs;
      if (outcome.passed) continue;
      result.scenario = scenarios[i].name;
      result.what = outcome.what;
      return result;
    }
  }
  return result;
}

int report(const std::string& name, const Result& result, const char* reason, std::chrono::steady_clock::time_point begin) {
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const bool caught = !result.scenario.empty();
  if (caught) {
    std::cout << (reason == nullptr ? "caught  " : "FAILED  ") << name << ": " << result.what << " in \"" << result.scenario
              << "\"";
    if (reason != nullptr) std::cout << "; take it off the list of those that cannot be caught";
  } else {
    std::cout << (reason == nullptr ? "FAILED  " : "excused ") << name << ": ";
    if (reason == nullptr) std::cout << "nothing fails";
    else std::cout << reason;
  }
  std::cout << " (" << result.runs << " runs, " << took.count() << " s)\n" << std::flush;
  return caught == (reason == nullptr) ? 0 : 1;
}

}  // namespace

int mutation_test(const char* only) {
  const unsigned long long most = std::getenv("TIERCACHE_STRESS") != nullptr ? runs_max * 50 : runs_max;
  const std::vector<ScenarioInfo> scenarios = all_scenarios();
  for (unsigned i = 0; i < scenarios.size(); ++i) {  // finds the sites
    sites.scenario = i;
    if (!run(scenarios[i], {Search::random, runs_to_find_sites}).passed) {
      std::cout << "FAILED  unchanged: " << scenarios[i].name << '\n';
      return 1;
    }
  }
  std::uint64_t all = 0;
  int mutants = 0;
  int failures = 0;
  std::map<std::string, bool> excuses_used;
  const auto wanted = [only](const std::string& name) { return only == nullptr || name.find(only) != std::string::npos; };
  // Sites that only a mutant reaches are not mutated: the loop ends at those of before.
  const auto sites_end = sites.end();
  for (Site* site = sites.begin(); site != sites_end; ++site) {
    all |= site->scenarios;
    for (const Mutant& mutant : mutants_of(*site)) {
      const std::string name = sites.name(*site) + " " + mutant.name;
      if (!wanted(name)) continue;
      const auto begin = std::chrono::steady_clock::now();
      const char* reason = excuse(name);
      if (reason != nullptr) excuses_used[name] = true;
      site->change = mutant.change;
      site->changed = mutant.order;
      const Result result = hunt(scenarios, site->scenarios, reason == nullptr ? most : most * runs_excused / runs_max);
      site->change = Change::none;
      ++mutants;
      failures += report(name + " (line " + std::to_string(site->line) + ")", result, reason, begin);
    }
  }
  for (const Left& left : steps_left_out()) {
    if (!wanted(left.name)) continue;
    const auto begin = std::chrono::steady_clock::now();
    ablation.*left.step = true;
    const Result result = hunt(scenarios, all, most);
    ablation.*left.step = false;
    ++mutants;
    failures += report(left.name, result, nullptr, begin);
  }
  for (const std::string& name : steps_not_met()) {
    std::cout << "FAILED  " << name << ": there is no such operation\n";
    ++failures;
  }
  if (only == nullptr) {
    for (const Excuse& one : excuses()) {
      if (excuses_used.count(one.name) != 0) continue;
      std::cout << "FAILED  " << one.name << ": excused, but there is no such mutant\n";
      ++failures;
    }
  }
  std::cout << mutants << " mutants, " << failures << " failed\n";
  return failures == 0 && mutants != 0 ? 0 : 1;
}

}  // namespace tiercache::l1::model

int main(int argc, char** argv) { return tiercache::l1::model::mutation_test(argc > 1 ? argv[1] : nullptr); }
