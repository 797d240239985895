// SPDX-License-Identifier: Apache-2.0
#include "chaos_report.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace tiercache::chaos {
namespace {

ChaosReport good() {
  ChaosReport r;
  r.seconds = 10;
  r.reads = 1000;
  r.by_l1 = 900;
  r.writes = 10;
  r.audit_present = 5;
  r.recovery_bar_ms = 700;
  r.fault_counts[static_cast<std::size_t>(FaultKind::delay)] = 3;
  r.fault_verified[static_cast<std::size_t>(FaultKind::delay)] = 2;
  r.recovery_of[static_cast<std::size_t>(FaultKind::delay)] = {3, 1, 2, 3};
  return r;
}

TEST(ChaosReportTest, FailsOnAnyViolationWrongCopyOrLateRecovery) {
  EXPECT_TRUE(good().findings().empty());
  EXPECT_NE(good().table().find("PASSED"), std::string::npos);
  ChaosReport r = good();
  r.violations = 1;
  EXPECT_EQ(r.findings().size(), 1U);
  EXPECT_NE(r.table().find("FAILED"), std::string::npos);
  r = good();
  r.audit_wrong = 1;
  EXPECT_EQ(r.findings().size(), 1U);
  r = good();
  r.audit_errors = 1;
  EXPECT_EQ(r.findings().size(), 1U);
  r = good();
  r.longest_recovery_ms = 5001;
  EXPECT_EQ(r.findings().size(), 1U);
}

// Each of them alone would be a run that cannot fail.
TEST(ChaosReportTest, FailsWhereNothingCouldHaveBeenWrong) {
  ChaosReport r = good();
  r.by_l1 = 0;
  EXPECT_EQ(r.findings().size(), 1U);
  r = good();
  r.writes = 0;
  EXPECT_EQ(r.findings().size(), 1U);
  r = good();
  r.audit_present = 0;
  EXPECT_EQ(r.findings().size(), 1U);
  r = good();
  r.fault_counts[static_cast<std::size_t>(FaultKind::flip)] = 9;
  EXPECT_TRUE(r.findings().empty());
  r.fault_counts[static_cast<std::size_t>(FaultKind::flip)] = 10;
  EXPECT_EQ(r.findings(), std::vector<std::string>{"flip had no effect in 10 tries"});
}

TEST(ChaosReportTest, RecoveryIsHeldAgainstItsBarOnceThereAreEnoughForAQuantile) {
  ChaosReport r = good();
  r.recovery = {299, 10, 701, 701};
  EXPECT_TRUE(r.findings().empty());
  r.recovery.count = 300;
  EXPECT_EQ(r.findings().size(), 1U);
  r.recovery.p99_ms = 700;
  EXPECT_TRUE(r.findings().empty());
}

TEST(ChaosReportTest, MarkdownSaysWhatWasRunAndClaimsNoMoreThanTheCount) {
  ChaosReport r = good();
  r.reads = 100'000'000;
  r.command = "./run stress coherence --minutes 25";
  r.seed = 77;
  r.redis = "7.0.15";
  const std::string text = r.markdown();
  for (const char* part :
       {"\n    ./run stress coherence --minutes 25\n", "seed 77", "Redis 7.0.15", "below 3.0e-08 at 95 %",
        "| delay | each piece is late, by up to a budget | 3 | 2 |", "| **violations** | **0** |", "\nPassed.\n"})
    EXPECT_NE(text.find(part), std::string::npos) << part;
  for (const FaultInfo& f : faults) EXPECT_NE(text.find("| " + std::string(f.name) + " |"), std::string::npos) << f.name;
  r.violations = 2;
  r.violations_by[static_cast<std::size_t>(Verdict::phantom)] = 2;
  EXPECT_NE(r.markdown().find("\nFailed:\n\n* 2 reads broke the promise\n"), std::string::npos);
  EXPECT_EQ(r.markdown().find("would bound"), std::string::npos);
  EXPECT_NE(r.table().find("2 a version that was never written"), std::string::npos);
}

TEST(ChaosReportTest, JsonCountsEachKindAndTellsAViolationsHistory) {
  ChaosReport r = good();
  r.violations = 1;
  r.wrong.push_back({Verdict::beyond, "L1", 1, 2, 3, 4, 600.5, 0.1, "erased", {"version 5 acknowledged before"}});
  const auto j = nlohmann::json::parse(r.json());
  EXPECT_EQ(j["by_fault"].size(), fault_count);
  EXPECT_EQ(j["by_fault"]["delay"]["count"], 3);
  EXPECT_EQ(j["by_fault"]["delay"]["verified"], 2);
  EXPECT_EQ(j["faults_verified"], 2);
  EXPECT_EQ(j["by_fault"]["delay"]["recovery"]["max_ms"], 3.0);
  EXPECT_EQ(j["faults"], 3);
  EXPECT_EQ(j["passed"], false);
  EXPECT_EQ(j["wrong"][0]["key"], 3);
  EXPECT_EQ(j["wrong"][0]["history"][0], "version 5 acknowledged before");
  EXPECT_NE(r.table().find("version 5 acknowledged before"), std::string::npos);
}

TEST(ChaosReportTest, TimesAreExact) {
  std::vector<std::int64_t> ns;
  for (std::int64_t i = 100; i >= 1; --i) ns.push_back(i * 1'000'000);
  const ChaosReport::Times t = times_of(ns);
  EXPECT_EQ(t.count, 100U);
  EXPECT_EQ(t.p50_ms, 51);
  EXPECT_EQ(t.p99_ms, 100);
  EXPECT_EQ(t.max_ms, 100);
  EXPECT_EQ(times_of({}).count, 0U);
}

}  // namespace
}  // namespace tiercache::chaos
