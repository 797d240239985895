// SPDX-License-Identifier: Apache-2.0
// Not installed. The switches of the test build and the demo's: each takes one remedy out, so that a test can show that the
// remedy is what keeps it green; and pause points, at which a test may hold a thread. In the shipped build all of it is constant
// false or nothing, and the optimiser removes it.
#pragma once

#ifdef TIERCACHE_LAB
#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#endif

namespace tiercache::lab {

enum class Remedy : unsigned {
  lease,             ///< lease fill: the token check
  fence,             ///< L1 commit: the check of the key's invalidation counter
  heartbeat,         ///< validity lapses; silence is a gap
  generation,        ///< a bump on reconnect, gap, regression and new run id
  atomic_write,      ///< one script numbers, announces and stores
  own_echo,          ///< an own write's echo, already applied, leaves later fills alone
  flight_detach,     ///< an invalidation or own write detaches the key's flight
  reply_close,       ///< a connection whose reply timed out is closed, never reused
  epoch_distrust,    ///< entries written under another log epoch are a miss, where asked
  clock_on_read,     ///< the coarse clock is read on every hit, after validity was loaded
  envelope_check,    ///< the envelope's key hash and checksum
  version_check,     ///< a versioned put compares versions
  durations,         ///< a ttl travels as a duration, not as an instant of the writer's wall clock
  fence_in_install,  ///< L1 commit: the fence is checked by the step that installs, not before it
  late_write,        ///< connections given up with an unanswered write are killed before the next write
  read_order,        ///< a hit loads the validity before the generation
  replay,            ///< what a link missed is replayed from the log, or voids
  tracking,          ///< with tracking an own echo validates L1 only once Redis told of the heartbeat's key after it
  gate,              ///< an update in progress lets nobody fill its key
  update_end,        ///< an update erases again after the database write
  lease_wait,        ///< who finds a lease held waits for its holder's value
  wake,              ///< a word on the bus wakes who waits for a lease
  tombstone,         ///< an erase that carries a version leaves it behind
  server_distrust,   ///< where epochs are distrusted, so are values of a server that the bus has not heard from
  one_server,        ///< L1 takes no value of another server than the one that the bus listens to
  as_of_check,       ///< a read with max_staleness looks as of when L1 is coherent, and boards no fetch older than that
  applied_check,     ///< a read with a token looks whether its write was applied here, and boards no fetch begun before
  group_echo,        ///< the echo of grouped puts is done for when all of their callers have erased, not the first
  tag_stamp,         ///< a fill with tags: refused when a tag was erased since the load began
  refused_put,       ///< a put that Redis refused erases its key
  lease_epoch,       ///< lease fill: refused under another log epoch than that of the grant
};

#ifdef TIERCACHE_LAB

inline std::atomic<std::uint64_t> ablated_mask{0};
[[nodiscard]] inline bool ablated(Remedy r) noexcept {
  return (ablated_mask.load(std::memory_order_relaxed) >> static_cast<unsigned>(r)) & 1U;
}
inline void ablate(Remedy r, bool on = true) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << static_cast<unsigned>(r);
  if (on) ablated_mask.fetch_or(bit);
  else ablated_mask.fetch_and(~bit);
}

/// Places between two steps of the protocol. `key` is the physical key (bus points: the channel).
enum class Point : unsigned {
  l2_reply_to_l1_commit,   ///< an L2 answer is decoded, nothing is committed to L1 yet
  load_to_lease_fill,      ///< the loader returned, the fill was not sent yet
  validity_to_probe,       ///< coherence was found valid, L1 was not probed yet
  write_reply_to_erase,    ///< a write was answered, the local erase has not happened
  publish_to_store,        ///< between the announcement and the store when atomic_write is ablated
  bus_message,             ///< a bus message was read, not applied
  fence_check_to_install,  ///< L1 commit: in front of the installing step
  coherence_loads,         ///< a hit: between its loads of validity and generation
};
using Hook = std::function<void(Point, std::string_view key)>;
/// Set before the threads that pass the points are started, cleared after they ended. Shared by all stores of the process.
inline Hook hook;
inline void point(Point p, std::string_view key) {
  if (hook) hook(p, key);
}

/// Faults of the bus reader, per process: `bus_reader_stopped` holds it with its socket open; `bus_link_cut` closes the socket
/// and refuses to connect while it stands.
inline std::atomic<bool> bus_reader_stopped{false};
inline std::atomic<bool> bus_link_cut{false};
/// Whether heartbeats look every 2 ms for a cut link; off where time is virtual and links are cut otherwise.
inline std::atomic<bool> bus_polls{true};

/// How often who waits for a lease asks without a word from the bus; 0: as in the shipped build.
inline std::atomic<std::int64_t> lease_poll_ms{0};

/// How long after it was taken or renewed a lease is renewed; 0: as in the shipped build, after half of its time.
inline std::atomic<std::int64_t> lease_renew_ms{0};

/// What a wall clock of this process would be off by; only code under an ablated `durations` reads one.
inline std::atomic<std::int64_t> wall_clock_skew_ms{0};

/// Groups of puts that may be under way in a shard at once; with 1, all that queue behind one put go together.
inline std::atomic<std::uint32_t> put_lanes{2};

#else

[[nodiscard]] constexpr bool ablated(Remedy) noexcept { return false; }

#endif

}  // namespace tiercache::lab

#ifdef TIERCACHE_LAB
#define TIERCACHE_LAB_POINT(p, key) ::tiercache::lab::point(::tiercache::lab::Point::p, (key))
#else
#define TIERCACHE_LAB_POINT(p, key) static_cast<void>(0)
#endif
