// SPDX-License-Identifier: Apache-2.0
//
// The demo: a private Redis, a SQLite system of record, several instances of a service as processes, a workload or a recorded
// trace, faults, and a checker that knows of every read how stale it was.
//   demo.cpp      command line            run.cpp       the parent: what happens when
//   instance.cpp  a child process         client.cpp    a read, a write, and what is counted
//   acks.hpp      the checker             probes.cpp    the keys on which races are provoked
//   faults.cpp    the faults' clockwork   check.cpp     the comparison at the end
#include "instance.hpp"
#include "run.hpp"

#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace tiercache::demo {
namespace {

void describe(CLI::App& app, RunOptions& o) {
  app.add_option("--seconds", o.seconds, "How long the Zipf workload runs; with faults until L1 answers again as before them")
      ->check(CLI::Range(0.5, 86400.0))
      ->capture_default_str();
  app.add_option("--instances", o.instances, "Processes, each with a store of its own")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  app.add_option("--threads", o.threads, "Worker threads an instance")->check(CLI::Range(1, 64))->capture_default_str();
  CLI::Option* const keys =
      app.add_option("--keys", o.keys, "Keys of the Zipf workload")->check(CLI::Range(1, 50'000'000))->capture_default_str();
  CLI::Option* const zipf =
      app.add_option("--zipf", o.zipf, "Skew of the Zipf workload")->check(CLI::Range(0.0, 3.0))->capture_default_str();
  app.add_option("--write-percent", o.write_percent, "Share of operations that write")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--db-latency", o.db_latency_ms, "Latency of the system of record, in ms")
      ->check(CLI::Range(0.0, 1000.0))
      ->capture_default_str();
  app.add_option("--budget-ms", o.budget_ms, "Staleness budget; instances also use it as l2.backoff_max, to be back within it")
      ->check(CLI::Range(250, 60'000))
      ->capture_default_str();
  app.add_option("--seed", o.seed, "Seed of all random choices")->capture_default_str();
  app.add_option("--l1-percent", o.l1_percent, "L1 of each instance, of the bytes of all values")
      ->check(CLI::Range(0.01, 1000.0))
      ->capture_default_str();
  app.add_option("--redis", o.redis_url,
                 "URL of a Redis to use instead of a private one; it is not killed, and three bookkeeping keys stay in it");
  app.add_option("--trace", o.trace,
                 "One pass of a trace instead of the Zipf workload: .keys, .lis or .oracleGeneral.bin, plain, .gz or .zst")
      ->check(CLI::ExistingFile)
      ->excludes(keys)
      ->excludes(zipf);
  app.add_flag_callback(
      "--faults", [&o] { o.faults = true; }, "Faults and probes; without --trace they are on anyway");
  app.add_flag_callback(
         "--no-faults", [&o] { o.faults = false; }, "No faults, no probes")
      ->excludes("--faults");
  app.add_option_function<std::string>(
      "--ablate",
      [&o](const std::string& name) {
        o.ablate = find_ablation(name);
        if (o.ablate == nullptr) throw CLI::ValidationError("--ablate", "one of " + ablation_names());
      },
      "Switch one check off (the run is to fail): " + ablation_names());
  app.add_option("--json", o.json, "Also write the result to this file");
  app.add_flag("--verbose", o.verbose, "The instances' log on stderr");
}

int run(int argc, char** argv) {
  // Before the first thread: the run takes both from the queue (run.hpp).
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  RunOptions options;
  CLI::App app{
      "tiercache's demo: several instances of a service behind one cache, faults, and an exact staleness checker.\n"
      "Exit code 0: nothing was stale beyond the budget, wrong or lost; 1: something was; 2: the run could not be made."};
  describe(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  const Result<Report> report = run_demo(options);
  if (!report) {
    std::fprintf(stderr, "tiercache_demo: %s\n", report.error().message.c_str());
    return 2;
  }
  std::fputs(report.value().table().c_str(), stdout);
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    file << report.value().json() << std::flush;
    if (!file) {
      std::fprintf(stderr, "tiercache_demo: cannot write %s\n", options.json.c_str());
      return 2;
    }
  }
  return report.value().faults_found().empty() ? 0 : 1;
}

}  // namespace
}  // namespace tiercache::demo

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "--instance") == 0) {
    return tiercache::demo::run_instance(std::atoi(argv[2]), static_cast<unsigned>(std::atoi(argv[3])));
  }
  return tiercache::demo::run(argc, argv);
}
