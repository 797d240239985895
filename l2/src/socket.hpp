// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/result.hpp>
#include <tiercache/l2/options.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace tiercache::l2 {

/// A non-blocking TCP socket and the waiting for it. One owner at a time, except shutdown(). Errors: unavailable,
/// deadline_exceeded; the messages do not name the peer.
class Socket {
 public:
  enum class Ready : std::uint8_t { readable, writable };

  /// Tries each address of the host until one answers. Numeric hosts never touch the resolver.
  static Result<Socket> connect(const Endpoint& to, Deadline deadline, int cancel_fd);
  ~Socket();
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)), cancel_fd_(other.cancel_fd_), waits_(other.waits_) {}
  Socket& operator=(Socket&&) = delete;

  /// Bytes handed to the kernel; 0: its buffer is full. Never raises SIGPIPE.
  Result<std::size_t> send(std::string_view bytes);
  /// Bytes read, waiting for the first of them until `deadline` or for a while: 0: look at the time and call again. The peer's
  /// close is an error.
  Result<std::size_t> receive(char* to, std::size_t size, Deadline deadline);
  /// The same without waiting; 0: none are there yet.
  Result<std::size_t> receive(char* to, std::size_t size) { return read(to, size, false); }
  /// Makes receive() wait in one system call where the deadline is far off. REQUIRES: no cancelling descriptor from now on.
  void wait_in_receive() noexcept;
  Result<void> wait(Ready what, Deadline deadline);
  /// From now on wait() also ends, with unavailable, when this descriptor is readable; -1: none.
  void cancel_by(int fd) noexcept { cancel_fd_ = fd; }
  /// True: neither bytes nor the peer's close are waiting to be read. On a connection that owes no reply anything else means
  /// that it is of no more use.
  [[nodiscard]] bool quiet() const noexcept;
  /// Any thread, while the object lives.
  void shutdown() noexcept;
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  explicit Socket(int fd) noexcept : fd_(fd) {}
  Result<std::size_t> read(char* to, std::size_t size, bool waits);

  int fd_;
  int cancel_fd_ = -1;
  bool waits_ = false;
};

}  // namespace tiercache::l2
