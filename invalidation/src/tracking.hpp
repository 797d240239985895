// SPDX-License-Identifier: Apache-2.0
//
// The second source of invalidations: Redis itself, by server-assisted client tracking in its broadcasting form. The bus's
// connection asks `CLIENT TRACKING ON REDIRECT <its own id> BCAST PREFIX env:resource:` and subscribes to __redis__:invalidate
// besides its channels, so one RESP2 connection carries both. Redis then names every key below the prefix that anybody changed,
// and those it expired or evicted; a null in the place of the keys is FLUSHALL or FLUSHDB.
//
// What a claim of coherence rests on here. Redis collects the keys that change in one turn of its event loop and sends them in
// one message at the turn's end, after everything that was published in it. So when heartbeat n comes back on the bus, keys that
// changed before it in its own turn may still be on their way. They come in or before the message that follows, and that one
// names our own heartbeat key, which the heartbeat's script changes. Therefore a claim that the machine makes on the echo of a
// heartbeat is kept back until a message that names the key was applied as a whole. That message proves more: that Redis still
// tells this connection of this prefix. Where it never comes (a redirect or a prefix that leads nowhere), validity lapses by
// itself, and after half a budget the link counts as broken.
//
// What was rejected. Ignoring the echo of an own write, as the bus does: a message names keys, not writers, and one name may
// stand for an own write and a stranger's after it. A second connection for tracking: two streams have no order between them, so
// no heartbeat would prove anything of the other one.
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/ports.hpp>
#include <tiercache/invalidation/options.hpp>
#include <tiercache/l2/connection.hpp>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tiercache::invalidation {

struct TrackingOptions {
  Source source = Source::both;       ///< tracking or both
  std::string prefix;                 ///< "env:resource:"
  std::vector<std::string> channels;  ///< of the bus, by shard: "env:resource:!bus[:{07}]"
  std::uint64_t origin = 0;           ///< whose heartbeats are ours
  Duration budget = std::chrono::seconds(2);
};

/// Written by the bus thread, read by any; wait-free.
struct TrackingCounters {
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> keys{0};       ///< data keys named by them
  std::atomic<std::uint64_t> flushes{0};    ///< FLUSHALL, FLUSHDB
  std::atomic<std::uint64_t> malformed{0};  ///< what others published to Redis' channel: ignored
};

/// Stands between the subscription machine and its sink: passes on what the machine says, keeps its claims of coherence back
/// until tracking bears them out, and adds what tracking tells. With Source::tracking the keys that announcements name are not
/// passed on: Redis names them once more in the same turn, and an entry is void once. Not thread-safe: one thread feeds it
/// (`counters()` excepted).
///
/// on_applied is not passed on with Source::tracking: there a message that was read is not yet one whose keys were dropped. So a
/// read with a token asks Redis.
class Tracking final : public BusSink {
 public:
  static constexpr std::string_view channel = "__redis__:invalidate";
  /// The most elements a reply of this connection may have: a message of 1 MiB with the shortest keys that can be ours.
  static constexpr std::uint32_t elements_max = 64 * 1024;

  enum class Taken : std::uint8_t {
    no,       ///< not a message of tracking: the caller's
    yes,      ///< dealt with
    flushed,  ///< dealt with: everything is void, a heartbeat would make L1 valid again
    refused,  ///< Redis does not track for this connection; the link is of no use. The reply's text tells why
    broken,   ///< not what Redis sends; the link is of no use
  };

  /// `sink` must outlive this.
  Tracking(const TrackingOptions& options, BusSink& sink);

  /// A link begins: appends the request to its output. The channel is to be subscribed to in the same flight, after it.
  void begin(l2::Connection& link);
  /// One reply of the link. O(keys).
  Taken take(const l2::Reply& reply);
  /// To be asked after every message of the bus. True: heartbeats have come back for half a budget and tracking told of none of
  /// them, so the link is of no use. O(1).
  [[nodiscard]] bool stalled(SteadyTime now) noexcept;

  [[nodiscard]] const TrackingCounters& counters() const noexcept { return counters_; }

  void on_invalidate(ShardId shard, std::string_view key, std::uint64_t version, std::uint64_t origin,
                     std::uint64_t write_id) noexcept override;
  void on_clear(ShardId shard, std::string_view type, std::uint64_t origin, std::uint64_t write_id) noexcept override;
  void on_gap(ShardId shard, GapReason reason) noexcept override;
  void on_coherent(ShardId shard, SteadyTime until) noexcept override;
  void on_epoch(ShardId shard, std::uint64_t epoch) noexcept override;
  void on_wake(ShardId shard, std::string_view key) noexcept override;
  void on_applied(ShardId shard, std::uint64_t epoch, std::uint64_t sequence) noexcept override;

 private:
  [[nodiscard]] bool take_keys(const std::vector<l2::Reply>& keys);
  void take_flush() noexcept;
  void release(ShardId shard) noexcept;
  [[nodiscard]] std::optional<ShardId> shard_of(std::string_view key) const noexcept;

  const TrackingOptions options_;
  BusSink& sink_;
  std::unordered_map<std::string, ShardId> own_beats_;  ///< this origin's heartbeat keys
  std::vector<std::optional<SteadyTime>> claims_;       ///< by shard: what the last echo would allow; nothing: none is kept back
  std::size_t kept_back_ = 0;                           ///< of them
  std::vector<ShardId> told_;                           ///< shards whose heartbeat the message being taken names
  std::optional<SteadyTime> stalled_since_;             ///< nothing: tracking has told of a heartbeat since the last echo
  bool asked_ = false;                                  ///< the answer to the request is still to come
  TrackingCounters counters_;
};

}  // namespace tiercache::invalidation
