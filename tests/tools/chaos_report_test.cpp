// SPDX-License-Identifier: Apache-2.0
#include "chaos_report.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace tiercache::chaos {
namespace {

ChaosReport good() {
  ChaosReport r;
  r.seconds = 10;
  r.reads = 1000;
  r.writes = 10;
  r.fault_counts[static_cast<std::size_t>(FaultKind::delay)] = 3;
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

TEST(ChaosReportTest, JsonCountsEachKindAndTellsAViolationsHistory) {
  ChaosReport r = good();
  r.violations = 1;
  r.wrong.push_back({Verdict::beyond, "L1", 1, 2, 3, 4, 600.5, 0.1, "erased", {"version 5 acknowledged before"}});
  const auto j = nlohmann::json::parse(r.json());
  EXPECT_EQ(j["by_fault"].size(), fault_count);
  EXPECT_EQ(j["by_fault"]["delay"]["count"], 3);
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
