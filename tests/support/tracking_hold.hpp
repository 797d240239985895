// SPDX-License-Identifier: Apache-2.0
//
// A middlebox that looks into a link to Redis: for faults of client tracking that no server makes by itself. Header-only.
#pragma once

#include "tcp_proxy.hpp"

#include <atomic>
#include <charconv>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace tiercache::testing {

/// The length of the RESP2 reply that `bytes` begins with; 0: it is not whole.
inline std::size_t reply_length(std::string_view bytes) {
  const std::size_t line = bytes.find("\r\n");
  if (line == bytes.npos) return 0;
  std::size_t at = line + 2;
  if (bytes[0] != '$' && bytes[0] != '*') return at;
  long long n = 0;
  std::from_chars(bytes.data() + 1, bytes.data() + line, n);
  if (n < 0) return at;
  if (bytes[0] == '$') return bytes.size() < at + static_cast<std::size_t>(n) + 2 ? 0 : at + static_cast<std::size_t>(n) + 2;
  for (; n > 0; --n) {
    const std::size_t part = reply_length(bytes.substr(at));
    if (part == 0) return 0;
    at += part;
  }
  return at;
}

/// While `holding`, tracking's messages are kept and everything else passes; afterwards each connection's kept ones go out in
/// front of what comes next. `lossy`: they are dropped instead. To be set on a proxy before it has a connection.
class TrackingHold {
 public:
  std::atomic<bool> holding{false};
  std::atomic<bool> lossy{false};
  std::atomic<int> held{0};  ///< messages kept or dropped so far

  [[nodiscard]] LinkFault fault() {
    return LinkFault::filter([this] {
      return [this, state = std::make_shared<State>()](std::string bytes) { return pass(*state, std::move(bytes)); };
    });
  }

 private:
  struct State {
    std::string begun;  // of a reply that is not whole
    std::string kept;
  };
  std::string pass(State& s, std::string bytes) {
    s.begun += bytes;
    std::string out;
    std::size_t at = 0;
    while (const std::size_t n = reply_length(std::string_view(s.begun).substr(at))) {
      const std::string_view reply = std::string_view(s.begun).substr(at, n);
      at += n;
      const bool hold = holding;
      if (!hold) out += std::exchange(s.kept, {});
      if (!hold || !reply.starts_with("*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n")) {
        out += reply;
      } else {
        if (!lossy) s.kept += reply;
        ++held;
      }
    }
    s.begun.erase(0, at);
    return out;
  }
};

/// Requests that ask for `asked` ask for `instead`, of the same length, and nobody notices.
[[nodiscard]] inline LinkFault mistaken_request(std::string asked, std::string instead) {
  return LinkFault::filter([asked = std::move(asked), instead = std::move(instead)] {
    return [=](std::string bytes) {
      if (const std::size_t at = bytes.find(asked); at != bytes.npos) bytes.replace(at, asked.size(), instead);
      return bytes;
    };
  });
}

}  // namespace tiercache::testing
