// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "pages.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace tiercache::l1 {

/// Memory for entries: one lazily committed mapping, cut into blocks of 64 granules of 32 bytes, one bitmap word a block. n
/// granules are a run of n zero bits within one word, taken by one CAS; freeing clears them. No size classes, so memory never
/// sits in the wrong class, and freed neighbours are one run again at once. All members are lock-free and thread-safe.
class Arena {
 public:
  static constexpr std::size_t granule_bytes = 32;
  static constexpr std::size_t block_granules = 64;
  static constexpr std::size_t block_bytes = granule_bytes * block_granules;

  Arena() noexcept = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// At least `bytes`, rounded up to whole blocks. False: no memory.
  [[nodiscard]] bool map(std::uint64_t bytes, bool huge_pages) noexcept;

  /// 1 <= granules <= 64. Null when no run is found among the next 4096 blocks (all of them in small arenas): full or fragmented.
  /// The bound keeps the work of one put bounded.
  /// `cursor`: where the caller looks first, from start_of(); threads that have their own do not get in each other's way.
  [[nodiscard]] void* allocate(unsigned granules, std::atomic<std::uint64_t>& cursor) noexcept;
  /// Where the n-th of so many begins.
  [[nodiscard]] std::uint64_t start_of(std::uint64_t n, std::uint64_t many) const noexcept { return blocks_ * n / many; }
  void free(void* memory, unsigned granules) noexcept;
  [[nodiscard]] bool contains(const void* memory) const noexcept {
    return reinterpret_cast<std::uintptr_t>(memory) - reinterpret_cast<std::uintptr_t>(base_) < blocks_ * block_bytes;
  }

  /// Gives free pages back to the system. O(blocks); others go on, but for the blocks it looks at just then.
  void trim() noexcept;

  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return blocks_ * sizeof(std::uint64_t); }
  [[nodiscard]] std::uint64_t granules_taken() const noexcept;
  /// True when all these granules are marked taken. For validate().
  [[nodiscard]] bool marks(const void* memory, unsigned granules) const noexcept;

 private:
  Pages pages_;
  char* base_ = nullptr;
  std::uint64_t blocks_ = 0;
  ZeroedArray<std::atomic<std::uint64_t>> taken_;
};

}  // namespace tiercache::l1
