// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "world.hpp"

#include <string>
#include <vector>

namespace tiercache::l1::model {

struct Mutant {
  std::string name;
  Change change = Change::order;
  Order order = Order::relaxed;
};
/// All that are to be caught, or excused, at a site.
[[nodiscard]] std::vector<Mutant> mutants_of(const Site& site);

/// Steps of the kernels whose site mutants_of() was never asked for: the kernel has changed, and the step is to be named anew.
[[nodiscard]] std::vector<std::string> steps_not_met();

/// A mutant that no scenario can catch, and why its order stays as it is.
struct Excuse {
  const char* name;
  const char* reason;
};
[[nodiscard]] const std::vector<Excuse>& excuses();
/// Null: none.
[[nodiscard]] const char* excuse(const std::string& name);

/// A step of an operation around the kernels.
struct Left {
  const char* name;
  bool Ablation::*step;
};
[[nodiscard]] std::vector<Left> steps_left_out();

}  // namespace tiercache::l1::model
