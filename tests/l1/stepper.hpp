// SPDX-License-Identifier: Apache-2.0
//
// A thread whose instructions are stepped: under the x86 trap flag a SIGTRAP arrives before each of them, and the handler may
// hold the thread there. No debugger, no second process.
//
// Only instructions of this executable are counted (the library is linked into it): inside libc, that is malloc, free, memcpy and
// the stubs of system calls, and in the vdso, a thread is never held. What malloc does to others is outside the claim. Not under
// sanitizers, whose instrumented code and own locks would be held instead, and for x86-64 only.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <thread>
#include <vector>

extern "C" char __executable_start;
extern "C" char etext;

namespace tiercache::l1::test {

inline constexpr greg_t trap_flag = 0x100;

[[nodiscard]] inline std::uintptr_t text_begin() noexcept { return reinterpret_cast<std::uintptr_t>(&__executable_start); }
[[nodiscard]] inline std::size_t text_size() noexcept { return reinterpret_cast<std::uintptr_t>(&etext) - text_begin(); }

/// Whose move it is, of two threads that take turns. Async-signal-safe. A short spin, because the other is usually quick, then a
/// futex.
class Turn {
 public:
  enum Side : std::uint32_t { controller, victim };

  void give(Side to) noexcept {
    side_.store(to, std::memory_order_release);  // (90) hands over everything written before; pairs with (91)
    syscall(SYS_futex, &side_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  /// False when `patience` passed first; zero waits for ever.
  [[nodiscard]] bool await(Side mine, std::chrono::milliseconds patience) noexcept {
    for (int spins = 0; spins < 200; ++spins) {
      if (side_.load(std::memory_order_acquire) == mine) return true;  // (91)
      __builtin_ia32_pause();
    }
    const auto until = std::chrono::steady_clock::now() + patience;
    while (side_.load(std::memory_order_acquire) != mine) {  // (91)
      const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(until - std::chrono::steady_clock::now()).count();
      if (patience.count() != 0 && left <= 0) return false;
      const timespec wait{static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
      const auto other = static_cast<std::uint32_t>(mine == victim ? controller : victim);
      syscall(SYS_futex, &side_, FUTEX_WAIT_PRIVATE, other, patience.count() != 0 ? &wait : nullptr, nullptr, 0);
    }
    return true;
  }

 private:
  std::atomic<std::uint32_t> side_{controller};
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
};

/// What is known of each address of our text.
struct Coverage {
  std::vector<std::uint8_t> executed = std::vector<std::uint8_t>(text_size());  ///< by the undisturbed operation
  std::vector<std::uint8_t> held = std::vector<std::uint8_t>(text_size());      ///< how often a thread was held before it

  [[nodiscard]] std::uint64_t addresses() const {
    return static_cast<std::uint64_t>(std::count(executed.begin(), executed.end(), std::uint8_t{1}));
  }
  /// Executed, and never held at.
  [[nodiscard]] std::uint64_t missing() const {
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < executed.size(); ++i) n += executed[i] != 0 && held[i] == 0 ? 1U : 0U;
    return n;
  }
  void forget_holds() { std::fill(held.begin(), held.end(), std::uint8_t{0}); }
};

/// How a stepped thread is to be held. Written by the controller while it is the controller's turn.
struct Plan {
  enum class Mode : std::uint8_t {
    record,  ///< nowhere; note what is executed
    once,    ///< before instruction number `hold_at`; the rest at full speed
    pass,    ///< from the first address never held at, before every instruction, up to `per_address` times an address
  };
  Mode mode = Mode::record;
  std::uint64_t hold_at = 0;
  unsigned per_address = 2;
  Coverage* coverage = nullptr;
  std::chrono::milliseconds patience{30'000};  ///< for one hold; zero: until the process ends
};

/// A thread that runs one stepped job at a time. The controller is the thread that calls the members.
class Stepper {
 public:
  enum class Event : std::uint8_t { held, done };

  Stepper() {
    struct sigaction action {};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, nullptr);
    thread_ = std::thread([this] { loop(); });
  }
  /// REQUIRES: the last event was done.
  ~Stepper() {
    stepped_ = nullptr;
    turn_.give(Turn::victim);
    thread_.join();
  }
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;

  /// Runs `before` as it is and then `stepped` under `plan`, until the first event. Both functions live until `done`.
  Event start(const Plan& plan, const std::function<void()>& before, const std::function<void()>& stepped) {
    plan_ = plan;
    count_ = 0;
    outside_ = 0;
    begun_ = false;
    stuck_ = false;
    before_ = &before;
    stepped_ = &stepped;
    return resume();
  }
  Event start(const Plan& plan, const std::function<void()>& stepped) { return start(plan, nothing, stepped); }
  /// Lets a held thread go on until the next event.
  Event resume() {
    turn_.give(Turn::victim);
    if (!turn_.await(Turn::controller, std::chrono::minutes(2))) {
      std::fprintf(stderr, "stepper: the stepped thread itself did not come to an end\n");
      std::abort();
    }
    return event_;
  }

  /// Our instructions so far, in this job.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Those of others: libc, the vdso.
  [[nodiscard]] std::uint64_t outside() const noexcept { return outside_; }
  /// Held for longer than the plan's patience: the controller was kept from finishing until the thread was let go on.
  [[nodiscard]] bool stuck() const noexcept { return stuck_; }
  /// Where it is held, from the beginning of the text: what addr2line takes for a position-independent executable.
  [[nodiscard]] std::uintptr_t held_at() const noexcept { return held_at_; }

  /// Detaches the thread: it is held for ever, and this object is left to it.
  static void abandon(Stepper* stepper) { stepper->thread_.detach(); }

 private:
  static inline const std::function<void()> nothing = [] {};
  static inline thread_local constinit Stepper* current = nullptr;

  [[gnu::always_inline]] static void step_on() { asm volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc"); }
  [[gnu::always_inline]] static void step_off() { asm volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc"); }

  void loop() {
    current = this;
    for (;;) {
      static_cast<void>(turn_.await(Turn::victim, std::chrono::milliseconds::zero()));
      if (stepped_ == nullptr) return;
      (*before_)();
      run_stepped();
      // After a hold that was given up the controller still has the move: wait until it is done.
      if (stuck_ && !turn_.await(Turn::victim, std::chrono::minutes(1))) std::abort();
      event_ = Event::done;
      turn_.give(Turn::controller);
    }
  }
  /// Out of line: what is stepped keeps nothing below the stack pointer, where pushfq writes.
  [[gnu::noinline]] void run_stepped() {
    const std::function<void()>& job = *stepped_;
    step_on();
    job();
    step_off();
  }

  static void on_trap(int, siginfo_t*, void* context) {
    const int saved_errno = errno;
    greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const std::uintptr_t at = static_cast<std::uintptr_t>(registers[REG_RIP]) - text_begin();
    if (current == nullptr || at >= text_size()) {
      if (current != nullptr) ++current->outside_;
    } else if (!current->step(at)) {
      registers[REG_EFL] &= ~trap_flag;
    }
    errno = saved_errno;
  }

  /// False: the rest at full speed.
  bool step(std::uintptr_t at) noexcept {
    ++count_;
    switch (plan_.mode) {
      case Plan::Mode::record: plan_.coverage->executed[at] = 1; return true;
      case Plan::Mode::once:
        if (count_ != plan_.hold_at) return true;
        hold(at);
        return false;
      case Plan::Mode::pass: break;
    }
    std::uint8_t& held = plan_.coverage->held[at];
    begun_ = begun_ || (held == 0 && plan_.coverage->executed[at] != 0);
    if (!begun_ || held >= plan_.per_address) return true;
    ++held;
    return hold(at);
  }
  /// False: given up.
  bool hold(std::uintptr_t at) noexcept {
    held_at_ = at;
    event_ = Event::held;
    turn_.give(Turn::controller);
    stuck_ = !turn_.await(Turn::victim, plan_.patience);
    return !stuck_;
  }

  Plan plan_;
  Turn turn_;
  const std::function<void()>* before_ = nullptr;
  const std::function<void()>* stepped_ = nullptr;
  std::uint64_t count_ = 0;
  std::uint64_t outside_ = 0;
  std::uintptr_t held_at_ = 0;
  bool begun_ = false;
  bool stuck_ = false;
  Event event_ = Event::done;
  std::thread thread_;
};

}  // namespace tiercache::l1::test
