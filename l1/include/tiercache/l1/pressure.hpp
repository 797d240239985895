// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace tiercache::l1 {

/// How the capacity follows the machine's memory: cgroup v2 limits and pressure stall information.
struct PressureOptions {
  bool enabled = false;
  double headroom = 0.1;             ///< share of the cgroup's limit to keep free; above 0, at most 0.5
  double psi_some_avg10_max = 10.0;  ///< percent of the last 10 s in which something waited for memory; above 0, at most 100
  double floor = 0.25;               ///< share of the configured capacity that is never given up; above 0, at most 1
  double shrink_step = 0.05;         ///< share of the configured capacity given up at once, at least; above 0, at most 1
  double grow_step = 0.02;           ///< share of the configured capacity taken back at once; above 0, at most shrink_step
  std::chrono::milliseconds period{1000};  ///< between two looks; at least 10 ms
  std::string cgroup_root = "/sys/fs/cgroup";
  std::string proc_root = "/proc";

  /// invalid_argument, naming the field.
  [[nodiscard]] Result<void> validate() const;
};

/// What the system says. What it does not say is absent and counts as no pressure.
struct MemoryReading {
  std::uint64_t limit_bytes = 0;         ///< of the cgroup, own or above, that lacks most of its headroom; 0: no limit
  std::uint64_t used_bytes = 0;          ///< by that cgroup, without inactive page cache, which the kernel takes back first
  std::optional<double> psi_some_avg10;  ///< percent; of the process's cgroup, else of the machine
};

/// Reads the files afresh. Missing, unreadable and malformed ones are absence (cgroup v1 machines: only the pressure, if any).
/// Blocking (a few small files of the kernel). May throw std::bad_alloc.
[[nodiscard]] MemoryReading read_memory(const PressureOptions& options);

/// The capacity to take on, between the floor and `configured`. Pure. Under pressure: less by what the headroom lacks, at least
/// a step. With room for a step and half the headroom to spare, and stalls below half the maximum: a step more. In between:
/// as it is, so that it settles. More pressure never gives a greater capacity.
[[nodiscard]] std::uint64_t advise(std::uint64_t now, std::uint64_t configured, const MemoryReading& reading,
                                   const PressureOptions& options);

/// Looks every period, and tells when the capacity should change. Its thread (tc-mem, signals blocked) runs from start() to
/// stop(). Thread-safe, but for construction and destruction.
class PressureGuard {
 public:
  using Apply = std::function<void(std::uint64_t capacity_bytes)>;

  /// REQUIRES: options.validate(). `apply` is called with each new capacity, by the guard's thread or the caller of tick(), with
  /// a lock of the guard held: it must not call the guard. When it throws, the change is tried again at the next look.
  PressureGuard(PressureOptions options, std::uint64_t configured, Apply apply);
  /// As stop().
  ~PressureGuard();
  PressureGuard(const PressureGuard&) = delete;
  PressureGuard& operator=(const PressureGuard&) = delete;

  /// Does nothing when not enabled, or started before. unavailable when there are no threads left.
  Result<void> start();
  /// Returns when the thread has ended: at once, or after the `apply` that runs. Final.
  void stop() noexcept;

  /// One look, now. Never throws.
  void tick() noexcept;
  /// What was applied last; the configured capacity before that.
  [[nodiscard]] std::uint64_t capacity() const;

 private:
  void run() noexcept;

  const PressureOptions options_;
  const std::uint64_t configured_;
  const Apply apply_;

  mutable std::mutex look_mutex_;  // held while `apply` runs
  std::uint64_t capacity_;

  std::mutex stop_mutex_;  // held while the thread is joined: every stop() returns after its end
  std::mutex thread_mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tiercache::l1
