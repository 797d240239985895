// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "counters.hpp"
#include "scripts.hpp"

#include <tiercache/base/clock.hpp>
#include <tiercache/base/result.hpp>
#include <tiercache/l2/connection.hpp>

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace tiercache::l2 {

/// Questions and answers of one call over one borrowed connection. Knows what the caller may be told when it fails: whether a
/// command that could have done something left this process.
class Exchange {
 public:
  Exchange(Connection& c, Deadline deadline, Counters& counters) noexcept
      : connection_(c), deadline_(deadline), counters_(counters) {}

  /// One command, one reply. A Redis error reply comes as Errc::refused with its text.
  Result<Reply> call(std::span<const std::string_view> argv);
  Result<Reply> call(std::initializer_list<std::string_view> argv) { return call(std::span(argv.begin(), argv.size())); }
  /// `count` commands were appended to the connection: sends them, reads all replies in order. An error reply among them is the
  /// result, after all were read.
  Result<std::vector<Reply>> pipeline(std::size_t count);
  /// EVALSHA, and EVAL where the server does not know the script (restarted, SCRIPT FLUSH): an unknown one has run nothing.
  Result<Reply> run(const Script& script, std::span<const std::string_view> keys, std::span<const std::string_view> args);

  [[nodiscard]] Connection& connection() const noexcept { return connection_; }
  [[nodiscard]] Deadline deadline() const noexcept { return deadline_; }
  /// Whether bytes of a command left whose effect is not known to be nothing.
  [[nodiscard]] bool sent() const noexcept { return sent_; }
  /// What went before was answered; sent() speaks of what follows.
  void forget_sent() noexcept { sent_ = false; }
  /// Whether a reply has come. A call that runs out of time without one met a Redis that may hang; with one, it asked for much.
  [[nodiscard]] bool answered() const noexcept { return answered_; }

 private:
  Connection& connection_;
  Deadline deadline_;
  Counters& counters_;
  bool sent_ = false;
  bool answered_ = false;
};

}  // namespace tiercache::l2
