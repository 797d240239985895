// SPDX-License-Identifier: Apache-2.0
//
// Threads and time of a simulated world. Every thread of the product is a fiber on the one real thread, every wait is an event in
// virtual time, and every choice is drawn from the seed. What the product's code calls to wait (mutexes, condition variables,
// sleeps, sockets) ends up here by interpose.cpp.
#pragma once

#include "random.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tiercache::sim {

using demo::Random;
using Nanos = std::int64_t;
inline constexpr Nanos never = INT64_MAX;
inline constexpr Nanos micros = 1'000;
inline constexpr Nanos millis = 1'000'000;

/// One incarnation of an instance. What it left behind at a crash is never run again.
struct Process {
  unsigned instance = 0;  ///< 0: the world's own fibers
  std::string name = "world";
  bool paused = false;
  bool dead = false;
  Nanos clock_offset = 0;                     ///< of its monotonic clock against virtual time: no two hosts share one
  Nanos wall_offset = 0;                      ///< of its wall clock
  Nanos tick = 4 * millis;                    ///< of its coarse clock
  std::vector<std::function<void()>> held{};  ///< what would have happened while it was paused
};

struct Fiber;

/// The events of one world, in order. Not thread-safe; one at a time is `current()`.
class Scheduler {
 public:
  explicit Scheduler(std::uint64_t seed);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  static Scheduler* current() noexcept;
  [[nodiscard]] Nanos now() const noexcept { return now_; }
  [[nodiscard]] Fiber* running() const noexcept { return running_; }
  /// Whose code runs; null: the world's events.
  [[nodiscard]] Process* process() const noexcept;
  [[nodiscard]] std::uint64_t fiber_id() const noexcept;
  [[nodiscard]] std::string_view fiber_name() const noexcept;
  void name_fiber(std::uint64_t id, std::string_view name);

  std::uint64_t spawn(Process& process, std::string name, std::function<void()> body);
  /// Until the fiber ended.
  void join(std::uint64_t id);

  /// The running fiber waits until somebody wakes one of the keys, or `until` (virtual). True: woken.
  bool block(const void* key, Nanos until, const void* second = nullptr);
  /// Wakes up to `most` of those that wait for the key, each after a while that the seed says.
  void wake(const void* key, std::size_t most);
  /// The running fiber goes on later.
  void sleep_until(Nanos at);

  void at(Nanos when, std::function<void()> what);
  /// As at(), but put off while the process is paused, and dropped when it is dead.
  void at(Nanos when, Process& process, std::function<void()> what);
  void pause(Process& process);
  void resume(Process& process);

  /// Runs events up to `until`. False: so many that something must turn in circles.
  bool run_until(Nanos until);

  /// What happened, in order, as a number: equal runs give equal ones.
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
  template <class Text>
  void note(std::string_view kind, std::uint64_t about, Text&& text) {
    mix(static_cast<std::uint64_t>(now_));
    for (const char c : kind) mix(static_cast<unsigned char>(c));
    mix(about);
    if (trace) print(kind, text());
  }
  bool trace = false;
  std::uint64_t events = 0;
  std::uint64_t events_max = 20'000'000;

  Random choices;  ///< how long a woken thread takes to run, which waiter is first
  Random entropy;  ///< what the product draws

 private:
  struct Event {
    Nanos at;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const Event& o) const noexcept { return at != o.at ? at > o.at : order > o.order; }
  };
  struct Waiter {
    Fiber* fiber;
    std::uint64_t turn;
  };

  void resume_fiber(Fiber& fiber, std::uint64_t turn, bool woken);
  void leave();
  void mix(std::uint64_t value) noexcept { hash_ = (hash_ ^ value) * 0x100000001b3ULL; }
  void print(std::string_view kind, const std::string& text) const;
  [[nodiscard]] Nanos latency_of_waking();
  static void enter();

  Nanos now_ = 0;
  std::uint64_t order_ = 0;
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
  std::priority_queue<Event> queue_;
  std::unordered_map<const void*, std::vector<Waiter>> waiting_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  Fiber* running_ = nullptr;
  void* main_ = nullptr;  ///< the stack pointer of whoever runs the events
  Process world_;
};

}  // namespace tiercache::sim
