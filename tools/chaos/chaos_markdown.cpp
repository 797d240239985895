// SPDX-License-Identifier: Apache-2.0
#include "chaos_report.hpp"

#include "report.hpp"

#include <algorithm>
#include <string>

namespace tiercache::chaos {
namespace {

using demo::format;
using demo::grouped;

std::string row(const std::string& what, const std::string& value) { return "| " + what + " | " + value + " |\n"; }

std::string duration(double seconds) {
  const auto whole = static_cast<unsigned>(seconds);
  return format("%u min %02u s", whole / 60, whole % 60);
}

/// What was run, and what each answer was held against.
std::string preface(const ChaosReport& r) {
  std::string text = "# Coherence under chaos\n\n";
  text += format(
      "%u instances of a service (processes of %u working threads each, an L1 of their own) read and write %s rows "
      "through tiercache in front of real Redis servers for %s, while faults are brought about all the time. ",
      r.instances, r.threads, grouped(r.keys).c_str(), duration(r.seconds).c_str());
  text += "Every read is judged. Repeat it with\n\n    " + r.command + "\n\n";
  text += format(
      "Ended %s, seed %llu, revision %s, Redis %s; %s. The random choices come from the seed; what the kernel makes of "
      "them differs from run to run.\n\n",
      r.date.c_str(), static_cast<unsigned long long>(r.seed), r.revision.empty() ? "unknown" : r.revision.c_str(),
      r.redis.c_str(), r.machine.c_str());
  text += "## What was checked\n\n";
  text += format(
      "The database is a table in memory that all processes share; beside each row it holds the instant at which each "
      "version was first acknowledged to a writer, on the one clock of the machine. After every read:\n\n"
      "* beyond the budget: the value is wrong if its successor had been acknowledged more than D = %.0f ms before the "
      "read began;\n"
      "* own writes: it is wrong if it is older than a write that this instance had been answered before;\n"
      "* phantoms: it is wrong if its key, version and bytes were never written together.\n\n",
      r.budget_ms);
  text +=
      "After the run and a quiet of 2 D every copy in Redis and in every L1 is compared with its row. Excused, and counted, are "
      "answers of Redis itself (never of L1) while it has two masters or has just lost data, and crossing puts whose version "
      "Redis lost. Without any one of 16 of the library's remedies the same checker reports violations "
      "(`./run stress coherence --self-test`).\n\n";
  return text;
}

std::string results(const ChaosReport& r) {
  std::string text = "## Results\n\n| | |\n|---|---:|\n";
  text += row("reads checked", grouped(r.reads));
  text += row("answered by L1", grouped(r.by_l1));
  text += row("answered by Redis", grouped(r.by_l2));
  text += row("answered by a load", grouped(r.by_loader));
  text += row("not answered (absent, or an error: nobody was told anything untrue)", grouped(r.unanswered));
  text += row("writes acknowledged", grouped(r.writes));
  text += row("of them one by one", grouped(r.writes - std::min(r.writes, r.by_put_many + r.by_erase_many)));
  text += row("of them by put_many, 32 rows a call", grouped(r.by_put_many));
  text += row("of them by erase_many, 32 keys a call", grouped(r.by_erase_many));
  text += row("writes repeated, because a fault left them without an answer", grouped(r.repeated));
  text += row("faults", grouped(r.fault_total()));
  text += row("of them, seen to have had their effect", grouped(r.verified_total()));
  text += row("**violations**", "**" + grouped(r.violations) + "**");
  for (const Verdict v : {Verdict::beyond, Verdict::unread_write, Verdict::phantom})
    text += row("violations: " + std::string(name(v)), grouped(r.violations_by[static_cast<std::size_t>(v)]));
  text += row("stale within the budget", grouped(r.within) + format(", at most %.1f ms", r.max_staleness_ms));
  text += row("excused", grouped(r.excused));
  text += row("copies compared after the quiet", grouped(r.audit_present));
  text += row("of them wrong", grouped(r.audit_wrong));
  text += row("recovery to a valid L1, p50 / p99 / max",
              format("%.0f / %.0f / %.0f ms", r.recovery.p50_ms, r.recovery.p99_ms, r.recovery.max_ms));
  text += row("allowed at p99: two heartbeats and a reconnect", format("%.0f ms", r.recovery_bar_ms));
  text += row("longest without a valid L1 after a heal, also where the next fault interrupted (allowed: 5,000 ms)",
              format("%.0f ms", r.longest_recovery_ms));
  return text + "\n";
}

/// What a count of violations says of their rate; claims no more than the count does.
std::string meaning(const ChaosReport& r) {
  if (r.violations != 0) return "Violations were found: the promise did not hold in this run.\n\n";
  if (r.reads == 0) return "Nothing was read, so nothing is shown.\n\n";
  return format(
      "What the zero means: had each read been wrong with a probability of p, independently, %s reads without a violation "
      "would bound p below %.1e at 95 %% confidence (the rule of three: 3 / reads), for this load and these faults on one "
      "machine. It is no proof, and reads of one moment are not independent.\n\n",
      grouped(r.reads).c_str(), 3.0 / static_cast<double>(r.reads));
}

std::string table_of_faults(const ChaosReport& r) {
  std::string text =
      "## Faults\n\nOne that meets Redis at a time, and meanwhile up to two that meet one instance each. *Verified*: its effect "
      "was "
      "seen in what Redis, the link's proxy, the instance or the kernel says, not only in the call that brought it about. "
      "Recovery: from the heal of the last fault that met an instance until its L1 was valid and stayed so for 0.7 D; 0 where it "
      "never became invalid.\n\n"
      "| fault | what | count | verified | recoveries | p50 ms | p99 ms | max ms |\n|---|---|---:|---:|---:|---:|---:|---:|\n";
  for (const FaultInfo& f : faults) {
    const auto i = static_cast<std::size_t>(f.kind);
    const ChaosReport::Times& t = r.recovery_of[i];
    text += format("| %s | %s | %s | %s | %s | %.0f | %.0f | %.0f |\n", std::string(f.name).c_str(), std::string(f.what).c_str(),
                   grouped(r.fault_counts[i]).c_str(), grouped(r.fault_verified[i]).c_str(), grouped(t.count).c_str(), t.p50_ms,
                   t.p99_ms, t.max_ms);
  }
  text += format("| all | | %s | %s | %s | %.0f | %.0f | %.0f |\n\n", grouped(r.fault_total()).c_str(),
                 grouped(r.verified_total()).c_str(), grouped(r.recovery.count).c_str(), r.recovery.p50_ms, r.recovery.p99_ms,
                 r.recovery.max_ms);
  text += format("%s measurements of recovery were interrupted by the next fault.\n", grouped(r.recovery_interrupted).c_str());
  return text;
}

}  // namespace

std::string ChaosReport::markdown() const {
  std::string text = preface(*this);
  if (!ablated.empty()) text += "The remedy `" + ablated + "` was switched off: this run is to fail.\n\n";
  text += results(*this) + meaning(*this) + table_of_faults(*this);
  const std::vector<std::string> found = findings();
  text += found.empty() ? "\nPassed.\n" : "\nFailed:\n\n";
  for (const std::string& f : found) text += "* " + f + "\n";
  return text;
}

}  // namespace tiercache::chaos
