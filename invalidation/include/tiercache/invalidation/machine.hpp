// SPDX-License-Identifier: Apache-2.0
//
// The subscription as a machine without sockets, threads or a clock: events in, actions and sink calls out (docs/design.md,
// "Numbering, epochs, gaps"). bus.cpp is the shell that feeds it from a connection; tests feed it in virtual time.
//
// What a claim of coherence rests on. on_coherent(shard, s(n) + D) says: every message published before s(n) was applied, or a
// gap was signalled after it was published. It holds because
//   * the subscriber's stream on a link is a prefix of what was published since SUBSCRIBE took effect, or the numbers show the
//     hole at the next numbered message, at the latest at the heartbeat itself, which carries the last number given;
//   * what was published before SUBSCRIBE took effect is covered by the gap `subscribed`, signalled after the confirmation;
//   * heartbeat n was published after s(n), since s(n) is noted before the request is handed over. The receive time would prove
//     nothing: the echo may have waited in a buffer for as long as anything.
// The first number of a subscription is taken as the baseline unseen: between SUBSCRIBE and it the machine relies on the stream
// being without holes, which one server's is.
//
// After a gap everything older is void, and a fill begun after it reads L2 after it: so a heartbeat that itself reveals a gap
// still ends in a claim, after the gap.
//
// Heartbeats sent before the confirmation of the current subscription. Their echo, if it comes, was published after SUBSCRIBE
// took effect and so follows all that was published since; what was published before is covered by `subscribed`. Believing it
// would be right as long as confirmation and stream come from one server in one order. Ignoring it is right without that premise
// (behind a proxy or across a cluster's bus the two may differ), and costs nothing but the wait for the next heartbeat, which the
// shell sends at once after a subscription. So it is ignored: s(n) must not be before the confirmation.
//
// The epoch is another matter. A server that came back from an older snapshot gives its first numbers in the epoch that it had
// then, until a heartbeat finds the run id changed. So no number tells the sink of an epoch on a new link, only a heartbeat,
// whose script has compared the run ids, or a page of the log, whose script has, too.
//
// A disconnect takes nothing back: until s(n) + D lapses, what was missed was published after s(n), so it is within the budget.
//
// Resync. Where the announcements are logged, a new subscription does not void: the machine still knows up to which number it
// applied everything (the baseline) and asks for what the log has after it, in pages, while the new link's messages are applied
// as they come. Until the log has brought it up to where the link began, no claim is accepted. It is asked even when the first
// number on the link shows that nothing is missing: an unnumbered message, another run of the server or a counter that was lost
// show in the log alone. A hole within a link is made good in the same way. What the log does not have, down to one number,
// voids the shard (`log_lost`).
// Two things let pages and live messages meet in any order. Applying is idempotent, so both may bring the same message. And the
// log is asked after the subscription took effect: what is published later comes over the link.
#pragma once

#include <tiercache/base/clock.hpp>
#include <tiercache/base/ports.hpp>
#include <tiercache/base/stats.hpp>
#include <tiercache/invalidation/message.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tiercache::invalidation {

struct MachineOptions {
  std::uint32_t shards = 0;  ///< 0: shard 0 only
  std::uint64_t origin = 0;  ///< whose heartbeats are ours
  Duration budget = std::chrono::seconds(2);
  Duration backoff_min = std::chrono::milliseconds(50);
  Duration backoff_max = std::chrono::seconds(2);
  bool replay = false;  ///< announcements are logged: what a link missed is asked for before anything is voided
};

/// What the machine counted. Written by the machine, read by any thread; wait-free.
struct MachineCounters {
  std::atomic<bool> subscribed{false};  ///< every shard is
  std::atomic<std::uint64_t> connects{0};
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> heartbeats_seen{0};
  std::atomic<std::uint64_t> malformed{0};
  std::array<std::atomic<std::uint64_t>, gap_reason_count> gaps{};
  Histogram lag;
  std::atomic<std::uint64_t> resyncs_replayed{0};
  std::atomic<std::uint64_t> resyncs_voided{0};
  std::atomic<std::uint64_t> messages_replayed{0};
};

/// How far a shard's messages were applied, or voided by a gap: all of `epoch` up to `sequence`. Epoch 0: unknown.
struct Position {
  std::uint64_t epoch = 0;
  std::uint64_t sequence = 0;
};

/// Not thread-safe: one thread feeds it (`counters()` excepted). Sink calls are made from within the events, in stream order.
/// Allocates at construction only. Time never goes back from one event to the next.
class Machine {
 public:
  /// What the shell must do now. After `close` the machine takes the link as gone: no disconnected() follows.
  enum class Action : std::uint8_t { none, connect, subscribe, close };

  /// Heartbeats of one shard that are remembered. An echo later than so many beats is ignored: with the default interval that is
  /// over twelve budgets late.
  static constexpr std::size_t beats_kept = 64;

  /// A page of the log that the machine wants.
  struct Wanted {
    ShardId shard = 0;
    std::uint64_t epoch = 0;
    std::uint64_t from = 0;  ///< the last number applied; what follows is wanted
  };
  /// What the log had.
  struct Page {
    enum class State : std::uint8_t {
      found,  ///< entry `from` of this epoch stands in the log of the server's present run, and `messages` follow it
      lost,   ///< it does not
      later,  ///< nobody answered; asked again after a while
    };
    State state = State::later;
    std::uint64_t last = 0;                 ///< found: the last number that was given
    std::span<const std::string> messages;  ///< found: of the numbers from + 1 and up, in order; none: there are no more
  };

  /// `sink` must outlive the machine. `seed` feeds the jitter.
  Machine(const MachineOptions& options, BusSink& sink, std::uint64_t seed);

  /// Time passed. Asks for a connection when one is due (the first at once); finds silence. O(shards) when a timer is due, else
  /// O(1).
  [[nodiscard]] Action tick(SteadyTime now);
  /// When tick() may next have something to do; SteadyTime::max(): not before another event.
  [[nodiscard]] SteadyTime wake_at() const noexcept;
  /// When tick() will close the link unless something comes; SteadyTime::max(): never, or there is no link.
  [[nodiscard]] SteadyTime link_due_at() const noexcept;

  /// The connection that was asked for stands.
  [[nodiscard]] Action connected(SteadyTime now);
  /// The server confirmed the subscription of `shard`; its stream begins. Confirmed again, it begins again.
  void subscribed(ShardId shard, SteadyTime now);
  /// One message of the channel of `shard`. Returns why it was ignored (static storage), empty if it was applied.
  std::string_view message(ShardId shard, std::string_view bytes, SteadyTime now);
  /// The link ended, or the connection could not be made.
  void disconnected(SteadyTime now);
  /// Own heartbeat `number` (from 1, rising) is about to be sent; `at` was read before. Must be told before its echo can come.
  void beat_sent(ShardId shard, std::uint64_t number, SteadyTime at);

  /// The page to ask for now, if any: to be looked at after each event, and answered before any other event of its shard but
  /// message(). Asking must not begin before the subscription was confirmed. O(1) when no shard wants any, else O(shards).
  [[nodiscard]] std::optional<Wanted> wanted(SteadyTime now) noexcept;
  /// The answer to wanted(). True: the last shard that wanted anything is done, so heartbeats are believed again: send one.
  bool page(ShardId shard, const Page& page, SteadyTime now);
  [[nodiscard]] Position applied(ShardId shard) const noexcept;
  /// Whether a message since the last call asked for a heartbeat at once.
  [[nodiscard]] bool take_hurry() noexcept { return std::exchange(hurry_, false); }

  [[nodiscard]] const MachineCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] ShardId shard_count() const noexcept { return static_cast<ShardId>(shards_.size()); }

 private:
  enum class State : std::uint8_t { waiting, connecting, subscribing, live };
  struct Beat {
    std::uint64_t number = 0;  ///< 0: none
    SteadyTime at{};
  };
  struct Shard {
    bool subscribed = false;
    bool has_baseline = false;
    bool silent = false;     ///< reported already, nothing came since
    bool replaying = false;  ///< numbers above the baseline are missing, or may be; the log is asked
    bool streaming = false;  ///< this link has carried a number
    bool proven = false;     ///< this link's server, in its present run, is known to go by the epoch that it names
    std::uint64_t told = 0;  ///< the epoch that the sink takes to be in force; 0: it knows of none
    std::uint64_t epoch = 0;
    std::uint64_t baseline = 0;  ///< all numbers up to it were applied, or are void
    std::uint64_t stream = 0;    ///< streaming: the last number this link stood at
    std::uint64_t needed = 0;    ///< streaming: up to here the link skipped numbers; all above it came over the link
    std::uint64_t floor = 0;     ///< where no number of this link can be below: the baseline it began with
    SteadyTime confirmed_at{};
    SteadyTime last_message{};
    std::array<Beat, beats_kept> beats{};
  };

  void gap(ShardId id, GapReason reason);
  void check_number(ShardId id, Shard& shard, const Head& head);
  void start_over(ShardId id, Shard& shard, const Head& head);
  void tell_epoch(ShardId id, Shard& shard);
  void begin_replay(Shard& shard);
  void end_replay(Shard& shard);
  void give_up(ShardId id, Shard& shard);
  bool take_logged(ShardId id, Shard& shard, std::string_view bytes);
  void apply(ShardId id, const Parsed& parsed);
  void own_heartbeat(ShardId id, const Shard& shard, const Head& head, SteadyTime now);
  Action check_silence(SteadyTime now);
  void wait_to_retry(SteadyTime now);

  MachineOptions options_;
  BusSink& sink_;
  std::uint64_t random_;
  std::vector<Shard> shards_;
  MachineCounters counters_;

  State state_ = State::waiting;
  SteadyTime retry_at_ = SteadyTime::min();      ///< waiting: when to connect
  SteadyTime give_up_at_ = SteadyTime::max();    ///< subscribing: when to close
  SteadyTime silence_from_ = SteadyTime::max();  ///< no shard is newly silent before
  SteadyTime last_message_{};                    ///< of any shard on this link
  Duration backoff_{0};
  std::uint32_t confirmed_ = 0;
  std::uint32_t replaying_ = 0;  ///< shards that are
  std::size_t ask_next_ = 0;     ///< the shard to begin with, so that all have their turn
  SteadyTime ask_from_ = SteadyTime::min();
  bool hurry_ = false;
};

}  // namespace tiercache::invalidation
