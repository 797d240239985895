// SPDX-License-Identifier: Apache-2.0
//
// What the facade needs of a remote store and of a bus, in bytes. l2 implements RemotePort, invalidation implements BusPort,
// core implements BusSink; tests put fakes behind the same three and nowhere else.
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/error.hpp>
#include <tiercache/base/stats.hpp>

#include <coroutine>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache {

/// Part of the key space that has one message stream, one sequence and one generation. Standalone Redis: shard 0 only.
using ShardId = std::uint16_t;

enum class RemoteOp : std::uint8_t {
  get,     ///< keys[..] -> values[..]
  exists,  ///< keys[..] -> count
  put,     ///< keys[0], head, payload, ttl_ms, if_newer, write_id: numbers, announces and stores atomically; displaces leases
  erase,   ///< keys[..] (one shard), write_id: deletes, numbers and announces atomically, ONE message; displaces leases -> count
           ///< With version, ttl_ms and in head a tombstone's head for each key, one after the other: leaves these behind
  lease_get,      ///< keys[0], token, lease_ms, ignore_value: value, or the lease, or who-waits
  lease_fill,     ///< keys[0], token, head, payload, ttl_ms, version, epoch: stores only while the lease is the token's, in the
                  ///< epoch of its grant, and with a version not over a tombstone of a newer one -> applied
  lease_renew,    ///< keys[0], token, lease_ms -> applied
  lease_release,  ///< keys[0], token -> applied
  remove_if,      ///< keys[0], payload = exact bytes: deletes only if these bytes stand there (poisoned values) -> applied
  clear,          ///< type, pattern: announce, delete the type's keys that match (SCAN, bounded batches), announce again
  heartbeat,      ///< beat: the writing heartbeat; carries the last sequence number
  ping,           ///< PING
  resync,       ///< epoch, sequence: the announcements after `sequence` -> applied (the log reaches back), messages, count (last
                ///< given)
  gate,         ///< keys[0], token, lease_ms, head, ttl_ms, version: an update begins: as erase, and while the token stands in
                ///< the key's gate (at most lease_ms) no lease is granted; does not wait for replicas
  ungate,       ///< the same with the token of a gate: the update ended: as erase, and the token leaves -> applied: it stood
  put_many,     ///< keys[..] (one shard) and puts[..], write_id: as so many puts, as one step, with ONE announcement -> puts[..]
  clear_all,    ///< clear of every type of the shard
  tag_stamp,    ///< type, tag: from here on no load that began before fills with the tag
  tag_members,  ///< type, tag -> keys: some of those that bear the tag, none when none does
  members,      ///< the instances that may answer from L1, and what each has applied -> members, epoch, count
};

/// What put_many stores under one key; the fields are those of a put.
struct RemotePut {
  std::string_view head;
  std::string_view payload;
  std::int64_t ttl_ms = 0;
  std::uint64_t version = 0;
  bool if_newer = false;
};

struct RemoteRequest {
  RemoteOp op = RemoteOp::ping;
  ShardId shard = 0;
  std::span<const std::string> keys;  ///< physical keys, all of one shard
  std::string_view head;              ///< envelope head without its epoch field (envelope.hpp)
  std::string_view payload;
  std::string_view token;   ///< lease token
  std::string_view type;    ///< view name (clear)
  std::int64_t ttl_ms = 0;  ///< 0: does not expire
  std::int64_t lease_ms = 0;
  std::uint64_t write_id = 0;  ///< the origin's number of this write; comes back in its announcement
  std::uint64_t beat = 0;      ///< heartbeat number
  std::uint64_t version = 0;   ///< put: the value's version, also carried in the announcement
  std::uint64_t epoch = 0;     ///< resync, heartbeat: of the numbers that were applied; heartbeat: 0: nothing was
                               ///< lease_fill: what lease_get answered; 0: not compared
  std::uint64_t sequence = 0;  ///< resync, heartbeat: the last of them
  bool if_newer = false;       ///< put: store only if `version` is above the stored one
  bool ignore_value =
      false;  ///< lease_get: ask for the lease although a value stands that begins with `head` (it could not be used)
  std::span<const std::string> tags;  ///< put, lease_fill: names of tags that the value bears
  std::string_view tag;               ///< tag_stamp, tag_members; erase: takes the keys off this tag of `type`, too
  std::string_view pattern;           ///< clear: glob over ids; empty: all
  std::string_view stamp;             ///< lease_fill with tags: what lease_get answered
  bool hurry = false;                 ///< clear, clear_all: the last announcement asks every instance for a heartbeat at once
  std::int64_t budget_ms = 0;         ///< heartbeat: how long after it this instance may answer from L1
  Deadline deadline = Deadline::never();
  std::span<const RemotePut> puts;  ///< put_many: of keys[i]. A key that comes twice is stored in the order given
};

/// An instance as its last heartbeat described it.
struct RemoteMember {
  std::string name;  ///< the configured one, or the origin in hex
  std::uint64_t epoch = 0;
  std::uint64_t sequence = 0;
  std::int64_t budget_ms = 0;  ///< 0: it said nothing
};

struct RemoteValue {
  std::string bytes;
  std::int64_t ttl_ms = -1;  ///< time to live that was left; -1: does not expire
  std::uint64_t server = 0;  ///< which run of which server answered, as in BusSink::on_server
};

enum class LeaseState : std::uint8_t {
  none,     ///< a value came, no lease was asked for
  granted,  ///< the lease is the caller's
  held,     ///< another holds it
  gated,    ///< an update of the key is under way: nobody may fill
};

struct RemoteReply {
  std::optional<Error>
      error;  ///< unavailable, deadline_exceeded (nothing was sent), outcome_unknown, refused, superseded, bad_data
  std::vector<std::optional<RemoteValue>> values;
  LeaseState lease = LeaseState::none;
  std::int64_t count = 0;
  bool applied = false;
  std::vector<std::string> messages;  ///< resync: in order, without a hole; an empty one was too long to be logged
  std::string stamp;                  ///< lease_get: when the lease was granted, in the order of the shard's announcements
  std::vector<std::string> keys;      ///< tag_members
  std::vector<RemoteMember> members;
  std::uint64_t epoch =
      0;  ///< put, put_many, erase, clear, clear_all: the log epoch of the (last) announcement; members, lease_get: in force
  std::uint64_t sequence = 0;  ///< and its number, 0: not counted; tag_members that found none, members: the last given
  std::uint64_t stream = 0;    ///< stream_id() of the epoch and the server that answered
  std::vector<std::optional<Error>> puts;  ///< put_many without `error`: of each put, nothing (stored), superseded or refused
  /// put: the write id that its announcement bears, where that is not the request's own: puts of other callers were announced
  /// with it. 0: the request's own.
  std::uint64_t announced_as = 0;
  /// put: how many puts that announcement lists. Its echo has nothing left to do only when all of their callers have erased.
  std::uint32_t announced_for = 1;
};

/// The remote store. Thread-safe. Implementations never throw and never block past request.deadline.
class RemotePort {
 public:
  virtual ~RemotePort() = default;

  /// Runs `request`. True: `reply` is filled already. False: it will be filled later and `resume` resumed exactly once, on a
  /// thread of the implementation. Both references must live until then. A null `resume` demands completion before the return.
  virtual bool start(const RemoteRequest& request, RemoteReply& reply, std::coroutine_handle<> resume) noexcept = 0;

  /// True while at least one connection works. A lock-free read.
  [[nodiscard]] virtual bool available() const noexcept = 0;
  [[nodiscard]] virtual RemoteStats stats() const = 0;

  /// Fails what runs and what comes with Errc::closed / unavailable, joins the background threads by the deadline.
  virtual void close(Deadline deadline) noexcept = 0;
};

enum class GapReason : std::uint8_t { subscribed, disconnected, lost, regressed, epoch_changed, silent, log_lost, flushed };
inline constexpr std::size_t gap_reason_count = 8;
[[nodiscard]] constexpr std::string_view name(GapReason r) noexcept {
  constexpr std::string_view names[] = {"subscribed",    "disconnected", "lost",     "regressed",
                                        "epoch_changed", "silent",       "log_lost", "flushed"};
  return names[static_cast<unsigned>(r)];
}

/// What the bus tells the cache. Called on the bus thread only, in stream order, never after BusPort::stop returned.
class BusSink {
 public:
  virtual ~BusSink() = default;
  /// `key` changed at its origin. Must be applied before the call returns.
  virtual void on_invalidate(ShardId shard, std::string_view key, std::uint64_t version, std::uint64_t origin,
                             std::uint64_t write_id) noexcept = 0;
  /// Every key of the view `type` changed; empty: of every view.
  virtual void on_clear(ShardId shard, std::string_view type, std::uint64_t origin, std::uint64_t write_id) noexcept = 0;
  /// Messages may have been missed: everything of the shard is void, and every fill that began before. But `disconnected` and
  /// `silent` only say that nothing new is heard: what was missed is made good, or voided by another gap, before on_coherent().
  virtual void on_gap(ShardId shard, GapReason reason) noexcept = 0;
  /// All messages sent before some instant were applied: the shard is coherent until `until` (send time of the echoed heartbeat
  /// plus the staleness budget).
  virtual void on_coherent(ShardId shard, SteadyTime until) noexcept = 0;
  /// Whoever waits for a load of `key` anywhere should look again. A hint: it may come for nothing, and may be lost.
  virtual void on_wake(ShardId /*shard*/, std::string_view /*key*/) noexcept {}
  /// The log epoch now in force; 0: not known, since Redis may have come back from an older snapshot.
  virtual void on_epoch(ShardId shard, std::uint64_t epoch) noexcept = 0;
  /// The run of the server that sends from here on. No epoch that was heard from another one is known to be in force on it.
  virtual void on_server(std::uint64_t /*server*/) noexcept {}
  /// Every message up to number `sequence` was applied, or what it was about is void. `stream`: the machine tells the log epoch,
  /// the bus stream_id() of that and of the server it listens to. A sink that is not told answers fewer reads with a token from
  /// L1, and no wrong ones.
  virtual void on_applied(ShardId shard, std::uint64_t stream, std::uint64_t sequence) noexcept {
    static_cast<void>(shard), static_cast<void>(stream), static_cast<void>(sequence);
  }
};

/// The bus. start() and stop() once each, from one thread; the rest thread-safe.
class BusPort {
 public:
  virtual ~BusPort() = default;
  virtual void start(BusSink& sink) = 0;
  virtual void stop(Deadline deadline) noexcept = 0;
  [[nodiscard]] virtual BusStats stats() const = 0;
};

}  // namespace tiercache
