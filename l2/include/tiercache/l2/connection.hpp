// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/result.hpp>
#include <tiercache/l2/options.hpp>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::l2 {

/// A reply, decoded and bounded. A plain value.
struct Reply {
  enum class Type : std::uint8_t { nil, string, status, error, integer, array };
  Type type = Type::nil;
  std::int64_t integer = 0;
  std::string text;             ///< string, status, error
  std::vector<Reply> elements;  ///< array
};

/// One TCP connection to one Redis, after AUTH, SELECT, CLIENT SETNAME and INFO. RESP2 by hiredis' reader over our own
/// non-blocking socket, so that every call ends by its deadline whatever the peer sends or withholds. Not thread-safe (one
/// owner at a time), except shutdown(). After any error other than a Redis error reply the connection is broken: it must be
/// closed, never reused, since a late reply would answer another caller's question (race 21 in docs/guarantees.md).
class Connection {
 public:
  /// Connects and shakes hands by `deadline`. `cancel_fd` (an eventfd, say): once readable, it gives up at once with
  /// unavailable; -1: none. A host that is not a numeric address is resolved by getaddrinfo, which knows no deadline and may
  /// block past ours. Errors, each naming the peer: unavailable, refused (AUTH, SELECT, INFO), deadline_exceeded, bad_data,
  /// invalid_argument (the URL).
  static Result<std::unique_ptr<Connection>> open(const Options& options, Deadline deadline, int cancel_fd = -1);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Appends one command (length-prefixed arguments) to the output buffer; nothing is sent yet.
  void append(std::span<const std::string_view> argv);
  void append(std::initializer_list<std::string_view> argv);
  /// Sends all that was appended. Errors: deadline_exceeded or unavailable; `bytes_sent()` tells whether anything left. When the
  /// deadline had passed before the first byte, what was appended is dropped and the connection is as good as before.
  Result<void> flush(Deadline deadline);
  [[nodiscard]] bool bytes_sent() const noexcept;  ///< whether the last flush handed any byte to the kernel
  /// The next reply, waiting for it until `deadline`. A Redis error reply is a Reply of type error, not an Error. Errors:
  /// unavailable, deadline_exceeded, bad_data (not RESP2, or over a limit of Options).
  Result<Reply> receive(Deadline deadline);
  /// The next reply if it has come whole already, else nothing: never waits. Errors as receive().
  Result<std::optional<Reply>> receive_waiting();
  /// append + flush + receive.
  Result<Reply> call(std::span<const std::string_view> argv, Deadline deadline);

  [[nodiscard]] bool broken() const noexcept;
  /// Neither bytes nor the peer's close are waiting. False on a connection that owes no reply: it is of no more use.
  [[nodiscard]] bool quiet() const noexcept;
  [[nodiscard]] int fd() const noexcept;                        ///< for poll(2)
  [[nodiscard]] const std::string& run_id() const noexcept;     ///< of the server, 40 hex digits, read at the handshake
  [[nodiscard]] std::uint64_t server() const noexcept;          ///< the run id's first 16 digits as a number; 0: it has none
  [[nodiscard]] const std::string& role() const noexcept;       ///< "master" or "slave", read at the handshake
  [[nodiscard]] const std::string& client_id() const noexcept;  ///< as CLIENT ID says; empty where that is not allowed
  [[nodiscard]] const std::string& peer() const noexcept;       ///< host:port
  /// Shuts the socket down so that the owner's waiting call ends at once. Any thread.
  void shutdown() noexcept;

 private:
  struct Impl;
  explicit Connection(std::unique_ptr<Impl> impl) noexcept;
  Result<std::optional<Reply>> receive_until(Deadline deadline, bool wait);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tiercache::l2
