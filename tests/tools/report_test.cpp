// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <set>
#include <string>

namespace tiercache::demo {
namespace {

std::set<std::string> keys_of(const nlohmann::json& j) {
  std::set<std::string> keys;
  for (const auto& [key, value] : j.items()) keys.insert(key);
  return keys;
}

Report sample() {
  Report r;
  r.seconds = 20;
  r.instances = 3;
  r.threads = 4;
  r.budget_ms = 500;
  r.reads = 1000;
  r.writes = 50;
  r.reads_by_l1 = 600;
  r.reads_by_l2 = 100;
  r.db_queries = 350;
  return r;
}

TEST(Report, JsonHasExactlyItsKeys) {
  const std::set<std::string> keys{"seconds",
                                   "instances",
                                   "operations",
                                   "ops_per_second",
                                   "reads_by_l1",
                                   "l1_hit_ratio",
                                   "l2_hit_ratio",
                                   "overall_hit_ratio",
                                   "db_queries",
                                   "db_queries_without_cache",
                                   "errors",
                                   "degraded",
                                   "stale_reads",
                                   "stale_reads_beyond_budget",
                                   "max_staleness_ms",
                                   "lost",
                                   "wrong",
                                   "recovery_ms",
                                   "latency_us",
                                   "bus_lag_us"};
  const nlohmann::json j = nlohmann::json::parse(sample().json());
  EXPECT_EQ(keys_of(j), keys);
  EXPECT_EQ(keys_of(j["latency_us"]), (std::set<std::string>{"l1_hit", "l2_hit", "load"}));
  for (const char* kind : {"l1_hit", "l2_hit", "load"}) {
    EXPECT_EQ(keys_of(j["latency_us"][kind]), (std::set<std::string>{"p50", "p99", "p999"}));
  }
  EXPECT_EQ(keys_of(j["bus_lag_us"]), (std::set<std::string>{"p50", "p99"}));
  EXPECT_EQ(j["operations"], 1050);
  EXPECT_EQ(j["db_queries_without_cache"], 1050);
  EXPECT_DOUBLE_EQ(j["ops_per_second"], 52.5);
  EXPECT_DOUBLE_EQ(j["l1_hit_ratio"], 0.6);
  EXPECT_DOUBLE_EQ(j["l2_hit_ratio"], 0.25);
  EXPECT_DOUBLE_EQ(j["overall_hit_ratio"], 0.7);
  EXPECT_TRUE(j["recovery_ms"].is_null());
}

TEST(Report, ATraceAddsItsFacts) {
  Report r = sample();
  r.trace = {76'118, 20'484, 0.731};
  r.recovery_ms = 12.5;
  const nlohmann::json j = nlohmann::json::parse(r.json());
  EXPECT_EQ(j["requests"], 76'118);
  EXPECT_EQ(j["unique_keys"], 20'484);
  EXPECT_DOUBLE_EQ(j["bound"], 0.731);
  EXPECT_DOUBLE_EQ(j["recovery_ms"], 12.5);
}

TEST(Report, EveryBrokenPromiseFailsTheRun) {
  EXPECT_TRUE(sample().faults_found().empty());
  Report r = sample();
  r.stale_reads = 5;
  r.errors = 5;
  EXPECT_TRUE(r.faults_found().empty()) << "staleness within the budget is promised, errors are shown";
  r = sample();
  r.stale_reads_beyond_budget = 1;
  EXPECT_EQ(r.faults_found().size(), 1U);
  r = sample();
  r.wrong = 1;
  EXPECT_EQ(r.faults_found().size(), 1U);
  r = sample();
  r.lost = 1;
  EXPECT_EQ(r.faults_found().size(), 1U);
}

TEST(Report, AnL1ThatIsBypassedAfterTheKillFailsTheRun) {
  Report r = sample();
  r.l1_ratio_before = 0.6;
  r.l1_ratio_last = 0.31;
  EXPECT_TRUE(r.faults_found().empty());
  r.l1_ratio_last = 0.29;
  EXPECT_EQ(r.faults_found().size(), 1U);
}

TEST(Report, TheTableSaysTheVerdictAndWhy) {
  Report r = sample();
  r.faults = Report::FaultFacts();
  EXPECT_NE(r.table().find("PASSED"), std::string::npos);
  r.lost = 1234;
  r.faults->ablated = "fence";
  const std::string table = r.table();
  EXPECT_NE(table.find("FAILED"), std::string::npos);
  EXPECT_NE(table.find("1,234 acknowledged writes were lost"), std::string::npos);
  EXPECT_NE(table.find("fence"), std::string::npos);
}

TEST(Report, QuantilesOfANanosecondHistogramAreInMicroseconds) {
  Histogram h;
  for (int i = 0; i < 1000; ++i) h.record_us(400);
  const Report::Quantiles q = quantiles(h.snapshot(), 1000);
  EXPECT_GT(q.p50, 0.39);
  EXPECT_LT(q.p999, 0.52);
}

TEST(Report, TextOfAnyLengthIsFormattedWhole) {
  const std::string longer(2000, 'x');
  EXPECT_EQ(format("%s|%d", longer.c_str(), 7), longer + "|7");
  EXPECT_EQ(format("%s", ""), "");
}

TEST(Report, NumbersAreGrouped) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
}

}  // namespace
}  // namespace tiercache::demo
