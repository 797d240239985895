// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include "table.hpp"

#include <nlohmann/json.hpp>

#include <cstdarg>
#include <cstdio>
#include <string_view>

namespace tiercache::demo {
namespace {

double ratio(std::uint64_t part, std::uint64_t whole) noexcept {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::string format(const char* pattern, ...) {
  std::va_list args;
  va_start(args, pattern);
  std::va_list again;
  va_copy(again, args);
  const int n = std::vsnprintf(nullptr, 0, pattern, args);
  va_end(args);
  std::string text(n < 0 ? 0 : static_cast<std::size_t>(n), '\0');
  if (n > 0) std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

Report::Quantiles quantiles(const HistogramSnapshot& h, double divide) {
  return {h.quantile(0.50) / divide, h.quantile(0.99) / divide, h.quantile(0.999) / divide};
}

double Report::l1_hit_ratio() const noexcept { return ratio(reads_by_l1, reads); }
double Report::l2_hit_ratio() const noexcept { return ratio(reads_by_l2, reads - reads_by_l1); }
double Report::overall_hit_ratio() const noexcept { return ratio(reads_by_l1 + reads_by_l2, reads); }

std::vector<std::string> Report::faults_found() const {
  std::vector<std::string> found;
  if (stale_reads_beyond_budget != 0) {
    found.push_back(
        format("%s reads were stale beyond the budget of %.0f ms", grouped(stale_reads_beyond_budget).c_str(), budget_ms));
  }
  if (wrong != 0) found.push_back(grouped(wrong) + " answers or copies were wrong");
  if (lost != 0) found.push_back(grouped(lost) + " acknowledged writes were lost");
  if (l1_ratio_before && l1_ratio_last && *l1_ratio_last < *l1_ratio_before * return_min) {
    found.push_back("L1 answered " + percent(*l1_ratio_last) + " of the last reads, and " + percent(*l1_ratio_before) +
                    " before Redis was killed: bypassing L1 is no answer");
  }
  return found;
}

std::string Report::table() const {
  Table t;
  t.group("Work", "what the instances were asked to do, and how fast they did it");
  t.line("instances", std::to_string(instances), format("processes of %u worker threads", threads));
  t.line("run time", format("%.1f s", seconds), "seed " + std::to_string(seed));
  t.line("operations", grouped(operations()), grouped(reads) + " reads, " + grouped(writes) + " writes");
  t.line("operations per second",
         grouped(seconds > 0 ? static_cast<std::uint64_t>(static_cast<double>(operations()) / seconds) : 0));
  if (trace) {
    t.line("requests in the trace", grouped(trace->requests), grouped(trace->unique_keys) + " unique keys");
  }

  t.group("Hits", "which tier answered: L1 is the memory of the process, L2 is Redis, the rest asked the database");
  t.line("L1 hit ratio", percent(l1_hit_ratio()), "of all reads");
  t.line("L2 hit ratio", percent(l2_hit_ratio()), "of the reads that L1 could not answer");
  t.line("both tiers", percent(overall_hit_ratio()),
         trace ? "of all reads; the trace's bound is " + percent(trace->bound) + " (requests that are not first ones)"
               : "of all reads");

  t.group("Database", "what the system of record was spared");
  t.line("queries", grouped(db_queries), "loads and writes");
  t.line("queries without the cache", grouped(operations()), "one for each read and write");
  const double saved = operations() == 0 ? 0 : 1 - static_cast<double>(db_queries) / static_cast<double>(operations());
  t.line("saved", percent(saved));

  t.group("Latency", "of reads, by who answered");
  t.raw(format("  %-34s %16s %12s %12s\n", "", "p50", "p99", "p99.9"));
  t.latencies("L1 hit", l1_hit_us);
  t.latencies("L2 hit", l2_hit_us);
  t.latencies("load from the database", load_us);
  t.latencies(faults ? "bus lag (with the stopped readers)" : "bus lag (announced to applied)", bus_lag_us);

  t.group("Coherence", "every read is compared with what had been acknowledged before it began");
  t.line("stale reads", grouped(stale_reads),
         format("an older value although its successor was acknowledged; at most %.0f ms allowed", budget_ms));
  t.line("stale beyond the budget", grouped(stale_reads_beyond_budget), "must be 0");
  t.line("largest staleness", format("%.1f ms", max_staleness_ms));
  t.line("lost", grouped(lost), "rows below their acknowledged version; must be 0");
  t.line("wrong", grouped(wrong), "copies that differ from the row, answers for another key; must be 0");
  t.line("keys compared at the end", grouped(checked_keys), "on every instance, in Redis and in the database");

  t.group("Calls", "what callers were told when Redis could not be asked");
  t.line("errors", grouped(errors), "calls that neither answered nor said that they were degraded, or said so with no fault on");
  t.line("degraded", grouped(degraded),
         "calls that said that Redis was away; reads among them still got their value where they could");

  if (faults) {
    t.group("Faults", "what was done to it meanwhile");
    t.line("bus readers stopped", std::to_string(faults->readers_stopped), "for 3 budgets, the socket left open");
    t.line("bus links cut", std::to_string(faults->links_cut), "for half a budget");
    t.line("Redis killed", std::to_string(faults->redis_killed), faults->redis_killed != 0 ? "with -9; it came back empty" : "");
    if (faults->redis_killed != 0) {
      t.line("recovery", recovery_ms ? format("%.0f ms", *recovery_ms) : "never",
             "from Redis accepting connections to L1 valid on every instance");
    }
    if (l1_ratio_before && l1_ratio_last) {
      t.line("L1 hit ratio, at the end", percent(*l1_ratio_last),
             "in a window as long as that before the kill, where it was " + percent(*l1_ratio_before));
    }
    t.line("probe reads", grouped(probe_reads), grouped(probe_writes) + " probe writes, apart from the operations above");
    if (!faults->ablated.empty()) t.line("check switched off", faults->ablated, "this run is to fail");
  }

  const std::vector<std::string> found = faults_found();
  t.raw(found.empty() ? "\nPASSED\n" : "\nFAILED\n");
  for (const std::string& f : found) t.raw("  " + f + "\n");
  return t.text();
}

std::string Report::json() const {
  using Json = nlohmann::ordered_json;
  const auto three = [](const Quantiles& q) { return Json{{"p50", q.p50}, {"p99", q.p99}, {"p999", q.p999}}; };
  Json j;
  j["seconds"] = seconds;
  j["instances"] = instances;
  j["operations"] = operations();
  j["ops_per_second"] = seconds > 0 ? static_cast<double>(operations()) / seconds : 0;
  j["reads_by_l1"] = reads_by_l1;
  j["l1_hit_ratio"] = l1_hit_ratio();
  j["l2_hit_ratio"] = l2_hit_ratio();
  j["overall_hit_ratio"] = overall_hit_ratio();
  j["db_queries"] = db_queries;
  j["db_queries_without_cache"] = operations();
  j["errors"] = errors;
  j["degraded"] = degraded;
  j["stale_reads"] = stale_reads;
  j["stale_reads_beyond_budget"] = stale_reads_beyond_budget;
  j["max_staleness_ms"] = max_staleness_ms;
  j["lost"] = lost;
  j["wrong"] = wrong;
  j["recovery_ms"] = recovery_ms ? Json(*recovery_ms) : Json();
  j["latency_us"] = {{"l1_hit", three(l1_hit_us)}, {"l2_hit", three(l2_hit_us)}, {"load", three(load_us)}};
  j["bus_lag_us"] = {{"p50", bus_lag_us.p50}, {"p99", bus_lag_us.p99}};
  if (trace) {
    j["requests"] = trace->requests;
    j["unique_keys"] = trace->unique_keys;
    j["bound"] = trace->bound;
  }
  return j.dump(2) + "\n";
}

}  // namespace tiercache::demo
