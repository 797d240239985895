// SPDX-License-Identifier: Apache-2.0
//
// Puts that are sure to queue, and to go together: the only lane is taken by a put that a stopped server does not answer.
#pragma once

#include "l2_test.hpp"

#include <future>
#include <vector>

namespace tiercache::testing {

/// The server stands still with one put in the lane of `client`. Everything that is put now queues, in the order of the calls.
/// Made before the client's other threads, and at most one at a time.
class Jam {
 public:
  Jam(RedisServer& server, Client& client)
      : Jam(
            client, [&server] { server.pause(); }, [&server] { server.resume(); }) {}
  Jam(Client& client, const std::function<void()>& stop, std::function<void()> go) : client_(client), go_(std::move(go)) {
    lab::put_lanes = 1;
    // A connection to spare before the server stops: opening one would wait for it, too. Large puts pass the queue.
    const std::string large(80'000, 'x');
    const bool warm = eventually([&] {
      std::vector<std::future<RemoteReply>> puts;
      for (int i = 0; i < 4; ++i) puts.push_back(std::async(std::launch::async, [&] { return client_.put("warm", large); }));
      for (auto& p : puts) p.get();
      return client_.stats().connections >= 2;
    });
    if (!warm) throw std::runtime_error("Jam: there is one connection only");
    stop();
    const std::uint64_t before = client_.stats().commands;
    blocker_ = std::async(std::launch::async, [this] { return client_.put("lane", "b"); });
    if (!eventually([&] { return client_.stats().commands > before; })) throw std::runtime_error("Jam: a put was not sent");
  }
  ~Jam() {
    if (go_) go_();
    if (blocker_.valid()) blocker_.wait();
    lab::put_lanes = 2;
  }
  Jam(const Jam&) = delete;
  Jam& operator=(const Jam&) = delete;

  /// Runs `call` on a thread of its own and returns once its put queues.
  std::future<RemoteReply> queue(std::function<RemoteReply()> call) {
    const std::uint64_t before = client_.stats().queued_puts;
    auto future = std::async(std::launch::async, std::move(call));
    if (!eventually([&] { return client_.stats().queued_puts > before; })) throw std::runtime_error("Jam: a put did not queue");
    return future;
  }
  std::future<RemoteReply> put(std::string id, std::string payload, std::uint64_t version = 0,
                               Deadline deadline = Deadline::after(60s)) {
    return queue(
        [this, id, payload, version, deadline] { return client_.put_version(id, payload, version, version != 0, 0, deadline); });
  }
  /// Lets the server go on; the blocker's answer.
  RemoteReply go() {
    std::exchange(go_, nullptr)();
    return blocker_.get();
  }

 private:
  Client& client_;
  std::function<void()> go_;
  std::future<RemoteReply> blocker_;
};

}  // namespace tiercache::testing
