// SPDX-License-Identifier: Apache-2.0
#include <tiercache/core/config.hpp>

#include "key.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <optional>

namespace tiercache {
namespace {

Error bad(std::string_view field, const std::string& what) {
  return Error{Errc::invalid_argument, std::string(field) + ": " + what};
}

std::optional<std::string> env(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): documented, call before threads change the environment
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

Result<std::uint64_t> number(const char* name, const std::string& text, std::uint64_t most) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n > most)
    return bad(name, "must be a whole number up to " + std::to_string(most));
  return n;
}

Result<bool> flag(const char* name, std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (text == "true" || text == "1" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "0" || text == "no" || text == "off") return false;
  return bad(name, "must be true or false");
}

}  // namespace

Result<void> Config::validate() const {
  if (Result<void> r = detail::check_name("env", env); !r) return r;
  if (Result<void> r = detail::check_name("resource", resource); !r) return r;
  if (!instance_name.empty())
    if (Result<void> r = detail::check_name("instance_name", instance_name); !r) return r;
  if (Result<void> r = l1.validate(); !r) return r;
  if (Result<void> r = l1_pressure.validate(); !r) return Error{r.error().code, "l1_" + r.error().message};
  if (l2.enabled) {
    if (Result<void> r = l2.validate(); !r) return r;
    if (Result<void> r = bus.validate(); !r) return r;
  }
  if (distrust_other_epochs && l2.enabled && !bus.enabled)
    return bad("distrust_other_epochs", "needs bus.enabled: the bus tells which epoch is in force");
  if (default_deadline.count() <= 0) return bad("default_deadline", "must be above 0 ms");
  if (lease_ttl.count() < 100) return bad("lease_ttl", "must be at least 100 ms, is " + std::to_string(lease_ttl.count()));
  if (gate_ttl.count() < 100) return bad("gate_ttl", "must be at least 100 ms, is " + std::to_string(gate_ttl.count()));
  if (tombstone_ttl.count() < 0) return bad("tombstone_ttl", "must not be negative");
  if (open_timeout.count() < 0) return bad("open_timeout", "must not be negative");
  if (max_value_bytes == 0) return bad("max_value_bytes", "must be above 0");
  return {};
}

Result<Config> Config::from_env() {
  Config config;
  if (auto v = tiercache::env("REDIS_ENABLED")) {
    const auto enabled = flag("REDIS_ENABLED", *v);
    if (!enabled) return enabled.error();
    config.l2.enabled = *enabled;
  }
  if (!config.l2.enabled) {
    // The kill switch works whatever the rest says.
  } else if (auto v = tiercache::env("REDIS_URL")) {
    config.l2.url = *v;
    if (auto endpoint = l2::parse_endpoint(config.l2); !endpoint) return bad("REDIS_URL", endpoint.error().message);
  } else {
    const std::string host = tiercache::env("REDIS_HOST").value_or("127.0.0.1");
    const std::string port = tiercache::env("REDIS_PORT").value_or("6379");
    if (auto n = number("REDIS_PORT", port, 65535); !n) return std::move(n).error();
    const std::string db = tiercache::env("REDIS_DB").value_or("0");
    if (auto n = number("REDIS_DB", db, 1U << 30); !n) return std::move(n).error();
    const bool v6 = host.find(':') != std::string::npos && host.front() != '[';
    config.l2.url = "redis://" + (v6 ? "[" + host + "]" : host) + ":" + port + "/" + db;
  }
  if (auto v = tiercache::env("REDIS_USERNAME")) config.l2.username = *v;
  if (auto v = tiercache::env("REDIS_PASSWORD")) config.l2.password = *v;
  if (auto v = tiercache::env("TIERCACHE_ENV")) config.env = *v;
  if (auto v = tiercache::env("TIERCACHE_RESOURCE")) config.resource = *v;
  if (auto v = tiercache::env("TIERCACHE_L1_BYTES")) {
    auto n = number("TIERCACHE_L1_BYTES", *v, UINT64_MAX);
    if (!n) return std::move(n).error();
    config.l1.capacity_bytes = *n;
    if (Result<void> r = config.l1.validate(); !r) return bad("TIERCACHE_L1_BYTES", r.error().message);
  }
  if (auto v = tiercache::env("TIERCACHE_L1_MAX_BYTES")) {
    auto n = number("TIERCACHE_L1_MAX_BYTES", *v, UINT64_MAX);
    if (!n) return std::move(n).error();
    config.l1.resize_max_bytes = *n;
    if (Result<void> r = config.l1.validate(); !r) return bad("TIERCACHE_L1_MAX_BYTES", r.error().message);
  }
  if (auto v = tiercache::env("TIERCACHE_L1_PRESSURE")) {
    const auto enabled = flag("TIERCACHE_L1_PRESSURE", *v);
    if (!enabled) return enabled.error();
    config.l1_pressure.enabled = *enabled;
  }
  if (auto v = tiercache::env("TIERCACHE_BUDGET_MS")) {
    auto n = number("TIERCACHE_BUDGET_MS", *v, 3'600'000);
    if (!n) return std::move(n).error();
    config.bus.staleness_budget = std::chrono::milliseconds(*n);
    if (Result<void> r = config.bus.validate(); !r) return bad("TIERCACHE_BUDGET_MS", r.error().message);
  }
  if (auto v = tiercache::env("TIERCACHE_BUS_SOURCE")) {
    constexpr std::string_view names[] = {"bus", "tracking", "both"};
    const auto it = std::find(std::begin(names), std::end(names), *v);
    if (it == std::end(names)) return bad("TIERCACHE_BUS_SOURCE", "must be bus, tracking or both");
    config.bus.source = static_cast<invalidation::Source>(it - std::begin(names));
  }
  if (auto v = tiercache::env("TIERCACHE_LOG")) {
    constexpr std::string_view names[] = {"debug", "info", "warn", "error", "off"};
    const auto it = std::find(std::begin(names), std::end(names), *v);
    if (it == std::end(names)) return bad("TIERCACHE_LOG", "must be debug, info, warn, error or off");
    config.log_level = static_cast<LogLevel>(it - std::begin(names));
  }
  if (Result<void> r = config.validate(); !r) return std::move(r).error();
  return config;
}

}  // namespace tiercache
