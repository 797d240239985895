// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace tiercache::l2 {

/// How to reach Redis. A plain struct; validate() names the first bad field.
struct Options {
  bool enabled = true;                             ///< false: the kill switch. No connection is ever made; L1 only.
  std::string url = "redis://127.0.0.1:6379";      ///< redis://[user[:password]@]host[:port][/db], parts percent-encoded
  std::string username;                            ///< overrides the URL's; empty: the URL's, else AUTH without a user
  std::string password;                            ///< overrides the URL's; empty: the URL's, else no AUTH
  std::string client_name = "tiercache";           ///< CLIENT SETNAME; empty: none
  std::uint32_t pool_size = 8;                     ///< connections for calls (upkeep: one more; the bus has its own); 1 .. 256
  std::chrono::milliseconds connect_timeout{500};  ///< TCP connect and handshake; > 0
  std::chrono::milliseconds call_timeout{500};     ///< a call without a deadline of its own; > 0
  std::chrono::milliseconds backoff_min{50};       ///< first wait before a reconnect; doubles, half of it jitter; > 0
  std::chrono::milliseconds backoff_max{2000};     ///< >= backoff_min
  std::uint32_t shards = 0;                        ///< 0: standalone, keys without slot tag; N: N slot tags (1 .. 16384)
  std::uint64_t max_reply_bytes = 512ULL << 20;    ///< a larger bulk or total reply closes the connection; >= 1 KiB
  std::uint32_t max_reply_elements = 1U << 20;     ///< a larger array closes the connection; >= 16
  std::uint32_t wait_replicas = 0;                 ///< replicas that must confirm each write, else `unreplicated`; 0: none; <= 64
  std::chrono::milliseconds wait_timeout{100};     ///< how long a write waits for them, within the call's deadline; > 0

  [[nodiscard]] Result<void> validate() const;
};

/// The parts of a URL after decoding, with username and password of Options applied.
struct Endpoint {
  std::string host;
  std::uint16_t port = 6379;
  std::string username;
  std::string password;
  std::uint32_t db = 0;
  /// "host:port" or "[v6]:port", for messages: never holds a secret.
  [[nodiscard]] std::string peer() const {
    return (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + std::to_string(port);
  }
};
[[nodiscard]] Result<Endpoint> parse_endpoint(const Options& options);

}  // namespace tiercache::l2
