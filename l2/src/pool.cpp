// SPDX-License-Identifier: Apache-2.0
#include "pool.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/base/lab.hpp>
#include <tiercache/base/thread.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace tiercache::l2 {

Pool::Pool(const Options& options, Log log, Counters& counters, std::chrono::milliseconds first_wait)
    : options_(options),
      log_(std::move(log)),
      counters_(counters),
      cancel_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      random_(static_cast<std::mt19937::result_type>(random_u64())) {
  try {
    idle_.reserve(options_.pool_size + 1);  // so that giving one back never allocates
    lent_.reserve(options_.pool_size + 1);
    thread_ = start_thread("tc-l2", [this] { run(); });
  } catch (...) {
    ::close(cancel_fd_);
    throw;
  }
  std::unique_lock lock(mutex_);
  callers_.wait_for(lock, first_wait, [this] { return tried_; });
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
    if (open_ != 0 && available()) {
      keeper_.wait(lock);
      continue;
    }
    ++open_;
    const std::uint64_t era = era_;
    lock.unlock();
    auto c = connect(Deadline::after(options_.connect_timeout));
    try {
      if (c) log_(LogLevel::info, "l2: connected to " + (*c)->peer() + ", " + (*c)->role());
      else log_(level, "l2: not connected: " + c.error().message);
    } catch (...) {  // no memory for a line
    }
    lock.lock();
    tried_ = true;
    if (c && !closing_ && era != era_) {  // it leads where nobody wants to go any more, perhaps
      c->reset();
      --open_;
      wake_all();
      continue;
    }
    if (c && !closing_) {
      counters_.connects.fetch_add(1, std::memory_order_relaxed);
      if (std::exchange(ever_connected_, true)) counters_.reconnects.fetch_add(1, std::memory_order_relaxed);
      backoff = options_.backoff_min;
      level = LogLevel::warn;
      available_.store(true, std::memory_order_relaxed);
      timeouts_ = 0;
      meet((*c)->server());
      idle_.push_back({std::move(*c), era_});
      wake_all();
      continue;
    }
    --open_;
    if (closing_) break;
    if (c.error().code == Errc::deadline_exceeded) note_timeout(era);
    if (open_ != 0 && available()) continue;  // a caller's own attempt went better meanwhile, or has not ended
    trip(std::move(c).error());
    const SteadyTime until = Deadline::after(jittered(backoff)).at();
    keeper_.wait_until(lock, until, [this] { return closing_; });
    backoff = std::min<Duration>(backoff * 2, options_.backoff_max);
    level = LogLevel::debug;
  }
  thread_done_ = true;
  wake_all();
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

// Timeouts of an elder era are of connections that were given up already: they say nothing about the ones opened since.
void Pool::note_timeout(std::uint64_t era) noexcept {
  if (era != era_ || !available() || closing_) return;
  if (++timeouts_ >= timeouts_max) trip({Errc::unavailable, "it is silent"});  // short enough to need no memory
}

// Also with connections open: they may hang as the others did. Those lent out run to their own deadlines.
void Pool::trip(Error why) noexcept {
  available_.store(false, std::memory_order_relaxed);
  last_error_ = std::move(why);
  begin_era();
  keeper_.notify_one();
  wake_all();
}

void Pool::begin_era() noexcept {
  ++era_;
  timeouts_ = 0;
  open_ -= idle_.size();
  idle_.clear();
}

// All lead to one server: with some of them still at a master that was replaced, and that answers reads, a caller would write to
// the new one and then read the old one's value, and L1 would take it.
void Pool::meet(std::uint64_t server) noexcept {
  if (server_ != 0 && server != server_) begin_era();
  server_ = server;
}

void Pool::wake_all() noexcept {
  callers_.notify_all();
  upkeep_.notify_all();
}

Error Pool::refusal() const {
  if (closing_) return {Errc::closed, "the store is closed"};
  return {Errc::unavailable, "Redis is away: " + last_error_.message};
}

Result<Pool::Loan> Pool::borrow(Deadline deadline, Use use) {
  const bool call = use == Use::call;
  const std::size_t room = options_.pool_size + (call ? 0U : 1U);
  std::unique_lock lock(mutex_);
  // Callers leave the last one alone even while it is idle: upkeep would have to wait for their calls.
  const auto may_take = [&] { return !idle_.empty() && (!call || calls_ < options_.pool_size); };
  for (;;) {
    if (closing_ || !available()) return refusal();
    while (may_take()) {
      lent_.reserve(lent_.size() + 1);  // may throw, so before anything changes hands
      Idle next = std::move(idle_.back());
      idle_.pop_back();
      lent_.push_back(next.connection.get());
      if (call) ++calls_;
      lock.unlock();
      // It owes nothing, so whatever can be read is the server's farewell (or, ablated, race 21's late reply).
      const bool good = next.connection->quiet() || lab::ablated(lab::Remedy::reply_close);
      Loan loan(*this, std::move(next.connection), next.era, use);
      if (good) return loan;
      { const Loan gone = std::move(loan); }  // closed, since done() was not called
      lock.lock();
      if (closing_ || !available()) return refusal();
    }
    if (open_ < room && std::chrono::steady_clock::now() >= no_growth_until_) {
      auto opened = open_more(lock, deadline, use);
      if (opened || open_ == 0 || deadline.passed()) return opened;
      continue;  // others are at work: wait for one of theirs
    }
    const SteadyTime until = open_ < room ? std::min(deadline.at(), no_growth_until_) : deadline.at();
    (call ? callers_ : upkeep_).wait_until(lock, until);
    if (deadline.passed() && !may_take() && !closing_ && available()) {
      return Error{Errc::deadline_exceeded, "no connection came free in time (l2.pool_size)"};
    }
  }
}

Result<Pool::Loan> Pool::open_more(std::unique_lock<std::mutex>& lock, Deadline deadline, Use use) {
  ++open_;
  if (use == Use::call) ++calls_;
  std::uint64_t era = era_;
  const auto connect_now = [&] {
    lock.unlock();
    auto made = connect(deadline.sooner(Deadline::after(options_.connect_timeout)));
    lock.lock();
    return made;
  };
  auto c = connect_now();
  while (c && !closing_ && era != era_ && !deadline.passed()) {  // it leads where nobody wants to go any more, perhaps
    era = era_;
    c = connect_now();
  }
  if (c && !closing_ && era == era_) {
    counters_.connects.fetch_add(1, std::memory_order_relaxed);
    timeouts_ = 0;
    meet((*c)->server());
    lent_.push_back(c->get());
    return Loan(*this, std::move(*c), era_, use);
  }
  --open_;
  if (use == Use::call) --calls_;
  wake_all();  // close() waits for open_ too
  if (closing_) return refusal();
  if (c) return Error{Errc::deadline_exceeded, "the connections were renewed while this one was made"};
  if (c.error().code == Errc::deadline_exceeded) note_timeout(era);
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

void Pool::take_back(std::unique_ptr<Connection> c, std::uint64_t era, Use use, End end) noexcept {
  const std::unique_lock lock(mutex_);
  std::erase(lent_, c.get());
  if (use == Use::call) --calls_;
  const bool clean = end == End::clean;
  if (clean && era == era_) timeouts_ = 0;
  const bool keep = (clean || lab::ablated(lab::Remedy::reply_close)) && !c->broken() && era == era_ && !closing_;
  if (keep) {
    idle_.push_back({std::move(c), era});
  } else {
    c.reset();  // under the lock, so that close() never shuts down a descriptor that another file has by now
    --open_;
    if (open_ == 0) keeper_.notify_one();
  }
  if (end == End::silent) note_timeout(era);
  // One of each is enough for a connection (a waiter that times out takes it all the same); room to open one is not handed on
  // like that.
  if (!keep) return wake_all();
  callers_.notify_one();
  upkeep_.notify_one();
}

void Pool::renew() {
  const std::lock_guard lock(mutex_);
  const SteadyTime now = std::chrono::steady_clock::now();
  if (renewed_at_ != SteadyTime{} && now - renewed_at_ < options_.backoff_min) return;
  renewed_at_ = now;
  begin_era();
  if (open_ == 0) keeper_.notify_one();
}

void Pool::close(Deadline deadline) noexcept {
  std::unique_lock lock(mutex_);
  if (!std::exchange(closing_, true)) {
    available_.store(false, std::memory_order_relaxed);
    eventfd_write(cancel_fd_, 1);
    for (Connection* c : lent_) c->shutdown();
    begin_era();
    wake_all();
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
