// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>

#include <cstddef>
#include <cstdint>

namespace tiercache::demo {

/// A file in memory, mapped by the process that made it and by the children that inherit its descriptor. The pages are zero at
/// first and committed as they are touched. Move-only; stays where it is for its life.
class MemoryFile {
 public:
  [[nodiscard]] static Result<MemoryFile> create(const char* name, std::uint64_t bytes);
  /// Maps what create() made in another process. `fd` is not taken over.
  [[nodiscard]] static Result<MemoryFile> attach(int fd, std::uint64_t bytes_min);
  MemoryFile(MemoryFile&& other) noexcept;
  MemoryFile& operator=(MemoryFile&&) = delete;
  ~MemoryFile();

  [[nodiscard]] int fd() const noexcept { return fd_; }  ///< close-on-exec; -1 where it was attached
  [[nodiscard]] std::byte* base() const noexcept { return base_; }
  template <class T>
  [[nodiscard]] T* at(std::uint64_t offset) const noexcept {
    return reinterpret_cast<T*>(base_ + offset);
  }

 private:
  MemoryFile(std::byte* base, std::uint64_t bytes, int fd) noexcept : base_(base), bytes_(bytes), fd_(fd) {}

  std::byte* base_;
  std::uint64_t bytes_;
  int fd_;
};

/// Hands out the places of a block's parts, each at the begin of a cache line.
class Places {
 public:
  std::uint64_t take(std::uint64_t bytes) noexcept {
    const std::uint64_t at = end_;
    end_ = (end_ + bytes + 63) / 64 * 64;
    return at;
  }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return end_; }

 private:
  std::uint64_t end_ = 0;
};

}  // namespace tiercache::demo
