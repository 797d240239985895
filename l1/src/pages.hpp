// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
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

/// Zeroes, as elements of a type for which those are a value. Arrays of 2 MiB and more are in pages of their own, large ones
/// where `huge`: in small pages each access of a table of some megabytes is a miss of the TLB as well.
template <class T>
class ZeroedArray {
 public:
  /// False: no memory.
  [[nodiscard]] bool create(std::uint64_t count, bool huge) noexcept {
    if (count * sizeof(T) >= Pages::huge_bytes) {
      if (!pages_.map(count * sizeof(T), huge)) return false;
      data_ = reinterpret_cast<T*>(pages_.data());
      return true;
    }
    small_.reset(new (std::nothrow) T[count]());
    data_ = small_.get();
    return data_ != nullptr;
  }
  [[nodiscard]] T& operator[](std::uint64_t i) const noexcept { return data_[i]; }

 private:
  Pages pages_;
  std::unique_ptr<T[]> small_;
  T* data_ = nullptr;
};

}  // namespace tiercache::l1
