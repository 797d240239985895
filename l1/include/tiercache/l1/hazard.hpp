// SPDX-License-Identifier: Apache-2.0
//
// The process-wide hazard-pointer domain: one record for each thread inside, shared by all tables of the process.
#pragma once

#include <tiercache/l1/bucket.hpp>
#include <tiercache/l1/entry.hpp>
#include <tiercache/l1/hazard_kernel.hpp>
#include <tiercache/l1/sync.hpp>

#include <bit>
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
struct alignas(512) Record {
  HazardSlot hazards[record_hazards];

  // Read by helpers.
  alignas(64) BasicDescriptor<StdSync> descriptor;

  // Written by other threads that destroy this record's pins.
  alignas(64) std::atomic<std::uint32_t> remote_freed{0};

  // The owner's alone; handed over with the record's ownership (hazard.cpp).
  alignas(64) std::uint32_t free_pins = (1U << pin_hazards) - 1;
  std::uint32_t visit_depth = 0;
  std::uint32_t ticks = 0;
  std::uint32_t id = 0;
};
static_assert(sizeof(Record) == 512);

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

[[nodiscard]] inline Record& record_of(const HazardSlot* slot) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(slot) & ~static_cast<std::uintptr_t>(sizeof(Record) - 1);
  return *reinterpret_cast<Record*>(address);  // NOLINT(performance-no-int-to-ptr)
}

/// True when the owner has a free pin slot; fetches those that other threads gave back.
[[nodiscard]] inline bool has_free_pin(Record& record) noexcept { return Hazards::has_free_pin(record); }
/// REQUIRES: has_free_pin(). The slot stays free until take_pin().
[[nodiscard]] inline unsigned free_pin(const Record& record) noexcept {
  return static_cast<unsigned>(std::countr_zero(record.free_pins));
}
inline void take_pin(Record& record, unsigned pin) noexcept { record.free_pins &= ~(1U << pin); }
[[nodiscard]] inline HazardSlot& pin_slot(Record& record, unsigned pin) noexcept {
  return record.hazards[op_hazards + visit_hazards + pin];
}

/// From any thread.
inline void release_pin(HazardSlot* slot) noexcept {
  Record& record = record_of(slot);
  const auto index = static_cast<unsigned>(slot - record.hazards) - op_hazards - visit_hazards;
  Hazards::release_pin(record, *slot, index, &record == tls_record);
}

inline void publish(HazardSlot& slot, std::uint64_t address) noexcept { Hazards::publish(slot, EntryAccess::at(address)); }
inline void clear(HazardSlot& slot) noexcept { Hazards::clear(slot); }

/// Copies of pins on retired entries: see HazardKernel::copy.
extern std::atomic<std::uint64_t> retired_copies;

/// Scans the bucket for the key; leaves the hazard published when found: see HazardKernel::locate.
[[nodiscard]] inline Match locate(const Bucket& bucket, std::uint16_t view, std::string_view key, std::uint64_t hash,
                                  HazardSlot& hazard) noexcept {
  return Hazards::locate(bucket, slot::tag_of_hash(hash), hazard,
                         [&](const Entry& entry) noexcept { return EntryAccess::matches(entry, view, key); });
}

}  // namespace detail

/// A small number of the calling thread, unique among the living threads inside; 1022 when there are more of them than records.
/// For striped counters. Allocates and takes a lock of the C library on a thread's first call.
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

/// True for one in `n` calls of this thread (n a power of two): which hits are sampled. Wait-free, writes the thread's own line.
[[nodiscard]] inline bool sampled(std::uint32_t n) noexcept {
  detail::Record* record = detail::this_record();
  return record != nullptr && (++record->ticks & (n - 1)) == 0;
}

}  // namespace tiercache::l1
