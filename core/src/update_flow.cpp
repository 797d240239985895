// SPDX-License-Identifier: Apache-2.0
//
// A database write between two erases, with a gate in Redis from the one to the other. Whatever is stopped where, no cache holds
// the row of before once the write is committed:
//   a load that began before the gate    has lost its lease to the first erase; its fill is refused
//   a load that begins under the gate    is given no lease; its value goes to its caller and no cache
//   a process that dies in between       leaves the gate, which lapses; who loads after that reads the new row
//   a write that outlives its gate       is followed by the second erase, which undoes what was filled since
// So only a write that outlives its gate and whose process dies as well leaves an old value behind, for as long as its ttl.
#include "envelope.hpp"
#include "flow.hpp"

#include <tiercache/base/lab.hpp>

#include <algorithm>

namespace tiercache::detail {
namespace {

auto ask(WriteCall& call, const RemoteRequest& request, RemoteReply& reply) {
  return Waiting([&call, &request, &reply](std::coroutine_handle<> flow) {
    return call.driver.call(*call.core.remote, request, reply, flow);
  });
}

/// The caller's write with nothing held. A throw becomes a value.
std::optional<Error> run_write(const WriteCall& call, const DatabaseWriteRef& write, std::uint64_t& version) {
  std::string what;
  try {
    version = write();
    return std::nullopt;
  } catch (const std::exception& e) {
    what = e.what();
  } catch (...) {
    what = "not a std::exception";
  }
  call.core.errors.count(Errc::update_failed);
  return Error{Errc::update_failed, "view " + call.view.name + ": the database write threw: " + what};
}

}  // namespace

void carry_version(const WriteCall& call, std::span<const Key> keys, RemoteRequest& request, std::string& heads) {
  const std::int64_t ttl = call.core.config.tombstone_ttl.count();
  if (call.version == 0 || ttl == 0) return;
  Envelope tombstone;
  tombstone.schema = call.view.options.schema;
  tombstone.codec = call.view.ops->codec_id;
  tombstone.flags = envelope_tombstone;
  tombstone.version = call.version;
  tombstone.hard_ttl_ms = ttl;
  heads.clear();
  for (const Key& key : keys) heads += seal(tombstone, key.physical.text, {});
  request.head = heads;
  request.version = call.version;
  request.ttl_ms = ttl;
}

Flow<Result<WriteToken>> update_flow(WriteCall& call, const Key& key, const DatabaseWriteRef& write) {
  StoreCore& core = call.core;
  const std::span<const Key> keys(&key, 1);
  call.view.erases.fetch_add(1, std::memory_order_relaxed);
  std::uint64_t written = 0;
  if (!core.has_remote()) {
    core.gates.updates.fetch_add(1, std::memory_order_relaxed);
    std::optional<Error> failed = run_write(call, write, written);
    core.forget(call.view, key.id, key.physical.text);  // and fences the loads that read the row of before
    if (failed) co_return std::move(*failed);
    co_return WriteToken{};
  }

  const std::string token = new_token(core);
  std::string heads;
  RemoteRequest begin;
  begin.op = RemoteOp::gate;
  begin.shard = key.physical.shard;
  begin.keys = {&key.physical.text, 1};
  begin.token = token;
  begin.lease_ms = core.config.gate_ttl.count();
  begin.write_id = core.writes.next();
  begin.deadline = call.deadline;
  carry_version(call, keys, begin, heads);
  RemoteReply reply;
  co_await ask(call, begin, reply);
  settle(call, keys, begin.write_id, reply);
  std::optional<Error> failed;
  if (reply.error) {
    // A cache that cannot be told must not hold the old row while the write goes ahead: the caller decides. Where the gate may
    // stand all the same it is lowered, lest nobody can cache the key until it lapses.
    failed = std::move(reply.error);
    core.errors.count(failed->code);
    failed->message += " (the database write was not called)";
    if (failed->code != Errc::outcome_unknown) co_return std::move(*failed);
    failed->code = Errc::unavailable;
  } else {
    core.gates.updates.fetch_add(1, std::memory_order_relaxed);
    failed = run_write(call, write, written);
  }

  // A version that was not written must not stay: it would keep the row that stands out of the caches.
  call.version = failed ? 0 : std::max(call.version, written);
  RemoteRequest end;
  end.op = RemoteOp::ungate;
  end.shard = begin.shard;
  end.keys = begin.keys;
  end.token = token;
  carry_version(call, keys, end, heads);
  // The write may have used the caller's time up; what it began must be ended all the same.
  end.deadline = Deadline(std::max(call.deadline.at(), std::chrono::steady_clock::now() + core.config.l2.call_timeout));
  constexpr int tries = 2;  // an erase may be repeated
  for (int i = 0; i < tries; ++i) {
    end.write_id = core.writes.next();
    reply = RemoteReply{};
    co_await ask(call, end, reply);
    settle(call, keys, end.write_id, reply);
    if (!reply.error || reply.error->code == Errc::unreplicated || end.deadline.passed()) break;
  }
  const bool ended = !reply.error || reply.error->code == Errc::unreplicated;
  if (ended && !reply.applied && !failed) core.gates.lapsed.fetch_add(1, std::memory_order_relaxed);
  Result<WriteToken> result = outcome(core, end.shard, std::move(reply));
  if (failed) co_return std::move(*failed);
  if (result) co_return result;
  Error error = std::move(result).error();
  error.message = ended
                      ? "the database write was done; of its announcement: " + error.message
                      : "the database write was done; the key's gate stands until it lapses, since Redis said: " + error.message;
  if (!ended) error.code = Errc::outcome_unknown;
  co_return error;
}

}  // namespace tiercache::detail
