// SPDX-License-Identifier: Apache-2.0
#include "domain.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <thread>
#include <utility>

namespace tiercache::l1 {

bool StdSync::heavy_barrier() noexcept {
  full_fence();
  if (!asymmetric.load(std::memory_order_relaxed)) return true;
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void StdSync::prepare() noexcept {
  const long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  const bool offered = commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
  if (offered && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0) {
    asymmetric.store(true, std::memory_order_relaxed);  // readers see it with the table they were handed
  }
}

namespace detail {

Record records[max_threads];
thread_local constinit Record* tls_record = nullptr;
thread_local constinit Record* tls_quick_record = nullptr;
std::atomic<std::uint64_t> retired_copies{0};
Seals seals;

namespace {

/// Ownership is apart from the records, so that a scan skips the unused ones by reading a few lines.
std::atomic<std::uint8_t> ownership[max_threads];
std::atomic<std::uint32_t> records_seen{0};
std::atomic<std::uint32_t> records_owned{0};  // lets threads past the limit give up without a scan
std::atomic<OverflowRecord*> overflow_list{nullptr};
OverflowRecord first_overflow;                 // so that a failing allocator rarely matters
thread_local constinit bool tls_over = false;  // this thread's guard is gone

using Barriers = BarrierShare<StdSync>;
alignas(64) Barriers::Count barriers_begun{0};
alignas(64) Barriers::Count barriers_ended{0};

/// The kernel's view of the process.
struct Domain {
  static std::atomic<std::uint32_t>& records_seen() noexcept { return detail::records_seen; }
  static std::atomic<std::uint8_t>& ownership(std::uint32_t id) noexcept { return detail::ownership[id]; }
  static const auto& hazards(std::uint32_t id) noexcept { return records[id].hazards; }
  static const std::atomic<std::uint64_t>& passed(std::uint32_t id) noexcept { return records[id].passed; }
  static std::atomic<OverflowRecord*>& overflow_list() noexcept { return detail::overflow_list; }
  static std::atomic<std::uint64_t>& retired_copies() noexcept { return detail::retired_copies; }
  static OverflowRecord* make_overflow() noexcept {
    static std::atomic<bool> first_given{false};
    return first_given.exchange(true) ? new (std::nothrow) OverflowRecord : &first_overflow;
  }
  /// No memory for two words, and 1022 threads inside: the one place that waits for another thread, since an erase may not be
  /// dropped.
  static void wait_for_overflow() noexcept { std::this_thread::yield(); }
};

struct Guard {
  bool armed = false;
  ~Guard() {
    Record* record = std::exchange(tls_record, nullptr);
    tls_quick_record = nullptr;
    tls_over = true;
    if (record == nullptr) return;
    records_owned.fetch_sub(1, std::memory_order_relaxed);
    Hazards::hand_over(Domain{}, record->id);
  }
};
thread_local Guard guard;

}  // namespace

Record* attach() noexcept {
  if (tls_over || records_owned.load(std::memory_order_relaxed) >= max_threads) return nullptr;
  // A record that holds pins of an ended thread is taken only when there is no other.
  for (const bool with_pins_left : {false, true}) {
    for (std::uint32_t id = 0; id < max_threads; ++id) {
      if (!Hazards::claim(ownership[id], with_pins_left)) continue;
      Record& record = records[id];
      records_owned.fetch_add(1, std::memory_order_relaxed);
      record.id = id;
      if (!std::exchange(record.prepared, true)) {
        record.give_back_all(((std::uint64_t{1} << pin_hazards) - 1) << (op_hazards + visit_hazards));
      }
      Hazards::announce(Domain{}, id);
      guard.armed = true;  // constructs it, so that it is destroyed when the thread ends
      tls_record = &record;
      if (StdSync::quick()) tls_quick_record = &record;
      return &record;
    }
  }
  return nullptr;
}

OverflowRecord* overflow_acquire() noexcept { return Hazards::overflow_acquire(Domain{}); }
void overflow_release(OverflowRecord& record) noexcept { Hazards::overflow_release(record); }

Seal seal() noexcept { return {Barriers::ticket(barriers_begun), Passing<StdSync>::seal(seals.last)}; }
bool served(const Seal& seal) noexcept {
  return Barriers::passed(seal.barriers, barriers_ended) || Passing<StdSync>::all_passed(Domain{}, seal.number);
}
bool run_barrier() noexcept { return Barriers::run(barriers_begun, barriers_ended); }

bool HazardScan::collect() noexcept {
  for (unsigned attempt = 0; attempt < 4; ++attempt) {
    count_ = 0;
    overflowed_ = false;
    const bool complete = Hazards::scan(Domain{}, [this](const Entry* entry) {
      if (count_ < room) found_[count_++] = entry;
      else overflowed_ = true;
    });
    if (complete) {
      std::sort(found_, found_ + count_);
      return true;
    }
  }
  return false;
}

bool HazardScan::holds(const Entry* entry) const noexcept {
  if (std::binary_search(found_, found_ + count_, entry)) return true;
  if (!overflowed_) return false;
  bool held = false;
  const bool complete = Hazards::scan(Domain{}, [&held, entry](const Entry* other) { held = held || other == entry; });
  return held || !complete;
}

bool operation_hazards_clear() noexcept {
  const std::uint32_t seen = records_seen.load();
  for (std::uint32_t id = 0; id < seen; ++id) {
    for (unsigned i = 0; i < op_hazards + visit_hazards; ++i) {
      if (records[id].hazards[i].load() != nullptr) return false;
    }
  }
  for (const OverflowRecord* o = overflow_list.load(); o != nullptr; o = o->next) {
    if (o->owned.load() || o->hazards[0].load() != nullptr || o->hazards[1].load() != nullptr) return false;
  }
  return true;
}

}  // namespace detail
}  // namespace tiercache::l1
