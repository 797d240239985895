// SPDX-License-Identifier: Apache-2.0
//
// What a world is made of, as drawn from its seed.
#pragma once

#include "scheduler.hpp"

#include <tiercache/base/lab.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::sim {

enum class Fault : std::uint8_t {
  server_empty,     ///< killed, back with nothing
  server_snapshot,  ///< killed, back with what it had a while before
  server_stop,      ///< stopped for a while
  promotion,        ///< killed, a replica that lags becomes the master
  demotion,         ///< a replica that lags becomes the master, the old one answers reads for a while to those still connected
  flush,            ///< FLUSHALL
  evict,            ///< some keys go, bookkeeping too
  full,             ///< memory is out for a while
  scripts_lost,     ///< SCRIPT FLUSH
  foreign,          ///< one key's bytes under another key
  crash,            ///< an instance dies and is started again
  pause,            ///< an instance stands still for a while
  data_reset,       ///< an instance's connections for calls are reset
  bus_reset,        ///< its bus connection is
  bus_refused,      ///< its bus connection is reset, and no other can be made for a while
  hold_requests,    ///< what it sends comes late, all of it
  hold_answers,     ///< what it is sent comes late
  hold_bus,         ///< what its bus connection is sent comes late
  half_open,        ///< nothing is heard any more; then the connections are reset
  slow,             ///< each piece takes up to a budget longer
  stuck,            ///< single requests of an instance come late, past those that it sends after them
  slow_loads,
  failing_loads,
};
inline constexpr std::size_t fault_kinds = 23;
[[nodiscard]] std::string_view name(Fault fault) noexcept;

class Faults {
 public:
  constexpr Faults() = default;
  template <class... Kinds>
  constexpr explicit Faults(Fault first, Kinds... rest) : bits_((bit(first) | ... | bit(rest))) {}
  [[nodiscard]] constexpr bool has(Fault f) const noexcept { return (bits_ & bit(f)) != 0; }
  constexpr void add(Fault f) noexcept { bits_ |= bit(f); }
  [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }

 private:
  static constexpr std::uint32_t bit(Fault f) noexcept { return std::uint32_t{1} << static_cast<unsigned>(f); }
  std::uint32_t bits_ = 0;
};

/// A remedy taken out, and the worlds in which that shows soonest.
struct Ablation {
  std::string_view name;
  std::vector<lab::Remedy> remedies;
  Faults faults;           ///< none: as drawn
  int log_entries = -1;    ///< -1: as drawn
  std::uint32_t ways = 0;  ///< bits of Way; 0: as drawn
  double pauses = -1;      ///< how often a flow stands still between two steps; -1: as drawn
  double longest = 0;      ///< how long such a pause may be and leases stand, in budgets; 0: as drawn
};
[[nodiscard]] const std::vector<Ablation>& ablations();
[[nodiscard]] const Ablation* find_ablation(std::string_view name);
/// Remedies whose absence no answer shows, with the reason.
[[nodiscard]] const std::vector<std::pair<std::string_view, std::string_view>>& not_expressed();

struct Plan {
  unsigned instances = 2;
  unsigned sessions = 2;
  std::uint32_t shards = 0;
  std::vector<std::uint8_t> ways;  ///< of each row
  Nanos budget = 0;
  Nanos heartbeat = 0;  ///< 0: the default
  std::uint32_t log_entries = 0;
  bool distrust = true;
  Nanos duration = 0;
  Nanos think = 0;            ///< between two calls of a session, on average
  unsigned write_share = 15;  ///< percent
  std::uint64_t l1_bytes = 0;
  std::uint32_t pool = 2;
  Nanos call_timeout = 0;
  Nanos deadline = 0;
  Nanos gate_ttl = 0;
  Nanos lease_ttl = 0;
  Nanos ttl = 0;
  Nanos l1_ttl = 0;
  Nanos data_least = 0, data_spread = 0, bus_least = 0, bus_spread = 0;
  double pauses = 0;  ///< at each step of a flow, how likely
  Nanos pause_most = 0;
  Nanos replica_lag = 0;
  Faults faults;
  Nanos between_faults = 0;
};
[[nodiscard]] Plan draw_plan(std::uint64_t seed, const Ablation* ablation);
[[nodiscard]] std::string describe(const Plan& plan);

}  // namespace tiercache::sim
