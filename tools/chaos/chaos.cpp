// SPDX-License-Identifier: Apache-2.0
//
// The chaos run: instances of a service as processes, against real Redis servers, under every fault that one machine can bring
// about, with a checker that knows of every read how stale it was.
//   chaos.cpp     command line              chaos_run.cpp  the parent: what happens when
//   kinds.hpp     the faults by name        campaign.cpp   which fault is on when
//   field.cpp     what each fault does      promotion.cpp  those with a replica
//   board.cpp     the shared memory         verdict.hpp    the checker
//   instance.cpp  a child process           session.cpp    its reads and writes
//   audit.cpp     the comparison at the end plan.hpp       the remedies that can be switched off
//   self_test.cpp each of them in turn      field_evidence.cpp  how a fault's effect is seen
//   surroundings.cpp  nothing is left behind    chaos_markdown.cpp  the report for others
#include "chaos_run.hpp"
#include "instance.hpp"
#include "surroundings.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
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

bool written(const std::string& file, const std::string& text) {
  if (file.empty()) return true;
  std::ofstream out(file);
  out << text;
  if (out.flush()) return true;
  std::fprintf(stderr, "tiercache_chaos: cannot write %s\n", file.c_str());
  return false;
}

int run(int argc, char** argv) {
  ChaosOptions o;
  o.command = "./run stress coherence";
  for (int i = 1; i < argc; ++i) {
    // What the report says of itself is not part of what was run.
    static constexpr std::array outputs{"--json", "--markdown", "--revision"};
    const bool output =
        std::any_of(outputs.begin(), outputs.end(), [&](const char* name) { return std::strcmp(name, argv[i]) == 0; });
    if (output) ++i;
    else o.command += std::string(" ") + argv[i];
  }
  bool tests_itself = false;
  std::vector<std::string> names;
  CLI::App app{
      "tiercache under chaos: instances as processes, real Redis servers, faults, and an exact staleness checker.\n"
      "--minutes 25 reaches 10^8 checked reads, 10^7 acknowledged writes, 2,000 faults and 20 of each kind on two processors:\n"
      "three minutes brought 14.2 million reads, 1.34 million writes (8,500 a second less what faults keep), 417 faults and "
      "each\n"
      "of the 32 kinds 10 times while the machine had other work; 25 minutes are 118 and 11.2 million, 3,475, and 83 times.\n"
      "Exit status 0: the promise held; 1: it was broken (or, with --self-test, a broken one was not noticed); 2: the run could\n"
      "not be made."};
  CLI::Option* const minutes =
      app.add_option("--minutes", o.minutes, "How long faults are brought about (self-test: at most, for each remedy)")
          ->check(CLI::Range(0.05, 10'000.0))
          ->capture_default_str();
  app.add_option("--seed", o.seed, "Seed of all random choices; what the kernel makes of them is not repeatable")
      ->capture_default_str();
  app.add_option("--instances", o.instances, "Processes, each with a store of its own")
      ->check(CLI::Range(2, 16))
      ->capture_default_str();
  CLI::Option* const threads =
      app.add_option("--threads", o.threads, "Working threads an instance")->check(CLI::Range(1, 32))->capture_default_str();
  CLI::Option* const keys =
      app.add_option("--keys", o.keys, "Keys, drawn by Zipf 0.99")->check(CLI::Range(100, 10'000'000))->capture_default_str();
  app.add_option("--budget-ms", o.budget_ms, "Staleness budget")->check(CLI::Range(250, 60'000))->capture_default_str();
  CLI::Option* const writes =
      app.add_option(
             "--writes-per-second", o.writes_a_second,
             "Rows that all instances together write, where faults let them: one by one, or 32 in an erase_many or put_many")
          ->check(CLI::Range(1, 1'000'000))
          ->capture_default_str();
  app.add_option("--faults", names, "Only these kinds of fault; all of them if none is named");
  const auto plan_named = [](const char* option, const std::string& name) {
    const Ablation* const plan = find_ablation(name);
    if (plan == nullptr) throw CLI::ValidationError(option, "one of " + ablation_names());
    return plan;
  };
  const Ablation* ablated = nullptr;
  const Ablation* control = nullptr;
  CLI::Option* const ablate = app.add_option_function<std::string>(
      "--ablate", [&](const std::string& name) { ablated = plan_named("--ablate", name); },
      "Switch one remedy off, under few keys and the faults that suit it unless others are named (the run is to fail): " +
          ablation_names());
  app.add_option_function<std::string>(
         "--control", [&](const std::string& name) { control = plan_named("--control", name); },
         "The same with that remedy in place (the run is to pass)")
      ->excludes(ablate);
  app.add_flag("--self-test", tests_itself, "Switch off each remedy in turn, under faults that suit it: each must be noticed");
  app.add_flag("--until-first", o.until_first_violation, "End with the first violation");
  app.add_option("--json", o.json, "Also write the report to this file")->take_last();
  app.add_option("--markdown", o.markdown, "Also write it for a reader who knows nothing of the run (docs/chaos_report.md)")
      ->take_last();
  app.add_option("--revision", o.revision, "What the report is to say of the sources")->take_last();
  app.add_flag("--verbose", o.verbose, "The instances' log on stderr");
  try {
    app.parse(argc, argv);
    if (const Ablation* const plan = ablated != nullptr ? ablated : control; plan != nullptr) {
      const ChaosOptions given = o;
      o = following(*plan, o);
      o.ablates = ablated != nullptr;
      if (threads->count() != 0) o.threads = given.threads;
      if (keys->count() != 0) o.keys = given.keys;
      if (writes->count() != 0) o.writes_a_second = given.writes_a_second;
      if (!names.empty()) o.faults = faults_named(names);
    } else {
      o.faults = faults_named(names);
    }
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  if (tests_itself) {
    if (minutes->count() == 0) o.minutes = 1;
    return self_test(o);
  }
  const Result<ChaosReport> report = run_chaos(o);
  if (!report) {
    std::fprintf(stderr, "tiercache_chaos: %s\n", report.error().message.c_str());
    return 2;
  }
  std::fputs(report->table().c_str(), stdout);
  if (!written(o.json, report->json()) || !written(o.markdown, report->markdown())) return 2;
  return report->findings().empty() ? 0 : 1;
}

}  // namespace
}  // namespace tiercache::chaos

int main(int argc, char** argv) {
  // Before the first thread: the run takes both from the queue.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  if (argc == 4 && std::strcmp(argv[1], "--instance") == 0) {
    return tiercache::chaos::run_instance(std::atoi(argv[2]), static_cast<unsigned>(std::atoi(argv[3])));
  }
  return tiercache::chaos::run_apart([&] { return tiercache::chaos::run(argc, argv); });
}
