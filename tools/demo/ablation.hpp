// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/lab.hpp>

#include <array>
#include <string>
#include <string_view>

namespace tiercache::demo {

/// A check that --ablate can switch off. The only instances are those of `ablations`: who holds a pointer to one holds a known
/// one.
struct Ablation {
  std::string_view name;
  lab::Remedy remedy;
};

inline constexpr std::array<Ablation, 6> ablations{{{"lease", lab::Remedy::lease},
                                                    {"fence", lab::Remedy::fence},
                                                    {"heartbeat", lab::Remedy::heartbeat},
                                                    {"generation", lab::Remedy::generation},
                                                    {"atomic-write", lab::Remedy::atomic_write},
                                                    {"replay", lab::Remedy::replay}}};

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

}  // namespace tiercache::demo
