// SPDX-License-Identifier: Apache-2.0
#include "pool.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

namespace tiercache::l2 {

Pool::Pool(const Options& options, Log log, Counters& counters)
    : options_(options),
      log_(std::move(log)),
      counters_(counters),
      cancel_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      random_(static_cast<std::mt19937::result_type>(random_u64())) {
  idle_.reserve(options_.pool_size);  // so that giving one back never allocates
  lent_.reserve(options_.pool_size);
  // Signals are the application's: the thread inherits a full mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), "tc-l2");
  std::unique_lock lock(mutex_);
  callers_.wait_for(lock, options_.connect_timeout, [this] { return tried_; });
}

Pool::~Pool() {
  close(Deadline::after(options_.connect_timeout));
  if (thread_.joinable()) thread_.join();
  ::close(cancel_fd_);
}

void Pool::run() {
  std::unique_lock lock(mutex_);
  Duration backoff = options_.backoff_min;
  LogLevel level = LogLevel::warn;  // of the next failure: the first of a row is news
  while (!closing_) {
    if (open_ != 0) {
      keeper_.wait(lock);
      continue;
    }
    ++open_;
    const std::uint64_t era = era_;
    lock.unlock();
    auto c = connect(Deadline::after(options_.connect_timeout));
    if (c) log_(LogLevel::info, "l2: connected to " + (*c)->peer() + ", " + (*c)->role());
    else log_(level, "l2: not connected: " + c.error().message);
    lock.lock();
    tried_ = true;
    if (c && !closing_) {
      counters_.connects.fetch_add(1, std::memory_order_relaxed);
      if (std::exchange(ever_connected_, true)) counters_.reconnects.fetch_add(1, std::memory_order_relaxed);
      backoff = options_.backoff_min;
      level = LogLevel::warn;
      available_.store(true, std::memory_order_relaxed);
      idle_.push_back({std::move(*c), era});
      callers_.notify_all();
      continue;
    }
    --open_;
    if (closing_) break;
    if (open_ != 0) continue;  // a caller's own attempt went better meanwhile, or has not ended
    trip(std::move(c).error());
    const SteadyTime until = Deadline::after(jittered(backoff)).at();
    keeper_.wait_until(lock, until, [this] { return closing_; });
    backoff = std::min<Duration>(backoff * 2, options_.backoff_max);
    level = LogLevel::debug;
  }
  thread_done_ = true;
  callers_.notify_all();
}

Result<std::unique_ptr<Connection>> Pool::connect(Deadline deadline) noexcept {
  try {
    return Connection::open(options_, deadline, cancel_fd_);
  } catch (...) {
    return Error{Errc::unavailable, "no memory"};  // short enough to need none
  }
}

// Half of it is certain, half is chance: instances that lost the same Redis do not come back in step.
Duration Pool::jittered(Duration longest) noexcept {
  return longest / 2 + Duration(std::uniform_int_distribution<Duration::rep>(0, longest.count() / 2)(random_));
}

void Pool::trip(Error why) noexcept {
  available_.store(false, std::memory_order_relaxed);
  last_error_ = std::move(why);
  callers_.notify_all();
}

Error Pool::refusal() const {
  if (closing_) return {Errc::closed, "the store is closed"};
  return {Errc::unavailable, "Redis is away: " + last_error_.message};
}

Result<Pool::Loan> Pool::borrow(Deadline deadline) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (closing_ || !available()) return refusal();
    while (!idle_.empty()) {
      Idle next = std::move(idle_.back());
      idle_.pop_back();
      lent_.push_back(next.connection.get());
      lock.unlock();
      // It owes nothing, so whatever can be read is the server's farewell (or, ablated, race 21's late reply).
      const bool good = next.connection->quiet() || lab::ablated(lab::Remedy::reply_close);
      Loan loan(*this, std::move(next.connection), next.era);
      if (good) return loan;
      { const Loan gone = std::move(loan); }  // closed, since done() was not called
      lock.lock();
      if (closing_ || !available()) return refusal();
    }
    if (open_ < options_.pool_size && std::chrono::steady_clock::now() >= no_growth_until_) {
      auto opened = open_more(lock, deadline);
      if (opened || open_ == 0 || deadline.passed()) return opened;
      continue;  // others are at work: wait for one of theirs
    }
    const SteadyTime until = open_ < options_.pool_size ? std::min(deadline.at(), no_growth_until_) : deadline.at();
    callers_.wait_until(lock, until);
    if (deadline.passed() && idle_.empty() && !closing_ && available()) {
      return Error{Errc::deadline_exceeded, "no connection came free in time (l2.pool_size)"};
    }
  }
}

Result<Pool::Loan> Pool::open_more(std::unique_lock<std::mutex>& lock, Deadline deadline) {
  ++open_;
  const std::uint64_t era = era_;
  lock.unlock();
  auto c = connect(deadline.sooner(Deadline::after(options_.connect_timeout)));
  lock.lock();
  if (c && !closing_) {
    counters_.connects.fetch_add(1, std::memory_order_relaxed);
    available_.store(true, std::memory_order_relaxed);
    lent_.push_back(c->get());
    return Loan(*this, std::move(*c), era);
  }
  --open_;
  callers_.notify_all();  // close() waits for open_ too
  if (closing_) return refusal();
  if (open_ == 0) {
    keeper_.notify_one();
    // A caller's own short deadline says nothing about Redis; the thread finds out.
    if (!deadline.passed()) trip(c.error());
  } else {
    no_growth_until_ = Deadline::after(jittered(options_.backoff_min)).at();
  }
  if (deadline.passed()) return Error{Errc::deadline_exceeded, c.error().message};
  return refusal();
}

void Pool::take_back(std::unique_ptr<Connection> c, std::uint64_t era, bool clean) noexcept {
  const std::unique_lock lock(mutex_);
  std::erase(lent_, c.get());
  const bool keep = (clean || lab::ablated(lab::Remedy::reply_close)) && !c->broken() && era == era_ && !closing_;
  if (keep) {
    idle_.push_back({std::move(c), era});
  } else {
    c.reset();  // under the lock, so that close() never shuts down a descriptor that another file has by now
    --open_;
    if (open_ == 0) keeper_.notify_one();
  }
  // One is enough for a connection (a waiter that times out takes it all the same); room to open one is not handed on like that.
  if (keep && !closing_) callers_.notify_one();
  else callers_.notify_all();
}

void Pool::renew() {
  const std::lock_guard lock(mutex_);
  const SteadyTime now = std::chrono::steady_clock::now();
  if (renewed_at_ != SteadyTime{} && now - renewed_at_ < options_.backoff_min) return;
  renewed_at_ = now;
  ++era_;
  open_ -= idle_.size();
  idle_.clear();
  if (open_ == 0) keeper_.notify_one();
}

void Pool::close(Deadline deadline) noexcept {
  std::unique_lock lock(mutex_);
  if (!std::exchange(closing_, true)) {
    available_.store(false, std::memory_order_relaxed);
    eventfd_write(cancel_fd_, 1);
    for (Connection* c : lent_) c->shutdown();
    open_ -= idle_.size();
    idle_.clear();
    callers_.notify_all();
    keeper_.notify_all();
  }
  const auto over = [this] { return thread_done_ && open_ == 0; };
  while (!over() && !deadline.passed()) callers_.wait_until(lock, deadline.at());
  const bool ended = thread_done_;
  lock.unlock();
  if (ended && thread_.joinable()) thread_.join();
}

std::size_t Pool::open_connections() const {
  const std::lock_guard lock(mutex_);
  return idle_.size() + lent_.size();
}

}  // namespace tiercache::l2
