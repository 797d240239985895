// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "flow_task.hpp"
#include "store_core.hpp"

#include <chrono>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace tiercache::detail {

struct ReadCall {
  StoreCore& core;
  ViewState& view;
  Driver& driver;
  std::string_view id;
  PhysicalKey key;
  std::uint64_t l1_hash;
  Deadline deadline;
  std::optional<std::chrono::milliseconds> ttl;
  const LoaderRef* loader;              ///< null: absent stays absent
  Duration join_age = Duration::max();  ///< how long ago a fetch may have begun that is boarded; negative: none is
};

struct WriteCall {
  StoreCore& core;
  ViewState& view;
  Driver& driver;
  Deadline deadline;
  std::chrono::milliseconds ttl;
  std::uint64_t version;
  std::span<const std::string> tags{};  ///< of a put's value
  std::string_view tag{};               ///< an erase is of keys that bear it, and takes them off it
};

/// A call on a whole view, or on all.
struct BulkCall {
  StoreCore& core;
  ViewState* view;  ///< null: every view, known here or not
  Driver& driver;
  Deadline deadline;
  bool acknowledged;  ///< done only when every instance has applied it
};

struct Key {
  std::string_view id;
  PhysicalKey physical;
};

/// All control flow that crosses the tiers. REQUIRES of all: what the call refers to outlives the flow.
Flow<ReadResult> read_flow(ReadCall& call);
Flow<std::vector<ReadResult>> read_many_flow(WriteCall& call, std::span<const Key> keys);
Flow<Result<WriteToken>> put_flow(WriteCall& call, const Key& key, const void* value);
Flow<Result<WriteToken>> erase_flow(WriteCall& call, std::span<const Key> keys);
/// A value for each key; answers[i] becomes that of keys[i]. REQUIRES: as many of each; answers[i] is ok, or an error and then
/// the key was refused before and is left out.
Flow<bool> put_many_flow(WriteCall& call, std::span<const Key> keys, std::span<const void* const> values,
                         std::span<Result<WriteToken>> answers);
Flow<Result<bool>> exists_flow(WriteCall& call, const Key& key);
Flow<Result<WriteToken>> update_flow(WriteCall& call, const Key& key, const DatabaseWriteRef& write);
// In flow_bulk.cpp:
Flow<Result<WriteToken>> clear_flow(BulkCall& call, std::string_view pattern);  ///< glob over ids; empty: all
Flow<Result<WriteToken>> erase_tag_flow(WriteCall& call, std::string_view tag);
/// After a put that Redis refused: the refusal, which then says what became of the key.
Flow<Error> erase_instead(WriteCall& call, const Key& key, Error refusal);
/// A load that took longer than this has outlived what Redis remembers of erased tags, and fills nothing with tags. Half of it.
inline constexpr std::chrono::minutes tagged_load_max{30};

// What the flows share.
/// R4: after the answer, or without one, the keys leave L1 and the flights; then, and only if there was an answer, the echo is
/// done for (R5).
void settle(WriteCall& call, std::span<const Key> keys, std::uint64_t write_id, const RemoteReply& reply);
/// One request's outcome: its token, or its error, which is counted.
Result<WriteToken> outcome(StoreCore& core, ShardId shard, RemoteReply&& reply);
/// Adds one request's outcome to that of a call of several: the first error stands, the token is of all.
void add_outcome(Result<WriteToken>& all, Result<WriteToken>&& one);
/// Has the erase leave call.version behind, if there is one. `heads` must outlive the request.
void carry_version(const WriteCall& call, std::span<const Key> keys, RemoteRequest& request, std::string& heads);
/// Of a lease or a gate: this store's and never used before.
std::string new_token(StoreCore& core);

/// Blocks the calling thread wherever a flow waits.
class BlockingDriver final : public Driver {
 public:
  bool call(RemotePort& remote, const RemoteRequest& request, RemoteReply& reply, std::coroutine_handle<>) override {
    const bool done = remote.start(request, reply, nullptr);
    assert(done);
    return done;
  }
  bool wait(Flight& flight, Deadline deadline, std::coroutine_handle<>) override { return flight.wait(deadline), true; }
  bool wait(Wakes& wakes, const Wakes::Ticket& since, Duration at_most, std::coroutine_handle<>) override {
    return wakes.wait(since, at_most), true;
  }
  bool pause(Duration duration, std::coroutine_handle<>) override { return std::this_thread::sleep_for(duration), true; }
};

}  // namespace tiercache::detail
