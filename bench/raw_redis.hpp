// SPDX-License-Identifier: Apache-2.0
//
// Redis by bare hiredis: what a careful user would write without this library. And the private server that all share.
#pragma once

#include <redis_server.hpp>

#include <tiercache/tiercache.hpp>

#include <hiredis/hiredis.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace tiercache::bench {

class RawRedis {
 public:
  explicit RawRedis(std::uint16_t port) : context_(redisConnect("127.0.0.1", port)) {
    if (!context_ || context_->err != 0) throw std::runtime_error("hiredis cannot connect");
    redisEnableKeepAlive(context_.get());
  }
  using Reply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

  Reply get(std::string_view key) {
    append({"GET", key});
    return next();
  }
  void publish(std::string_view channel, std::string_view text) {
    append({"PUBLISH", channel, text});
    expect(REDIS_REPLY_INTEGER);
  }
  /// One flight of packets, two answers.
  void set_publish(std::string_view key, std::string_view value, std::string_view channel) {
    append({"SET", key, value});
    append({"PUBLISH", channel, key});
    expect(REDIS_REPLY_STATUS);
    expect(REDIS_REPLY_INTEGER);
  }
  /// All in one flight of packets.
  template <class Pairs>
  void set_publish_all(const Pairs& pairs, std::string_view channel) {
    for (const auto& [key, value] : pairs) {
      append({"SET", key, value});
      append({"PUBLISH", channel, key});
    }
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      expect(REDIS_REPLY_STATUS);
      expect(REDIS_REPLY_INTEGER);
    }
  }
  void subscribe(std::string_view channel) {
    append({"SUBSCRIBE", channel});
    expect(REDIS_REPLY_ARRAY);
  }
  Reply next() {
    void* reply = nullptr;
    if (redisGetReply(context_.get(), &reply) != REDIS_OK) throw std::runtime_error("hiredis has no answer");
    return {static_cast<redisReply*>(reply), &freeReplyObject};
  }
  void shutdown() { ::shutdown(context_->fd, SHUT_RDWR); }

 private:
  void append(std::initializer_list<std::string_view> argv) {
    const char* parts[4];
    std::size_t sizes[4];
    int count = 0;
    for (const std::string_view a : argv) {
      parts[count] = a.data();
      sizes[count++] = a.size();
    }
    redisAppendCommandArgv(context_.get(), count, parts, sizes);
  }
  void expect(int type) {
    if (next()->type != type) throw std::runtime_error("hiredis got another answer than the command has");
  }

  struct Free {
    void operator()(redisContext* c) const { redisFree(c); }
  };
  std::unique_ptr<redisContext, Free> context_;
};

/// A thread that listens on a channel and calls `heard` for each message.
class RawListener {
 public:
  RawListener(std::uint16_t port, const std::string& channel, std::function<void(std::string_view)> heard)
      : redis_(port), heard_(std::move(heard)) {
    redis_.subscribe(channel);
    thread_ = std::thread([this] {
      try {
        for (;;) {
          const auto reply = redis_.next();
          if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3) heard_({reply->element[2]->str, reply->element[2]->len});
        }
      } catch (const std::exception&) {  // shut down
      }
    });
  }
  ~RawListener() {
    redis_.shutdown();
    thread_.join();
  }
  RawListener(const RawListener&) = delete;
  RawListener& operator=(const RawListener&) = delete;

 private:
  RawRedis redis_;
  std::function<void(std::string_view)> heard_;
  std::thread thread_;
};

inline Store open_store(const std::string& url, const std::function<void(Config&)>& change = {}) {
  Config config;
  config.env = "bench";
  config.resource = "l2";
  config.l2.url = url;
  config.l1.capacity_bytes = 64_MiB;
  config.log_level = LogLevel::off;
  if (change) change(config);
  Result<Store> store = Store::open(std::move(config));
  if (!store) throw std::runtime_error(store.error().message);
  return std::move(*store);
}

/// Polls, for at most 10 s.
inline void wait_for(const char* what, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error(std::string("waited in vain: ") + what);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

}  // namespace tiercache::bench
