// SPDX-License-Identifier: Apache-2.0
//
// What the processes of one run share: a memory file, mapped by the parent and by every instance. Everything in it that
// changes is a lock-free atomic, so an instance that dies holds nobody up.
#pragma once

#include "acks.hpp"
#include "memory_file.hpp"

#include <tiercache/base/result.hpp>
#include <tiercache/base/stats.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>

namespace tiercache::demo {

inline constexpr std::uint32_t probe_count = 64;
inline constexpr unsigned probe_readers = 16;  ///< threads an instance; each reads a sixteenth of the probes
inline constexpr unsigned instances_max = 16;
inline constexpr std::int64_t pause_ns = 20'000'000;

/// What an instance is told; constant once the run begins. No pointers: it crosses exec.
struct Settings {
  std::uint32_t instances = 3;
  std::uint32_t threads = 4;  ///< workers an instance
  std::uint32_t keys = 0;     ///< of the workload; probe keys follow
  std::uint32_t probes = 0;   ///< probe_count, or 0 without faults
  double zipf = 0.99;
  double write_percent = 5;
  std::int64_t db_latency_ns = 0;
  std::int64_t budget_ns = 0;
  std::uint64_t seed = 0;
  std::uint64_t l1_bytes = 0;
  std::uint32_t l1_entry_bytes = 0;  ///< expected
  std::uint64_t ablated = 0;         ///< bits of lab::Remedy
  std::uint64_t requests = 0;        ///< of the trace; 0: Zipf
  bool verbose = false;
  char redis_url[512] = {};
  char database[512] = {};  ///< path of the system of record
  char resource[64] = {};   ///< unique to the run: what an earlier one left in Redis is not ours
};

/// The steps of a run. The parent sets the stage; each instance says when it is done with it.
enum class Stage : std::uint32_t {
  starting,  ///< open the store
  running,   ///< the workload, the probes; done: all requests of the trace are answered
  draining,  ///< end all of it, announce what is still unannounced
  checking,  ///< after the quiet: compare every written key with the record
  ending,
};

/// Written by one thread, read by any process. Relaxed: a number in a report.
class Counter {
 public:
  void add(std::uint64_t n = 1) noexcept { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void raise(std::uint64_t n) noexcept {
    if (n > value_.load(std::memory_order_relaxed)) value_.store(n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t get() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// A histogram that was copied into shared memory by its owner.
class HistogramCopy {
 public:
  void publish(const HistogramSnapshot& s) noexcept {
    for (std::size_t i = 0; i < s.size; ++i) counts_[i].store(s.counts[i], std::memory_order_relaxed);
  }
  [[nodiscard]] HistogramSnapshot snapshot() const noexcept {
    HistogramSnapshot s;
    for (std::size_t i = 0; i < s.size; ++i) s.count += s.counts[i] = counts_[i].load(std::memory_order_relaxed);
    return s;
  }

 private:
  std::atomic<std::uint64_t> counts_[HistogramSnapshot::size]{};
};

/// What one thread of an instance counts.
struct alignas(64) ThreadSlot {
  Counter reads, writes;
  Counter by_l1, by_l2, by_loader;  ///< reads by where the answer came from
  Counter db_queries;
  Counter degraded, errors;
  Counter stale, stale_beyond, staleness_max_ns, wrong;
  Histogram l1_hit;        ///< in NANOSECONDS: hits are below the histogram's unit
  Histogram l2_hit, load;  ///< microseconds
};

struct alignas(64) InstanceBlock {
  std::atomic<std::uint32_t> done{0};           ///< 1 + the last stage that it is done with
  std::atomic<bool> stop_reader{false};         ///< fault: hold the bus reader, its socket open
  std::atomic<bool> cut_link{false};            ///< fault: close the bus link and refuse to connect
  std::atomic<std::int64_t> coherent_since{0};  ///< begin of the unbroken time with a valid L1; 0: it is not
  std::atomic<std::uint64_t> next_request{0};
  std::atomic<std::uint64_t> unannounced{0};   ///< writes whose announcement is being retried
  std::atomic<std::uint64_t> wrong_copies{0};  ///< of the last check
  std::atomic<std::uint64_t> check_errors{0};
  HistogramCopy bus_lag;
};

struct SharedHeader {
  Settings settings;
  std::atomic<std::uint32_t> stage{0};
  std::atomic<bool> fault_on{false};  ///< calls may report degraded now
  std::atomic<bool> failed{false};    ///< an instance could not go on; it has said why
  std::atomic<std::uint32_t> chunks_used{0};
  std::uint64_t bytes = 0;  ///< of the whole block; the offsets of its parts follow
  std::uint64_t instances_at = 0, slots_at = 0, keys_at = 0, requests_at = 0, chunks_at = 0;
  std::uint64_t slots_per_instance = 0;
};

/// The mapping. Move-only; the parts stay where they are for its life.
class SharedBlock {
 public:
  /// `size_of(key)` for every key, probes included. The pages are committed as they are touched.
  [[nodiscard]] static Result<SharedBlock> create(const Settings& settings,
                                                  const std::function<std::uint32_t(std::uint32_t)>& size_of,
                                                  std::span<const std::uint32_t> requests);
  /// Maps what create() made in another process. `fd` is not taken over.
  [[nodiscard]] static Result<SharedBlock> attach(int fd);

  [[nodiscard]] int fd() const noexcept { return memory_.fd(); }  ///< close-on-exec; -1 in a block that was attached
  [[nodiscard]] SharedHeader& header() const noexcept { return *memory_.at<SharedHeader>(0); }
  [[nodiscard]] const Settings& settings() const noexcept { return header().settings; }
  [[nodiscard]] std::span<InstanceBlock> instances() const noexcept {
    return {part<InstanceBlock>(header().instances_at), settings().instances};
  }
  /// The workers first, then the probe readers and the probe writer.
  [[nodiscard]] std::span<ThreadSlot> slots(unsigned instance) const noexcept {
    return {part<ThreadSlot>(header().slots_at) + instance * header().slots_per_instance, header().slots_per_instance};
  }
  [[nodiscard]] std::span<KeyState> keys() const noexcept {
    return {part<KeyState>(header().keys_at), std::size_t{settings().keys} + settings().probes};
  }
  [[nodiscard]] std::span<const std::uint32_t> requests() const noexcept {
    return {part<const std::uint32_t>(header().requests_at), settings().requests};
  }
  [[nodiscard]] AckLog acks() const noexcept {
    return {{part<AckChunk>(header().chunks_at), (header().bytes - header().chunks_at) / sizeof(AckChunk)}, header().chunks_used};
  }
  [[nodiscard]] Stage stage() const noexcept { return static_cast<Stage>(header().stage.load(std::memory_order_acquire)); }

 private:
  explicit SharedBlock(MemoryFile memory) noexcept : memory_(std::move(memory)) {}
  template <class T>
  [[nodiscard]] T* part(std::uint64_t at) const noexcept {
    return memory_.at<T>(at);
  }

  MemoryFile memory_;
};

}  // namespace tiercache::demo
