// SPDX-License-Identifier: Apache-2.0
#include "memory_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace tiercache::demo {
namespace {

Error failed(const char* what) { return {Errc::internal, std::string("shared memory: ") + what + ": " + std::strerror(errno)}; }

Result<std::byte*> map(int fd, std::uint64_t bytes) {
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) return failed("mmap");
  return static_cast<std::byte*>(base);
}

}  // namespace

Result<MemoryFile> MemoryFile::create(const char* name, std::uint64_t bytes) {
  const int fd = memfd_create(name, MFD_CLOEXEC);
  if (fd < 0) return failed("memfd_create");
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    const Error error = failed("ftruncate");
    close(fd);
    return error;
  }
  Result<std::byte*> base = map(fd, bytes);
  if (!base) {
    close(fd);
    return base.error();
  }
  return MemoryFile(*base, bytes, fd);
}

Result<MemoryFile> MemoryFile::attach(int fd, std::uint64_t bytes_min) {
  const off_t bytes = lseek(fd, 0, SEEK_END);
  if (bytes < static_cast<off_t>(bytes_min)) return failed("not a block of ours");
  Result<std::byte*> base = map(fd, static_cast<std::uint64_t>(bytes));
  if (!base) return base.error();
  return MemoryFile(*base, static_cast<std::uint64_t>(bytes), -1);
}

MemoryFile::MemoryFile(MemoryFile&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(other.bytes_), fd_(std::exchange(other.fd_, -1)) {}

MemoryFile::~MemoryFile() {
  if (base_ != nullptr) munmap(base_, bytes_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace tiercache::demo
