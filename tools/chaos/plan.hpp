// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kinds.hpp"

#include <tiercache/base/lab.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace tiercache::chaos {

/// Whether the instances keep what they missed in Redis's log. A replay makes good what a missing generation, or one read too
/// early, would show.
enum class Log : bool { off, on };

/// A remedy that --ablate can switch off, and the schedule under which a run without it is soon seen to lie: --control runs the
/// same with the remedy in place. New remedies are added here; own_echo and durations are missing, because without them values
/// are only fetched more often, one_server alone, because epochs are distrusted here: server_distrust stands before it, and
/// lease_epoch, because a load that is held up meets an erase and the loss of Redis too rarely: the simulation has that.
struct Ablation {
  std::string_view name;
  std::uint64_t remedies;  ///< bits of lab::Remedy
  FaultSet faults;
  Log log = Log::on;
  double outage_min = 0;      ///< how long faults of an instance last at least, in budgets
  unsigned seconds_max = 20;  ///< for the self-test; some ten times what it usually takes
};

template <class... Remedies>
[[nodiscard]] constexpr std::uint64_t without(Remedies... remedies) noexcept {
  return ((std::uint64_t{1} << static_cast<unsigned>(remedies)) | ...);
}

inline constexpr FaultSet no_faults;
inline constexpr FaultSet link_faults = FaultSet::of(FaultKind::client_kill_pubsub, FaultKind::bus_link_cut);

using lab::Remedy;
inline constexpr std::array ablations{
    Ablation{"lease", without(Remedy::lease), no_faults},
    Ablation{"fence", without(Remedy::fence), no_faults},
    Ablation{"fence-in-install", without(Remedy::fence_in_install), no_faults},
    Ablation{"heartbeat", without(Remedy::heartbeat), FaultSet::of(FaultKind::blackhole_bus, FaultKind::reader_stopped)},
    Ablation{"generation", without(Remedy::generation), link_faults, Log::off},
    // What must meet: a link that is away for longer than the budget; a write early in that time whose key nobody reads again
    // (who finds L1 invalid fetches, and so mends the entry); a read that begins a budget after the write, takes the generation,
    // and is held until the link is back. The readers that are stopped while L1 is invalid (read_probes) do the latter two.
    Ablation{"read-order", without(Remedy::read_order), FaultSet::of(FaultKind::blackhole_bus, FaultKind::links_reset), Log::off,
             1.3, 60},
    Ablation{"atomic-write", without(Remedy::atomic_write), no_faults},
    Ablation{"flight-detach", without(Remedy::flight_detach), no_faults},
    // A reply that reached another caller is most often of another key: the envelope's check, which stands behind this remedy,
    // makes a miss of it. So it goes too; this fault gives it nothing else to find.
    Ablation{"reply-close", without(Remedy::reply_close, Remedy::envelope_check), FaultSet::of(FaultKind::late_answers)},
    Ablation{"epoch-distrust", without(Remedy::epoch_distrust), FaultSet::of(FaultKind::redis_kill_snapshot)},
    // What a server that the bus has not heard from answers is kept out of L1 all the same, and excused where it does not come
    // from L1, for Redis has lost something then: so what keeps it out, and stands behind this remedy, goes too.
    Ablation{"server-distrust", without(Remedy::server_distrust, Remedy::one_server),
             FaultSet::of(FaultKind::redis_kill_snapshot, FaultKind::reader_stopped)},
    Ablation{"clock-on-read", without(Remedy::clock_on_read), FaultSet::of(FaultKind::reader_stopped, FaultKind::instance_stop)},
    Ablation{"envelope-check", without(Remedy::envelope_check), FaultSet::of(FaultKind::flip, FaultKind::foreign_value)},
    Ablation{"version-check", without(Remedy::version_check), no_faults},
    Ablation{"replay", without(Remedy::replay), link_faults},
    Ablation{"late-write", without(Remedy::late_write), FaultSet::of(FaultKind::late_writes)},
};

/// The ablation of exactly that name, else null.
[[nodiscard]] constexpr const Ablation* find_ablation(std::string_view name) noexcept {
  for (const Ablation& a : ablations) {
    if (a.name == name) return &a;
  }
  return nullptr;
}

/// The names that --ablate knows, separated by a comma and a blank.
[[nodiscard]] inline std::string ablation_names() {
  std::string names;
  for (const Ablation& a : ablations) names.append(names.empty() ? "" : ", ").append(a.name);
  return names;
}

}  // namespace tiercache::chaos
