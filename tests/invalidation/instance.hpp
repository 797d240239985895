// SPDX-License-Identifier: Apache-2.0
//
// One store's bus and remote client against a real server, with a sink that records.
#pragma once

#include "recording_sink.hpp"

#include <redis_server.hpp>

#include <tiercache/base/hash.hpp>
#include <tiercache/invalidation/bus.hpp>
#include <tiercache/l2/client.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace tiercache::testing {

/// Polls until `holds`, at most `limit`. For conditions that nobody announces.
inline bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

struct InstanceOptions {
  std::chrono::milliseconds budget{20'000};  ///< silence on a busy machine is no loss; tests of silence set their own
  std::chrono::milliseconds heartbeat{50};
  std::uint32_t shards = 0;
  std::string url{};      ///< where calls go if not to the server itself
  std::string bus_url{};  ///< where the bus connects to if not to the server itself (a proxy)
  std::chrono::milliseconds connect_timeout{500};
  std::uint32_t log_entries = 0;  ///< 0: a loss always voids
  invalidation::Source source = invalidation::Source::bus;
};

class Instance {
 public:
  explicit Instance(const RedisServer& server, const InstanceOptions& options = {}) {
    naming_ = {"dev", "users", random_u64(), options.log_entries};
    l2::Options l2;
    l2.url = options.url.empty() ? server.url() : options.url;
    l2.shards = options.shards;
    l2.pool_size = 2;
    l2.connect_timeout = options.connect_timeout;
    remote_ = l2::open_client(l2, naming_, Log{});
    if (!options.bus_url.empty()) l2.url = options.bus_url;
    invalidation::Options bus;
    bus.staleness_budget = options.budget;
    bus.heartbeat = options.heartbeat;
    bus.source = options.source;
    bus.log_entries = options.log_entries;
    bus_ = invalidation::open_bus(bus, l2, naming_, *remote_, Log{});
  }
  ~Instance() {
    stop();
    remote_->close(Deadline::after(std::chrono::seconds(5)));
  }

  void start() { bus_->start(sink_); }
  void stop(std::chrono::milliseconds limit = std::chrono::seconds(5)) { bus_->stop(Deadline::after(limit)); }
  /// Subscribed and coherent, or false after 20 s.
  bool started() {
    start();
    return coherent_after(sink_.wait_line("gap 0 subscribed"));
  }
  bool coherent_after(std::size_t line) const { return line != 0 && sink_.wait_line("coherent 0", line) != 0; }

  /// One announced erase; the error's text, empty when it was answered.
  std::string erase(const std::string& key, std::uint64_t write_id, ShardId shard = 0) {
    const std::vector<std::string> keys{key};
    RemoteRequest request;
    request.op = RemoteOp::erase;
    request.shard = shard;
    request.keys = keys;
    request.write_id = write_id;
    return run(request);
  }
  std::string clear(const std::string& type, std::uint64_t write_id) {
    RemoteRequest request;
    request.op = RemoteOp::clear;
    request.type = type;
    request.write_id = write_id;
    return run(request);
  }

  [[nodiscard]] RecordingSink& sink() { return sink_; }
  [[nodiscard]] BusStats stats() const { return bus_->stats(); }
  [[nodiscard]] const l2::Naming& naming() const { return naming_; }
  [[nodiscard]] RemotePort& remote() { return *remote_; }

 private:
  std::string run(RemoteRequest& request) {
    request.deadline = Deadline::after(std::chrono::seconds(5));
    RemoteReply reply;
    remote_->start(request, reply, nullptr);
    return reply.error ? std::string(name(reply.error->code)) + ": " + reply.error->message : "";
  }

  l2::Naming naming_;
  RecordingSink sink_;
  std::unique_ptr<RemotePort> remote_;
  std::unique_ptr<BusPort> bus_;  // last: it uses the others
};

}  // namespace tiercache::testing
