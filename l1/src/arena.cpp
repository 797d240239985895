// SPDX-License-Identifier: Apache-2.0
#include "arena.hpp"

#include <tiercache/l1/hazard_kernel.hpp>
#include <tiercache/l1/sync.hpp>

#include <algorithm>
#include <bit>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define TIERCACHE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TIERCACHE_ASAN 1
#endif
#endif
#ifdef TIERCACHE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(p, n) static_cast<void>(0)
#endif

namespace tiercache::l1 {

namespace {

using Bits = BitmapWord<StdSync>;

constexpr std::uint64_t scan_max = 4096;

[[nodiscard]] constexpr std::uint64_t run(unsigned granules) noexcept {
  return granules == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << granules) - 1;
}

/// The bits at which a run of n zeros of `taken` begins.
[[nodiscard]] constexpr std::uint64_t run_starts(std::uint64_t taken, unsigned granules) noexcept {
  std::uint64_t starts = ~taken;
  for (unsigned left = granules; left > 1 && starts != 0;) {
    const unsigned half = left / 2;
    starts &= starts >> half;
    left -= half;
  }
  return starts;
}
static_assert(run_starts(0, 64) == 1 && run_starts(0b1011, 1) == ~std::uint64_t{0b1011});
static_assert(run_starts(~std::uint64_t{0b1110110}, 3) == 0b10000 && run_starts(~std::uint64_t{0b110}, 3) == 0);

}  // namespace

Arena::~Arena() {
  if (base_ != nullptr) ASAN_UNPOISON_MEMORY_REGION(base_, blocks_ * block_bytes);
}

bool Arena::map(std::uint64_t bytes, bool huge_pages) noexcept {
  const std::uint64_t blocks = (bytes + block_bytes - 1) / block_bytes;
  if (!taken_.create(blocks, huge_pages)) return false;
  if (!pages_.map(blocks * block_bytes, huge_pages)) return false;
  base_ = pages_.data();
  blocks_ = blocks;
  ASAN_POISON_MEMORY_REGION(base_, blocks_ * block_bytes);
  return true;
}

void* Arena::allocate(unsigned granules, std::atomic<std::uint64_t>& cursor) noexcept {
  const std::uint64_t begin = cursor.load(std::memory_order_relaxed);
  const std::uint64_t steps = std::min(blocks_, scan_max);
  for (std::uint64_t step = 0; step < steps; ++step) {
    const std::uint64_t block = begin + step < blocks_ ? begin + step : begin + step - blocks_;
    std::uint64_t taken = taken_[block].load(std::memory_order_relaxed);
    for (;;) {
      const std::uint64_t starts = run_starts(taken, granules);
      if (starts == 0) break;
      const int at = std::countr_zero(starts);
      if (Bits::take(taken_[block], taken, run(granules) << at)) {
        if (step != 0) cursor.store(block, std::memory_order_relaxed);
        char* memory = base_ + block * block_bytes + static_cast<std::size_t>(at) * granule_bytes;
        ASAN_UNPOISON_MEMORY_REGION(memory, granules * granule_bytes);
        // Where the next one will most likely lie.
        const std::uint64_t bytes = granules * granule_bytes;
        for (std::uint64_t next = bytes; next < 2 * bytes; next += 64) prefetch_to_write(memory + next);
        return memory;
      }
    }
  }
  // The next search goes on where this one gave up: no region is left out for ever.
  cursor.store((begin + steps) % blocks_, std::memory_order_relaxed);
  return nullptr;
}

void Arena::free(void* memory, unsigned granules) noexcept {
  ASAN_POISON_MEMORY_REGION(memory, granules * granule_bytes);
  const auto granule = static_cast<std::uint64_t>(static_cast<char*>(memory) - base_) / granule_bytes;
  Bits::give(taken_[granule / block_granules], run(granules) << (granule % block_granules));
}

void Arena::trim() noexcept {
  // By pages, since what is left lies scattered; neighbours in one call, but not so many that a thread stopped in here would
  // withhold much.
  constexpr std::uint64_t page_blocks = Pages::page_bytes / block_bytes;
  constexpr std::uint64_t together_max = 64 * 1024 / block_bytes;
  for (std::uint64_t block = 0; block + page_blocks <= blocks_;) {
    std::uint64_t own = 0;
    while (own < together_max && block + own < blocks_ && Bits::take_all(taken_[block + own])) ++own;
    const std::uint64_t whole = own - own % page_blocks;
    if (whole != 0) {
      ASAN_UNPOISON_MEMORY_REGION(base_ + block * block_bytes, whole * block_bytes);
      Pages::discard(base_ + block * block_bytes, whole * block_bytes);
      ASAN_POISON_MEMORY_REGION(base_ + block * block_bytes, whole * block_bytes);
    }
    for (std::uint64_t i = 0; i < own; ++i) Bits::give_all(taken_[block + i]);
    // On at the next page: the block that ended the run is in it, or the run was as long as may be.
    block += own == together_max ? own : whole + page_blocks;
  }
}

std::uint64_t Arena::granules_taken() const noexcept {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < blocks_; ++i) {
    sum += static_cast<std::uint64_t>(std::popcount(taken_[i].load(std::memory_order_relaxed)));
  }
  return sum;
}

bool Arena::marks(const void* memory, unsigned granules) const noexcept {
  const auto offset = static_cast<const char*>(memory) - base_;
  if (offset < 0 || static_cast<std::uint64_t>(offset) >= blocks_ * block_bytes) return false;
  const std::uint64_t granule = static_cast<std::uint64_t>(offset) / granule_bytes;
  const std::uint64_t bits = run(granules) << (granule % block_granules);
  return (taken_[granule / block_granules].load(std::memory_order_relaxed) & bits) == bits;
}

}  // namespace tiercache::l1
