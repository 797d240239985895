// SPDX-License-Identifier: Apache-2.0
//
// The tests of the eviction policy and its constants: one place for the table and for the shadows that try its window.
#pragma once

#include "sketch.hpp"

#include <cstdint>

namespace tiercache::l1::policy {

/// An entry's use counter stops here; at its most a hit writes nothing.
inline constexpr std::uint8_t used_most = 3;
/// Uses the hand lowers in one go before it takes what it has.
inline constexpr unsigned hand_most = 16;
/// Used entries of the small queue that one miss may put back.
inline constexpr unsigned reinsertions_most = 8;
/// Entries that one miss moves from the small to the main queue while that is below its target: what adaptation asks for
/// migrates gently.
inline constexpr unsigned free_promotions = 2;
/// Halving goes over the sketch little by little, so equally frequent keys differ by as much as 2. With a margin of 1 the
/// keys of a loop drove each other out (.15 hits instead of .22, in a cache of a quarter of the loop).
inline constexpr unsigned estimate_margin = 2;

struct Rival {
  std::uint32_t identity;  // Core::identity()
  std::uint32_t age;       // ticks since it came or was put back
};

/// A key comes back that the small queue let go. It replaces the main queue's victim if it was away for less time than the
/// victim has gone without a use (the test of LIRS, without its stack), unless it is known to be the rarer one: without that
/// a skewed stream pays for each rare key's one quick return.
[[nodiscard]] inline bool returns(const Sketch& sketch, const Rival& newcomer, const Rival& victim,
                                  std::uint64_t entries) noexcept {
  return newcomer.age <= entries + entries / 2 && newcomer.age < victim.age &&
         sketch.estimate(newcomer.identity) >= sketch.estimate(victim.identity);
}

/// The small queue's oldest against the main queue's victim. One that was used since it came goes by age, one that was not
/// by its past.
[[nodiscard]] inline bool replaces(const Sketch& sketch, const Rival& candidate, bool used, const Rival& victim) noexcept {
  return used ? candidate.age < victim.age
              : sketch.estimate(candidate.identity) > sketch.estimate(victim.identity) + estimate_margin;
}

}  // namespace tiercache::l1::policy
