// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kinds.hpp"

#include <tiercache/base/lab.hpp>

#include <array>
#include <string>
#include <string_view>

namespace tiercache::chaos {

/// A remedy that --ablate can switch off, and the faults under which a run without it is soon seen to lie. New remedies are added
/// here; own_echo and durations are missing, because without them values are only fetched more often.
struct Ablation {
  std::string_view name;
  lab::Remedy remedy;
  FaultSet faults;
};

inline constexpr FaultSet no_faults;
inline constexpr FaultSet link_faults = FaultSet::of(FaultKind::client_kill_pubsub, FaultKind::bus_link_cut);

inline constexpr std::array<Ablation, 13> ablations{{
    {"lease", lab::Remedy::lease, no_faults},
    {"fence", lab::Remedy::fence, no_faults},
    {"fence-in-install", lab::Remedy::fence_in_install, no_faults},
    {"heartbeat", lab::Remedy::heartbeat, FaultSet::of(FaultKind::blackhole_bus, FaultKind::reader_stopped)},
    {"generation", lab::Remedy::generation, link_faults},
    {"atomic-write", lab::Remedy::atomic_write, no_faults},
    {"flight-detach", lab::Remedy::flight_detach, no_faults},
    {"reply-close", lab::Remedy::reply_close, FaultSet::of(FaultKind::redis_stop, FaultKind::delay)},
    {"epoch-distrust", lab::Remedy::epoch_distrust, FaultSet::of(FaultKind::redis_kill_snapshot)},
    {"clock-on-read", lab::Remedy::clock_on_read, FaultSet::of(FaultKind::reader_stopped, FaultKind::instance_stop)},
    {"envelope-check", lab::Remedy::envelope_check, FaultSet::of(FaultKind::flip, FaultKind::foreign_value)},
    {"version-check", lab::Remedy::version_check, FaultSet::of(FaultKind::instance_stop, FaultKind::delay)},
    {"late-write", lab::Remedy::late_write, FaultSet::of(FaultKind::delay, FaultKind::redis_stop)},
}};

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
