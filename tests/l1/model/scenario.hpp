// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "world.hpp"

#include <string>
#include <vector>

namespace tiercache::l1::model {

/// What two or three threads do at once, and what must hold while and after. Made anew for each of its thousands of runs.
class Scenario {
 public:
  Scenario() = default;
  virtual ~Scenario() = default;
  Scenario(const Scenario&) = delete;
  Scenario& operator=(const Scenario&) = delete;

  virtual void before() {}
  virtual void thread(unsigned id) = 0;
  virtual void after() { world.check(); }

 protected:
  World world;
};

struct ScenarioInfo {
  const char* name;
  unsigned threads;             ///< 2 or 3
  Scenario* (*make)(void* at);  ///< in memory of at least `scenario_bytes`
  bool complete = false;        ///< so small that all interleavings can be run
};
inline constexpr std::size_t scenario_bytes = std::size_t{64} << 10;

template <class S>
Scenario* make(void* at) {
  static_assert(sizeof(S) <= scenario_bytes);
  return ::new (at) S();
}

[[nodiscard]] std::vector<ScenarioInfo> bucket_scenarios();
[[nodiscard]] std::vector<ScenarioInfo> conditional_scenarios();
[[nodiscard]] std::vector<ScenarioInfo> hazard_scenarios();
[[nodiscard]] std::vector<ScenarioInfo> all_scenarios();
/// Small ones, for the searches that end: two threads, one operation each.
[[nodiscard]] std::vector<ScenarioInfo> small_scenarios();

enum class Search : std::uint8_t {
  random,   ///< `runs` times, with the stops of Pace and one of the two models of the fence at random
  bounded,  ///< all interleavings with at most `bound` switches away from a thread that could have gone on
  full      ///< all interleavings
};

struct Outcome {
  bool passed = false;
  unsigned long long runs = 0;
  std::string what;  ///< of a failure, what relacy calls it
};
struct How {
  Search search = Search::random;
  unsigned long long runs = 0;   ///< random
  unsigned bound = 2;            ///< bounded
  Fences fences = Fences::both;  ///< bounded, full
  bool trace = false;            ///< prints the failing interleaving
};
[[nodiscard]] Outcome run(const ScenarioInfo& scenario, const How& how);

}  // namespace tiercache::l1::model
