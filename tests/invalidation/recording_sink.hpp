// SPDX-License-Identifier: Apache-2.0
//
// What a cache would have heard, as text, so that a test reads like the story it tells.
#pragma once

#include <tiercache/base/ports.hpp>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tiercache::testing {

/// Thread-safe. A line a call: "invalidate <shard> <key> v<version> w<write id>", "clear <shard> <type>", "gap <shard> <reason>",
/// "coherent <shard> <until in ms since the clock's epoch>" ("forever" for the end of time), "epoch <shard> <epoch>",
/// "wake <shard> <key>".
class RecordingSink final : public BusSink {
 public:
  void on_invalidate(ShardId shard, std::string_view key, std::uint64_t version, std::uint64_t,
                     std::uint64_t write_id) noexcept override {
    add("invalidate " + std::to_string(shard) + " " + std::string(key) + " v" + std::to_string(version) + " w" +
        std::to_string(write_id));
  }
  void on_clear(ShardId shard, std::string_view type, std::uint64_t, std::uint64_t) noexcept override {
    add("clear " + std::to_string(shard) + " " + std::string(type));
  }
  void on_gap(ShardId shard, GapReason reason) noexcept override {
    add("gap " + std::to_string(shard) + " " + std::string(name(reason)));
  }
  void on_coherent(ShardId shard, SteadyTime until) noexcept override {
    {
      const std::lock_guard lock(mutex_);
      until_ = until;
    }
    add("coherent " + std::to_string(shard) + " " + (until == SteadyTime::max() ? "forever" : std::to_string(steady_ms(until))));
  }
  void on_wake(ShardId shard, std::string_view key) noexcept override {
    add("wake " + std::to_string(shard) + " " + std::string(key));
  }
  void on_epoch(ShardId shard, std::uint64_t epoch) noexcept override {
    add("epoch " + std::to_string(shard) + " " + std::to_string(epoch));
  }

  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  /// The lines since the last take().
  std::vector<std::string> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(lines_, {});
  }
  /// The lines that begin with `prefix`.
  [[nodiscard]] std::vector<std::string> lines(std::string_view prefix) const {
    std::vector<std::string> found;
    for (std::string& line : lines()) {
      if (line.starts_with(prefix)) found.push_back(std::move(line));
    }
    return found;
  }
  [[nodiscard]] std::optional<SteadyTime> coherent_until() const {
    const std::lock_guard lock(mutex_);
    return until_;
  }
  /// Waits until `holds(lines)`, at most `limit`. False: it never did.
  bool wait_for(const std::function<bool(const std::vector<std::string>&)>& holds,
                std::chrono::milliseconds limit = std::chrono::seconds(20)) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return holds(lines_); });
  }
  /// Waits for a line that begins with `prefix`, from line number `from` on. Returns the number of the next line; 0: none came.
  std::size_t wait_line(std::string_view prefix, std::size_t from = 0,
                        std::chrono::milliseconds limit = std::chrono::seconds(20)) const {
    std::size_t found = 0;
    wait_for(
        [&](const std::vector<std::string>& lines) {
          for (std::size_t i = from; i < lines.size(); ++i) {
            if (lines[i].starts_with(prefix)) return found = i + 1, true;
          }
          return false;
        },
        limit);
    return found;
  }
  [[nodiscard]] std::string text() const {
    std::string all;
    for (const std::string& line : lines()) all += line + "\n";
    return all;
  }

 private:
  void add(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::optional<SteadyTime> until_;
};

}  // namespace tiercache::testing
