// SPDX-License-Identifier: Apache-2.0
//
// The checker's own test: with any one remedy switched off it must complain.
#include "chaos_run.hpp"

#include "clock.hpp"
#include "report.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

namespace tiercache::chaos {

namespace {

constexpr double whole_seconds_max = 150;
constexpr double startup_seconds = 2;
constexpr double seconds_min = 5;

/// What there was to be found by: whether a miss is the schedule's or the checker's.
std::string tried(const ChaosReport& r) {
  std::string all = "nothing was found in " + demo::grouped(r.reads) + " reads, " + demo::grouped(r.by_l1) + " of them by L1";
  for (const FaultInfo& f : faults) {
    const auto i = static_cast<std::size_t>(f.kind);
    if (r.fault_counts[i] == 0) continue;
    all += demo::format(", %s %llu times, %llu verified", std::string(f.name).c_str(),
                        static_cast<unsigned long long>(r.fault_counts[i]), static_cast<unsigned long long>(r.fault_verified[i]));
  }
  return all;
}

}  // namespace

ChaosOptions following(const Ablation& plan, ChaosOptions options) {
  options.plan = &plan;
  options.faults = plan.faults;
  options.pauses_everywhere = true;
  options.threads = 3;
  options.keys = 800;
  options.writes_a_second = 4000;
  return options;
}

int self_test(const ChaosOptions& options) {
  unsigned missed = 0;
  const std::int64_t first = demo::now_ns();
  const auto since_first = [&] { return static_cast<double>(demo::now_ns() - first) / 1e9; };
  for (const Ablation& a : ablations) {
    ChaosOptions one = following(a, options);
    one.ablates = true;
    one.until_first_violation = true;
    one.quiet = true;
    // Whatever is missed, the whole ends within its own time: those that come after have at least what they usually need.
    const double left = whole_seconds_max - since_first() - startup_seconds * static_cast<double>(&ablations.back() - &a);
    const double most = std::min<double>(a.seconds_max, 60 * options.minutes);
    one.minutes = std::min(std::max(left, seconds_min), most) / 60;
    const Result<ChaosReport> report = run_chaos(one);
    if (!report) {
      std::fprintf(stderr, "tiercache_chaos: without %s: %s\n", std::string(a.name).c_str(), report.error().message.c_str());
      return 2;
    }
    const bool caught = report->violations != 0 || report->audit_wrong != 0;
    std::string what;
    if (!report->wrong.empty()) what = std::string(name(report->wrong[0].verdict)) + ", by " + report->wrong[0].source;
    else if (caught) what = "copies that differ from their rows after the quiet";
    else what = tried(*report);
    std::printf("%s  without %-16s %5.1f s of %2u  %s\n", caught ? "caught" : "MISSED", std::string(a.name).c_str(),
                report->seconds, a.seconds_max, what.c_str());
    std::fflush(stdout);
    missed += caught ? 0 : 1;
  }
  std::printf("%zu remedies switched off in turn, %u missed, in %.0f s, seed %llu\n", ablations.size(), missed, since_first(),
              static_cast<unsigned long long>(options.seed));
  return missed == 0 ? 0 : 1;
}

}  // namespace tiercache::chaos
