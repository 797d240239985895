// SPDX-License-Identifier: Apache-2.0
//
// The bus message (docs/design.md, "Bus message"). In production l2's scripts build it inside Redis, byte for byte the same;
// encode() is for tests and tools. Any client that may PUBLISH can put anything on the channel, so parse() trusts nothing.
#pragma once

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/ports.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

namespace tiercache::invalidation {

enum class Kind : std::uint8_t { invalidate = 1, heartbeat = 2, clear = 3, wake = 4, clear_all = 5 };

inline constexpr std::size_t message_head_bytes = 42;
inline constexpr std::size_t item_head_bytes = 10;
inline constexpr std::size_t message_bytes_max = std::size_t{1} << 20;
inline constexpr std::size_t key_bytes_max = 2048;
inline constexpr std::size_t type_bytes_max = 64;
inline constexpr std::uint16_t items_max = 1024;
inline constexpr std::uint64_t sequence_max = 0x7fff'ffff'ffff'ffffULL;  ///< INCR ends there

struct Item {
  std::string_view name;      ///< the physical key (invalidate, wake) or the view's name (clear)
  std::uint64_t version = 0;  ///< of the value; 0: none, and always in a clear or a wake
  friend bool operator==(const Item&, const Item&) = default;
};

/// The fixed part.
struct Head {
  Kind kind = Kind::heartbeat;
  ShardId shard = 0;
  std::uint64_t epoch = 0;
  std::uint64_t sequence = 0;  ///< its own (0: unnumbered, as every wake is); heartbeat: the last one given
  std::uint64_t origin = 0;
  std::uint64_t number = 0;  ///< write id, or the heartbeat's number
  bool hurry = false;        ///< whoever applied it sends a heartbeat at once: somebody waits to hear of it
};

/// Items of a parsed message, read in place: a forward range of Item by value. Valid while the parsed bytes are.
class ItemRange {
 public:
  class Iterator {
   public:
    using value_type = Item;
    using difference_type = std::ptrdiff_t;
    Iterator() = default;
    explicit Iterator(const char* at) noexcept : at_(at) {}
    [[nodiscard]] Item operator*() const noexcept {
      return {std::string_view(at_ + item_head_bytes, length()), load_be<8>(at_ + 2)};
    }
    Iterator& operator++() noexcept { return at_ += item_head_bytes + length(), *this; }
    Iterator operator++(int) noexcept {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(Iterator, Iterator) = default;

   private:
    [[nodiscard]] std::size_t length() const noexcept { return static_cast<std::size_t>(load_be<2>(at_)); }
    const char* at_ = nullptr;
  };

  ItemRange() = default;
  /// REQUIRES: `bytes` are `count` whole items and nothing else.
  ItemRange(std::string_view bytes, std::uint16_t count) noexcept : bytes_(bytes), count_(count) {}
  [[nodiscard]] Iterator begin() const noexcept { return Iterator(bytes_.data()); }
  [[nodiscard]] Iterator end() const noexcept { return Iterator(bytes_.data() + bytes_.size()); }
  [[nodiscard]] std::uint16_t size() const noexcept { return count_; }

 private:
  std::string_view bytes_;
  std::uint16_t count_ = 0;
};

enum class ParseStatus : std::uint8_t {
  ok,
  malformed,    ///< not a message of ours, or a broken one
  unsupported,  ///< magic is ours, but format, kind or flags are of a newer release
};

/// What parse() found. `head` and `items` are meaningful when status is ok only.
struct Parsed {
  ParseStatus status = ParseStatus::malformed;
  std::string_view problem;  ///< names the field; static storage; empty when ok
  Head head;
  ItemRange items;  ///< points into the parsed bytes
};

/// Reads one message. Strict: each field and each item is checked, and nothing may follow. Allocates nothing, O(bytes),
/// reads no byte outside `bytes`. Thread-safe.
[[nodiscard]] Parsed parse(std::string_view bytes) noexcept;

/// The bytes of a message. REQUIRES: at most 65535 items, each name at most 65535 bytes; whether the result is a valid message is
/// the caller's affair (tests write invalid ones).
[[nodiscard]] std::string encode(const Head& head, std::span<const Item> items);
[[nodiscard]] std::string encode(const Parsed& parsed);

}  // namespace tiercache::invalidation
