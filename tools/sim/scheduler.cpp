// SPDX-License-Identifier: Apache-2.0
#include "scheduler.hpp"

#include <tiercache/l1/hazard.hpp>

#include <sys/mman.h>

#include <cxxabi.h>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

// From one stack to another: what a called function has to leave as it was is kept on the old one. (swapcontext() asks the kernel
// for the signal mask each time, which takes longer than all else that a switch does.)
extern "C" void tiercache_sim_switch(void** from, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.globl tiercache_sim_switch
.type tiercache_sim_switch, @function
tiercache_sim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tiercache_sim_switch, .-tiercache_sim_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl tiercache_sim_switch
.type tiercache_sim_switch, %function
tiercache_sim_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size tiercache_sim_switch, .-tiercache_sim_switch
)");
#else
#error "the simulation can switch stacks on x86-64 and on 64-bit ARM"
#endif

namespace tiercache::sim {
namespace {

constexpr std::size_t stack_bytes = 256 * 1024;  // touched as far as it is used
Scheduler* the_scheduler = nullptr;

}  // namespace

/// A thread of the product, with what a real one has for itself.
struct Fiber {
  Fiber(std::uint64_t id_, Process& process_, std::string name_, std::function<void()> body_)
      : id(id_), process(process_), name(std::move(name_)), body(std::move(body_)) {
    stack = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) std::abort();
  }
  ~Fiber() { munmap(stack, stack_bytes); }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  const std::uint64_t id;
  Process& process;
  std::string name;
  std::function<void()> body;
  void* stack;
  void* context = nullptr;            // the stack pointer while it waits
  std::uint64_t turn = 0;             // counts the waits: a wake-up for an earlier one is none
  std::uint64_t chosen = UINT64_MAX;  // the wait that somebody has ended already: its time-out comes too late
  bool woken = false;
  bool done = false;
  // Thread-local things that must not be shared by fibers.
  int error = 0;
  l1::detail::Record* record = nullptr;
  l1::detail::Record* quick_record = nullptr;
  // What the C++ runtime knows of the exceptions in flight: two words.
  std::array<void*, 2> exceptions{};
};

namespace {

void exchange_locals(Fiber& fiber) noexcept {
  std::swap(errno, fiber.error);
  std::swap(l1::detail::tls_record, fiber.record);
  std::swap(l1::detail::tls_quick_record, fiber.quick_record);
  auto* const globals = reinterpret_cast<void**>(abi::__cxa_get_globals());
  std::swap(globals[0], fiber.exceptions[0]);
  std::swap(globals[1], fiber.exceptions[1]);
}

}  // namespace

Scheduler::Scheduler(std::uint64_t seed) : choices(mix64(seed ^ 0x5c4ed)), entropy(mix64(seed ^ 0xe47)) {
  now_ = 1'000'000 * millis;
  the_scheduler = this;
}
Scheduler::~Scheduler() { the_scheduler = nullptr; }

Scheduler* Scheduler::current() noexcept { return the_scheduler; }
Process* Scheduler::process() const noexcept { return running_ != nullptr ? &running_->process : nullptr; }
std::uint64_t Scheduler::fiber_id() const noexcept { return running_ != nullptr ? running_->id : 0; }
std::string_view Scheduler::fiber_name() const noexcept { return running_ != nullptr ? std::string_view(running_->name) : "-"; }
void Scheduler::name_fiber(std::uint64_t id, std::string_view name) {
  if (id != 0 && id <= fibers_.size()) fibers_[id - 1]->name = name;
}

void Scheduler::enter() {
  Fiber* const fiber = the_scheduler->running_;
  fiber->body();
  fiber->body = nullptr;
  fiber->done = true;
  the_scheduler->wake(fiber, SIZE_MAX);
  the_scheduler->leave();
  std::abort();  // a fiber that is done is never resumed
}

std::uint64_t Scheduler::spawn(Process& process, std::string name, std::function<void()> body) {
  fibers_.push_back(std::make_unique<Fiber>(fibers_.size() + 1, process, std::move(name), std::move(body)));
  Fiber& fiber = *fibers_.back();
  // As if it had left by a switch: its registers, then where it goes on, on a stack aligned as at a call.
  auto* const top = reinterpret_cast<void**>(static_cast<char*>(fiber.stack) + stack_bytes);
#if defined(__x86_64__)
  top[-2] = reinterpret_cast<void*>(&Scheduler::enter);
  fiber.context = top - 8;
#else
  fiber.context = top - 20;
  top[-20 + 11] = reinterpret_cast<void*>(&Scheduler::enter);  // x30
#endif
  at(now_ + latency_of_waking(), process, [this, &fiber] { resume_fiber(fiber, 0, true); });
  return fiber.id;
}

void Scheduler::join(std::uint64_t id) {
  Fiber& fiber = *fibers_.at(id - 1);
  while (!fiber.done) block(&fiber, never);
}

void Scheduler::resume_fiber(Fiber& fiber, std::uint64_t turn, bool woken) {
  if (fiber.turn != turn || fiber.done) return;
  ++fiber.turn;
  fiber.woken = woken || fiber.chosen == turn;
  running_ = &fiber;
  exchange_locals(fiber);
  tiercache_sim_switch(&main_, fiber.context);
  exchange_locals(fiber);
  running_ = nullptr;
}

void Scheduler::leave() { tiercache_sim_switch(&running_->context, main_); }

bool Scheduler::block(const void* key, Nanos until, const void* second) {
  Fiber& fiber = *running_;
  const std::uint64_t turn = fiber.turn;
  for (const void* k : {key, second}) {
    if (k == nullptr) continue;
    std::vector<Waiter>& waiters = waiting_[k];
    std::erase_if(waiters, [](const Waiter& w) { return w.fiber->turn != w.turn; });
    waiters.push_back({&fiber, turn});
  }
  if (until != never) at(std::max(until, now_), fiber.process, [this, &fiber, turn] { resume_fiber(fiber, turn, false); });
  leave();
  return fiber.woken;
}

void Scheduler::wake(const void* key, std::size_t most) {
  const auto found = waiting_.find(key);
  if (found == waiting_.end()) return;
  std::vector<Waiter>& waiters = found->second;
  while (!waiters.empty() && most != 0) {
    const std::size_t i = most == SIZE_MAX ? 0 : choices.below(waiters.size());
    const Waiter one = waiters[i];
    waiters.erase(waiters.begin() + static_cast<std::ptrdiff_t>(i));
    if (one.fiber->turn != one.turn || one.fiber->chosen == one.turn || one.fiber->done || one.fiber->process.dead) continue;
    one.fiber->chosen = one.turn;
    at(now_ + latency_of_waking(), one.fiber->process, [this, one] { resume_fiber(*one.fiber, one.turn, true); });
    if (most != SIZE_MAX) --most;
  }
  if (waiters.empty()) waiting_.erase(found);
}

void Scheduler::sleep_until(Nanos when) { block(nullptr, when); }

/// Mostly microseconds; now and then the machine is busy.
Nanos Scheduler::latency_of_waking() {
  const std::uint64_t kind = choices.below(64);
  if (kind == 0) return static_cast<Nanos>(choices.below(20 * millis));
  if (kind < 6) return static_cast<Nanos>(choices.below(1 * millis));
  return static_cast<Nanos>(choices.below(20 * micros));
}

void Scheduler::at(Nanos when, std::function<void()> what) { queue_.push({std::max(when, now_), order_++, std::move(what)}); }

void Scheduler::at(Nanos when, Process& process, std::function<void()> what) {
  at(when, [&process, what = std::move(what)] {
    if (process.dead) return;
    if (process.paused) process.held.push_back(what);
    else what();
  });
}

void Scheduler::pause(Process& process) { process.paused = true; }

void Scheduler::resume(Process& process) {
  if (!std::exchange(process.paused, false)) return;
  for (std::function<void()>& what : std::exchange(process.held, {}))
    at(now_ + static_cast<Nanos>(choices.below(200 * micros)), process, std::move(what));
}

bool Scheduler::run_until(Nanos until) {
  while (!queue_.empty() && queue_.top().at <= until) {
    // The queue's own elements are constant; what is popped next may be moved from.
    auto what = std::move(const_cast<Event&>(queue_.top()).what);
    now_ = queue_.top().at;
    queue_.pop();
    if (++events > events_max) return false;
    what();
  }
  now_ = std::max(now_, until);
  return true;
}

void Scheduler::print(std::string_view kind, const std::string& text) const {
  const Process* const p = process();
  std::printf("%12.3f  %-8s %-9s %-10.*s %s\n", static_cast<double>(now_ - 1'000'000 * millis) / 1e6,
              p != nullptr ? p->name.c_str() : "-", std::string(fiber_name()).c_str(), static_cast<int>(kind.size()), kind.data(),
              text.c_str());
}

}  // namespace tiercache::sim
