// SPDX-License-Identifier: Apache-2.0
//
// What the processes of a chaos run share. All that changes is a lock-free atomic: an instance may be killed anywhere.
#pragma once

#include "kinds.hpp"
#include "memory_file.hpp"
#include "shared.hpp"
#include "verdict.hpp"

#include <tiercache/base/result.hpp>

#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

namespace tiercache::chaos {

using demo::Counter;
using demo::Stage;

inline constexpr unsigned instances_max = 16;
inline constexpr std::size_t batch_max = 32;      ///< rows that one session commits and writes at once
inline constexpr std::uint32_t probe_count = 32;  ///< keys on which an instance with pauses provokes races

/// What an instance is told; constant once the run begins.
struct Settings {
  std::uint32_t instances = 4;
  std::uint32_t threads = 3;
  std::uint32_t keys = 0;  ///< a multiple of 4 * instances * threads; the probes follow
  std::uint32_t probes = 0;
  std::uint32_t pausing = 0;  ///< bits of the instances that pause between the protocol's steps on probes
  double zipf = 0.99;
  std::uint32_t writes_a_second = 1000;  ///< of all sessions together, where faults let them; reads take what time is left
  std::int64_t budget_ns = 0;
  std::uint64_t seed = 0;
  std::uint64_t l1_bytes = 0;
  std::uint64_t ablated = 0;  ///< bits of lab::Remedy
  bool log = true;            ///< instances replay what they missed
  double outage_min = 0;      ///< how long faults of an instance last at least, in budgets
  bool verbose = false;
  std::uint16_t ports[instances_max] = {};  ///< where each instance finds Redis
  char resource[64] = {};
};

enum class LoaderMode : std::uint8_t { usual, slow, throws, hangs };

/// A thread of an instance. Outlives its incarnations.
struct alignas(64) SessionSlot {
  Counter reads, by_l1, by_l2, by_loader, unanswered;
  Counter within, excused, steps_back;
  Counter staleness_max_ns;
  Counter writes, superseded, write_failures, repeated;  ///< writes: acknowledged ones
  Counter by_put_many, by_erase_many;                    ///< of the writes
  /// 1 + each key that is being written, 0: none. Who finds one after a kill finishes the write, as a service would from a
  /// journal.
  std::atomic<std::uint32_t> writing[batch_max] = {};
};

struct alignas(64) InstanceBlock {
  std::atomic<std::uint32_t> done{0};  ///< 1 + the last stage that it is done with
  std::atomic<bool> stop_reader{false};
  std::atomic<bool> cut_link{false};
  std::atomic<LoaderMode> loader{LoaderMode::usual};
  std::atomic<std::int64_t> coherent_since{0};  ///< begin of the unbroken time with a valid L1; 0: it is not
  std::atomic<std::int64_t> seen{0};            ///< when the above was looked at
  std::atomic<std::uint64_t> wrong_copies{0};
  std::atomic<std::uint64_t> excused_copies{0};
  std::atomic<std::uint64_t> check_errors{0};
  std::atomic<std::uint64_t> checked{0};
  std::atomic<std::uint64_t> present{0};  ///< of the checked: there was a copy to compare
  // What shows that a fault has met the instance; see field_evidence.cpp.
  std::atomic<int> pid{0};
  std::atomic<bool> subscribed{false};
  std::atomic<std::uint64_t> bus_messages{0};
  std::atomic<std::uint64_t> loads_met{0};     ///< loads that were slow, threw or hung, as they had been told to
  std::atomic<std::uint64_t> grouped_puts{0};  ///< puts of several callers that went as one, of this incarnation
};

/// One wrong read, as it is reported.
struct Violation {
  std::atomic<bool> complete{false};
  Verdict verdict{};
  std::uint8_t source = 0;  ///< tiercache::Source
  std::uint16_t instance = 0, session = 0;
  std::uint32_t key = 0;
  std::uint32_t own = 0;
  std::uint64_t version = 0;
  std::int64_t began = 0;
  std::int64_t staleness = 0;
  std::int64_t seen_ns = 0;  ///< when the read was answered
};
inline constexpr std::size_t violations_kept = 64;

/// One copy that differed from its row after the quiet, as it is reported.
struct WrongCopy {
  std::atomic<bool> complete{false};
  bool whole = false;          ///< it was a version of that row
  std::uint8_t source = 0;     ///< tiercache::Source
  std::uint16_t instance = 0;  ///< who looked; the instances' number: the run itself, which has nothing in L1
  std::uint32_t key = 0;
  std::uint64_t version = 0;
};
inline constexpr std::size_t copies_kept = 32;

struct Header {
  Settings settings;
  alignas(64) std::atomic<std::uint32_t> stage{0};
  std::atomic<bool> failed{false};
  /// Odd while a fault may make Redis lose what it had; counts such times. Read before every read: on a line that rarely changes.
  std::atomic<std::uint32_t> losses{0};
  alignas(64) std::atomic<std::uint32_t> chunks_used{0};
  std::atomic<std::uint64_t> violations{0};
  std::atomic<std::uint64_t> violations_by[verdict_count] = {};
  Violation kept[violations_kept];
  std::atomic<std::uint64_t> copies{0};
  WrongCopy kept_copies[copies_kept];
  std::uint64_t bytes = 0, instances_at = 0, sessions_at = 0, rows_at = 0, chunks_at = 0;
};

/// The mapping. Move-only.
class Board {
 public:
  [[nodiscard]] static Result<Board> create(const Settings& settings);
  [[nodiscard]] static Result<Board> attach(int fd);

  [[nodiscard]] int fd() const noexcept { return memory_.fd(); }
  [[nodiscard]] Header& header() const noexcept { return *memory_.at<Header>(0); }
  [[nodiscard]] const Settings& settings() const noexcept { return header().settings; }
  [[nodiscard]] std::span<InstanceBlock> instances() const noexcept {
    return {memory_.at<InstanceBlock>(header().instances_at), settings().instances};
  }
  /// The workers, then the probes' readers, their writer, and the writer of those with a version.
  [[nodiscard]] std::span<SessionSlot> sessions(unsigned instance) const noexcept {
    return {memory_.at<SessionSlot>(header().sessions_at) + instance * sessions_each(), sessions_each()};
  }
  [[nodiscard]] std::size_t sessions_each() const noexcept {
    return settings().threads + (settings().probes != 0 ? probe_sessions : 0);
  }
  [[nodiscard]] std::span<RowState> rows() const noexcept {
    return {memory_.at<RowState>(header().rows_at), std::size_t{settings().keys} + settings().probes};
  }
  [[nodiscard]] demo::AckLog acks() const noexcept {
    return {{memory_.at<demo::AckChunk>(header().chunks_at), (header().bytes - header().chunks_at) / sizeof(demo::AckChunk)},
            header().chunks_used};
  }
  [[nodiscard]] Stage stage() const noexcept { return static_cast<Stage>(header().stage.load(std::memory_order_acquire)); }
  [[nodiscard]] bool running() const noexcept {
    return stage() == Stage::running && !header().failed.load(std::memory_order_relaxed);
  }

  static constexpr unsigned probe_readers = 8;
  static constexpr unsigned probe_sessions = probe_readers + 2;

 private:
  explicit Board(demo::MemoryFile memory) noexcept : memory_(std::move(memory)) {}
  demo::MemoryFile memory_;
};

/// Says it on stderr and marks the run as failed.
void fail_run(const Board& board, std::string_view why);

/// Counts a violation and keeps what it was, as long as there is room.
void report_violation(const Board& board, const RowState& row, const Reading& reading, Verdict verdict, std::int64_t staleness,
                      unsigned instance, unsigned session, std::uint8_t source);

/// Keeps what a wrong copy was, as long as there is room.
void report_copy(const Board& board, unsigned instance, std::uint32_t key, std::uint64_t version, bool whole,
                 std::uint8_t source);

}  // namespace tiercache::chaos
