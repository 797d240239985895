// SPDX-License-Identifier: Apache-2.0
//
// The chaos run: instances of a service as processes, against real Redis servers, under every fault that one machine can bring
// about, with a checker that knows of every read how stale it was.
//   chaos.cpp     command line              chaos_run.cpp  the parent: what happens when; the self-test
//   kinds.hpp     the faults by name        campaign.cpp   which fault is on when
//   field.cpp     what each fault does      promotion.cpp  those with a replica
//   board.cpp     the shared memory         verdict.hpp    the checker
//   instance.cpp  a child process           session.cpp    its reads and writes
//   audit.cpp     the comparison at the end plan.hpp       the remedies that can be switched off
#include "chaos_run.hpp"
#include "instance.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace tiercache::chaos {
namespace {

FaultSet faults_named(const std::vector<std::string>& names) {
  std::uint64_t found = 0;
  FaultSet set;
  for (const std::string& n : names) {
    const auto* const f = std::find_if(faults.begin(), faults.end(), [&](const FaultInfo& i) { return i.name == n; });
    if (f == faults.end()) throw CLI::ValidationError("--faults", "there is no fault " + n);
    set.add(f->kind);
    ++found;
  }
  return found == 0 ? FaultSet::all() : set;
}

int run(int argc, char** argv) {
  // Before the first thread: the run takes both from the queue.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  ChaosOptions o;
  bool tests_itself = false;
  std::vector<std::string> names;
  CLI::App app{
      "tiercache under chaos: instances as processes, real Redis servers, faults, and an exact staleness checker.\n"
      "Exit status 0: the promise held; 1: it was broken (or, with --self-test, a broken one was not noticed); 2: the run could "
      "not "
      "be made."};
  CLI::Option* const minutes =
      app.add_option("--minutes", o.minutes, "How long faults are brought about (self-test: at most, for each remedy)")
          ->check(CLI::Range(0.05, 10'000.0))
          ->capture_default_str();
  app.add_option("--seed", o.seed, "Seed of all random choices; what the kernel makes of them is not repeatable")
      ->capture_default_str();
  app.add_option("--instances", o.instances, "Processes, each with a store of its own")
      ->check(CLI::Range(2, 16))
      ->capture_default_str();
  app.add_option("--threads", o.threads, "Working threads an instance")->check(CLI::Range(1, 32))->capture_default_str();
  app.add_option("--keys", o.keys, "Keys, drawn by Zipf 0.99")->check(CLI::Range(100, 10'000'000))->capture_default_str();
  app.add_option("--budget-ms", o.budget_ms, "Staleness budget")->check(CLI::Range(250, 60'000))->capture_default_str();
  app.add_option("--reads-a-write", o.reads_a_write, "Reads for each write, about")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--faults", names, "Only these kinds of fault; all of them if none is named");
  app.add_option_function<std::string>(
      "--ablate",
      [&o](const std::string& name) {
        o.ablate = find_ablation(name);
        if (o.ablate == nullptr) throw CLI::ValidationError("--ablate", "one of " + ablation_names());
        o.pauses_everywhere = true;
      },
      "Switch one remedy off (the run is to fail): " + ablation_names());
  app.add_flag("--self-test", tests_itself, "Switch off each remedy in turn, under faults that suit it: each must be noticed");
  app.add_flag("--until-first", o.until_first_violation, "End with the first violation");
  app.add_option("--json", o.json, "Also write the report to this file");
  app.add_flag("--verbose", o.verbose, "The instances' log on stderr");
  try {
    app.parse(argc, argv);
    o.faults = faults_named(names);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (tests_itself) {
    if (minutes->count() == 0) o.minutes = 2;
    return self_test(o);
  }
  const Result<ChaosReport> report = run_chaos(o);
  if (!report) {
    std::fprintf(stderr, "tiercache_chaos: %s\n", report.error().message.c_str());
    return 2;
  }
  std::fputs(report->table().c_str(), stdout);
  if (!o.json.empty()) {
    std::ofstream out(o.json);
    out << report->json();
    if (!out.flush()) {
      std::fprintf(stderr, "tiercache_chaos: cannot write %s\n", o.json.c_str());
      return 2;
    }
  }
  return report->findings().empty() ? 0 : 1;
}

}  // namespace
}  // namespace tiercache::chaos

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "--instance") == 0) {
    return tiercache::chaos::run_instance(std::atoi(argv[2]), static_cast<unsigned>(std::atoi(argv[3])));
  }
  return tiercache::chaos::run(argc, argv);
}
