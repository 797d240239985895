// SPDX-License-Identifier: Apache-2.0
//
// Puts that are sure to queue: both lanes are taken by puts that a stopped server does not answer.
#pragma once

#include "l2_test.hpp"

#include <future>
#include <vector>

namespace tiercache::testing {

/// The server stands still with one put in each lane of `client`. Everything that is put now queues, in the order of the calls.
class Jam {
 public:
  static constexpr int lanes = 2;

  Jam(RedisServer& server, Client& client)
      : Jam(
            client, [&server] { server.pause(); }, [&server] { server.resume(); }) {}
  Jam(Client& client, const std::function<void()>& stop, std::function<void()> go) : client_(client), go_(std::move(go)) {
    // Each lane has its connection before the server stops: opening one would wait for it, too.
    std::vector<std::future<RemoteReply>> warm;
    for (int i = 0; i < 3 * lanes; ++i)
      warm.push_back(std::async(std::launch::async, [this, i] { return client_.put("warm" + std::to_string(i), "w"); }));
    for (auto& f : warm) f.get();
    stop();
    for (int i = 0; i < lanes; ++i) {
      const std::uint64_t before = client_.stats().commands;
      blockers_.push_back(std::async(std::launch::async, [this, i] { return client_.put("lane" + std::to_string(i), "b"); }));
      if (!eventually([&] { return client_.stats().commands > before; })) throw std::runtime_error("Jam: a put was not sent");
    }
  }
  ~Jam() {
    if (go_) go_();
  }

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
  /// Lets the server go on; the blockers' answers.
  std::vector<RemoteReply> go() {
    std::exchange(go_, nullptr)();
    std::vector<RemoteReply> answers;
    for (auto& b : blockers_) answers.push_back(b.get());
    return answers;
  }

 private:
  Client& client_;
  std::function<void()> go_;
  std::vector<std::future<RemoteReply>> blockers_;
};

}  // namespace tiercache::testing
