// SPDX-License-Identifier: Apache-2.0
//
// Stores as instances of one service, against a real redis-server; and the tools to hold a thread between two steps of the
// protocol.
#pragma once

#include "race_name.hpp"

#include <redis_server.hpp>
#include <tcp_proxy.hpp>

#include <tiercache/base/lab.hpp>
#include <tiercache/tiercache.hpp>

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

namespace tiercache::testing {

using namespace std::chrono_literals;

inline constexpr auto patience = 20s;  ///< how long a condition may take on a loaded machine before a test gives up

template <class F>
[[nodiscard]] bool eventually(F&& condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);  // a poll, bounded above: nothing is assumed of its length
  }
  return true;
}

inline Config instance_config(const std::string& url, std::string name = "tiercache") {
  Config config;
  config.env = "test";
  config.resource = "races";
  config.l1.capacity_bytes = 4_MiB;
  config.l2.url = url;
  config.l2.call_timeout = patience;  // it cuts every read short whatever its deadline, and a load then goes alone
  config.l2.client_name = std::move(name);
  config.bus.staleness_budget = 500ms;
  config.open_timeout = 5s;
  config.default_deadline = 5s;
  config.log_level = LogLevel::off;
  return config;
}

/// One instance with a view of ints.
class Instance {
 public:
  explicit Instance(Config config) : store_(open(std::move(config))), view(store_.cache<int>("n", {.ttl = 60s})) {}
  ~Instance() {
    store_.close(5s);
    const Result<void> r = store_.validate();
    EXPECT_TRUE(r.ok()) << (r.ok() ? "" : r.error().message);
  }

  [[nodiscard]] bool coherent() const { return store_.health().l1_coherent; }
  void wait_coherent() const {
    ASSERT_TRUE(eventually([this] { return coherent(); }));
  }
  /// Everything announced before the call is applied here: two heartbeats that were sent after it came back.
  void wait_applied() const {
    const std::uint64_t seen = store_.stats().bus.heartbeats_seen;
    ASSERT_TRUE(eventually([&] { return store_.stats().bus.heartbeats_seen >= seen + 2; }));
  }
  /// Reads until L1 answers.
  void warm(std::string_view key) {
    wait_coherent();
    ASSERT_TRUE(eventually([&] { return view.get(key).source() == Source::l1; }));
  }
  int get(std::string_view key) {
    const auto h = view.get(key);
    return h ? *h : -1;
  }
  Store& store() { return store_; }

 private:
  static Store open(Config config) {
    Result<Store> store = Store::open(std::move(config));
    if (!store) throw std::runtime_error(store.error().message);
    return std::move(*store);
  }
  Store store_;

 public:
  Cache<int> view;
};

#ifdef TIERCACHE_LAB

/// Holds one thread at one point of the protocol. Only the thread that called arm() is held, once. Made before the instances and
/// destroyed after them: their threads read the hook.
class Gate {
 public:
  explicit Gate(lab::Point at) {
    lab::hook = [this, at](lab::Point p, std::string_view) {
      if (p != at) return;
      std::unique_lock lock(mutex_);
      if (armed_ != std::this_thread::get_id()) return;
      armed_ = {};
      reached_ = true;
      changed_.notify_all();
      EXPECT_TRUE(changed_.wait_for(lock, patience, [this] { return open_; })) << "the gate was never opened";
    };
  }
  ~Gate() { lab::hook = nullptr; }

  void arm() {
    const std::lock_guard lock(mutex_);
    armed_ = std::this_thread::get_id();
  }
  void wait_reached() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, patience, [this] { return reached_; })) << "the point was never reached";
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread::id armed_;
  bool reached_ = false;
  bool open_ = false;
};

/// Takes one remedy out for a scope (or, with `on` false, nothing).
class Ablated {
 public:
  Ablated(lab::Remedy remedy, bool on) : remedy_(remedy) { lab::ablate(remedy, on); }
  ~Ablated() { lab::ablate(remedy_, false); }
  Ablated(const Ablated&) = delete;
  Ablated& operator=(const Ablated&) = delete;

 private:
  lab::Remedy remedy_;
};

/// Each race runs twice: with its remedy it must hold, without it must be seen to break.
class Race : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static bool remedy() { return GetParam(); }
  RedisServer server;
};

#endif  // TIERCACHE_LAB

}  // namespace tiercache::testing
