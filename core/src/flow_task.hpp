// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "wakes.hpp"

#include <tiercache/base/clock.hpp>
#include <tiercache/base/ports.hpp>

#include <cassert>
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace tiercache::detail {

struct Flight;

/// How a flow waits. Each function returns true when the thing is done already, and the flow goes on without a pause; false when
/// it will resume `flow` later, exactly once. A blocking driver blocks and returns true, so its flows never suspend; an
/// asynchronous one is to come and needs no second copy of any flow.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual bool call(RemotePort& remote, const RemoteRequest& request, RemoteReply& reply, std::coroutine_handle<> flow) = 0;
  virtual bool wait(Flight& flight, Deadline deadline, std::coroutine_handle<> flow) = 0;
  /// Until a word came since, at most so long.
  virtual bool wait(Wakes& wakes, const Wakes::Ticket& since, Duration at_most, std::coroutine_handle<> flow) = 0;
  virtual bool pause(Duration duration, std::coroutine_handle<> flow) = 0;
};

/// A lazily started coroutine with one result. Owned by whoever runs it; destroyed with its frame.
template <class T>
class [[nodiscard]] Flow {
 public:
  struct promise_type {
    std::optional<T> result;
    std::exception_ptr thrown;
    std::coroutine_handle<> parent;

    Flow get_return_object() { return Flow(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct ToParent {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
        return self.promise().parent ? self.promise().parent : std::noop_coroutine();
      }
      void await_resume() noexcept {}
    };
    ToParent final_suspend() noexcept { return {}; }
    void return_value(T value) { result.emplace(std::move(value)); }
    void unhandled_exception() { thrown = std::current_exception(); }
  };

  Flow(Flow&& other) noexcept : self_(std::exchange(other.self_, nullptr)) {}
  Flow& operator=(Flow&&) = delete;
  ~Flow() {
    if (self_) self_.destroy();
  }

  /// Runs the flow on a driver that never suspends. Rethrows what it threw (want of memory).
  T run() && {
    self_.resume();
    assert(self_.done());
    return take();
  }

  auto operator co_await() && noexcept {
    struct Awaiter {
      Flow& flow;
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) noexcept {
        flow.self_.promise().parent = parent;
        return flow.self_;
      }
      T await_resume() { return flow.take(); }
    };
    return Awaiter{*this};
  }

 private:
  explicit Flow(std::coroutine_handle<promise_type> self) noexcept : self_(self) {}
  T take() {
    if (self_.promise().thrown) std::rethrow_exception(self_.promise().thrown);
    return std::move(*self_.promise().result);
  }

  std::coroutine_handle<promise_type> self_;
};

/// `co_await Waiting([&](auto handle) { return driver.wait(flight, deadline, handle); });`
template <class Start>
class Waiting {
 public:
  explicit Waiting(Start start) : start_(std::move(start)) {}
  bool await_ready() noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> flow) { return !start_(flow); }
  void await_resume() noexcept {}

 private:
  Start start_;
};

}  // namespace tiercache::detail
