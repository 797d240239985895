// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>

namespace tiercache {

enum class LogLevel : std::uint8_t { debug, info, warn, error, off };

/// Where log lines go. Called from any thread, also from background ones, one call a line, never with a lock of the library
/// held and never on the hit path. It must be thread-safe and must not throw (a throw is swallowed). No key or value is ever in
/// a line in clear. Empty: the default sink (spdlog to stderr).
using LogSink = std::function<void(LogLevel, std::string_view line)>;

/// A sink and a threshold. Thread-safe once built; cheap to test.
class Log {
 public:
  Log() = default;
  Log(LogSink sink, LogLevel least) : sink_(std::move(sink)), least_(least) {}

  [[nodiscard]] bool wants(LogLevel level) const noexcept { return sink_ && level >= least_; }
  void operator()(LogLevel level, std::string_view line) const noexcept {
    if (!wants(level)) return;
    try {
      sink_(level, line);
    } catch (...) {  // a sink that throws loses its line, not the service
    }
  }

 private:
  LogSink sink_;
  LogLevel least_ = LogLevel::off;
};

/// True at most once an interval, for lines that a fault could repeat without end. Lock-free.
class OncePer {
 public:
  explicit OncePer(std::chrono::milliseconds interval) noexcept : interval_(interval) {}
  [[nodiscard]] bool operator()(std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now()) noexcept {
    const std::int64_t t = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
    std::int64_t last = last_.load(std::memory_order_relaxed);
    return (last == 0 || t - last >= interval_.count()) && last_.compare_exchange_strong(last, t, std::memory_order_relaxed);
  }

 private:
  std::chrono::milliseconds interval_;
  std::atomic<std::int64_t> last_{0};
};

}  // namespace tiercache
