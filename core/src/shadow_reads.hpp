// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "key.hpp"
#include "view_state.hpp"

#include <tiercache/base/clock.hpp>
#include <tiercache/base/stats.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

namespace tiercache::detail {

class StoreCore;

/// Compares sampled hits with Redis, off the callers' threads: how stale L1 really is, measured.
///
/// A sample is compared as L1 holds the key when its turn comes, not as the hit saw it. Where Redis has another value the two are
/// looked at again a budget later: an announcement may have been on its way. Only what L1 would still answer with then, and Redis
/// still contradicts, is stale: the successor stood in Redis a budget ago, so the promise was broken (or somebody wrote past
/// tiercache). Values are compared in their encoded form: a codec that does not encode equal values equally shows differences
/// that are none.
class ShadowReads {
 public:
  explicit ShadowReads(StoreCore& core);
  ~ShadowReads() { stop(); }
  ShadowReads(const ShadowReads&) = delete;
  ShadowReads& operator=(const ShadowReads&) = delete;

  /// The thread "tc-shadow". May throw: no thread was to be had.
  void start();
  void stop() noexcept;

  /// A hit to be compared. Wait-free, no allocation, no system call; dropped where too many wait.
  void note(ViewState& view, std::string_view id) noexcept;
  /// Compares what waits and what is due by `now`. Blocks in L2. For the thread, or a test in its place.
  void turn(SteadyTime now);

  [[nodiscard]] ShadowStats stats() const noexcept;

 private:
  struct Slot {
    enum : std::uint32_t { free, writing, ready };
    std::atomic<std::uint32_t> state{free};
    std::uint32_t length = 0;
    ViewState* view = nullptr;
    std::array<char, id_bytes_max> id;
  };
  struct Suspect {
    ViewState* view;
    std::string id;
    std::uint64_t held;  ///< the digest of what L1 held
    SteadyTime due;
  };
  enum class Finding : std::uint8_t { same, other, none, unknown };

  void run() noexcept;
  [[nodiscard]] std::optional<std::uint64_t> held_by_l1(ViewState& view, std::string_view id);
  [[nodiscard]] Finding compare_with_l2(ViewState& view, std::string_view id, std::uint64_t held);
  void first_look(ViewState& view, std::string_view id, SteadyTime now);
  void second_look(const Suspect& suspect);

  static constexpr std::size_t slots = 64;
  static constexpr std::size_t suspects_max = 1024;

  StoreCore& core_;
  std::unique_ptr<Slot[]> ring_;
  std::atomic<std::uint64_t> next_{0};
  std::vector<Suspect> suspects_;  // the thread's own
  std::atomic<std::uint64_t> checked_{0}, differing_{0}, stale_{0}, orphaned_{0}, dropped_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tiercache::detail
