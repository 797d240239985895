// SPDX-License-Identifier: Apache-2.0
//
// The hazard protocol, between threads that read and threads that free. Templates over the policy and the entry's type, as the
// bucket's kernel: production and the model checker run these lines (tests/l1/model).
#pragma once

#include <tiercache/l1/bucket.hpp>

#include <bit>
#include <cstdint>

namespace tiercache::l1 {

/// Who has a record. `record_pins_left`: its thread ended while pins of it lived.
enum Ownership : std::uint8_t { record_unused, record_owned, record_pins_left };

/// `Domain`, where a step wants one, supplies
///   records_seen()      atomic<uint32_t>&: one past the highest record ever owned
///   ownership(id)       atomic<uint8_t>&
///   hazards(id)         a range of Slot
///   overflow_list()     atomic<Overflow*>&; Overflow has hazards[], atomic<bool> owned and Overflow* next
///   passed(id)          atomic<uint64_t>&: see Passing
///   retired_copies()    atomic<uint64_t>&
///   make_overflow()     a new Overflow, owned already; null: none now
///   wait_for_overflow() before it is asked again
///
/// The asymmetric fence makes it work: a reader publishes (41), runs the light barrier, and looks again at where it found the
/// entry (14); who frees unlinks, runs the heavy barrier, or waits for another's (BarrierShare) or for all threads to come by
/// (Passing), and scans (12). Whichever barrier comes first in their one order, either the reader sees the entry unlinked, or the
/// scan sees the hazard.
template <class Sync, class Entry>
struct HazardKernel {
  using Slot = typename Sync::template atomic<const Entry*>;
  using Word = typename Sync::template atomic<std::uint64_t>;

  /// What a bucket's match leaves behind: the entry, with a hazard on it.
  struct Match {
    const Entry* entry = nullptr;
    std::uint64_t word = 0;
    unsigned slot = 0;
  };

  // --- readers -------------------------------------------------------------------------------------------------------------

  /// (41) hazard_store is a release: a scan may read this and not the null that was there before, and must still acquire what
  /// that null released, be it this thread's, or that of a thread that gave the slot back with (10) or (42).
  static void publish(Slot& hazard, const Entry* entry) noexcept { hazard.store(entry, Sync::hazard_store); }

  /// (11) release: all reads of the entry are before; pairs with the scan (12).
  static void clear(Slot& hazard) noexcept { hazard.store(nullptr, Sync::release); }

  /// Publishes the entry in `word`, which was read in `from`. False: `from` has changed, and `word` is what it holds now.
  [[nodiscard, gnu::always_inline]] static bool hold(const Word& from, std::uint64_t& word, const Entry* entry,
                                                     Slot& hazard) noexcept {
    publish(hazard, entry);
    Sync::light_barrier();
    // (14) acquire: the entry's contents; pairs with (5). Unchanged: it was in the table after the hazard was published.
    const std::uint64_t again = from.load(Sync::hazard_check);
    if (again == word) return true;
    word = again;
    return false;
  }

  /// Scans the bucket for an entry of that tag for which `matches`, the line that begins at word `home` first; leaves the hazard
  /// published when found. Wait-free but for slots that others keep changing under it: each retry is another thread's finished
  /// operation. The hazard may stay set on a miss: clear it.
  template <class Matches>
  [[nodiscard, gnu::always_inline]] static Match locate(const BasicBucket<Sync>& bucket, unsigned home, std::uint16_t tag,
                                                        Slot& hazard, Matches&& matches) noexcept {
    for (unsigned turn = 0; turn < words_per_bucket; turn += words_per_line) {
      const unsigned line = home ^ turn;
      for (unsigned mask = Sync::match_tags(bucket.line(line), tag); mask != 0; mask &= mask - 1) {
        if constexpr (Sync::tag_bits == 2) mask &= mask - 1;  // leaves the second bit of the first match
        const unsigned i = line + static_cast<unsigned>(std::countr_zero(mask)) / Sync::tag_bits;
        std::uint64_t word = bucket.slot(i).load(Sync::relaxed);
        while (slot::tag(word) == tag) {
          const Entry* entry = at(word);
          if (!hold(bucket.slot(i), word, entry, hazard)) continue;
          if (matches(*entry)) return {entry, word, i};
          break;
        }
      }
    }
    return {};
  }

  /// What locate() does where nothing is in the way, for the path of a hit: the first match of the tag in the home line is the
  /// one wanted, and nobody changes the slot meanwhile; `at_slot` is its place in the line. Null when anything is not so; then
  /// the hazard may be set. REQUIRES: the fence is asymmetric (Sync::quick()): there is no fence here.
  template <class Matches>
  [[nodiscard, gnu::always_inline]] static const Entry* locate_quick(const Word* line, std::uint16_t tag, Slot& hazard,
                                                                     unsigned& at_slot, Matches&& matches) noexcept {
    const Entry* entry = hold_quick(line, tag, hazard, at_slot);
    if (entry == nullptr) [[unlikely]]
      return nullptr;
    if (!matches(*entry)) [[unlikely]]
      return nullptr;
    return entry;
  }
  /// The first half of it: the first entry of that tag, whichever key it is of, held and not read yet.
  [[nodiscard, gnu::always_inline]] static const Entry* hold_quick(const Word* line, std::uint16_t tag, Slot& hazard,
                                                                   unsigned& at_slot) noexcept {
    const unsigned mask = Sync::match_tags(line, tag);
    if (mask == 0) [[unlikely]]
      return nullptr;
    const auto bit = static_cast<unsigned>(std::countr_zero(mask));
    at_slot = bit / Sync::tag_bits;
    // line[at_slot], without a shift
    const Word& place =
        *reinterpret_cast<const Word*>(reinterpret_cast<const char*>(line) + bit * (sizeof(Word) / Sync::tag_bits));
    const std::uint64_t word = place.load(Sync::relaxed);
    // What came to lie there since the tags were read may be another key's, which `matches` tells.
    if (!slot::taken(word)) [[unlikely]]
      return nullptr;
    const Entry* entry = at(word);
    publish(hazard, entry);
    Sync::quick_barrier();
    // As (14).
    if (place.load(Sync::hazard_check) != word) [[unlikely]]
      return nullptr;
    return entry;
  }

  // --- pins ----------------------------------------------------------------------------------------------------------------

  /// True when the owner has a free pin slot; fetches those that other threads gave back.
  template <class Record>
  [[nodiscard]] static bool has_free_pin(Record& record) noexcept {
    if (record.has_free()) [[likely]]
      return true;
    if (record.remote_freed.load(Sync::relaxed) == 0) return false;
    // (9) acquire: pairs with (10), so that the slot's null is stored before the slot is used again.
    record.give_back_all(record.remote_freed.exchange(0, Sync::acquire));
    return true;
  }

  /// Any thread may release a pin. `own()`: this one has the record. `bit()`: the pin's in remote_freed. Both are asked after the
  /// hazard was cleared, when fewer registers are in use.
  template <class Record, class Bit, class Own>
  static void release_pin(Record& record, Slot& hazard, Bit&& bit, Own&& own) noexcept {
    clear(hazard);
    if (own()) [[likely]] {
      record.give_back(hazard);
    } else {
      record.remote_freed.fetch_or(bit(), Sync::release);  // (10)
    }
  }

  /// Before the scan that may free the entry, in this thread or in one that takes the retired stack with (22). No other thread
  /// writes the flags of an entry that was linked.
  template <class Flags, class Flag>
  static void mark_retired(Flags& flags, Flag retired) noexcept {
    flags.store(static_cast<Flag>(flags.load(Sync::relaxed) | retired), Sync::relaxed);
  }

  /// A second hazard on an entry that has one. A copy can slip through a scan that reads the copy's slot before and the
  /// original's after. A copy of an entry that is not retired yet cannot: the scan comes after the retiring, and its heavy
  /// barrier, or this thread's coming by, after this light one. Copies of retired ones are counted, and a scan during which the
  /// count moved is repeated.
  template <class Flags, class Flag, class Count>
  static void copy(Slot& hazard, const Entry* entry, const Flags& flags, Flag retired, Count& retired_copies) noexcept {
    publish(hazard, entry);
    Sync::light_barrier();
    if ((flags.load(Sync::relaxed) & retired) != 0) {
      // (13) release: a scan that counts this copy from its beginning, with (43), also sees its hazard. A scan that sees the
      // original go, with (12), counts it at its end: it was counted before the original's (11).
      retired_copies.fetch_add(1, Sync::release);
    }
  }

  // --- records -------------------------------------------------------------------------------------------------------------

  template <class Owner>
  [[nodiscard]] static bool claim(Owner& ownership, bool with_pins_left) noexcept {
    std::uint8_t found = ownership.load(Sync::relaxed);
    return found != record_owned && (found == record_unused || with_pins_left) &&
           ownership.compare_exchange_strong(found, record_owned, Sync::acquire, Sync::relaxed);  // pairs with (16)
  }

  /// Before the first hazard of a record: a scan whose heavy barrier comes after that hazard's light one sees the record. (17)
  /// needs no order of its own: the barriers give it, and where there is none, the fence (53).
  template <class Domain>
  static void announce(Domain&& domain, std::uint32_t id) noexcept {
    auto& records_seen = domain.records_seen();
    std::uint32_t seen = records_seen.load(Sync::relaxed);
    while (seen <= id && !records_seen.compare_exchange_weak(seen, id + 1, Sync::relaxed, Sync::relaxed)) {
    }
    Sync::full_fence();  // (53) see (50)
  }

  template <class Domain>
  static void hand_over(Domain&& domain, std::uint32_t id) noexcept {
    bool left = false;
    for (const Slot& hazard : domain.hazards(id)) left = left || hazard.load(Sync::relaxed) != nullptr;
    // (16) release: hands the owner's fields over, and tells a scan that skips the record that its last reads are done.
    domain.ownership(id).store(left ? record_pins_left : record_unused, Sync::release);
  }

  /// Hazards for a thread without a record.
  template <class Domain>
  [[nodiscard]] static auto* overflow_acquire(Domain&& domain) noexcept {
    auto& list = domain.overflow_list();
    for (;;) {
      for (auto* o = list.load(Sync::acquire); o != nullptr; o = o->next) {  // pairs with (44)
        bool expected = false;
        // Acquire: pairs with (42).
        if (!o->owned.compare_exchange_strong(expected, true, Sync::acquire, Sync::relaxed)) continue;
        Sync::full_fence();  // (53)
        return o;
      }
      if (auto* made = domain.make_overflow()) {
        auto* head = list.load(Sync::relaxed);
        do {
          made->next = head;
          // (44) release: `next` of this one. Nobody removes any.
        } while (!list.compare_exchange_weak(head, made, Sync::release, Sync::relaxed));
        Sync::full_fence();  // (53)
        return made;
      }
      domain.wait_for_overflow();
    }
  }
  /// (42) release: the reads under the hazards that were there; pairs with the next owner's acquire.
  template <class Overflow>
  static void overflow_release(Overflow& record) noexcept {
    record.owned.store(false, Sync::release);
  }

  // --- who frees -----------------------------------------------------------------------------------------------------------

  /// Calls `held(entry)` for each hazard there is, once or more. REQUIRES: since the unlinking of what is asked for the heavy
  /// barrier ran, or all threads came by. False: a pin on a retired entry was copied meanwhile, so a hazard may have been missed.
  template <class Domain, class Held>
  [[nodiscard]] static bool scan(Domain&& domain, Held&& held) noexcept {
    auto& retired_copies = domain.retired_copies();
    const std::uint64_t copies = retired_copies.load(Sync::acquire);  // (43) pairs with (13)
    const std::uint32_t seen = domain.records_seen().load(Sync::relaxed);
    for (std::uint32_t id = 0; id < seen; ++id) {
      // Read after that: who claims it later publishes later, and then finds the entry unlinked. Acquire: pairs with
      // (16), for the reads of the thread that had it.
      if (domain.ownership(id).load(Sync::acquire) == record_unused) continue;
      for (const Slot& hazard : domain.hazards(id)) look(hazard, held);
    }
    for (const auto* o = domain.overflow_list().load(Sync::acquire); o != nullptr; o = o->next) {  // pairs with (44)
      for (const Slot& hazard : o->hazards) look(hazard, held);
    }
    return retired_copies.load(Sync::relaxed) == copies;  // after the acquires (12)
  }

 private:
  [[nodiscard]] static const Entry* at(std::uint64_t word) noexcept {
    return reinterpret_cast<const Entry*>(static_cast<std::uintptr_t>(slot::address(word)));  // NOLINT(performance-no-int-to-ptr)
  }

  template <class Held>
  static void look(const Slot& hazard, Held& held) noexcept {
    // (12) acquire: pairs with the releases that clear hazards (11): what the reader read, it read before the entry is freed.
    // hazard_check is at least that.
    if (const Entry* entry = hazard.load(Sync::hazard_check)) held(entry);
  }
};

/// One heavy barrier serves all who unlinked before it began, whoever runs it: it interrupts every processor that the process
/// runs on, so with one for each thread's batch threads would disturb each other the more, the more they are.
template <class Sync>
struct BarrierShare {
  using Count = typename Sync::template atomic<std::uint64_t>;

  /// To be asked for after the unlinking that it is for.
  [[nodiscard]] static std::uint64_t ticket(const Count& begun) noexcept {
    // (47) A barrier that is counted after this load comes after this fence, and so do the readers' fences that it stands for.
    Sync::full_fence();
    return begun.load(Sync::relaxed);
  }
  /// Whether a barrier has ended that began after the ticket was given.
  [[nodiscard]] static bool passed(std::uint64_t ticket, const Count& ended) noexcept {
    return ended.load(Sync::acquire) > ticket;  // (48) pairs with (49)
  }
  /// Runs one. False: it could not be run.
  [[nodiscard]] static bool run(Count& begun, Count& ended) noexcept {
    const std::uint64_t own = begun.fetch_add(1, Sync::relaxed) + 1;
    if (!Sync::heavy_barrier()) return false;
    std::uint64_t latest = ended.load(Sync::relaxed);
    // (49) release: a barrier reaches the threads one after another, and is over for all of them when it is for this one.
    while (latest < own && !ended.compare_exchange_weak(latest, own, Sync::release, Sync::relaxed)) {
    }
    return true;
  }
};

/// Nor is a barrier needed once every thread inside has come by here since the unlinking: with what it published before, the scan
/// sees it, and what it looks at later it finds unlinked. Threads that store or miss come by as they go; for one that only hits,
/// or is stopped, a barrier has to be run.
template <class Sync>
struct Passing {
  using Count = typename Sync::template atomic<std::uint64_t>;

  /// Numbers what was unlinked before.
  [[nodiscard]] static std::uint64_t seal(Count& seals) noexcept {
    // (50) A release for (51). And of a thread that gets a record meanwhile, or borrows hazards: either all_passed() sees it, or
    // that thread's fence (53) comes after this one, and it finds unlinked what is.
    Sync::full_fence();
    return seals.fetch_add(1, Sync::relaxed) + 1;
  }
  /// The calling thread, which has a record, comes by: anywhere in its text but between a light barrier's two sides. Wait-free.
  static void pass(const Count& seals, Count& passed) noexcept {
    const std::uint64_t seen = seals.load(Sync::acquire);  // (51) what was unlinked before those seals; pairs with (50)
    // (52) release: the hazards of before; pairs with (54). Those since the same number was told find unlinked what that seals.
    if (passed.load(Sync::relaxed) != seen) passed.store(seen, Sync::release);
  }
  /// Whether all threads inside have come by since the seal.
  template <class Domain>
  [[nodiscard]] static bool all_passed(Domain&& domain, std::uint64_t seal) noexcept {
    const std::uint32_t seen = domain.records_seen().load(Sync::relaxed);
    for (std::uint32_t id = 0; id < seen; ++id) {
      // Relaxed: of a record without an owner the scan acquires what the last one did, with (16).
      if (domain.ownership(id).load(Sync::relaxed) != record_owned) continue;
      if (domain.passed(id).load(Sync::acquire) < seal) return false;  // (54) pairs with (52)
    }
    for (const auto* o = domain.overflow_list().load(Sync::acquire); o != nullptr; o = o->next) {  // pairs with (44)
      if (o->owned.load(Sync::acquire)) return false;                                              // pairs with (42)
    }
    return true;
  }
};

/// Entries that were unlinked and not freed yet, each known by a handle; a null one is none. Any thread adds to it. Taken as a
/// whole, never one by one: so a recurring head does no harm.
template <class Sync, class Handle>
struct RetiredStack {
  using Head = typename Sync::template atomic<Handle>;

  /// Puts the chain that begins with `first` on top. `link(next)` has its last one lead to `next`.
  template <class Link>
  static void push(Head& head, Handle first, Link&& link) noexcept {
    Handle top = head.load(Sync::relaxed);
    do {
      link(top);
      // (21) release: the chain, and that its entries are unlinked and marked; pairs with the acquire (22).
    } while (!head.compare_exchange_weak(top, first, Sync::release, Sync::relaxed));
  }
  [[nodiscard]] static Handle take(Head& head) noexcept { return head.exchange(Handle{}, Sync::acquire); }  // (22)
};

/// Entries that wait for a barrier; or that a scan of their owner's has found free, and that it frees one by one, as it has use
/// for them. Only the owner adds and pops; any thread may take the whole. So while an owner pops, the head stays, with the whole
/// chain behind it, or it is null: it cannot recur.
template <class Sync, class Handle>
struct ReadyStack {
  using Head = typename Sync::template atomic<Handle>;

  /// REQUIRES: the owner has popped the last. (23) release: passes on what (22) acquired, to (24) of whoever takes them.
  static void put(Head& head, Handle first) noexcept { head.store(first, Sync::release); }
  /// `next(handle)` reads a link, atomically: the memory may be another's already. Null: there is none, or they were taken.
  template <class Next>
  [[nodiscard]] static Handle pop(Head& head, Next&& next) noexcept {
    // Relaxed: what lies there this owner has put there, or the one whose record it took over (16).
    Handle first = head.load(Sync::relaxed);
    if (first == Handle{} || !head.compare_exchange_strong(first, next(first), Sync::relaxed, Sync::relaxed)) return Handle{};
    return first;
  }
  [[nodiscard]] static Handle take(Head& head) noexcept { return head.exchange(Handle{}, Sync::acquire); }  // (24)
};

/// One word of the arena's bitmap.
template <class Sync>
struct BitmapWord {
  using Word = typename Sync::template atomic<std::uint64_t>;

  /// Takes `bits`, none of which is set in `seen`. False: `seen` is the word now.
  [[nodiscard]] static bool take(Word& word, std::uint64_t& seen, std::uint64_t bits) noexcept {
    // (18) acquire: pairs with the release (19): the last owner is done with the memory.
    return word.compare_exchange_weak(seen, seen | bits, Sync::acquire, Sync::relaxed);
  }
  static void give(Word& word, std::uint64_t bits) noexcept { word.fetch_and(~bits, Sync::release); }  // (19)

  /// Takes a word of which nothing is taken, so that nobody takes of it meanwhile. As (18).
  [[nodiscard]] static bool take_all(Word& word) noexcept {
    std::uint64_t none = 0;
    return word.compare_exchange_strong(none, ~std::uint64_t{0}, Sync::acquire, Sync::relaxed);
  }
  /// As (19). What earlier owners released with (19), take_all() acquired: this passes it on.
  static void give_all(Word& word) noexcept { word.store(0, Sync::release); }
};

}  // namespace tiercache::l1
