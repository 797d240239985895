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
#ifndef TIERCACHE_TSAN  // there the hazards themselves are seq_cst, and TSan does not know fences
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
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

namespace {

/// Apart from the records, so that a scan skips the unused ones by reading a few lines.
enum Ownership : std::uint8_t { unused, owned, pins_left };
std::atomic<std::uint8_t> ownership[max_threads];
std::atomic<std::uint32_t> records_seen{0};   // one past the highest record ever owned: what a scan looks at
std::atomic<std::uint32_t> records_owned{0};  // lets threads past the limit give up without a scan
std::atomic<OverflowRecord*> overflow_list{nullptr};
OverflowRecord first_overflow;                 // so that a failing allocator rarely matters
thread_local constinit bool tls_over = false;  // this thread's guard is gone

struct Guard {
  bool armed = false;
  ~Guard() {
    Record* record = std::exchange(tls_record, nullptr);
    tls_quick_record = nullptr;
    tls_over = true;
    if (record == nullptr) return;
    records_owned.fetch_sub(1, std::memory_order_relaxed);
    bool left = false;
    for (const HazardSlot& hazard : record->hazards) left = left || hazard.load(std::memory_order_relaxed) != nullptr;
    ownership[record->id].store(left ? pins_left : unused, std::memory_order_release);  // (16) hands the owner's fields over
  }
};
thread_local Guard guard;

[[nodiscard]] bool claim(std::uint32_t id, bool with_pins_left) noexcept {
  std::uint8_t found = ownership[id].load(std::memory_order_relaxed);
  return found != owned && (found == unused || with_pins_left) &&
         ownership[id].compare_exchange_strong(found, owned, std::memory_order_acquire);  // pairs with (16)
}

}  // namespace

Record* attach() noexcept {
  if (tls_over || records_owned.load(std::memory_order_relaxed) >= max_threads) return nullptr;
  // A record that holds pins of an ended thread is taken only when there is no other.
  for (const bool with_pins_left : {false, true}) {
    for (std::uint32_t id = 0; id < max_threads; ++id) {
      if (!claim(id, with_pins_left)) continue;
      Record& record = records[id];
      records_owned.fetch_add(1, std::memory_order_relaxed);
      record.id = id;
      std::uint32_t seen = records_seen.load(std::memory_order_relaxed);
      // (17) before the first hazard of this record; seen by every scan whose heavy barrier comes after that hazard.
      while (seen <= id && !records_seen.compare_exchange_weak(seen, id + 1, std::memory_order_seq_cst)) {
      }
      guard.armed = true;  // constructs it, so that it is destroyed when the thread ends
      tls_record = &record;
      if (StdSync::quick()) tls_quick_record = &record;
      return &record;
    }
  }
  return nullptr;
}

OverflowRecord* overflow_acquire() noexcept {
  for (;;) {
    for (OverflowRecord* o = overflow_list.load(std::memory_order_acquire); o != nullptr; o = o->next) {
      bool expected = false;
      if (o->owned.compare_exchange_strong(expected, true, std::memory_order_acquire)) return o;
    }
    static std::atomic<bool> first_given{false};
    OverflowRecord* made = first_given.exchange(true) ? new (std::nothrow) OverflowRecord : &first_overflow;
    if (made != nullptr) {
      made->next = overflow_list.load(std::memory_order_relaxed);
      while (!overflow_list.compare_exchange_weak(made->next, made, std::memory_order_seq_cst)) {
      }
      return made;
    }
    // No memory for two words, and 1022 threads inside: the one place that waits for another thread, since an erase may not be
    // dropped.
    std::this_thread::yield();
  }
}

void overflow_release(OverflowRecord& record) noexcept { record.owned.store(false, std::memory_order_release); }

bool HazardScan::collect() noexcept {
  for (unsigned attempt = 0; attempt < 4; ++attempt) {
    const std::uint64_t copies = retired_copies.load(std::memory_order_acquire);
    count_ = 0;
    overflowed_ = false;
    each([this](const Entry* entry) {
      if (count_ < room) found_[count_++] = entry;
      else overflowed_ = true;
    });
    if (retired_copies.load(std::memory_order_acquire) == copies) {
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
  const std::uint64_t copies = retired_copies.load(std::memory_order_acquire);
  each([&held, entry](const Entry* other) { held = held || other == entry; });
  return held || retired_copies.load(std::memory_order_acquire) != copies;
}

template <class F>
void HazardScan::each(F&& f) noexcept {
  // (12) acquire: pairs with the releases that clear hazards (11): what the reader read, it read before the entry is freed.
  // StdSync::hazard_check is at least that.
  const std::uint32_t seen = records_seen.load(std::memory_order_seq_cst);  // after the heavy barrier; (17)
  for (std::uint32_t id = 0; id < seen; ++id) {
    // Read after the heavy barrier: who claims it later publishes later, and then finds the entry unlinked.
    if (ownership[id].load(std::memory_order_acquire) == unused) continue;
    for (const HazardSlot& hazard : records[id].hazards) {
      if (const Entry* entry = hazard.load(StdSync::hazard_check)) f(entry);
    }
  }
  for (const OverflowRecord* o = overflow_list.load(std::memory_order_seq_cst); o != nullptr; o = o->next) {
    for (const HazardSlot& hazard : o->hazards) {
      if (const Entry* entry = hazard.load(StdSync::hazard_check)) f(entry);
    }
  }
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
