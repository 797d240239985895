// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "counters.hpp"

#include <tiercache/base/clock.hpp>
#include <tiercache/base/log.hpp>
#include <tiercache/base/result.hpp>
#include <tiercache/l2/connection.hpp>
#include <tiercache/l2/options.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace tiercache::l2 {

/// At most pool_size connections for callers and one beyond for upkeep, each lent to one call at a time, and the circuit that
/// keeps callers from waiting for a Redis that is away.
///
/// The circuit opens when nothing is connected and an attempt fails; and, for a Redis that hangs with its sockets open, after
/// `timeouts_max` timeouts in a row, whoever met them. Only a handshake of the thread "tc-l2" closes it again.
///
/// "tc-l2" opens the first connection and every one after all were lost, with jittered back-off. While at least one
/// is open, further ones are opened by the callers that need them, within their own deadlines: only they know how long that may
/// take, and no caller waits behind another's connect. Idle ones are lent last in, first out: the warmest socket first, and a
/// quiet time lets the rest go stale unnoticed, which borrow() checks.
///
/// Thread-safe. Blocking (one mutex, held for no system call that waits).
class Pool {
 public:
  /// What a connection is borrowed for. Upkeep may have one beyond pool_size: were heartbeats and renewals to queue behind
  /// callers, a Redis that is only slow would cost them their coherence and their leases too.
  enum class Use : std::uint8_t { call, upkeep };
  static constexpr unsigned timeouts_max = 3;

  /// Starts the thread, then waits until its first attempt has ended, at most `first_wait`. Throws std::system_error when
  /// no thread can be started; the caller's signal mask is as it was then too.
  Pool(const Options& options, Log log, Counters& counters, std::chrono::milliseconds first_wait);
  /// REQUIRES: no call is running.
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  enum class End : std::uint8_t {
    broken,
    silent,  ///< not one reply came in time
    clean,   ///< owes no reply
  };

  /// A connection for one call. Goes back by itself, open only if done() said that it owes no reply.
  class Loan {
   public:
    Loan(Pool& pool, std::unique_ptr<Connection> c, std::uint64_t era, Use use) noexcept
        : pool_(&pool), connection_(std::move(c)), era_(era), use_(use) {}
    Loan(Loan&& o) noexcept : pool_(o.pool_), connection_(std::move(o.connection_)), era_(o.era_), use_(o.use_), end_(o.end_) {}
    Loan& operator=(Loan&&) = delete;
    ~Loan() {
      if (connection_) pool_->take_back(std::move(connection_), era_, use_, end_);
    }
    Connection& operator*() const noexcept { return *connection_; }
    Connection* operator->() const noexcept { return connection_.get(); }
    void done() noexcept { end_ = End::clean; }
    void timed_out() noexcept { end_ = End::silent; }

   private:
    Pool* pool_;
    std::unique_ptr<Connection> connection_;
    std::uint64_t era_;
    Use use_;
    End end_ = End::broken;
  };

  /// Errors, nothing was sent in any case: unavailable (at once while Redis is away), deadline_exceeded (all are lent, or
  /// opening one took too long), closed.
  Result<Loan> borrow(Deadline deadline, Use use);
  /// Closes the idle connections now and the lent ones when they come back: the server at the other end is no longer the one
  /// to talk to. At most once each backoff_min.
  void renew();
  /// Ends the calls that wait or run, refuses further ones, joins the thread; by the deadline, unless the resolver holds it.
  void close(Deadline deadline) noexcept;

  [[nodiscard]] bool available() const noexcept { return available_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t open_connections() const;

 private:
  struct Idle {
    std::unique_ptr<Connection> connection;
    std::uint64_t era;
  };

  void run();
  Result<std::unique_ptr<Connection>> connect(Deadline deadline) noexcept;
  void take_back(std::unique_ptr<Connection> c, std::uint64_t era, Use use, End end) noexcept;
  Result<Loan> open_more(std::unique_lock<std::mutex>& lock, Deadline deadline, Use use);
  void note_timeout(std::uint64_t era) noexcept;
  void trip(Error why) noexcept;
  void begin_era() noexcept;
  void meet(std::uint64_t server) noexcept;
  void wake_all() noexcept;
  Duration jittered(Duration longest) noexcept;
  Error refusal() const;

  const Options options_;
  const Log log_;
  Counters& counters_;
  const int cancel_fd_;  ///< eventfd, readable from close() on: ends a connect under way
  std::atomic<bool> available_{false};

  mutable std::mutex mutex_;
  std::condition_variable callers_;  ///< a connection or room for one came free, or the state changed
  std::condition_variable upkeep_;   ///< the same for Use::upkeep, which may go on where callers may not
  std::condition_variable keeper_;   ///< wakes "tc-l2"
  // Everything below is guarded by mutex_.
  std::vector<Idle> idle_;
  std::vector<Connection*> lent_;  ///< for close() to shut down
  std::size_t open_ = 0;           ///< idle, lent or being opened
  std::size_t calls_ = 0;          ///< of these, lent to callers or being opened by them; at most pool_size
  unsigned timeouts_ = 0;          ///< of this era, since the last success
  std::uint64_t server_ = 0;       ///< the run that the newest connection leads to
  std::uint64_t era_ = 0;          ///< renew() and trip() begin a new one; what is of an elder one is not kept
  SteadyTime renewed_at_{};
  SteadyTime no_growth_until_{};
  Error last_error_{Errc::unavailable, "not connected yet"};
  bool tried_ = false;  ///< the first attempt has ended
  bool ever_connected_ = false;
  bool closing_ = false;
  bool thread_done_ = false;
  std::mt19937 random_;
  std::thread thread_;
};

}  // namespace tiercache::l2
