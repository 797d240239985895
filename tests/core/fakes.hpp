// SPDX-License-Identifier: Apache-2.0
//
// Fakes behind the two ports, for the flows without Redis: a remote store in memory that keeps the semantics of the real one's
// operations, can be told to fail, and calls back at each request; and a bus that does nothing.
#pragma once

#include "envelope.hpp"
#include "store_core.hpp"

#include <tiercache/base/bytes.hpp>
#include <tiercache/base/lab.hpp>
#include <tiercache/tiercache.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <mutex>

namespace tiercache::testing {

class FakeRemote final : public RemotePort {
 public:
  struct Stored {
    std::string bytes;
    std::int64_t ttl_ms = -1;
  };

  bool start(const RemoteRequest& q, RemoteReply& reply, std::coroutine_handle<>) noexcept override {
    if (before) before(q);
    {
      const std::lock_guard lock(mutex);
      ++calls[q.op];
      last = q.op;
      if (const auto it = fail.find(q.op); it != fail.end()) {
        reply.error = it->second;
      } else {
        run(q, reply);
      }
    }
    if (after) after(q, reply);
    return true;
  }
  [[nodiscard]] bool available() const noexcept override { return true; }
  [[nodiscard]] RemoteStats stats() const override { return {}; }
  void close(Deadline) noexcept override {}

  /// Requests of the kind so far; also while other threads make some.
  int count(RemoteOp op) {
    const std::lock_guard lock(mutex);
    const auto it = calls.find(op);
    return it == calls.end() ? 0 : it->second;
  }

  /// Called outside the lock, before and after each request.
  std::function<void(const RemoteRequest&)> before;
  std::function<void(const RemoteRequest&, RemoteReply&)> after;

  std::mutex mutex;
  std::map<std::string, Stored> data;
  std::map<std::string, std::string> leases;
  std::map<RemoteOp, Error> fail;
  std::map<RemoteOp, int> calls;
  RemoteOp last = RemoteOp::ping;
  std::uint64_t epoch = 77;
  std::uint64_t sequence = 0;

 private:
  std::string with_epoch(const RemoteRequest& q) const {
    std::string bytes(q.head);
    append_be<8>(bytes, epoch);
    return bytes.append(q.payload);
  }
  void run(const RemoteRequest& q, RemoteReply& reply) {
    if (q.op == RemoteOp::put || q.op == RemoteOp::put_many || q.op == RemoteOp::erase || q.op == RemoteOp::clear) {
      reply.epoch = reply.stream = epoch;
      reply.sequence = ++sequence;
    }
    switch (q.op) {
      case RemoteOp::get:
        for (const std::string& key : q.keys) {
          const auto it = data.find(key);
          reply.values.push_back(it == data.end() ? std::nullopt
                                                  : std::optional(RemoteValue{it->second.bytes, it->second.ttl_ms}));
        }
        break;
      case RemoteOp::exists:
        for (const std::string& key : q.keys) reply.count += static_cast<std::int64_t>(data.count(key));
        break;
      case RemoteOp::put:
        leases.erase(q.keys[0]);
        data[q.keys[0]] = {with_epoch(q), q.ttl_ms > 0 ? q.ttl_ms : -1};
        break;
      case RemoteOp::erase:
        for (const std::string& key : q.keys) {
          leases.erase(key);
          reply.count += static_cast<std::int64_t>(data.erase(key));
        }
        break;
      case RemoteOp::lease_get: {
        const auto it = data.find(q.keys[0]);
        if (it != data.end() && !(q.ignore_value && it->second.bytes.substr(0, q.head.size()) == q.head)) {
          reply.values.push_back(RemoteValue{it->second.bytes, it->second.ttl_ms});
        } else if (leases.emplace(q.keys[0], q.token).second) {
          reply.lease = LeaseState::granted;
        } else {
          reply.lease = LeaseState::held;
        }
        break;
      }
      case RemoteOp::lease_fill:
        if (const auto it = leases.find(q.keys[0]); it != leases.end() && it->second == q.token) {
          leases.erase(it);
          data[q.keys[0]] = {with_epoch(q), q.ttl_ms > 0 ? q.ttl_ms : -1};
          reply.applied = true;
        }
        break;
      case RemoteOp::lease_release:
        if (const auto it = leases.find(q.keys[0]); it != leases.end() && it->second == q.token) {
          leases.erase(it);
          reply.applied = true;
        }
        break;
      case RemoteOp::remove_if:
        if (const auto it = data.find(q.keys[0]); it != data.end() && it->second.bytes == q.payload) {
          data.erase(it);
          reply.applied = true;
        }
        break;
      case RemoteOp::clear: data.clear(); break;
      case RemoteOp::put_many:
        for (std::size_t i = 0; i < q.keys.size(); ++i) {
          leases.erase(q.keys[i]);
          RemoteRequest one;
          one.head = q.puts[i].head;
          one.payload = q.puts[i].payload;
          data[q.keys[i]] = {with_epoch(one), q.puts[i].ttl_ms > 0 ? q.puts[i].ttl_ms : -1};
          reply.puts.emplace_back();
        }
        break;
      default: break;
    }
  }
};

/// A store core over a FakeRemote (or over none), with views opened by hand.
class FakeStore {
 public:
  explicit FakeStore(bool with_remote = true, std::function<void(Config&)> change = {}) {
    Config config;
    config.l1.capacity_bytes = 4_MiB;
    config.l2.enabled = with_remote;
    config.log_level = LogLevel::off;
    if (change) change(config);
    core = std::make_shared<detail::StoreCore>(config, Log{});
    EXPECT_TRUE(core->open_table().ok());
    if (with_remote) {
      auto fake = std::make_unique<FakeRemote>();
      remote = fake.get();
      core->remote = std::move(fake);
      core->keeper = std::make_unique<detail::LeaseKeeper>(*core->remote, config.lease_ttl);
      make_coherent();
    }
  }
  ~FakeStore() {
    const Result<void> r = core->table->validate();
    EXPECT_TRUE(r.ok()) << (r.ok() ? "" : r.error().message);
    EXPECT_EQ(core->flights.size(), 0U);
  }

  void make_coherent() { core->on_coherent(0, std::chrono::steady_clock::now() + std::chrono::hours(1)); }

  template <class V>
  std::shared_ptr<detail::View> view(std::string_view name, ViewOptions options = {}) {
    return detail::open_view(core, name, options, detail::value_ops<V, Msgpack<V>>());
  }

  std::shared_ptr<detail::StoreCore> core;
  FakeRemote* remote = nullptr;
};

/// get, get_or_load and so on over an untyped view, for int values.
struct IntView {
  std::shared_ptr<detail::View> view;
  explicit IntView(FakeStore& store, ViewOptions options = {}) : view(store.view<int>("n", options)) {}

  detail::ReadResult get(std::string_view id, const ReadOptions& o = {}) {
    if (l1::Pin pin = detail::View::plain(o) ? view->probe(id) : l1::Pin()) {
      detail::ReadResult r;
      r.pin = std::move(pin);
      r.source = Source::l1;
      return r;
    }
    return view->read(id, o, nullptr);
  }
  template <class F>
  detail::ReadResult load(std::string_view id, F&& f, const ReadOptions& o = {}) {
    if (l1::Pin pin = detail::View::plain(o) ? view->probe(id) : l1::Pin()) {
      detail::ReadResult r;
      r.pin = std::move(pin);
      r.source = Source::l1;
      return r;
    }
    const auto call = [&]() -> detail::LoadResult {
      detail::LoadResult result;
      if (std::optional<int> v = f()) result.value = std::make_shared<int>(*v);
      return result;
    };
    const detail::LoaderRef ref(call);
    return view->read(id, o, &ref);
  }
  Result<WriteToken> put(std::string_view id, int v, const WriteOptions& o = {}) { return view->put(id, &v, o); }
  Result<WriteToken> erase(std::string_view id) { return view->erase(std::span(&id, 1), {}); }
  static int value(const detail::ReadResult& r) {
    return r.pin ? *static_cast<const int*>(r.pin.value()) : r.owned ? *static_cast<const int*>(r.owned.get()) : -1;
  }
};

}  // namespace tiercache::testing
