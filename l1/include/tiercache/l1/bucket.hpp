// SPDX-License-Identifier: Apache-2.0
//
// The kernel: what happens between threads in one bucket. Templates over the policy, so that the same lines run in production,
// under TSan and under a model checker.
#pragma once

#include <tiercache/l1/words.hpp>

#include <cstdint>

namespace tiercache::l1 {

inline constexpr unsigned slots_per_bucket = 31;
inline constexpr unsigned words_per_bucket = 32;
inline constexpr unsigned words_per_line = 8;
inline constexpr unsigned control_index = 7;
inline constexpr unsigned lines_per_bucket = words_per_bucket / words_per_line;

/// Four neighbouring cache lines: 31 slots, numbered 0 to 31 without 7, and in the place of the seventh the control word of all.
/// A key has a home line, by its hash, and lies in another one only where the home line was full: so a hit reads one line, nearly
/// always, and yet 31 keys share their room. That matters: in a full bucket a newcomer must drive out a neighbour whom the cache
/// as a whole would keep, and at the same load a bucket of 15 slots is full ten times as often.
///
///      line 0: | s0 | s1 | s2 | s3 | s4 | s5 | s6 | control |    lines 1 to 3: | s8 .. s15 |, | s16 .. s23 |, | s24 .. s31 |
template <class Sync>
struct alignas(256) BasicBucket {
  using Word = typename Sync::template atomic<std::uint64_t>;
  Word words[words_per_bucket];

  /// The line that begins at word `first`.
  [[nodiscard]] const Word* line(unsigned first) const noexcept { return words + first; }
  [[nodiscard]] Word& slot(unsigned i) noexcept { return words[i]; }
  [[nodiscard]] const Word& slot(unsigned i) const noexcept { return words[i]; }
  [[nodiscard]] Word& control() noexcept { return words[control_index]; }
  [[nodiscard]] const Word& control() const noexcept { return words[control_index]; }
};
/// The slots in order: for (unsigned i = 0; i < words_per_bucket; i = next_slot(i)).
[[nodiscard]] constexpr unsigned next_slot(unsigned i) noexcept { return i + (i + 1 == control_index ? 2 : 1); }

/// What the one install of a thread that may be in progress does. Written by its owner while no control word names it.
template <class Sync>
struct BasicDescriptor {
  typename Sync::template atomic<std::uint64_t> word{0};  ///< the slot word to install
  typename Sync::template atomic<std::uint64_t> slot{0};  ///< where
};

/// The steps of the protocol. `Env` supplies
///   BasicDescriptor<Sync>& descriptor(op)   the descriptor a control word names
///   void protect(address)                   publishes a hazard, without any barrier
///   void unprotect()                        clears it (release)
///   void retire(address)                    takes an entry that the caller unlinked; no user code may run inside
///
/// Why an install cannot be lost, doubled or applied twice. While a control word names an op, no other install touches the
/// bucket; only removals do. So the op's slot holds one of four words: what the installer found (an entry or an empty word), the
/// empty word that this entry left behind, the new word, or the empty word the new entry left behind. The last two say "applied",
/// and all four differ: entries by address (a helper holds a hazard on the old one, so its address is not used again), empty
/// words by sequence (install() is not entered when the found word's sequence equals the new one, see collides()). A helper that
/// comes late fails its CAS, because none of these words recurs.
///
/// Progress: lock-free. Whoever meets a pending op finishes it.
template <class Sync>
struct Kernel {
  using Bucket = BasicBucket<Sync>;
  using Descriptor = BasicDescriptor<Sync>;

  /// Finishes the op that `seen` names, or finds it finished.
  template <class Env>
  static void help(Bucket& bucket, std::uint64_t seen, Env& env) noexcept {
    Descriptor& descriptor = env.descriptor(control::op(seen));
    // (1) These acquires pair with the release stores (2) of the descriptor's next use: reading a later op's field makes that
    // op's view of this control word visible, and the check (3) fails.
    const std::uint64_t word = descriptor.word.load(Sync::acquire);
    const auto i = static_cast<unsigned>(descriptor.slot.load(Sync::acquire));
    for (;;) {
      // (3) acquire: who finds its own install finished by another sees it in the slot; pairs with (45). Unchanged: word and i
      // belong to the op.
      if (bucket.control().load(Sync::acquire) != seen) break;
      auto& target = bucket.slot(i);
      // (4) acquire: pairs with (5). A word of after the op was settled makes that visible, and the check below fails.
      std::uint64_t found = target.load(Sync::acquire);
      if (found == word || found == slot::empty(control::seq(seen))) {
        settle_control(bucket, seen);
        break;
      }
      if (slot::taken(found)) {
        // The old entry must not be freed and its address used again before the CAS, or the CAS could succeed on another entry.
        env.protect(slot::address(found));
        Sync::light_barrier();
        if (target.load(Sync::hazard_check) != found) continue;
      }
      // Still pending after `found` was read: so `found` was a word of before the install.
      if (bucket.control().load(Sync::acquire) != seen) break;
      const std::uint64_t before = found;
      // (5) release: the entry's contents, which the installer wrote before (6) and this thread acquired with it. No acquire: (4)
      // was one, of this very word.
      if (target.compare_exchange_strong(found, word, Sync::release, Sync::relaxed)) {
        settle_control(bucket, seen);
        if (slot::taken(before)) env.retire(slot::address(before));
        break;
      }
    }
    env.unprotect();
  }

  /// The control word with no op in it; helps until it is so. (7) acquire: all installs of before are visible in the slots.
  template <class Env>
  [[nodiscard]] static std::uint64_t settled(Bucket& bucket, Env& env) noexcept {
    for (;;) {
      const std::uint64_t seen = bucket.control().load(Sync::acquire);
      if (control::op(seen) == 0) [[likely]]
        return seen;
      help(bucket, seen, env);
    }
  }

  /// The fence for a ticket. False: there is none now.
  [[nodiscard]] static bool open_fence(const Bucket& bucket, std::uint64_t& fence) noexcept {
    // (15) acquire: pairs with the releases (6) and (46): the read that follows (L2's) is not moved before, and an erase or a put
    // that counts after this refuses the fill.
    const std::uint64_t word = bucket.control().load(Sync::acquire);
    // A put in progress has bumped the fence already, but a find may have missed what it installs: such a ticket would let older
    // data in behind it. None is given; the fill is refused.
    fence = control::fence(word);
    return control::op(word) == 0;
  }

  /// Counts an invalidation if the control word still is `seen`, from settled(): no op, no install and no invalidation since.
  /// Then what the caller unlinked or did not find since is absent at this very step, which orders the erase among all stores: a
  /// fill whose ticket is older fails from here on, and a store that wants the key to be there finds it gone. False: look again.
  /// Rejected: to count first and then to unlink. A store that found the old entry in between would be installed after it was
  /// unlinked, and outlive the erase.
  [[nodiscard]] static bool bump_fence(Bucket& bucket, std::uint64_t seen) noexcept {
    const std::uint64_t next = control::make(0, control::fence(seen) + 1, control::seq(seen));
    // (46) release: the unlinking, and what the caller did before, for whoever takes a ticket after this, with (15), or looks for
    // the key after (7). No acquire: (7) was one.
    return bucket.control().compare_exchange_strong(seen, next, Sync::release, Sync::relaxed);
  }

  /// True when the empty word that `found` is, or would leave behind, could be taken for the removal of the next install. One in
  /// 2^32: skip_sequence() and look again.
  [[nodiscard]] static bool collides(std::uint64_t seen, std::uint64_t found, std::uint32_t found_seq) noexcept {
    const std::uint64_t left = slot::taken(found) ? slot::empty(found_seq) : found;
    return left == slot::empty(control::seq(seen) + 1);
  }
  static void skip_sequence(Bucket& bucket, std::uint64_t seen) noexcept {
    const std::uint64_t next = control::make(0, control::fence(seen), control::seq(seen) + 1);
    // Relaxed: tells nothing, and a read-modify-write passes on what (6), (45) and (46) released.
    static_cast<void>(bucket.control().compare_exchange_strong(seen, next, Sync::relaxed, Sync::relaxed));
  }

  /// Installs `word` in slot `i` if the control word still is `seen` (no op, no install and no invalidation since), else does
  /// nothing and returns false. The entry must hold control::seq(seen) + 1 already. `op` names `descriptor`, the caller's own.
  /// `invalidates`: a put; outdated fills of before must not follow it.
  template <class Env>
  [[nodiscard]] static bool install(Bucket& bucket, std::uint64_t seen, unsigned i, std::uint64_t word, std::uint32_t op,
                                    Descriptor& descriptor, bool invalidates, Env& env) noexcept {
    descriptor.word.store(word, Sync::release);  // (2) after this thread saw its last op finished
    descriptor.slot.store(i, Sync::release);     // (2)
    const std::uint64_t pending = control::make(op, control::fence(seen) + (invalidates ? 1 : 0), control::seq(seen) + 1);
    // (6) release: descriptor and entry; acquired by helpers with (3) and (7). No acquire: the caller has `seen` from (7).
    if (!bucket.control().compare_exchange_strong(seen, pending, Sync::release, Sync::relaxed)) return false;
    help(bucket, pending, env);
    return true;
  }

  /// Unlinks the entry in `word` from slot `i`. The caller holds a hazard on it. (8) relaxed: a read-modify-write passes on to
  /// (4) what (5) released, and the caller acquired the entry when it took the hazard.
  [[nodiscard]] static bool unlink(Bucket& bucket, unsigned i, std::uint64_t word, std::uint32_t seq) noexcept {
    return bucket.slot(i).compare_exchange_strong(word, slot::empty(seq), Sync::relaxed, Sync::relaxed);
  }

 private:
  static void settle_control(Bucket& bucket, std::uint64_t seen) noexcept {
    std::uint64_t expected = seen;  // failure: another helper was first
    // (45) release: the op is in its slot; pairs with (3), (7) and (15). No acquire: the caller has `seen` from (7), or wrote it.
    static_cast<void>(
        bucket.control().compare_exchange_strong(expected, control::without_op(seen), Sync::release, Sync::relaxed));
  }
};

}  // namespace tiercache::l1
