// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>
#include <tiercache/l2/connection.hpp>

#include <hiredis/hiredis.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace tiercache::l2 {

/// RESP2 bytes in, bounded Reply values out: hiredis' reader with object functions of our own, since the stock ones have no
/// limit on elements (ten bytes can ask for an array of 2^31) and would make a second tree to copy from. Not thread-safe.
class Parser {
 public:
  Parser(std::uint64_t max_bytes, std::uint32_t max_elements);
  ~Parser();
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;

  /// Takes bytes over. REQUIRES: next() came up empty since the last feed (else the limit would count several replies as one).
  /// Errors: bad_data (no memory). Afterwards the parser is of no more use.
  Result<void> feed(const char* bytes, std::size_t size);
  /// The next whole reply; nothing: more bytes are needed. Errors: bad_data: not RESP2, or the reply is over a limit (a byte
  /// limit may be noticed one feed late). Afterwards the parser is of no more use.
  Result<std::optional<Reply>> next();

 private:
  // What the object functions reach through a task's privdata. They are called from C: nothing may throw out of them.
  struct Builder {
    Reply root{};
    std::uint32_t max_elements = 0;
    std::uint32_t elements = 0;  // declared by the arrays of this reply so far
    const char* failure = nullptr;
  };
  struct FreeReader {
    void operator()(redisReader* r) const noexcept { redisReaderFree(r); }
  };

  static Reply* place(const redisReadTask* task, Reply::Type type) noexcept;
  static void* create_string(const redisReadTask* task, char* text, std::size_t size) noexcept;
  static void* create_array(const redisReadTask* task, int elements) noexcept;
  static void* create_integer(const redisReadTask* task, long long value) noexcept;
  static void* create_nil(const redisReadTask* task) noexcept;

  std::uint64_t max_bytes_;
  Builder builder_;
  redisReplyObjectFunctions functions_{};
  std::unique_ptr<redisReader, FreeReader> reader_;
  std::uint64_t pending_ = 0;  // bytes fed that belong to no reply handed out
};

}  // namespace tiercache::l2
