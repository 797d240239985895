// SPDX-License-Identifier: Apache-2.0
#include <tiercache/core/config.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

namespace tiercache {
namespace {

using namespace std::chrono_literals;

TEST(Config, DefaultsAreValid) {
  const Result<void> r = Config{}.validate();
  EXPECT_TRUE(r.ok()) << (r.ok() ? "" : r.error().message);
}

TEST(Config, NamesTheBadField) {
  const std::pair<std::string, std::function<void(Config&)>> cases[] = {
      {"env", [](Config& c) { c.env = "a:b"; }},
      {"resource", [](Config& c) { c.resource.clear(); }},
      {"l1.capacity_bytes", [](Config& c) { c.l1.capacity_bytes = 0; }},
      {"l1.expected_entry_bytes", [](Config& c) { c.l1.expected_entry_bytes = 1; }},
      {"l1.resize_max_bytes", [](Config& c) { c.l1.resize_max_bytes = 1ULL << 50; }},
      {"l1_pressure.headroom", [](Config& c) { c.l1_pressure.headroom = 0; }},
      {"l1_pressure.floor", [](Config& c) { c.l1_pressure.floor = 2; }},
      {"l1_pressure.period", [](Config& c) { c.l1_pressure.period = 1ms; }},
      {"l2.url", [](Config& c) { c.l2.url = "http://x"; }},
      {"l2.pool_size", [](Config& c) { c.l2.pool_size = 0; }},
      {"l2.backoff_max", [](Config& c) { c.l2.backoff_max = 1ms; }},
      {"bus.staleness_budget", [](Config& c) { c.bus.staleness_budget = 10ms; }},
      {"bus.heartbeat", [](Config& c) { c.bus.heartbeat = 1900ms; }},
      {"default_deadline", [](Config& c) { c.default_deadline = 0ms; }},
      {"lease_ttl", [](Config& c) { c.lease_ttl = 1ms; }},
      {"gate_ttl", [](Config& c) { c.gate_ttl = 1ms; }},
      {"tombstone_ttl", [](Config& c) { c.tombstone_ttl = -1ms; }},
      {"open_timeout", [](Config& c) { c.open_timeout = -1ms; }},
      {"max_value_bytes", [](Config& c) { c.max_value_bytes = 0; }},
      {"distrust_other_epochs", [](Config& c) { c.distrust_other_epochs = true, c.bus.enabled = false; }},
  };
  for (const auto& [field, spoil] : cases) {
    Config config;
    spoil(config);
    const Result<void> r = config.validate();
    ASSERT_FALSE(r.ok()) << field;
    EXPECT_EQ(r.error().code, Errc::invalid_argument) << field;
    EXPECT_NE(r.error().message.find(field), std::string::npos) << r.error().message;
  }
}

TEST(Config, KillSwitchMakesTheRestOfL2Irrelevant) {
  Config config;
  config.l2.enabled = false;
  config.l2.url = "nonsense";
  EXPECT_TRUE(config.validate().ok());
}

class FromEnv : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : names) unsetenv(name);
  }
  void TearDown() override { SetUp(); }
  static constexpr const char* names[] = {"REDIS_URL",
                                          "REDIS_HOST",
                                          "REDIS_PORT",
                                          "REDIS_USERNAME",
                                          "REDIS_PASSWORD",
                                          "REDIS_DB",
                                          "REDIS_ENABLED",
                                          "TIERCACHE_ENV",
                                          "TIERCACHE_RESOURCE",
                                          "TIERCACHE_L1_BYTES",
                                          "TIERCACHE_BUDGET_MS",
                                          "TIERCACHE_LOG",
                                          "TIERCACHE_L1_MAX_BYTES",
                                          "TIERCACHE_L1_PRESSURE",
                                          "TIERCACHE_BUS_SOURCE"};
};

TEST_F(FromEnv, WithNothingSetIsTheDefault) {
  const auto config = Config::from_env();
  ASSERT_TRUE(config.ok());
  EXPECT_TRUE(config->l2.enabled);
  EXPECT_EQ(l2::parse_endpoint(config->l2)->peer(), "127.0.0.1:6379");
}

TEST_F(FromEnv, TakesTheParts) {
  setenv("REDIS_HOST", "::1", 1);
  setenv("REDIS_PORT", "7000", 1);
  setenv("REDIS_DB", "3", 1);
  setenv("REDIS_PASSWORD", "p@ss", 1);
  setenv("TIERCACHE_ENV", "prod", 1);
  setenv("TIERCACHE_L1_BYTES", "1048576", 1);
  setenv("TIERCACHE_L1_MAX_BYTES", "2097152", 1);
  setenv("TIERCACHE_L1_PRESSURE", "On", 1);
  setenv("TIERCACHE_BUDGET_MS", "500", 1);
  setenv("TIERCACHE_BUS_SOURCE", "tracking", 1);
  setenv("TIERCACHE_LOG", "debug", 1);
  const auto config = Config::from_env();
  ASSERT_TRUE(config.ok()) << config.error().message;
  const auto endpoint = l2::parse_endpoint(config->l2);
  ASSERT_TRUE(endpoint.ok());
  EXPECT_EQ(endpoint->host, "::1");
  EXPECT_EQ(endpoint->port, 7000);
  EXPECT_EQ(endpoint->db, 3U);
  EXPECT_EQ(endpoint->password, "p@ss");
  EXPECT_EQ(config->env, "prod");
  EXPECT_EQ(config->l1.capacity_bytes, 1048576U);
  EXPECT_EQ(config->l1.resize_max_bytes, 2097152U);
  EXPECT_TRUE(config->l1_pressure.enabled);
  EXPECT_EQ(config->bus.staleness_budget, 500ms);
  EXPECT_EQ(config->bus.source, invalidation::Source::tracking);
  EXPECT_EQ(config->log_level, LogLevel::debug);
}

TEST_F(FromEnv, UrlWinsOverTheParts) {
  setenv("REDIS_URL", "redis://h:1/2", 1);
  setenv("REDIS_HOST", "other", 1);
  const auto config = Config::from_env();
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->l2.url, "redis://h:1/2");
}

TEST_F(FromEnv, KillSwitchWorksWhateverTheRestSays) {
  setenv("REDIS_ENABLED", "0", 1);
  setenv("REDIS_PORT", "abc", 1);
  setenv("REDIS_URL", "nonsense", 1);
  const auto config = Config::from_env();
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_FALSE(config->l2.enabled);
}

TEST_F(FromEnv, NamesTheBadVariable) {
  const std::pair<const char*, const char*> cases[] = {{"REDIS_PORT", "x"},
                                                       {"REDIS_PORT", "70000"},
                                                       {"REDIS_DB", "-1"},
                                                       {"REDIS_ENABLED", "maybe"},
                                                       {"TIERCACHE_L1_BYTES", "1k"},
                                                       {"TIERCACHE_BUDGET_MS", "0.5"},
                                                       {"TIERCACHE_BUDGET_MS", "10"},
                                                       {"REDIS_URL", "foo"},
                                                       {"TIERCACHE_L1_BYTES", "1"},
                                                       {"TIERCACHE_LOG", "loud"},
                                                       {"TIERCACHE_L1_PRESSURE", "a bit"},
                                                       {"TIERCACHE_L1_MAX_BYTES", "-1"},
                                                       {"TIERCACHE_BUS_SOURCE", "redis"}};
  for (const auto& [variable, value] : cases) {
    SetUp();
    setenv(variable, value, 1);
    const auto config = Config::from_env();
    ASSERT_FALSE(config.ok()) << variable;
    EXPECT_NE(config.error().message.find(variable), std::string::npos) << config.error().message;
  }
}

}  // namespace
}  // namespace tiercache
