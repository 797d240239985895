// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/ports.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace tiercache::l2 {

/// A bus message (docs/design.md, "Bus message") without its epoch and sequence, which the script puts between the two parts.
struct MessageParts {
  enum class Kind : std::uint8_t { invalidate = 1, heartbeat = 2, clear = 3, wake = 4, clear_all = 5 };
  static constexpr std::size_t items_max = 1024;
  static constexpr std::size_t bytes_max = 1U << 20;
  static constexpr std::size_t logged_max = 4096;  // of a longer one the log keeps only that it was (scripts.cpp)
  static constexpr std::size_t head_bytes = 42;
  [[nodiscard]] static std::size_t item_bytes(std::string_view name) noexcept { return 10 + name.size(); }

  MessageParts(Kind kind, ShardId shard, std::uint64_t origin, std::uint64_t id) : before("TCB\1", 4) {
    before += static_cast<char>(kind);
    before += '\0';  // flags
    append_be<2>(before, shard);
    append_be<8>(after, origin);
    append_be<8>(after, id);
    append_be<2>(after, 0);
  }
  /// REQUIRES: text.size() < 65536; fewer than items_max so far.
  void add(std::string_view text, std::uint64_t version) {
    append_be<2>(after, text.size());
    append_be<8>(after, version);
    after += text;
    store_be<2>(after.data() + count_at, load_be<2>(after.data() + count_at) + 1);
  }
  /// Asks whoever applies it for a heartbeat at once.
  void hurry() { before[5] = '\2'; }
  [[nodiscard]] std::size_t size() const noexcept { return before.size() + 16 + after.size(); }

  static constexpr std::size_t count_at = 16;
  std::string before;
  std::string after;
};

}  // namespace tiercache::l2
