// SPDX-License-Identifier: Apache-2.0
#include "plan.hpp"

#include "oracle.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>

namespace tiercache::sim {
namespace {

using lab::Remedy;

constexpr std::array<std::string_view, fault_kinds> fault_names{
    "server-empty", "server-snapshot", "server-stop", "promotion", "demotion",   "flush",      "evict",        "full",
    "scripts-lost", "foreign",         "crash",       "pause",     "data-reset", "bus-reset",  "bus-refused",  "hold-requests",
    "hold-answers", "hold-bus",        "half-open",   "slow",      "stuck",      "slow-loads", "failing-loads"};

constexpr std::uint32_t only(std::initializer_list<Way> list) {
  std::uint32_t bits = 0;
  for (const Way way : list) bits |= 1U << static_cast<unsigned>(way);
  return bits;
}

Nanos between(Random& random, Nanos low, Nanos high) {
  return low + static_cast<Nanos>(random.below(static_cast<std::uint64_t>(high - low) + 1));
}
/// As likely between 1 and 2 as between 100 and 200.
Nanos spread(Random& random, Nanos low, Nanos high) {
  return static_cast<Nanos>(static_cast<double>(low) *
                            std::pow(static_cast<double>(high) / static_cast<double>(low), random.unit()));
}

}  // namespace

std::string_view name(Fault fault) noexcept { return fault_names[static_cast<std::size_t>(fault)]; }

const std::vector<Ablation>& ablations() {
  const Faults bus_lost(Fault::bus_reset, Fault::bus_refused);
  static const std::vector<Ablation> all{
      {"lease", {Remedy::lease}, Faults(Fault::slow_loads), -1, only({Way::erase, Way::plain}), 0.1},
      {"lease-epoch", {Remedy::lease_epoch}, Faults(Fault::server_snapshot), -1, only({Way::erase, Way::plain}), 0.1, 4},
      {"fence", {Remedy::fence}, {}, -1, 0, 0.2},
      {"fence-in-install", {Remedy::fence_in_install}, {}, -1, 0, 0.2},
      {"heartbeat", {Remedy::heartbeat}, Faults(Fault::hold_bus), -1, 0, 0},
      {"generation", {Remedy::generation}, bus_lost, 0, 0, 0},
      {"read-order", {Remedy::read_order}, bus_lost, 0, 0, 0.3},
      {"atomic-write", {Remedy::atomic_write}, {}, -1, only({Way::erase, Way::plain}), 0.2},
      {"flight-detach", {Remedy::flight_detach}, Faults(Fault::slow_loads), -1, only({Way::erase, Way::plain}), 0.1},
      {"reply-close", {Remedy::reply_close, Remedy::envelope_check}, Faults(Fault::hold_answers, Fault::slow), -1, 0, 0},
      {"epoch-distrust", {Remedy::epoch_distrust}, Faults(Fault::server_snapshot), -1, 0, 0},
      {"server-distrust", {Remedy::server_distrust}, Faults(Fault::server_snapshot, Fault::hold_bus), -1, 0, 0},
      {"clock-on-read", {Remedy::clock_on_read}, Faults(Fault::hold_bus, Fault::pause), -1, 0, 0},
      {"envelope-check", {Remedy::envelope_check}, Faults(Fault::foreign), -1, 0, 0},
      {"version-check", {Remedy::version_check}, Faults(Fault::hold_requests, Fault::slow), -1, only({Way::versioned}), 0.1},
      {"replay", {Remedy::replay}, bus_lost, 16384, 0, 0},
      {"late-write", {Remedy::late_write}, Faults(Fault::stuck), -1, only({Way::plain, Way::versioned}), 0},
      {"gate", {Remedy::gate}, Faults(Fault::crash, Fault::slow_loads), -1, only({Way::update}), 0.1},
      {"update-end", {Remedy::update_end}, Faults(Fault::pause, Fault::slow_loads), -1, only({Way::update}), 0.1},
      {"tombstone", {Remedy::tombstone}, {}, -1, only({Way::buried}), 0},
      {"as-of-check", {Remedy::as_of_check}, Faults(Fault::hold_bus), -1, 0, 0},
      {"applied-check", {Remedy::applied_check}, Faults(Fault::hold_bus, Fault::slow), -1, 0, 0},
      {"refused-put", {Remedy::refused_put}, Faults(Fault::full), -1, only({Way::plain}), 0},
  };
  return all;
}

const Ablation* find_ablation(std::string_view wanted) {
  for (const Ablation& a : ablations())
    if (a.name == wanted) return &a;
  return nullptr;
}

const std::vector<std::pair<std::string_view, std::string_view>>& not_expressed() {
  static const std::vector<std::pair<std::string_view, std::string_view>> all{
      {"own-echo", "without it values are only fetched more often"},
      {"group-echo", "without it values are only fetched more often, or within the budget"},
      {"durations", "ttls are no part of what the checker judges"},
      {"lease-wait", "without it rows are only loaded more often"},
      {"wake", "without it waiters only wait longer"},
      {"tracking", "the server here does not know client tracking"},
      {"tag-stamp", "the worlds use no tags"},
  };
  return all;
}

Plan draw_plan(std::uint64_t seed, const Ablation* ablation) {
  Random random(mix64(seed ^ 0x91a2));
  Plan p;
  p.instances = 2 + static_cast<unsigned>(std::min(random.below(4), random.below(4)));
  p.sessions = 1 + static_cast<unsigned>(random.below(3));
  p.shards = random.below(5) < 3 ? 0 : static_cast<std::uint32_t>(1 + random.below(3));
  const std::size_t rows = 2 + random.below(7);
  for (std::size_t i = 0; i < rows; ++i) p.ways.push_back(static_cast<std::uint8_t>(random.below(ways)));
  p.budget = spread(random, 250, 2000) * millis;
  p.heartbeat =
      random.below(3) != 0 ? 0 : between(random, std::max<Nanos>(10, p.budget / millis / 20), p.budget / millis / 3) * millis;
  constexpr std::array<std::uint32_t, 5> logs{0, 64, 64, 256, 16384};
  p.log_entries = logs[random.below(logs.size())];
  p.duration = std::clamp<Nanos>(p.budget * between(random, 6, 10), 2000 * millis, 12'000 * millis);
  const Nanos calls = between(random, 60, 400);
  p.think = p.duration / calls;
  p.write_share = static_cast<unsigned>(between(random, 5, 40));
  p.l1_bytes = random.below(4) == 0 ? 48 * 1024 : 256 * 1024;
  p.pool = static_cast<std::uint32_t>(between(random, 1, 4));
  p.call_timeout = std::max<Nanos>(100 * millis, p.budget / between(random, 1, 4));
  p.deadline = std::max<Nanos>(200 * millis, p.budget / between(random, 1, 3));
  p.gate_ttl = between(random, 150, 2000) * millis;
  p.lease_ttl = between(random, 100, 1000) * millis;
  p.ttl = random.below(3) == 0 ? between(random, 300, 5000) * millis : 60'000 * millis;
  p.l1_ttl = random.below(4) == 0 ? between(random, 100, 3000) * millis : 0;
  p.data_least = spread(random, 20, 2000) * micros;
  p.data_spread = spread(random, 20, 10'000) * micros;
  p.bus_least = spread(random, 20, 2000) * micros;
  p.bus_spread = random.below(4) == 0 ? spread(random, 1000, std::max<Nanos>(2000, p.budget / micros / 3)) * micros
                                      : spread(random, 20, 10'000) * micros;
  p.bus_spread = std::min(p.bus_spread, p.call_timeout / 5);  // a bus that cannot be reached in time is no use to anybody
  p.pauses = random.below(3) == 0 ? 0 : random.unit() * 0.15;
  p.pause_most = spread(random, 1, std::max<Nanos>(2, p.budget * 2 / millis)) * millis;
  p.replica_lag = between(random, 0, 100) * millis;
  // Few kinds a world: what they do to each other is seen over many seeds, what one does alone is not drowned.
  const std::size_t kinds = random.below(6);
  for (std::size_t i = 0; i < kinds; ++i) p.faults.add(static_cast<Fault>(random.below(fault_kinds)));
  p.between_faults = p.duration / between(random, 3, 12);
  if (ablation != nullptr) {
    if (!ablation->faults.empty()) p.faults = ablation->faults;
    if (ablation->log_entries >= 0) p.log_entries = static_cast<std::uint32_t>(ablation->log_entries);
    if (ablation->pauses >= 0) p.pauses = ablation->pauses;
    if (ablation->longest > 0) p.pause_most = p.lease_ttl = static_cast<Nanos>(ablation->longest * static_cast<double>(p.budget));
    if (ablation->ways != 0) {
      for (std::uint8_t& way : p.ways)
        while ((ablation->ways >> way & 1U) == 0) way = static_cast<std::uint8_t>(random.below(ways));
    }
    p.instances = std::max(p.instances, 2U);
    p.ttl = 60'000 * millis;
    p.l1_ttl = 0;
    p.between_faults = p.duration / 8;
  }
  // What came back with a snapshot, or with a replica, is to be told from what was stored since.
  const bool forgets = p.faults.has(Fault::server_snapshot) || p.faults.has(Fault::promotion) || p.faults.has(Fault::demotion);
  p.distrust = forgets || random.below(2) == 0;
  return p;
}

std::string describe(const Plan& p) {
  char text[500];
  std::string list;
  for (std::size_t i = 0; i < fault_kinds; ++i)
    if (p.faults.has(static_cast<Fault>(i))) list.append(list.empty() ? "" : ", ").append(fault_names[i]);
  std::string rows;
  for (const std::uint8_t way : p.ways) rows.append(rows.empty() ? "" : ", ").append(name(static_cast<Way>(way)));
  std::snprintf(text, sizeof text,
                "%u instances of %u sessions, shards %u, budget %lld ms, log of %u, %lld ms long, a call each %.1f ms, rows: %s; "
                "steps held up %.2f of the times; faults: %s",
                p.instances, p.sessions, p.shards, static_cast<long long>(p.budget / millis), p.log_entries,
                static_cast<long long>(p.duration / millis), static_cast<double>(p.think) / 1e6, rows.c_str(), p.pauses,
                list.empty() ? "none" : list.c_str());
  return text;
}

}  // namespace tiercache::sim
