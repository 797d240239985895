// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "exchange.hpp"
#include "message.hpp"
#include "names.hpp"

#include <tiercache/base/ports.hpp>
#include <tiercache/base/result.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::l2 {

/// What a request is once it was checked and its keys were named, for as many attempts as it takes.
struct Prepared {
  const ShardNames& names;          ///< the operations' own
  std::vector<std::string> leases;  ///< of request.keys, where the operation touches leases
  std::string candidate;            ///< epoch to set where none is
  std::string gate;                 ///< of request.keys[0], where the operation minds it
};

/// Where the announcement stands in the shard's stream, by an answer {sequence, epoch, ...} of so many elements. Errors: the
/// answer's own; bad_data.
Result<void> take_position(const Result<Reply>& r, std::size_t elements, const Exchange& x, RemoteReply& to);

/// The operations of RemotePort in terms of commands and scripts. Immutable but for the candidate counter and the epochs last
/// heard of; thread-safe.
class Operations {
 public:
  Operations(const Naming& naming, std::uint32_t shards);

  /// Whether its repetition could undo another's write in between: such a one is never repeated once bytes have left.
  [[nodiscard]] static bool writes(RemoteOp op) noexcept;
  /// Errors: invalid_argument, too_large: nothing may be sent.
  [[nodiscard]] Result<Prepared> prepare(const RemoteRequest& request);
  /// Runs `request` over `x`. Errors: what the connection said; refused, superseded; bad_data when an answer is not what the
  /// operation gives, in which case the connection is not to be trusted either.
  Result<void> run(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;

 private:
  Result<void> get(const RemoteRequest& request, Exchange& x, RemoteReply& reply) const;
  Result<void> exists(const RemoteRequest& request, Exchange& x, RemoteReply& reply) const;
  Result<void> put(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  /// In quick_put.cpp. Nothing: this put is one for Scripts::put, and what was asked of Redis so far says nothing of it.
  std::optional<Result<void>> quick_put(const RemoteRequest& request, const Prepared& p, const MessageParts& m, Exchange& x,
                                        RemoteReply& reply) const;
  Result<void> erase(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<void> lease_get(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<void> lease_fill(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<void> clear(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<void> resync(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<Reply> erase_versions(const RemoteRequest& request, const Prepared& p, Exchange& x) const;
  Result<void> gate(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  /// The message that tells who waits for keys[0] to look again.
  [[nodiscard]] std::string wake_message(const RemoteRequest& request) const;
  Result<void> heartbeat(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<void> put_many(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;

  // In operations_bulk.cpp, as clear is.
  Result<void> clear_all(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<void> tag_stamp(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<void> tag_members(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  Result<void> members(const RemoteRequest& request, const Prepared& p, Exchange& x, RemoteReply& reply) const;
  /// The sets that the key of a put or fill joins.
  [[nodiscard]] std::vector<std::string> tag_sets(const RemoteRequest& request, const Prepared& p) const;
  /// What an instance's heartbeat key says of it.
  [[nodiscard]] std::string beat_state(const RemoteRequest& request) const;

  Names names_;
  std::uint64_t origin_;
  std::string log_entries_;
  Script quick_;
  /// By shard, 0: not known. No more than a guess: the script that is told one compares it. Relaxed: nothing hangs on it.
  const std::unique_ptr<std::atomic<std::uint64_t>[]> epochs_;
  std::string name_;
  std::uint64_t candidate_seed_;
  std::atomic<std::uint64_t> candidates_{0};
};

}  // namespace tiercache::l2
