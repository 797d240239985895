// SPDX-License-Identifier: Apache-2.0
#include "harness.hpp"

#include <benchmark/benchmark.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

namespace tiercache::bench {
namespace {

class Collector final : public benchmark::ConsoleReporter {
 public:
  Collector() : benchmark::ConsoleReporter(OO_None) {}

  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.error_occurred) {
        failed = true;
        std::fprintf(stderr, "%s: %s\n", run.benchmark_name().c_str(), run.error_message.c_str());
        continue;
      }
      if (run.run_type != Run::RT_Iteration) continue;
      const auto rate = run.counters.find("items_per_second");
      if (rate != run.counters.end()) rates[run.run_name.function_name].push_back(rate->second.value / 1e6);
      std::fprintf(stderr, ".");
      std::fflush(stderr);
    }
  }

  std::map<std::string, std::vector<double>> rates;
  bool failed = false;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}
/// Half the distance between the quartiles, as a share of the median.
double spread(std::vector<double> values) {
  if (values.size() < 3) return 0;
  std::sort(values.begin(), values.end());
  return (values[values.size() * 3 / 4] - values[values.size() / 4]) / 2 / median(values);
}

}  // namespace

int run_suite(const std::string& suite, int argc, char** argv) {
  std::filesystem::path out;
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    if (std::strcmp(argv[i], "--out") == 0 && i + 1 < argc) {
      out = argv[++i];
    } else {
      rest.push_back(argv[i]);
    }
  }
  // Interleaving spreads the machine's drift over all structures; the caller's own flags come later and win.
  std::string defaults[] = {"--benchmark_enable_random_interleaving=true", "--benchmark_repetitions=7",
                            "--benchmark_min_time=0.15"};
  std::vector<char*> args{rest.front()};
  for (std::string& d : defaults) args.push_back(d.data());
  args.insert(args.end(), rest.begin() + 1, rest.end());
  if (out.empty()) out = std::filesystem::weakly_canonical(argv[0]).parent_path() / "../../bench" / (suite + ".json");

  int count = static_cast<int>(args.size());
  benchmark::Initialize(&count, args.data());
  if (benchmark::ReportUnrecognizedArguments(count, args.data())) return 2;
  std::fprintf(stderr, "bench %s: %u cores; a dot is one repetition\n", suite.c_str(), std::thread::hardware_concurrency());
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);
  std::fprintf(stderr, "\n");

  std::vector<Row> rows;
  std::printf("%-28s %-14s %12s %9s %9s\n", "workload", "structure", "M items/s", "spread", "ours/it");
  for (const auto& [name, values] : collector.rates) {
    const std::size_t slash = name.rfind('/');
    const std::string workload = name.substr(0, slash);
    const std::string structure = name.substr(slash + 1);
    const auto ours = collector.rates.find(workload + "/ours");
    const double ratio = ours == collector.rates.end() ? 0 : median(ours->second) / median(values);
    std::printf("%-28s %-14s %12.2f %8.1f%% %9.2f\n", workload.c_str(), structure.c_str(), median(values), 100 * spread(values),
                ratio);
    if (ours == collector.rates.end()) continue;
    rows.push_back(
        {workload, median(ours->second), "Mops/s", structure == "ours" ? "" : structure, structure == "ours" ? 1.0 : ratio});
  }
  nlohmann::json json = nlohmann::json::array();
  for (const Row& row : rows)
    json.push_back({{"name", row.name}, {"value", row.value}, {"unit", row.unit}, {"peer", row.peer}, {"ratio", row.ratio}});
  std::error_code ignored;
  std::filesystem::create_directories(out.parent_path(), ignored);
  std::ofstream file(out);
  file << json.dump(2) << '\n';
  if (!file) {
    std::fprintf(stderr, "bench %s: cannot write %s\n", suite.c_str(), out.c_str());
    return 1;
  }
  std::printf("written to %s\n", std::filesystem::weakly_canonical(out).c_str());
  return collector.failed ? 1 : 0;
}

}  // namespace tiercache::bench
