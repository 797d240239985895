// SPDX-License-Identifier: Apache-2.0
//
// Many puts of one caller: sealed one by one, sent in groups of a shard, settled group by group.
#include "flow.hpp"
#include "value.hpp"

#include <tiercache/core/view.hpp>

#include <algorithm>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace tiercache::detail {
namespace {

// Redis runs a group as one step, and nobody else meanwhile: some 100 us, no more.
constexpr std::size_t puts_a_group = 64;
constexpr std::size_t bytes_a_group = std::size_t{1} << 20;
constexpr std::size_t names_a_group = 4000;  // their message has to fit into the log of announcements (4 KiB)
constexpr std::size_t item_bytes = 10;

/// One group under way. The requests point into it.
struct Batch {
  std::vector<Key> keys;
  std::vector<std::size_t> places;  // in the caller's order
  std::vector<std::string> texts;
  std::vector<Sealed> sealed;
  std::vector<RemotePut> puts;
  std::size_t bytes = 0;
  std::size_t names = 0;

  void clear() {
    keys.clear();
    places.clear();
    texts.clear();
    sealed.clear();
    puts.clear();
    bytes = names = 0;
  }
};

Flow<bool> send(WriteCall& call, ShardId shard, Batch& batch, std::span<Result<WriteToken>> answers) {
  StoreCore& core = call.core;
  for (const Sealed& s : batch.sealed)  // now that they lie where they stay
    batch.puts.push_back({s.head, s.payload, call.ttl.count(), call.version, call.version != 0});
  RemoteRequest request;
  request.op = RemoteOp::put_many;
  request.shard = shard;
  request.keys = batch.texts;
  request.puts = batch.puts;
  request.write_id = core.writes.next();
  request.deadline = call.deadline;
  RemoteReply reply;
  co_await Waiting([&](std::coroutine_handle<> flow) { return call.driver.call(*core.remote, request, reply, flow); });
  settle(call, batch.keys, request.write_id, reply);
  for (std::size_t i = 0; i < batch.places.size(); ++i) {
    const std::optional<Error>& error = reply.error ? reply.error : reply.puts[i];
    if (error) core.errors.count(error->code);
    if (error) answers[batch.places[i]] = *error;
    else answers[batch.places[i]] = WriteToken(shard, reply.stream, reply.sequence);
  }
  batch.clear();
  co_return true;
}

}  // namespace

Flow<bool> put_many_flow(WriteCall& call, std::span<const Key> keys, std::span<const void* const> values,
                         std::span<Result<WriteToken>> answers) {
  StoreCore& core = call.core;
  if (!core.has_remote() || !call.tags.empty()) {  // tags join in the script of one put
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (answers[i].ok()) answers[i] = co_await put_flow(call, keys[i], values[i]);
    co_return true;
  }
  for (std::uint32_t n_shard = 0; n_shard < core.keys.shard_count(); ++n_shard) {
    const auto shard = static_cast<ShardId>(n_shard);
    Batch batch;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (keys[i].physical.shard != shard || !answers[i].ok()) continue;
      call.view.puts.fetch_add(1, std::memory_order_relaxed);
      Sealed sealed = seal_value(core, call.view, keys[i].physical, values[i], call.version, call.ttl);
      if (sealed.error) {
        core.errors.count(sealed.error->code);
        answers[i] = *sealed.error;
        continue;
      }
      const std::size_t bytes = keys[i].physical.text.size() + sealed.head.size() + sealed.payload.size();
      const std::size_t name = item_bytes + keys[i].physical.text.size();
      const bool full =
          batch.keys.size() == puts_a_group || batch.bytes + bytes > bytes_a_group || batch.names + name > names_a_group;
      if (full && !batch.keys.empty()) co_await send(call, shard, batch, answers);
      batch.keys.push_back(keys[i]);
      batch.places.push_back(i);
      batch.texts.push_back(keys[i].physical.text);
      batch.sealed.push_back(std::move(sealed));
      batch.bytes += bytes;
      batch.names += name;
    }
    if (!batch.keys.empty()) co_await send(call, shard, batch, answers);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (!answers[i].ok() && answers[i].error().code == Errc::refused)
      answers[i] = co_await erase_instead(call, keys[i], std::move(answers[i]).error());
  }
  co_return true;
}

std::vector<Result<WriteToken>> View::put_many(std::span<const std::string_view> ids, std::span<const void* const> values,
                                               const WriteOptions& options) {
  std::vector<Result<WriteToken>> answers(ids.size(), WriteToken{});
  const auto fail_all = [&](const Error& error) {
    for (Result<WriteToken>& answer : answers) answer = error;
    return std::move(answers);
  };
  if (error_) return fail_all(*error_);
  if (const char* why = core_->unusable()) return fail_all({Errc::closed, why});
  const auto ttl = options.ttl.value_or(state_->options.ttl);
  if (ttl.count() < 0) return fail_all({Errc::invalid_argument, "ttl: must not be negative"});
  std::vector<Key> keys;
  keys.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const char* const fault = id_fault(ids[i]);
    if (fault != nullptr) answers[i] = Error{Errc::invalid_argument, fault};
    keys.push_back({ids[i], fault != nullptr ? PhysicalKey{} : core_->keys.physical(state_->name, ids[i])});
  }
  const Deadline deadline = Deadline::after(options.deadline.count() > 0           ? Duration(options.deadline)
                                            : state_->options.deadline.count() > 0 ? Duration(state_->options.deadline)
                                                                                   : Duration(core_->config.default_deadline));
  BlockingDriver driver;
  WriteCall call{*core_, *state_, driver, deadline, ttl, options.version, options.tags};
  try {
    put_many_flow(call, keys, values, answers).run();
  } catch (...) {
    // No memory, at some point: what was sent and what was not is not told apart. The keys leave L1, as after any such answer.
    core_->errors.count(Errc::internal);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (!answers[i].ok() || keys[i].physical.text.empty()) continue;
      core_->forget(*state_, keys[i].id, keys[i].physical.text);
      answers[i] = Error{core_->has_remote() ? Errc::outcome_unknown : Errc::internal, "out of memory"};
    }
  }
  return answers;
}

}  // namespace tiercache::detail
