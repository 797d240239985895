// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/result.hpp>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tiercache::metrics {

/// A TCP listener with a fixed pool of threads, all of it bounded: connections served, connections waiting, time for each.
///
/// cpp-httplib brings a listener of its own. It was rejected: its queue grows without bound, its timeouts are for each read
/// instead of the whole request, its stop() closes a descriptor that another thread is about to use, an error of accept() ends
/// it for good, and it does not say why an address cannot be bound. Its parser and its answers are used.
class Listener {
 public:
  /// Answers one connection on a thread of the pool. `fd` is non-blocking and belongs to the listener. Must not throw.
  using Serve = std::function<void(int fd, Deadline deadline)>;
  struct Limits {
    std::uint32_t threads = 2;
    std::uint32_t pending_max = 16;
    std::chrono::milliseconds timeout{5000};
  };

  /// Errors: unavailable, naming address:port and the reason.
  static Result<std::unique_ptr<Listener>> open(const std::string& address, std::uint16_t port, Limits limits, Serve serve);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  void stop() noexcept;

 private:
  Listener(int listen_fd, int wake_fd, std::uint16_t port, Limits limits, Serve serve);
  void start_threads();
  void accept_loop() noexcept;
  void serve_loop() noexcept;
  bool wait_for_room();
  void hand_over(int fd);

  int listen_fd_;      ///< -1 after stop()
  const int wake_fd_;  ///< an eventfd: written once, by stop()
  const std::uint16_t port_;
  const Limits limits_;
  const Serve serve_;

  std::mutex mutex_;
  std::condition_variable changed_;  ///< of pending_ and stopping_
  std::deque<int> pending_;
  std::vector<int> serving_;  ///< descriptors in serve_, so that stop() can shut them down
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tiercache::metrics
