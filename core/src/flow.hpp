// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "flow_task.hpp"
#include "store_core.hpp"

#include <span>
#include <string>
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
  const LoaderRef* loader;  ///< null: absent stays absent
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
Flow<Result<void>> put_flow(WriteCall& call, const Key& key, const void* value);
Flow<Result<void>> erase_flow(WriteCall& call, std::span<const Key> keys);
Flow<Result<bool>> exists_flow(WriteCall& call, const Key& key);
// In flow_bulk.cpp:
Flow<Result<void>> clear_flow(BulkCall& call, std::string_view pattern);  ///< glob over ids; empty: all
Flow<Result<void>> erase_tag_flow(WriteCall& call, std::string_view tag);
/// After a put that Redis refused: the refusal, which then says what became of the key.
Flow<Error> erase_instead(WriteCall& call, const Key& key, Error refusal);
/// A load that took longer than this has outlived what Redis remembers of erased tags, and fills nothing with tags. Half of it.
inline constexpr std::chrono::minutes tagged_load_max{30};

/// Blocks the calling thread wherever a flow waits.
class BlockingDriver final : public Driver {
 public:
  bool call(RemotePort& remote, const RemoteRequest& request, RemoteReply& reply, std::coroutine_handle<>) override {
    const bool done = remote.start(request, reply, nullptr);
    assert(done);
    return done;
  }
  bool wait(Flight& flight, Deadline deadline, std::coroutine_handle<>) override { return flight.wait(deadline), true; }
  bool pause(Duration duration, std::coroutine_handle<>) override { return std::this_thread::sleep_for(duration), true; }
};

}  // namespace tiercache::detail
