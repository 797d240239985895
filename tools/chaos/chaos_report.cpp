// SPDX-License-Identifier: Apache-2.0
#include "chaos_report.hpp"

#include "table.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <numeric>

namespace tiercache::chaos {
namespace {

using demo::format;
using demo::grouped;
using demo::percent;

constexpr double recovery_max_ms = 5000;
constexpr std::uint64_t quantile_min = 300;  // below, p99 is the worst few
constexpr std::uint64_t tries_min = 10;      // a flip, for example, may meet no value

double ratio(std::uint64_t part, std::uint64_t whole) noexcept {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string text(const ChaosReport::Wrong& w) {
  std::string all =
      format("  key %u (%s), instance %u, session %u, by %s: version %llu, %s", w.key, w.write_kind.c_str(), w.instance,
             w.session, w.source.c_str(), static_cast<unsigned long long>(w.version), std::string(name(w.verdict)).c_str());
  all += format(", %.1f ms stale when the read began, which took %.1f ms\n", w.staleness_ms, w.took_ms);
  for (const std::string& h : w.history) all += "    " + h + "\n";
  return all;
}

}  // namespace

ChaosReport::Times times_of(std::vector<std::int64_t> ns) {
  if (ns.empty()) return {};
  std::sort(ns.begin(), ns.end());
  const auto at = [&](double q) {
    const auto i = static_cast<std::size_t>(q * static_cast<double>(ns.size()));
    return static_cast<double>(ns[std::min(i, ns.size() - 1)]) / 1e6;
  };
  return {ns.size(), at(0.5), at(0.99), at(1)};
}

std::uint64_t ChaosReport::fault_total() const noexcept {
  return std::accumulate(fault_counts.begin(), fault_counts.end(), std::uint64_t{0});
}

std::uint64_t ChaosReport::verified_total() const noexcept {
  return std::accumulate(fault_verified.begin(), fault_verified.end(), std::uint64_t{0});
}

std::vector<std::string> ChaosReport::findings() const {
  std::vector<std::string> found;
  // A run in which nothing could be wrong shows nothing.
  if (by_l1 == 0) found.emplace_back("no read was answered by L1");
  if (writes == 0) found.emplace_back("no write was acknowledged");
  if (violations == 0 && audit_present == 0) found.emplace_back("there was no copy to compare after the quiet");
  for (const FaultInfo& f : faults) {
    const auto i = static_cast<std::size_t>(f.kind);
    if (fault_counts[i] >= tries_min && fault_verified[i] == 0)
      found.push_back(format("%s had no effect in %llu tries", std::string(f.name).c_str(),
                             static_cast<unsigned long long>(fault_counts[i])));
  }
  if (violations != 0) found.push_back(grouped(violations) + " reads broke the promise");
  if (audit_wrong != 0) found.push_back(grouped(audit_wrong) + " copies differed from their row after the quiet");
  if (audit_errors != 0) found.push_back(grouped(audit_errors) + " copies could not be looked at after the quiet");
  if (longest_recovery_ms > recovery_max_ms) {
    found.push_back(
        format("an instance was not valid again %.1f s after the last fault that met it", longest_recovery_ms / 1000));
  }
  if (recovery.count >= quantile_min && recovery.p99_ms > recovery_bar_ms)
    found.push_back(format("recovery took %.0f ms at p99, more than %.0f ms", recovery.p99_ms, recovery_bar_ms));
  return found;
}

std::string ChaosReport::violations_text() const {
  std::string all;
  for (const Verdict v : {Verdict::beyond, Verdict::unread_write, Verdict::phantom})
    all += (all.empty() ? "" : ", ") + grouped(violations_by[static_cast<std::size_t>(v)]) + " " + std::string(name(v));
  return all;
}

std::string ChaosReport::table() const {
  demo::Table t;
  t.group("Work", "what the instances did");
  t.line("instances", std::to_string(instances), format("processes of %u threads, %s keys", threads, grouped(keys).c_str()));
  t.line("run time", format("%.1f s", seconds), "seed " + std::to_string(seed));
  t.line("reads checked", grouped(reads),
         seconds > 0 ? grouped(static_cast<std::uint64_t>(static_cast<double>(reads) / seconds)) + " a second" : "");
  t.line("answered by L1", percent(ratio(by_l1, reads)), grouped(by_l2) + " by Redis, " + grouped(by_loader) + " by a load");
  t.line("not answered", grouped(unanswered), "absent without a loader, or an error: nobody was told anything untrue");
  t.line("writes acknowledged", grouped(writes),
         grouped(superseded) + " superseded, " + grouped(repeated) + " times one was repeated");
  t.line("of them, 32 at a time", grouped(by_put_many + by_erase_many),
         grouped(by_put_many) + " by put_many, " + grouped(by_erase_many) + " by erase_many");

  t.group("Promise",
          format("no read returns a value whose successor was acknowledged more than %.0f ms before it began", budget_ms));
  t.line("violations", grouped(violations), "must be 0: " + violations_text());
  t.line("stale within the budget", grouped(within), format("at most %.1f ms", max_staleness_ms));
  t.line("excused", grouped(excused),
         "not by L1, while Redis had two masters or had lost data; crossing puts whose version Redis lost");
  t.line("steps back", grouped(steps_back), "a session was given an older version than before, within the above");
  t.line("copies compared after the quiet", grouped(audited),
         format("%s there, %s wrong, %s excused, %s unreadable; L1 and Redis against the rows", grouped(audit_present).c_str(),
                grouped(audit_wrong).c_str(), grouped(audit_excused).c_str(), grouped(audit_errors).c_str()));

  t.group("Faults", "how often each was brought about, and how long L1 took to be valid again");
  t.raw(format("  %-24s %7s %9s %10s %10s %10s   %s\n", "", "count", "verified", "p50 ms", "p99 ms", "max ms", "what"));
  for (const FaultInfo& f : faults) {
    const auto i = static_cast<std::size_t>(f.kind);
    if (fault_counts[i] == 0) continue;
    const Times& r = recovery_of[i];
    t.raw(format("  %-24s %7llu %9llu %10.0f %10.0f %10.0f   %s\n", std::string(f.name).c_str(),
                 static_cast<unsigned long long>(fault_counts[i]), static_cast<unsigned long long>(fault_verified[i]), r.p50_ms,
                 r.p99_ms, r.max_ms, std::string(f.what).c_str()));
  }
  t.raw(format("  %-24s %7llu %9llu %10.0f %10.0f %10.0f   %s measured, %s interrupted by the next fault\n", "all",
               static_cast<unsigned long long>(fault_total()), static_cast<unsigned long long>(verified_total()), recovery.p50_ms,
               recovery.p99_ms, recovery.max_ms, grouped(recovery.count).c_str(), grouped(recovery_interrupted).c_str()));
  t.line("recovery at p99, at most", format("%.0f ms", recovery_bar_ms),
         format("two heartbeats of %.0f ms and a reconnect; the longest was %.0f ms, interrupted ones too (at most 5,000)",
                heartbeat_ms, longest_recovery_ms));
  t.group("Run", date);
  t.raw("  " + command + "\n  revision " + (revision.empty() ? "unknown" : revision) + ", Redis " + redis + "; " + machine +
        "\n");
  if (!ablated.empty()) t.line("remedy switched off", ablated, "this run is to fail");

  for (const Wrong& w : wrong) t.raw((&w == wrong.data() ? "\n" : "") + text(w));
  for (const std::string& c : wrong_copies) t.raw((&c == wrong_copies.data() ? "\n  copy of " : "  copy of ") + c + "\n");
  const std::vector<std::string> found = findings();
  t.raw(found.empty() ? "\nPASSED\n" : "\nFAILED\n");
  for (const std::string& f : found) t.raw("  " + f + "\n");
  return t.text();
}

std::string ChaosReport::json() const {
  using Json = nlohmann::ordered_json;
  const auto times = [](const Times& x) {
    return Json{{"count", x.count}, {"p50_ms", x.p50_ms}, {"p99_ms", x.p99_ms}, {"max_ms", x.max_ms}};
  };
  Json j;
  j["command"] = command;
  j["revision"] = revision;
  j["redis"] = redis;
  j["machine"] = machine;
  j["date"] = date;
  j["seconds"] = seconds;
  j["instances"] = instances;
  j["threads"] = threads;
  j["keys"] = keys;
  j["seed"] = seed;
  j["budget_ms"] = budget_ms;
  j["heartbeat_ms"] = heartbeat_ms;
  j["ablated"] = ablated;
  j["reads"] = reads;
  j["reads_by_l1"] = by_l1;
  j["reads_by_l2"] = by_l2;
  j["reads_by_loader"] = by_loader;
  j["unanswered"] = unanswered;
  j["writes"] = writes;
  j["superseded"] = superseded;
  j["writes_repeated"] = repeated;
  j["by_put_many"] = by_put_many;
  j["by_erase_many"] = by_erase_many;
  j["write_failures"] = write_failures;
  j["violations"] = violations;
  for (const Verdict v : {Verdict::beyond, Verdict::unread_write, Verdict::phantom})
    j["violations_by"][std::string(name(v))] = violations_by[static_cast<std::size_t>(v)];
  j["stale_within"] = within;
  j["max_staleness_ms"] = max_staleness_ms;
  j["excused"] = excused;
  j["steps_back"] = steps_back;
  j["audited"] = audited;
  j["audit_present"] = audit_present;
  j["audit_wrong"] = audit_wrong;
  j["audit_excused"] = audit_excused;
  j["audit_errors"] = audit_errors;
  j["faults"] = fault_total();
  j["faults_verified"] = verified_total();
  j["recovery"] = times(recovery);
  j["recovery_interrupted"] = recovery_interrupted;
  j["recovery_bar_ms"] = recovery_bar_ms;
  j["recovery_longest_ms"] = longest_recovery_ms;
  for (const FaultInfo& f : faults) {
    const auto i = static_cast<std::size_t>(f.kind);
    j["by_fault"][std::string(f.name)] = {
        {"count", fault_counts[i]}, {"verified", fault_verified[i]}, {"recovery", times(recovery_of[i])}};
  }
  j["wrong"] = Json::array();
  for (const Wrong& w : wrong) {
    j["wrong"].push_back({{"verdict", name(w.verdict)},
                          {"source", w.source},
                          {"instance", w.instance},
                          {"session", w.session},
                          {"key", w.key},
                          {"write", w.write_kind},
                          {"version", w.version},
                          {"staleness_ms", w.staleness_ms},
                          {"took_ms", w.took_ms},
                          {"history", w.history}});
  }
  j["wrong_copies"] = wrong_copies;
  j["findings"] = findings();
  j["passed"] = findings().empty();
  return j.dump(2) + "\n";
}

}  // namespace tiercache::chaos
