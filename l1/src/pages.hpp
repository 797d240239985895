// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace tiercache::l1 {

/// Zeroed pages straight from the kernel: reserved at once, committed when first touched, given back by advice. Not thread-safe
/// but for discard().
class Pages {
 public:
  static constexpr std::uint64_t page_bytes = 4096;
  static constexpr std::uint64_t huge_bytes = 2 << 20;

  Pages() noexcept = default;
  Pages(Pages&& o) noexcept
      : raw_(std::exchange(o.raw_, nullptr)),
        raw_bytes_(std::exchange(o.raw_bytes_, 0)),
        data_(std::exchange(o.data_, nullptr)) {}
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() {
    if (raw_ != nullptr) munmap(raw_, raw_bytes_);
  }

  /// `huge`: ask for pages of 2 MiB, which spare a hit in a large table its misses of the TLB; advice, which the system may not
  /// follow. False: no address space.
  [[nodiscard]] bool map(std::uint64_t bytes, bool huge) noexcept {
    huge = huge && bytes >= huge_bytes;
    raw_bytes_ = bytes + (huge ? huge_bytes : 0);
    void* memory = mmap(nullptr, raw_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    raw_ = static_cast<char*>(memory);
    data_ = raw_;
    if (huge) {
      data_ += (huge_bytes - reinterpret_cast<std::uintptr_t>(raw_) % huge_bytes) % huge_bytes;
      static_cast<void>(madvise(data_, bytes, MADV_HUGEPAGE));
    }
    return true;
  }
  [[nodiscard]] char* data() const noexcept { return data_; }

  /// Gives the whole pages of a range back; they read as zero when touched again. REQUIRES: nobody uses them meanwhile.
  static void discard(char* from, std::uint64_t bytes) noexcept { static_cast<void>(madvise(from, bytes, MADV_DONTNEED)); }

 private:
  char* raw_ = nullptr;
  std::uint64_t raw_bytes_ = 0;
  char* data_ = nullptr;
};

}  // namespace tiercache::l1
