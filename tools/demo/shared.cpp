// SPDX-License-Identifier: Apache-2.0
#include "shared.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

namespace tiercache::demo {
namespace {

// 4 million chunks are 512 MB of address space: the writes of hours. Only what is used takes memory.
constexpr std::uint64_t chunk_count = 1U << 22;

Error failed(const char* what) { return {Errc::internal, std::string("shared memory: ") + what + ": " + std::strerror(errno)}; }

Result<std::byte*> map(int fd, std::uint64_t bytes) {
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) return failed("mmap");
  return static_cast<std::byte*>(base);
}

}  // namespace

Result<SharedBlock> SharedBlock::create(const Settings& settings, const std::function<std::uint32_t(std::uint32_t)>& size_of,
                                        std::span<const std::uint32_t> requests) {
  std::uint64_t end = 0;
  const auto place = [&end](std::uint64_t bytes) {
    const std::uint64_t at = end;
    end = (end + bytes + 63) / 64 * 64;
    return at;
  };
  const std::uint64_t keys = std::uint64_t{settings.keys} + settings.probes;
  const std::uint64_t slots = settings.threads + (settings.probes != 0 ? probe_readers + 1 : 0);
  place(sizeof(SharedHeader));
  const std::uint64_t instances_at = place(settings.instances * sizeof(InstanceBlock));
  const std::uint64_t slots_at = place(settings.instances * slots * sizeof(ThreadSlot));
  const std::uint64_t keys_at = place(keys * sizeof(KeyState));
  const std::uint64_t requests_at = place(requests.size_bytes());
  const std::uint64_t chunks_at = place(chunk_count * sizeof(AckChunk));

  const int fd = memfd_create("tiercache-demo", MFD_CLOEXEC);
  if (fd < 0) return failed("memfd_create");
  if (ftruncate(fd, static_cast<off_t>(end)) != 0) {
    const Error error = failed("ftruncate");
    close(fd);
    return error;
  }
  Result<std::byte*> base = map(fd, end);
  if (!base) {
    close(fd);
    return base.error();
  }
  SharedBlock block(*base, end, fd);
  SharedHeader& header = *new (*base) SharedHeader;
  header.settings = settings;
  header.settings.requests = requests.size();
  header.bytes = end;
  header.instances_at = instances_at;
  header.slots_at = slots_at;
  header.keys_at = keys_at;
  header.requests_at = requests_at;
  header.chunks_at = chunks_at;
  header.slots_per_instance = slots;
  std::uninitialized_default_construct_n(block.part<InstanceBlock>(instances_at), settings.instances);
  std::uninitialized_default_construct_n(block.part<ThreadSlot>(slots_at), settings.instances * slots);
  // Chunks are zero bytes as they come, which is what a new chunk is; constructing them would commit them all.
  for (std::uint32_t k = 0; k < keys; ++k) (new (block.part<KeyState>(keys_at) + k) KeyState)->size = size_of(k);
  std::copy(requests.begin(), requests.end(), block.part<std::uint32_t>(requests_at));
  return block;
}

Result<SharedBlock> SharedBlock::attach(int fd) {
  const off_t bytes = lseek(fd, 0, SEEK_END);
  if (bytes < static_cast<off_t>(sizeof(SharedHeader))) return failed("not a block of ours");
  Result<std::byte*> base = map(fd, static_cast<std::uint64_t>(bytes));
  if (!base) return base.error();
  return SharedBlock(*base, static_cast<std::uint64_t>(bytes), -1);
}

SharedBlock::SharedBlock(SharedBlock&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), bytes_(other.bytes_), fd_(std::exchange(other.fd_, -1)) {}

SharedBlock::~SharedBlock() {
  if (base_ != nullptr) munmap(base_, bytes_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace tiercache::demo
