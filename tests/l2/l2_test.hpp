// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "redis_server.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/lab.hpp>
#include <tiercache/l2/client.hpp>

#include <hiredis/hiredis.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace tiercache::testing {

using namespace std::chrono_literals;
using Strings = std::vector<std::string>;

inline const l2::Naming naming{"test", "app", 0x0102030405060708};
inline std::string key(std::string_view id) { return "test:app:user:" + std::string(id); }
inline std::string lease_key(std::string_view id) { return "test:app:!lease:user:" + std::string(id); }

/// Polls until `condition` holds; false after the bound.
inline bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds bound = 10s) {
  const auto end = std::chrono::steady_clock::now() + bound;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

/// The 48 bytes before the epoch; only what scripts look at is filled in.
inline std::string head(std::uint64_t version = 0) {
  std::string h("TCE\1\0\7\2\0", 8);
  append_be<8>(h, version);
  h.resize(48, 'h');
  return h;
}
constexpr std::size_t payload_at = 56;

/// A client and its requests, one line each. Thread-safe like the port.
class Client {
 public:
  explicit Client(const l2::Options& options, const l2::Naming& names = naming) : port_(l2::open_client(options, names, {})) {}
  explicit Client(const RedisServer& server) : Client(options_of(server.url())) {}

  static l2::Options options_of(std::string url) {
    l2::Options o;
    o.url = std::move(url);
    o.call_timeout = 5s;  // sanitizers are slow; tests of deadlines set their own
    o.connect_timeout = 2s;
    return o;
  }

  RemotePort& port() { return *port_; }
  [[nodiscard]] RemoteStats stats() const { return port_->stats(); }
  RemoteReply run(const RemoteRequest& r) {
    RemoteReply reply;
    port_->start(r, reply, {});
    return reply;
  }
  RemoteReply keyed(RemoteOp op, const Strings& keys, Deadline deadline = Deadline::never()) {
    RemoteRequest r;
    r.op = op;
    r.keys = keys;
    r.deadline = deadline;
    return run(r);
  }
  RemoteReply get(std::string_view id, Deadline deadline = Deadline::never()) {
    return keyed(RemoteOp::get, {key(id)}, deadline);
  }
  /// The payload that stands under `id`; nothing: absent. Throws on an error.
  std::optional<std::string> value(std::string_view id) {
    const RemoteReply r = get(id);
    if (r.error) throw std::runtime_error(r.error->message);
    if (!r.values.at(0)) return std::nullopt;
    return r.values[0]->bytes.substr(payload_at);
  }
  RemoteReply put(std::string_view id, std::string_view payload, std::int64_t ttl_ms = 0, Deadline deadline = Deadline::never()) {
    return put_version(id, payload, 0, false, ttl_ms, deadline);
  }
  RemoteReply put_version(std::string_view id, std::string_view payload, std::uint64_t version, bool if_newer,
                          std::int64_t ttl_ms = 0, Deadline deadline = Deadline::never()) {
    const Strings keys = {key(id)};
    const std::string h = head(version);
    RemoteRequest r;
    r.op = RemoteOp::put;
    r.keys = keys;
    r.head = h;
    r.payload = payload;
    r.ttl_ms = ttl_ms;
    r.version = version;
    r.if_newer = if_newer;
    r.write_id = 42;
    r.deadline = deadline;
    return run(r);
  }
  RemoteReply erase(const Strings& ids, Deadline deadline = Deadline::never()) {
    Strings keys;
    for (const std::string& id : ids) keys.push_back(key(id));
    return keyed(RemoteOp::erase, keys, deadline);
  }
  RemoteReply lease(RemoteOp op, std::string_view id, std::string_view token, std::string_view payload = {},
                    bool ignore_value = false) {
    const Strings keys = {key(id)};
    const std::string h = head();
    RemoteRequest r;
    r.op = op;
    r.keys = keys;
    r.token = token;
    r.lease_ms = 20'000;
    r.head = h;
    r.payload = payload;
    r.ignore_value = ignore_value;
    return run(r);
  }
  RemoteReply clear(std::string_view type, Deadline deadline = Deadline::never()) {
    RemoteRequest r;
    r.op = RemoteOp::clear;
    r.type = type;
    r.write_id = 43;
    r.deadline = deadline;
    return run(r);
  }
  RemoteReply heartbeat(std::uint64_t beat, Deadline deadline = Deadline::never()) {
    RemoteRequest r;
    r.op = RemoteOp::heartbeat;
    r.beat = beat;
    r.deadline = deadline;
    return run(r);
  }

 private:
  std::unique_ptr<RemotePort> port_;
};

/// A subscriber by hiredis alone: it sees what any client of Redis would see.
class Subscriber {
 public:
  explicit Subscriber(const RedisServer& server, const std::string& channel = "test:app:!bus")
      : context_(redisConnectWithTimeout("127.0.0.1", server.port(), timeval{2, 0})) {
    if (context_ == nullptr || context_->err != 0) throw std::runtime_error("Subscriber: cannot connect");
    redisSetTimeout(context_, timeval{10, 0});
    freeReplyObject(redisCommand(context_, "SUBSCRIBE %s", channel.c_str()));
  }
  ~Subscriber() { redisFree(context_); }
  Subscriber(const Subscriber&) = delete;
  Subscriber& operator=(const Subscriber&) = delete;

  /// The next message's bytes. Throws after 10 s.
  std::string next() {
    void* raw = nullptr;
    if (redisGetReply(context_, &raw) != REDIS_OK || raw == nullptr) throw std::runtime_error("Subscriber: no message");
    auto* const r = static_cast<redisReply*>(raw);
    std::string bytes(r->element[2]->str, r->element[2]->len);
    freeReplyObject(raw);
    return bytes;
  }

 private:
  redisContext* context_;
};

/// Takes a remedy out for a scope.
class Ablate {
 public:
  explicit Ablate(lab::Remedy r) : remedy_(r) { lab::ablate(r); }
  ~Ablate() { lab::ablate(remedy_, false); }
  Ablate(const Ablate&) = delete;
  Ablate& operator=(const Ablate&) = delete;

 private:
  lab::Remedy remedy_;
};

/// Measures a call against its bound.
class Stopwatch {
 public:
  [[nodiscard]] std::chrono::milliseconds elapsed() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - began_);
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

/// What a deadline may be overshot by on a machine that is busy with other things. Far below any hang.
inline constexpr std::chrono::milliseconds slack = 1500ms;

inline std::optional<Errc> code(const RemoteReply& r) { return r.error ? std::optional(r.error->code) : std::nullopt; }

}  // namespace tiercache::testing
