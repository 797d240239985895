// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>
#include <tiercache/base/stats.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace tiercache::l1 {

struct Options {
  std::uint64_t capacity_bytes = 256ULL << 20;  ///< budget for everything; at least 32 KiB
  std::uint32_t expected_entry_bytes = 256;     ///< sizes the table: capacity / this = expected entries; 32 .. 1 MiB
  std::uint64_t capacity_objects = 0;           ///< also limit the number of entries; 0: no limit
  std::uint64_t max_entry_bytes = 0;            ///< larger entries are refused; 0: an eighth of the capacity
  [[nodiscard]] Result<void> validate() const;
};

using ViewId = std::uint16_t;

/// What the table must know of a value type. One static object a type. None of the functions may throw or call the cache.
struct TypeOps {
  std::size_t size = 0;
  std::size_t align = 1;
  void (*move_construct)(void* to, void* from) noexcept = nullptr;
  void (*destroy)(void* value) noexcept = nullptr;
  std::uint64_t (*heap_bytes)(const void* value) noexcept = nullptr;  ///< bytes the value owns outside itself
};

/// What an entry carries beside key and value. Frozen: later releases fill it, they do not widen it.
struct EntryMeta {
  std::uint64_t version = 0;          ///< the value's version; 0: none
  std::uint32_t generation = 0;       ///< the entry is void unless it equals the generation that find() is given
  std::uint16_t shard = 0;
  std::int64_t hard_expiry_ms = 0;    ///< coarse_now_ms() at which it expires; 0: never
  std::uint32_t soft_lead_ms = 0;     ///< how long before hard expiry it goes soft-stale; 0: never
};

/// Captured BEFORE the L2 read is sent; a fill with it is refused once the key was erased or invalidated. A plain value.
struct Ticket {
  std::uint64_t bucket = 0;
  std::uint64_t fence = 0;
};

enum class PutStatus : std::uint8_t {
  stored,
  fenced,     ///< the key was invalidated since the ticket
  not_hot,    ///< admission: the victim was hotter
  no_room,    ///< nothing could be freed in bounded work
  too_large,  ///< over max_entry_bytes
};

class Entry;  // layout in entry.hpp

/// A pinned entry: the value stays readable and unchanged until the pin goes, also after eviction, erase or the table's end.
/// Move-only; may move to and be destroyed on another thread. Empty when default-constructed or moved from.
class Pin;

class Table;

}  // namespace tiercache::l1
