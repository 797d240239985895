// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "counters.hpp"
#include "park.hpp"

#include <tiercache/base/clock.hpp>
#include <tiercache/base/error.hpp>
#include <tiercache/base/ports.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace tiercache::l2 {

/// Group commit: while two puts of a shard are on their way, further ones queue; whoever's put is over hands its lane to the
/// first of the queue, which takes the others along in one put_many: one script, one number, one announcement, an answer for
/// each. A put that meets a free lane goes at once and alone, so nobody waits for company.
///
/// Thread-safe. Blocking (a mutex a shard, held for no system call that waits), each caller at most until its deadline.
class PutGroups {
 public:
  static constexpr std::size_t puts_max = 64;
  static constexpr std::size_t bytes_max = std::size_t{1} << 20;
  /// A larger value goes on its own, past the queue: its transfer would hold the small ones up.
  static constexpr std::size_t alone_from = 64 * 1024;

  /// Runs one request (a put, or a put_many) to its end.
  using Send = std::function<std::optional<Error>(const RemoteRequest&, RemoteReply&)>;

  PutGroups(std::uint32_t shards, Counters& counters, Send send);

  /// REQUIRES: put.deadline is not never(); `put` was found good, and `reply` is empty. Both are touched by no one afterwards.
  /// Errors: those of the put; deadline_exceeded also when its turn did not come, and then nothing was sent.
  std::optional<Error> run(const RemoteRequest& put, RemoteReply& reply);

 private:
  enum State : std::uint32_t { queued, leads, taken, done };
  struct Member {
    const RemoteRequest& request;
    RemoteReply& reply;
    std::optional<Error> error{};
    Member* before = nullptr;  // these two are the queue's, under its mutex
    Member* after = nullptr;
    ParkWord state{queued};
  };
  struct Queue {
    std::mutex mutex;
    std::uint32_t running = 0;  // guarded by mutex, as are the rest
    Member* first = nullptr;
    Member* last = nullptr;
  };

  using Group = std::vector<Member*>;

  static void append(Queue& q, Member& m) noexcept;
  void remove(Queue& q, Member& m) noexcept;
  bool await_turn(Queue& q, Member& self);
  void gather(Queue& q, Member& leader, Group& group) noexcept;
  void send(const Group& group) noexcept;
  void send_as_one(const Group& group);
  void hand_on(Queue& q) noexcept;

  Send send_;
  Counters& counters_;
  std::unique_ptr<Queue[]> queues_;
};

}  // namespace tiercache::l2
