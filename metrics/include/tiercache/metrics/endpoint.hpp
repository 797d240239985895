// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>
#include <tiercache/metrics/collector.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace tiercache::metrics {

/// Where and how the endpoint listens. A plain struct; validate() names the first bad field.
struct EndpointOptions {
  std::string address = "127.0.0.1";  ///< numeric IPv4 or IPv6 address. There is no authentication: open it with care
  std::uint16_t port = 0;             ///< 0: any free one, see Endpoint::port()
  std::uint32_t threads = 2;          ///< requests answered at once; 1 .. 16
  std::uint32_t pending_max = 16;     ///< accepted connections that wait for a thread; past it the kernel queues; 1 .. 1024
  std::uint32_t request_bytes_max = 16U << 10;      ///< request line, headers and body together; 256 .. 1 MiB
  std::chrono::milliseconds request_timeout{5000};  ///< from the turn of a connection to the end of the answer; 1 ms .. 1 min
  [[nodiscard]] Result<void> validate() const;
};

/// A small HTTP server of its own threads ("tc-http", all signals blocked):
///   GET /metrics   200, render_text of what `pull` gives; 500 when it throws
///   GET /healthz   200 "ok" when every store is ok; else 503 and JSON: {"status":"degraded","stores":[{"env":..,"resource":..,
///                  "state":..,"reason":..}]} with the stores that are not; 500 when `pull` throws
/// HEAD likewise; other methods 405, other paths 404. One request a connection. Every connection ends by request_timeout, however
/// slowly the peer sends or reads, so a hostile peer can occupy the endpoint but not the process.
class Endpoint {
 public:
  /// Binds, listens and starts the threads. Errors: invalid_argument (an option), unavailable (the message names address:port and
  /// why it cannot be bound). `pull` is called until stop() returned.
  static Result<std::unique_ptr<Endpoint>> start(const EndpointOptions& options, Pull pull);

  ~Endpoint();  ///< stop()
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  /// The port that is listened on. Thread-safe.
  [[nodiscard]] std::uint16_t port() const noexcept;

  /// Closes the listener, ends the connections and joins the threads; waits at most for a running `pull`. Repeatable; not to be
  /// called from `pull`, nor from two threads at once.
  void stop() noexcept;

 private:
  struct Impl;
  explicit Endpoint(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tiercache::metrics
