// SPDX-License-Identifier: Apache-2.0
#include "mutants.hpp"

namespace tiercache::l1::model {

namespace {

/// Steps of the kernels, by the site that does them.
struct Step {
  const char* site;
  const char* name;
  Change change;
  mutable bool met = false;
};
const Step steps[] = {
    {"help.load#5", "the slot is not looked at again after the hazard", Change::stale},
    {"help.load#6", "the control word is not checked after the slot was read", Change::stale},
    {"hold.load#1", "the slot is not looked at again after the hazard", Change::stale},
    {"hold_quick.load#2", "the slot is not looked at again after the hazard", Change::stale},
    {"take_all.cas#1", "the word is not compared", Change::unconditional},
    {"bump_fence.cas#1", "the control word is not compared", Change::unconditional},
    {"install.cas#1", "the control word is not compared", Change::unconditional},
    {"scan.load#5", "the count of copies is not looked at again", Change::stale},
};

}  // namespace

std::vector<Mutant> mutants_of(const Site& site) {
  std::vector<Mutant> mutants;
  if (site.operation == Operation::fence) {
    mutants.push_back({"dropped", Change::order, Order::relaxed});
    mutants.push_back({"acq_rel", Change::order, Order::acq_rel});
  } else {
    switch (site.order) {
      case Order::relaxed: break;
      case Order::acquire:
      case Order::release: mutants.push_back({"relaxed", Change::order, Order::relaxed}); break;
      case Order::acq_rel:
        mutants.push_back({"acquire", Change::order, Order::acquire});
        mutants.push_back({"release", Change::order, Order::release});
        break;
      case Order::seq_cst:
        mutants.push_back({site.operation == Operation::load    ? "acquire"
                           : site.operation == Operation::store ? "release"
                                                                : "acq_rel",
                           Change::order,
                           site.operation == Operation::load    ? Order::acquire
                           : site.operation == Operation::store ? Order::release
                                                                : Order::acq_rel});
        break;
    }
  }
  const std::string name = sites.name(site);
  for (const Step& step : steps) {
    if (name != step.site) continue;
    step.met = true;
    mutants.push_back({step.name, step.change, site.order});
  }
  return mutants;
}

std::vector<std::string> steps_not_met() {
  std::vector<std::string> names;
  for (const Step& step : steps) {
    if (!step.met) names.push_back(std::string(step.site) + " " + step.name);
  }
  return names;
}

const std::vector<Excuse>& excuses() {
  // What else could not be caught was weakened in the kernels.
  constexpr const char* one_instant = "the model's membarrier reaches all threads at one instant, a real one does not";
  constexpr const char* fenced = "the fence (53) behind it acquires as well; TSan, which knows no fences, needs this";
  static const std::vector<Excuse> list = {{"passed.load#1 relaxed", one_instant},
                                           {"run.cas#1 relaxed", one_instant},
                                           {"claim.cas#1 relaxed", fenced},
                                           {"overflow_acquire.cas#1 relaxed", fenced}};
  return list;
}

const char* excuse(const std::string& name) {
  for (const Excuse& one : excuses()) {
    if (name == one.name) return one.reason;
  }
  return nullptr;
}

std::vector<Left> steps_left_out() {
  return {
      {"erase does not count in the fence", &Ablation::bump},
      {"erase counts before it unlinks, and not again", &Ablation::bump_early},
      {"erase counts after it unlinked, whatever came between", &Ablation::bump_apart},
      {"a removed entry leaves no sequence", &Ablation::sequence},
      {"a fill compares the fence before, not in, the install", &Ablation::careless_fill},
      {"a conditional store looks at the key before, not in, the install", &Ablation::careless_test},
      {"a refused fill leaves the install it meets pending", &Ablation::leave_pending},
      {"an eviction counts in the fence", &Ablation::evict_bump},
      {"what was sealed is freed before all threads have come by", &Ablation::impatient},
  };
}

}  // namespace tiercache::l1::model
