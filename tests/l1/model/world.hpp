// SPDX-License-Identifier: Apache-2.0
//
// A table of one bucket over the model checker's memory: the kernels are production's, and around them is what production does
// around them, step by step (store(): Core::store and Core::link, erase() and evict(): Table's, trim(): Arena's, reclaim():
// Core::reclaim), without budget and eviction.
#pragma once

#include "relacy_sync.hpp"

#include <tiercache/l1/bucket.hpp>
#include <tiercache/l1/hazard_kernel.hpp>

#include <cstdint>

namespace tiercache::l1 {

/// Two slots, the first of the first two lines: a checked word is a thousand bytes, and each one that is looked at a step.
template <>
struct BasicBucket<model::RelacySync> {
  using Word = model::Atomic<std::uint64_t>;
  static constexpr unsigned slots[] = {0, words_per_line};

  [[nodiscard]] const Word* line(unsigned first) const noexcept {
    return first < 2 * words_per_line ? words + first / words_per_line : nullptr;
  }
  [[nodiscard]] Word& slot(unsigned i) noexcept { return words[i / words_per_line]; }
  [[nodiscard]] const Word& slot(unsigned i) const noexcept { return words[i / words_per_line]; }
  [[nodiscard]] Word& control() noexcept { return words[2]; }
  [[nodiscard]] const Word& control() const noexcept { return words[2]; }

  Word words[3];
};

}  // namespace tiercache::l1

namespace tiercache::l1::model {

inline constexpr int freed = -1;
inline constexpr int discarded = -2;
[[nodiscard]] constexpr int contents(int key, int version) noexcept { return key * 16 + version; }
[[nodiscard]] constexpr int key_of(int contents) noexcept { return contents / 16; }
[[nodiscard]] constexpr int version_of(int contents) noexcept { return contents % 16; }

/// Odd, as in production.
[[nodiscard]] constexpr std::uint16_t tag_of(int key) noexcept { return static_cast<std::uint16_t>(2 * key + 1); }
[[nodiscard]] constexpr int key_of_tag(std::uint16_t tag) noexcept { return tag / 2; }

struct Entry {
  Plain<int> contents;         ///< key and value; freed once it was freed, discarded once its page was given back
  Atomic<std::uint64_t> link;  ///< as in production: the install sequence, then the next retired
  Atomic<std::uint8_t> flags;
  // What the checks know; no part of the program.
  bool in_use = false;
  bool retired = false;
};

using Buckets = BasicBucket<RelacySync>;
using BucketSteps = Kernel<RelacySync>;
using Hazards = HazardKernel<RelacySync, Entry>;
using Stack = RetiredStack<RelacySync, Entry*>;
using Ready = ReadyStack<RelacySync, Entry*>;
using Bits = BitmapWord<RelacySync>;
using Barriers = BarrierShare<RelacySync>;
using Passages = Passing<RelacySync>;

inline constexpr unsigned op_hazards = 2;
inline constexpr unsigned pin_hazards = 2;
inline constexpr std::uint8_t flag_retired = 0x80;

struct Record {
  Hazards::Slot hazards[op_hazards + pin_hazards];
  BasicDescriptor<RelacySync> descriptor;
  Atomic<std::uint64_t> remote_freed;
  Atomic<std::uint64_t> passed;
  Plain<std::uint64_t> free_pins;

  [[nodiscard]] Hazards::Slot& pin(unsigned i) { return hazards[op_hazards + i]; }
  [[nodiscard]] static constexpr std::uint64_t bit(unsigned pin) noexcept { return std::uint64_t{1} << (op_hazards + pin); }
  // Production has a list of them.
  [[nodiscard]] bool has_free() { return free_pins != 0; }
  void give_back(Hazards::Slot& slot) { free_pins |= std::uint64_t{1} << static_cast<unsigned>(&slot - hazards); }
  void give_back_all(std::uint64_t bits) { free_pins |= bits; }
  void take(unsigned pin) { free_pins &= ~bit(pin); }
  void release(unsigned pin_index, bool own) {
    Hazards::release_pin(
        *this, pin(pin_index), [pin_index] { return bit(pin_index); }, [own] { return own; });
  }
};

struct Overflow {
  Hazards::Slot hazards[op_hazards];
  Atomic<bool> owned;
  Plain<Overflow*> next;
};

/// Steps left out on purpose; the mutation test sets one at a time.
struct Ablation {
  bool bump = false;           ///< erase does not count in the fence
  bool bump_early = false;     ///< erase counts before it looks for the key
  bool bump_apart = false;     ///< erase counts after it unlinked, whatever was installed meanwhile
  bool sequence = false;       ///< a removed entry leaves no sequence behind
  bool careless_fill = false;  ///< a fill looks at the fence and then installs at whatever the control word is by then
  bool careless_test = false;  ///< a conditional store looks at the key once, and then installs whatever it holds by then
  bool leave_pending = false;  ///< a refused fill does not finish the install that it meets
  bool evict_bump = false;     ///< an eviction counts in the fence
  bool impatient = false;      ///< what was sealed is freed before all threads have come by
};
inline Ablation ablation;

/// As in production.
enum class When : std::uint8_t { always, absent, present, same };
/// What has to be true of the key for a store to be done, and what is asked of it.
struct Wanted {
  const std::uint64_t* ticket = nullptr;
  When when = When::always;
  const Entry* same = nullptr;
  unsigned pin = pin_hazards;  ///< a pin on what was stored; pin_hazards: none

  [[nodiscard]] bool met(const Entry* present) const noexcept {
    if (when == When::same) return present != nullptr && present == same;
    return when == When::always || (present != nullptr) == (when == When::present);
  }
};

struct Env;

class World {
 public:
  static constexpr unsigned threads = 3;
  static constexpr unsigned entries_room = 4;

  World();

  // The hazard domain, as the kernel sees it.
  Atomic<std::uint32_t>& records_seen() { return records_seen_; }
  Atomic<std::uint8_t>& ownership(std::uint32_t id) { return ownership_[id]; }
  auto& hazards(std::uint32_t id) { return records[id].hazards; }
  Atomic<std::uint64_t>& passed(std::uint32_t id) { return records[id].passed; }
  Atomic<Overflow*>& overflow_list() { return overflow_list_; }
  Atomic<std::uint64_t>& retired_copies() { return retired_copies_; }
  Overflow* make_overflow();
  void wait_for_overflow();

  /// Only where the scenario claims records itself: nobody has one.
  void abandon_records();

  // What a thread does. `id` is its record.
  /// False: the fence refused it, the key was not as it wants it, or no entry was free.
  bool store(unsigned id, int key, int version, const Wanted& wanted = {});
  /// For before(): a thread replaces the key's entry in slot 0, and stops for good once the control word names its install.
  void stop_in_install(unsigned id, int key, int version);
  /// The kernel's install and nothing around it.
  bool install(unsigned id, std::uint64_t seen, unsigned target, Entry& entry);
  bool erase(unsigned id, int key) { return erase(records[id].hazards, key); }
  bool erase(Hazards::Slot* hazards, int key);
  /// An eviction: no fence is counted.
  bool evict(unsigned id, int key);
  /// 0: a miss.
  int read(unsigned id, int key);
  void reclaim();
  /// Arena::trim of the one word: takes it whole, overwrites what nobody has, gives it back. False: something was taken.
  bool trim();
  bool ticket(std::uint64_t& fence);
  void help(unsigned id);
  /// A pin on the key's entry: its hazard stays. Null: a miss.
  const Entry* find(unsigned id, unsigned pin, int key);
  Hazards::Match locate(int key, Hazards::Slot& hazard);
  /// Reads what a hazard protects.
  static int value(const Entry& entry, int key);

  /// Nobody moves any more: the bucket, the retired and the free entries make sense together.
  void check();
  /// What the bucket holds for the key now; 0: nothing. For after().
  int content(int key);

  Entry* allocate(int key, int version);
  void free(Entry& entry);
  void retire(Entry& entry);
  /// reclaim(), with the barrier of whoever runs one meanwhile. False: nobody did; what is retired stays so.
  bool reclaim_sealed();
  /// The same without any barrier: once all threads have come by. `id`: the thread's own record.
  bool reclaim_passed(unsigned id);
  /// The thread comes by, as production does at the end of each store and erase, and at a miss.
  void pass(unsigned id) { Passages::pass(seals_, records[id].passed); }
  void run_barrier() { static_cast<void>(Barriers::run(barriers_begun_, barriers_ended_)); }
  /// One thread's: what is retired becomes ready, as a scan that found no hazards would have it.
  void make_ready();
  /// Of what is ready one is freed, by that thread. False: none is.
  bool free_ready();
  [[nodiscard]] Entry& entry(unsigned i) { return entries_[i]; }

  Buckets bucket;
  Record records[threads];
  Stack::Head retired;
  Ready::Head ready;

 private:
  void push_retired(Entry& entry);
  bool free_if(bool passed, Entry* list);
  void free_unheld(Entry* list);
  bool unlink(Hazards::Slot* hazards, int key);
  /// Counts, whatever happens; for steps left out.
  void bump(Env& env);
  /// Table::find and Table::visit: the quick way, then the long one.
  const Entry* hit(int key, Hazards::Slot& hazard);

  Entry entries_[entries_room];
  Atomic<std::uint64_t> taken_;  // the arena: a bit for each entry
  Atomic<std::uint32_t> records_seen_;
  Atomic<std::uint8_t> ownership_[threads];
  Atomic<std::uint64_t> retired_copies_;
  Atomic<Overflow*> overflow_list_;
  Barriers::Count barriers_begun_;
  Barriers::Count barriers_ended_;
  Passages::Count seals_;
  Overflow overflows_[2];
  unsigned overflows_made_ = 0;
};

/// The kernel's view of the world in one operation.
struct Env {
  World& world;
  Hazards::Slot* hazards;

  BasicDescriptor<RelacySync>& descriptor(std::uint32_t op) const { return world.records[op - 1].descriptor; }
  void protect(std::uint64_t address) const { Hazards::publish(hazards[1], reinterpret_cast<const Entry*>(address)); }
  void unprotect() const { Hazards::clear(hazards[1]); }
  void retire(std::uint64_t address) const { world.retire(*reinterpret_cast<Entry*>(address)); }
};

/// For scenarios: hands a value from one thread to another. Always as strong as it has to be; no site.
template <class T>
class Channel {
 public:
  Channel() { slot_.store(T{}, rl::mo_relaxed, rl::debug_info("Channel")); }
  void send(T value) { slot_.store(value, rl::mo_release, rl::debug_info("send")); }
  [[nodiscard]] T receive() const { return slot_.load(rl::mo_acquire, rl::debug_info("receive")); }
  // Without any order, for what must come with the order of others.
  void poke(T value) { slot_.store(value, rl::mo_relaxed, rl::debug_info("poke")); }
  [[nodiscard]] T peek() const { return slot_.load(rl::mo_relaxed, rl::debug_info("peek")); }
  [[nodiscard]] T wait() const {
    for (;;) {
      if (const T value = receive(); value != T{}) return value;
      rl::yield(1, rl::debug_info("wait"));
    }
  }

 private:
  rl::atomic<T> slot_;
};

inline void expect(bool condition, const char* what) {
  if (!condition) rl::ctx().fail_test(what, rl::test_result_user_assert_failed, rl::debug_info("expect"));
}

}  // namespace tiercache::l1::model
