// SPDX-License-Identifier: Apache-2.0
//
// `./run stress simulation`: many worlds, one a seed, each in a process of its own, so that no seed knows of another.
#include "campaign.hpp"
#include "plan.hpp"
#include "redis.hpp"
#include "world.hpp"

#include <CLI/CLI.hpp>

#include <unistd.h>
#include <cstdio>
#include <string>

namespace {

using namespace tiercache::sim;  // NOLINT(google-build-using-namespace)

std::string ablation_list() {
  std::string names;
  for (const Ablation& a : ablations()) names.append(names.empty() ? "" : ", ").append(a.name);
  return names;
}

}  // namespace

int main(int argc, char** argv) {
  Settings s;
  std::string ablate;
  bool self_test = false;
  bool system = false;
  CLI::App app{"Runs the product's own code in simulated worlds, one a seed, and judges every read"};
  app.add_option("--seeds", s.seeds, "how many worlds (1000)")->check(CLI::PositiveNumber);
  const CLI::Option* const seed = app.add_option("--seed", s.first, "the first seed (1); without --seeds this one alone");
  app.add_option("--ablate", ablate, "switch a remedy off: one of " + ablation_list());
  app.add_flag("--trace", s.trace, "with --seed: tell what happens");
  app.add_flag("--self-test", self_test, "switch each remedy off in turn, which must be noticed");
  app.add_option("--json", s.json, "write the report there");
  app.add_option("--jobs", s.jobs, "worlds at a time (one a processor)");
  app.add_flag("--hash", s.hashes, "print each seed's hash of all that happened");
  app.add_flag("--repeat", s.repeat, "run each seed twice; the two must not differ in anything");
  app.add_flag("--check-system", system, "check that the product sees nothing but the world's time, entropy and threads");
  app.get_option("--json")->take_last();
  CLI11_PARSE(app, argc, argv);
  if (seed->count() != 0 && app.count("--seeds") == 0) s.seeds = 1;
  if (s.trace) s.jobs = 1;
  if (s.trace && s.seeds != 1) {
    std::fprintf(stderr, "--trace wants --seed and no --seeds\n");
    return 2;
  }
  if (!ablate.empty()) {
    s.ablation = find_ablation(ablate);
    if (s.ablation == nullptr) {
      std::fprintf(stderr, "--ablate wants one of %s\n", ablation_list().c_str());
      return 2;
    }
  }
  if (system) return check_system();
  return self_test ? run_self_test(s) : run_campaign(s);
}
