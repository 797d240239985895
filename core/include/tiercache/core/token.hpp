// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/ports.hpp>
#include <tiercache/base/result.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache {

/// Where a write stands in the order of all writes: what put, put_many, the erases, update and clear answer, and what a read of
/// any instance may be given as ReadOptions::after. A session that carries its last token from instance to instance reads its own
/// writes on each of them. A plain value. It holds no key and no secret, and may go through headers and cookies: whatever bytes
/// come back, the worst that they can ask for is that Redis is read.
class WriteToken {
 public:
  /// A place in the message stream of one shard.
  struct Position {
    ShardId shard = 0;
    std::uint64_t stream = 0;    ///< names the log epoch and the run of Redis it was written in; never 0
    std::uint64_t sequence = 0;  ///< 0: the write could not be counted, no L1 can tell whether it has it
    friend bool operator==(const Position&, const Position&) = default;
  };

  /// Of no write: asks for nothing. What a store without Redis answers.
  WriteToken() = default;
  WriteToken(ShardId shard, std::uint64_t stream, std::uint64_t sequence) : positions_{{shard, stream, sequence}} {}

  /// Makes this the token of both: of all it was, and of `later`, which was answered later. O(shards of both).
  void merge(const WriteToken& later);

  [[nodiscard]] bool empty() const noexcept { return positions_.empty(); }
  /// One a shard, in no order.
  [[nodiscard]] const std::vector<Position>& positions() const noexcept { return positions_; }

  /// Letters, digits, '.', '-' only; up to 40 characters a shard. Empty for the empty token.
  [[nodiscard]] std::string to_string() const;
  /// The inverse. Errors: invalid_argument: not a token's text, or one of a newer form.
  [[nodiscard]] static Result<WriteToken> parse(std::string_view text);

  friend bool operator==(const WriteToken&, const WriteToken&) = default;

 private:
  std::vector<Position> positions_;
};

/// Refers to a token for the time of a call; none by default. The token must outlive the call.
class AfterToken {
 public:
  constexpr AfterToken() noexcept = default;
  constexpr AfterToken(const WriteToken& token) noexcept : token_(&token) {}  // NOLINT(google-explicit-constructor)
  AfterToken(WriteToken&&) = delete;                                          ///< it would be gone before the call
  [[nodiscard]] constexpr const WriteToken* get() const noexcept { return token_; }

 private:
  const WriteToken* token_ = nullptr;
};

}  // namespace tiercache
