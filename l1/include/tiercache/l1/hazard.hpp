// SPDX-License-Identifier: Apache-2.0
//
// The process-wide hazard-pointer domain: one record for each thread inside, shared by all tables of the process.
#pragma once

#include <tiercache/l1/bucket.hpp>
#include <tiercache/l1/entry.hpp>
#include <tiercache/l1/hazard_kernel.hpp>
#include <tiercache/l1/sync.hpp>

#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>

namespace tiercache::l1 {

using Bucket = BasicBucket<StdSync>;

namespace detail {

inline constexpr std::uint32_t max_threads = 1022;  // 10 bits of the control word, less 0 and one spare
inline constexpr unsigned op_hazards = 2;           // one for the key looked for, one for helping and for victims
inline constexpr unsigned visit_hazards = 6;        // so deep may visits nest
inline constexpr unsigned pin_hazards = 24;
inline constexpr unsigned record_hazards = op_hazards + visit_hazards + pin_hazards;

using Hazards = HazardKernel<StdSync, Entry>;
using HazardSlot = Hazards::Slot;
using Match = Hazards::Match;

/// A thread's record. Its address is a multiple of its size, so that a pin finds the record by its slot's address. A record
/// whose thread ended with living pins is given to the next thread with those slots taken.
struct alignas(1024) Record {
  HazardSlot hazards[record_hazards];

  // Read by helpers.
  alignas(64) BasicDescriptor<StdSync> descriptor;
  // The last seal that the owner has come by after; read by others once a batch: see Passing.
  std::atomic<std::uint64_t> passed{0};

  // Written by other threads that destroy this record's pins: a bit each, by pin_bit().
  alignas(64) std::atomic<std::uint64_t> remote_freed{0};

  // The owner's alone; handed over with the record's ownership (hazard.cpp).
  alignas(64) HazardSlot* free_pin = nullptr;  // the last that was given back, which leads to the one before
  std::uint32_t visit_depth = 0;
  std::uint32_t id = 0;
  bool prepared = false;
  alignas(512) HazardSlot* next_free[record_hazards] = {};

  [[nodiscard]] bool has_free() const noexcept { return free_pin != nullptr; }
  void give_back(HazardSlot& slot) noexcept {
    assert(free_pin != &slot);
    next_of(slot) = free_pin;
    free_pin = &slot;
  }
  void give_back_all(std::uint64_t bits) noexcept {
    for (; bits != 0; bits &= bits - 1) give_back(hazards[static_cast<unsigned>(std::countr_zero(bits))]);
  }
  /// next_free of a slot of any record.
  [[nodiscard]] static HazardSlot*& next_of(HazardSlot& slot) noexcept {
    return reinterpret_cast<HazardSlot**>(&slot)[next_free_at / sizeof(HazardSlot)];
  }

 private:
  static constexpr std::size_t next_free_at = 512;
};
static_assert(sizeof(Record) == 1024 && offsetof(Record, hazards) == 0 && offsetof(Record, next_free) == 512);

/// Hazards for an erase of a thread that got no record: erase keeps others coherent and is never skipped. Grown on the heap,
/// reused, never freed.
struct OverflowRecord {
  HazardSlot hazards[op_hazards];
  std::atomic<bool> owned{true};
  OverflowRecord* next = nullptr;
};

extern Record records[max_threads];

/// Null until the thread's first operation. Trivial and constant: a read is one instruction. The guard that gives the record
/// back at the thread's end is an object of its own (hazard.cpp).
#if defined(__GNUC__) && defined(__ELF__)
[[gnu::tls_model("initial-exec")]]
#endif
extern thread_local constinit Record* tls_record;

/// Gives the calling thread a record; null when 1022 threads have one, or when the thread is past its thread_local destructors.
[[nodiscard]] Record* attach() noexcept;

[[nodiscard]] inline Record* this_record() noexcept {
  Record* record = tls_record;
  if (record != nullptr) [[likely]]
    return record;
  return attach();
}

/// The calling thread's record for locate_quick(); null: take the long way, which looks after everything.
#if defined(__GNUC__) && defined(__ELF__)
[[gnu::tls_model("initial-exec")]]
#endif
extern thread_local constinit Record* tls_quick_record;
[[nodiscard]] inline Record* quick_record() noexcept { return tls_quick_record; }

[[nodiscard]] inline Record& record_of(const HazardSlot* slot) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(slot) & ~static_cast<std::uintptr_t>(sizeof(Record) - 1);
  return *reinterpret_cast<Record*>(address);  // NOLINT(performance-no-int-to-ptr)
}

/// True when the owner has a free pin slot; fetches those that other threads gave back.
[[nodiscard]] inline bool has_free_pin(Record& record) noexcept { return Hazards::has_free_pin(record); }
/// The hazards of a record are its first words, so the bit of one in remote_freed is told by its address. A shift takes the low
/// six.
[[nodiscard]] inline std::uint64_t pin_bit(const HazardSlot* slot) noexcept {
  return std::uint64_t{1} << ((reinterpret_cast<std::uintptr_t>(slot) / sizeof(HazardSlot)) % 64);
}
/// REQUIRES: has_free_pin(). The slot stays free until take_pin().
[[nodiscard]] inline HazardSlot& free_pin(Record& record) noexcept { return *record.free_pin; }
/// Takes what free_pin() gave. REQUIRES: none was taken or given back since.
inline void take_pin(Record& record, HazardSlot& slot) noexcept { record.free_pin = Record::next_of(slot); }

/// From any thread.
inline void release_pin(HazardSlot* slot) noexcept {
  Record& record = record_of(slot);
  Hazards::release_pin(
      record, *slot, [slot]() noexcept { return pin_bit(slot); }, [&record]() noexcept { return &record == tls_record; });
}

inline void publish(HazardSlot& slot, std::uint64_t address) noexcept { Hazards::publish(slot, EntryAccess::at(address)); }
inline void clear(HazardSlot& slot) noexcept { Hazards::clear(slot); }

/// Copies of pins on retired entries: see HazardKernel::copy.
extern std::atomic<std::uint64_t> retired_copies;

/// The entries that a search wants. No lambdas: some compilers would leave those out of line, and what they capture in memory.
struct SameKey {
  std::uint16_t view;
  std::string_view key;
  [[nodiscard, gnu::always_inline]] bool operator()(const Entry& entry) const noexcept {
    return EntryAccess::matches(entry, view, key);
  }
};
/// Current, too.
struct CurrentKey {
  std::uint16_t view;
  std::string_view key;
  std::uint32_t generation;
  std::int64_t now_ms;
  [[nodiscard, gnu::always_inline]] bool operator()(const Entry& entry) const noexcept {
    return EntryAccess::matches(entry, view, key) && EntryAccess::current(entry, generation, now_ms);
  }
};

/// Scans the bucket for the key, its home line first; leaves the hazard published when found: see HazardKernel::locate. `home` is
/// where it begins: 0, 8, 16 or 24.
[[nodiscard]] inline Match locate(const Bucket& bucket, unsigned home, std::uint16_t view, std::string_view key,
                                  std::uint64_t hash, HazardSlot& hazard) noexcept {
  return Hazards::locate(bucket, home, slot::tag_of_hash(hash), hazard, SameKey{view, key});
}

/// A hit's short way: see HazardKernel::locate_quick. `line` is the home line. REQUIRES: the fence is asymmetric
/// (quick_record()).
[[nodiscard]] inline const Entry* locate_quick(const StdSync::atomic<std::uint64_t>* line, std::uint16_t view,
                                               std::string_view key, std::uint64_t hash, std::uint32_t generation,
                                               std::int64_t now_ms, HazardSlot& hazard, unsigned& at_slot) noexcept {
  return Hazards::locate_quick(line, slot::tag_of_hash(hash), hazard, at_slot, CurrentKey{view, key, generation, now_ms});
}

}  // namespace detail

/// A small number of the calling thread, unique among the living threads inside; 1022 when there are more of them than records.
/// For counters by threads. Allocates and takes a lock of the C library on a thread's first call.
[[nodiscard]] inline std::uint32_t thread_index() noexcept {
  const detail::Record* record = detail::this_record();
  return record != nullptr ? record->id : detail::max_threads;
}
/// True when find() can give the calling thread no pin: all are in use, or there is no record for it.
[[nodiscard]] inline bool pins_exhausted() noexcept {
  detail::Record* record = detail::this_record();
  return record == nullptr || !detail::has_free_pin(*record);
}
[[nodiscard]] constexpr std::uint32_t pins_per_thread() noexcept { return detail::pin_hazards; }

}  // namespace tiercache::l1
