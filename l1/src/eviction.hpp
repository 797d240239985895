// SPDX-License-Identifier: Apache-2.0
//
// Who has to go, and whether a newcomer is worth it: the replaceable policy. Nothing else knows of use counters or the hand.
#pragma once

#include <tiercache/l1/hazard.hpp>

#include <atomic>
#include <cstdint>

namespace tiercache::l1 {

struct Core;
class Op;

enum class Room : std::uint8_t { made, not_hot, none };

/// Approximate LRU: CLOCK over the buckets with a 2-bit counter an entry. The hand frees void entries (expired, or of an older
/// generation) wherever it passes, takes an entry that was not used since its last round, and lowers the counters of the others.
/// A fill must besides be asked for more often than its victim (TinyLFU); a put need not.
///
/// A little of the capacity is kept free of live entries, as much as may be retired at a time; so in the steady state each store
/// evicts what it needs and every fill meets a victim to be compared with, although memory comes back in batches.
class Eviction {
 public:
  void open(std::uint64_t live_max) noexcept { live_max_ = live_max; }

  /// Reserves `bytes` and one object in the budget, evicting in bounded work. `candidate`: the hash of a fill that has to pass
  /// admission; null for puts and replacements. On anything but `made` nothing is reserved.
  [[nodiscard]] Room make_room(Core& core, Op& op, std::uint64_t bytes, const std::uint64_t* candidate) noexcept;

  /// Empties a slot of a full bucket: a void entry if there is one, else the least used.
  [[nodiscard]] Room make_slot(Core& core, Op& op, Bucket& bucket, const std::uint64_t* candidate) noexcept;

  /// A new entry's use counter: it survives the hand's next pass.
  static constexpr std::uint8_t initial_freq = 1;

 private:
  struct Victim {
    Bucket* bucket = nullptr;
    const Entry* entry = nullptr;  // held by the op's other hazard
    std::uint64_t word = 0;
    unsigned slot = 0;
    std::uint8_t freq = 0;  // its use counter before the hand lowered it
  };

  /// `freed` tells how many void entries went on the way; then there may be no victim, and the budget wants another look.
  [[nodiscard]] Victim pick(Core& core, Op& op, std::int64_t now_ms, unsigned& freed) noexcept;
  [[nodiscard]] static Victim coldest(Core& core, Op& op, Bucket& bucket, unsigned first, bool age, std::int64_t now_ms,
                                      unsigned& freed) noexcept;
  [[nodiscard]] static bool hold(Op& op, Bucket& bucket, unsigned slot, Victim& out) noexcept;
  [[nodiscard]] static bool admitted(const Core& core, std::uint64_t candidate, const Entry& victim) noexcept;
  static bool evict(Core& core, const Victim& victim) noexcept;

  std::uint64_t live_max_ = 0;
  alignas(64) std::atomic<std::uint64_t> hand_{0};
};

}  // namespace tiercache::l1
