// SPDX-License-Identifier: Apache-2.0
//
// The faults by name, and how keys are written.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace tiercache::chaos {

/// What a fault is. Those up to `foreign_value` meet Redis and thereby everyone, the others one instance.
enum class FaultKind : std::uint8_t {
  redis_kill_empty,
  redis_kill_snapshot,
  redis_stop,
  debug_sleep,
  flush_all,
  out_of_memory,
  eviction,
  replica_promoted,
  master_isolated,
  script_flush,
  foreign_value,
  instance_kill,
  instance_stop,
  client_kill_data,
  client_kill_pubsub,
  output_buffer,
  reader_stopped,
  bus_link_cut,
  blackhole_to_server,
  blackhole_to_client,
  blackhole_bus,
  half_open,
  links_reset,
  delay,
  late_answers,
  late_writes,
  dribble,
  truncate,
  flip,
  loader_slow,
  loader_throws,
  loader_hangs,
};

enum class Lane : std::uint8_t { redis, instance };

struct FaultInfo {
  FaultKind kind;
  std::string_view name;
  Lane lane;
  bool lasts;       ///< it has an end of its own; else it is done when it began
  bool asks_redis;  ///< it sends commands to Redis, so it waits until Redis is not held up by another fault
  std::string_view what;
};

inline constexpr std::array<FaultInfo, 32> faults{{
    {FaultKind::redis_kill_empty, "redis-kill-empty", Lane::redis, true, false, "SIGKILL, back with nothing"},
    {FaultKind::redis_kill_snapshot, "redis-kill-snapshot", Lane::redis, true, true, "SIGKILL, back from an older snapshot"},
    {FaultKind::redis_stop, "redis-stop", Lane::redis, true, false, "SIGSTOP, SIGCONT"},
    {FaultKind::debug_sleep, "debug-sleep", Lane::redis, true, true, "DEBUG SLEEP"},
    {FaultKind::flush_all, "flushall", Lane::redis, false, true, "FLUSHALL"},
    {FaultKind::out_of_memory, "out-of-memory", Lane::redis, true, true, "maxmemory 1, noeviction"},
    {FaultKind::eviction, "eviction", Lane::redis, true, true, "maxmemory below what is used, allkeys-random"},
    {FaultKind::replica_promoted, "replica-promoted", Lane::redis, true, true, "master killed, its replica promoted by hand"},
    {FaultKind::master_isolated, "master-isolated", Lane::redis, true, true,
     "replication cut, replica promoted, half of the instances stay with the old master for a while"},
    {FaultKind::script_flush, "script-flush", Lane::redis, true, true, "SCRIPT FLUSH"},
    {FaultKind::foreign_value, "foreign-values", Lane::redis, false, true, "COPY of one key's bytes to another key"},
    {FaultKind::instance_kill, "instance-kill", Lane::instance, true, false, "SIGKILL, started again"},
    {FaultKind::instance_stop, "instance-stop", Lane::instance, true, false, "SIGSTOP, SIGCONT"},
    {FaultKind::client_kill_data, "client-kill-data", Lane::instance, false, true,
     "CLIENT KILL of everyone's connections for calls"},
    {FaultKind::client_kill_pubsub, "client-kill-pubsub", Lane::instance, false, true, "CLIENT KILL TYPE pubsub"},
    {FaultKind::output_buffer, "output-buffer", Lane::instance, true, true,
     "a subscriber that reads nothing overflows its output buffer"},
    {FaultKind::reader_stopped, "bus-reader-stopped", Lane::instance, true, false, "the bus thread is held, its socket open"},
    {FaultKind::bus_link_cut, "bus-link-cut", Lane::instance, true, false, "the bus link is closed and cannot be opened"},
    {FaultKind::blackhole_to_server, "blackhole-to-redis", Lane::instance, true, false, "what the instance sends is dropped"},
    {FaultKind::blackhole_to_client, "blackhole-to-instance", Lane::instance, true, false, "what Redis sends is dropped"},
    {FaultKind::blackhole_bus, "blackhole-bus", Lane::instance, true, false, "what Redis sends to the subscriber is dropped"},
    {FaultKind::half_open, "half-open", Lane::instance, true, false,
     "links are silent, new ones are accepted and never answered"},
    {FaultKind::links_reset, "links-reset", Lane::instance, true, false, "RST of every link, new ones are refused"},
    {FaultKind::delay, "delay", Lane::instance, true, false, "each piece is late, by up to a budget"},
    {FaultKind::late_answers, "late-answers", Lane::instance, true, false, "one value in 26 comes after its reader has given up"},
    {FaultKind::late_writes, "late-writes", Lane::instance, true, false, "one put in 26 comes after its writer has given up"},
    {FaultKind::dribble, "dribble", Lane::instance, true, false, "one byte a millisecond"},
    {FaultKind::truncate, "truncate", Lane::instance, true, false, "links end in the midst of an answer"},
    {FaultKind::flip, "flip", Lane::instance, true, false, "a bit of each value read is turned over"},
    {FaultKind::loader_slow, "loader-slow", Lane::instance, true, false, "loads take 50 ms"},
    {FaultKind::loader_throws, "loader-throws", Lane::instance, true, false, "loads throw"},
    {FaultKind::loader_hangs, "loader-hangs", Lane::instance, true, false, "loads hang until the fault ends"},
}};
inline constexpr std::size_t fault_count = faults.size();

[[nodiscard]] constexpr const FaultInfo& info(FaultKind kind) noexcept { return faults[static_cast<std::size_t>(kind)]; }

/// A set of kinds.
class FaultSet {
 public:
  constexpr FaultSet() = default;
  template <class... Kinds>
  [[nodiscard]] static constexpr FaultSet of(Kinds... kinds) noexcept {
    FaultSet s;
    ((s.bits_ |= 1ULL << static_cast<unsigned>(kinds)), ...);
    return s;
  }
  [[nodiscard]] static constexpr FaultSet all() noexcept {
    FaultSet s;
    s.bits_ = (1ULL << fault_count) - 1;
    return s;
  }
  constexpr void add(FaultKind kind) noexcept { bits_ |= 1ULL << static_cast<unsigned>(kind); }
  [[nodiscard]] constexpr bool has(FaultKind kind) const noexcept { return (bits_ >> static_cast<unsigned>(kind)) & 1U; }
  [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }

 private:
  std::uint64_t bits_ = 0;
};

/// How a key is written after its row was committed. A key has one way for its whole life: they do not mix.
enum class WriteKind : std::uint8_t {
  erase,      ///< erase(key), by anyone
  versioned,  ///< put(key, row, {.version}), by anyone: writers cross
  plain,      ///< put(key, row), by the key's one owner; erase until ok where the put was not
};
inline constexpr std::size_t write_kinds = 3;

[[nodiscard]] constexpr WriteKind write_kind_of(std::uint32_t key) noexcept {
  switch (key % 4) {
    case 2: return WriteKind::versioned;
    case 3: return WriteKind::plain;
    default: return WriteKind::erase;
  }
}

/// Of a plain key: which of `sessions` writes it.
[[nodiscard]] constexpr std::uint32_t owner_of(std::uint32_t key, std::uint32_t sessions) noexcept { return key / 4 % sessions; }

/// The plain key nearest below or at `key`'s group that the session owns. REQUIRES: keys is a multiple of 4 * sessions.
[[nodiscard]] constexpr std::uint32_t owned_key(std::uint32_t key, std::uint32_t session, std::uint32_t sessions) noexcept {
  return (key / (4 * sessions) * sessions + session) * 4 + 3;
}

}  // namespace tiercache::chaos
