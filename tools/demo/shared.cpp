// SPDX-License-Identifier: Apache-2.0
#include "shared.hpp"

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

namespace tiercache::demo {
namespace {

// 4 million chunks are 512 MB of address space: the writes of hours. Only what is used takes memory.
constexpr std::uint64_t chunk_count = 1U << 22;

}  // namespace

Result<SharedBlock> SharedBlock::create(const Settings& settings, const std::function<std::uint32_t(std::uint32_t)>& size_of,
                                        std::span<const std::uint32_t> requests) {
  Places places;
  const std::uint64_t keys = std::uint64_t{settings.keys} + settings.probes;
  const std::uint64_t slots = settings.threads + (settings.probes != 0 ? probe_readers + 1 : 0);
  places.take(sizeof(SharedHeader));
  const std::uint64_t instances_at = places.take(settings.instances * sizeof(InstanceBlock));
  const std::uint64_t slots_at = places.take(settings.instances * slots * sizeof(ThreadSlot));
  const std::uint64_t keys_at = places.take(keys * sizeof(KeyState));
  const std::uint64_t requests_at = places.take(requests.size_bytes());
  const std::uint64_t chunks_at = places.take(chunk_count * sizeof(AckChunk));

  Result<MemoryFile> memory = MemoryFile::create("tiercache-demo", places.bytes());
  if (!memory) return memory.error();
  SharedBlock block(std::move(*memory));
  SharedHeader& header = *new (block.memory_.base()) SharedHeader;
  header.settings = settings;
  header.settings.requests = requests.size();
  header.bytes = places.bytes();
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
  Result<MemoryFile> memory = MemoryFile::attach(fd, sizeof(SharedHeader));
  if (!memory) return memory.error();
  return SharedBlock(std::move(*memory));
}

}  // namespace tiercache::demo
