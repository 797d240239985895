// SPDX-License-Identifier: Apache-2.0
#include <tiercache/invalidation/options.hpp>

#include <string>
#include <string_view>

namespace tiercache::invalidation {

Result<void> Options::validate() const {
  using std::chrono::milliseconds;
  const auto bad = [](std::string_view field, std::string_view why) {
    return Error{Errc::invalid_argument, "bus." + std::string(field) + ": " + std::string(why)};
  };
  if (!enabled) return {};
  if (source != Source::bus && source != Source::tracking && source != Source::both)
    return bad("source", "must be bus, tracking or both");
  if (staleness_budget < milliseconds(250) || staleness_budget > std::chrono::hours(1)) {
    return bad("staleness_budget", "must be 250 ms to 1 h");
  }
  if (heartbeat != milliseconds::zero() && (heartbeat < milliseconds(10) || heartbeat > staleness_budget / 3)) {
    return bad("heartbeat", "must be 0 (a fifth of the budget) or 10 ms to a third of the budget");
  }
  if (log_entries != 0 && (log_entries < 64 || log_entries > 1'048'576))
    return bad("log_entries", "must be 0 (no log) or 64 to 1048576");
  return {};
}

}  // namespace tiercache::invalidation
