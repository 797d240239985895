// SPDX-License-Identifier: Apache-2.0
//
// Numbers as modules count them and as metrics shows them. The snapshot structs are plain values: what a scrape pulls.
#pragma once

#include <tiercache/base/error.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

namespace tiercache {

/// A latency histogram's state at one instant. Bucket i counts values in [lower(i), lower(i + 1)) microseconds.
struct HistogramSnapshot {
  static constexpr std::size_t sub = 4;          ///< buckets for each power of two: at most 25 % wide
  static constexpr std::size_t size = 27 * sub;  ///< the last one begins at 235 s and has no upper end
  std::array<std::uint64_t, size> counts{};
  std::uint64_t count = 0;
  double sum_us = 0;

  /// The lower bound of bucket `i` in microseconds.
  [[nodiscard]] static constexpr std::uint64_t lower(std::size_t i) noexcept {
    if (i < sub) return i;
    const std::size_t power = i / sub - 1;
    return (sub + i % sub) << power;
  }
  [[nodiscard]] static constexpr std::size_t index(std::uint64_t us) noexcept {
    if (us < sub) return us;
    const unsigned power = static_cast<unsigned>(std::bit_width(us)) - 3;  // sub == 4 -> the top 3 bits pick the bucket
    const std::size_t i = (power + 1) * sub + ((us >> power) & (sub - 1));
    return i < size ? i : size - 1;
  }
  /// The value below which the share `q` of all values lies, to the upper end of its bucket, in microseconds; 0 when empty.
  [[nodiscard]] double quantile(double q) const noexcept {
    if (count == 0) return 0;
    const double want = q * static_cast<double>(count);
    double seen = 0;
    for (std::size_t i = 0; i < size; ++i) {
      seen += static_cast<double>(counts[i]);
      if (counts[i] != 0 && seen >= want) return static_cast<double>(i + 1 < size ? lower(i + 1) : lower(i));
    }
    return static_cast<double>(lower(size - 1));
  }
  HistogramSnapshot& operator+=(const HistogramSnapshot& o) noexcept {
    for (std::size_t i = 0; i < size; ++i) counts[i] += o.counts[i];
    count += o.count;
    sum_us += o.sum_us;
    return *this;
  }
};

/// Records latencies. Wait-free, two relaxed adds on shared lines: for paths that cross the network, not for hits.
class Histogram {
 public:
  void record_us(std::uint64_t us) noexcept {
    counts_[HistogramSnapshot::index(us)].fetch_add(1, std::memory_order_relaxed);
    sum_us_.fetch_add(us, std::memory_order_relaxed);
  }
  [[nodiscard]] HistogramSnapshot snapshot() const noexcept {
    HistogramSnapshot s;
    for (std::size_t i = 0; i < s.size; ++i) s.count += s.counts[i] = counts_[i].load(std::memory_order_relaxed);
    s.sum_us = static_cast<double>(sum_us_.load(std::memory_order_relaxed));
    return s;
  }

 private:
  std::array<std::atomic<std::uint64_t>, HistogramSnapshot::size> counts_{};
  std::atomic<std::uint64_t> sum_us_{0};
};

/// Failures by kind. Wait-free.
class ErrorCounts {
 public:
  void count(Errc code) noexcept { by_kind_[static_cast<std::size_t>(code)].fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::array<std::uint64_t, errc_count> snapshot() const noexcept {
    std::array<std::uint64_t, errc_count> s{};
    for (std::size_t i = 0; i < errc_count; ++i) s[i] = by_kind_[i].load(std::memory_order_relaxed);
    return s;
  }

 private:
  std::array<std::atomic<std::uint64_t>, errc_count> by_kind_{};
};

struct L1Stats {
  std::uint64_t capacity_bytes = 0;  ///< the budget
  std::uint64_t used_bytes = 0;      ///< held: fixed tables, entries, value heap, in-flight, pinned, retired
  std::uint64_t fixed_bytes = 0;     ///< the part of used_bytes that tables and sketches take
  std::uint64_t entries = 0;
  std::uint64_t retired_bytes = 0;  ///< unlinked, not freed yet
  std::uint64_t inserts = 0;
  std::uint64_t evictions = 0;
  std::uint64_t expirations = 0;      ///< reclaimed because expired or of an older generation
  std::uint64_t invalidations = 0;    ///< erase and invalidate calls that removed an entry
  std::uint64_t refused_no_room = 0;  ///< puts and fills refused: nothing could be freed
  std::uint64_t refused_too_large = 0;
  std::uint64_t refused_fence = 0;      ///< fills refused: the key was invalidated since the ticket
  std::uint64_t promoted = 0;           ///< entries that moved from the small queue of newcomers to the main queue
  std::uint64_t demoted = 0;            ///< evictions from the main queue
  std::uint64_t not_promoted = 0;       ///< fills refused: what they would drive out was asked for more often
  std::uint64_t payload_bytes = 0;      ///< keys and values, with the values' heap; the rest of used_bytes is overhead
  std::uint64_t small_queue_bytes = 0;  ///< of the newcomers; 0 where the number of entries is what is limited
  double small_queue_share = 0;         ///< the share of the cache that they have now, as the workload wants it
  std::uint64_t crowded_out = 0;        ///< evictions because a bucket was full, not the cache
};

struct ViewStats {
  std::string name;
  std::uint64_t l1_hits = 0;
  std::uint64_t l1_misses = 0;  ///< reads that L1 did not answer, whoever did then
  std::uint64_t l2_hits = 0;
  std::uint64_t misses = 0;  ///< in neither tier
  std::uint64_t loads = 0;   ///< loader calls
  std::uint64_t load_failures = 0;
  std::uint64_t flight_joins = 0;  ///< callers that waited for another's fetch in this process
  std::uint64_t puts = 0;
  std::uint64_t erases = 0;
  std::uint64_t l1_bypassed = 0;     ///< reads for which L1 was not coherent within the budget
  std::uint64_t bad_envelopes = 0;   ///< values that did not verify or decode
  std::uint64_t foreign_values = 0;  ///< values without our magic, or of a newer format or schema: left alone
  std::uint64_t l1_bytes = 0;        ///< that the view's entries take of L1's budget
  std::uint64_t l1_quota_bytes = 0;  ///< the most that they may; 0: no limit
  std::uint64_t l1_stale_hits = 0;   ///< of l1_hits: answered marked stale (WhenStale::serve_stale)
  std::uint64_t l1_behind = 0;       ///< reads whose token L1 had not applied yet: Redis was asked
};

/// The workload of L1 as it is sampled: estimates, of lately.
struct L1Workload {
  struct HitRatio {
    double factor = 0;  ///< of the capacity in force
    double ratio = 0;   ///< the share of accesses that would be hits
  };
  std::vector<HitRatio> hit_ratios;  ///< at a quarter, a half, once, twice and four times; empty: nothing was sampled yet
  bool heat_known = false;
  double hottest_1_share = 0;   ///< of the hits, that go to the hottest key
  double hottest_10_share = 0;  ///< to the ten hottest
};

struct RemoteStats {
  bool enabled = false;
  bool available = false;
  std::uint64_t connects = 0;
  std::uint64_t reconnects = 0;
  std::uint64_t connections = 0;  ///< open now
  std::uint64_t commands = 0;
  std::uint64_t timeouts = 0;
  std::uint64_t closed_on_error = 0;  ///< connections closed because a reply timed out or could not be parsed
  std::uint64_t script_loads = 0;
  HistogramSnapshot latency;  ///< of answered commands
  std::array<std::uint64_t, errc_count> errors{};
  std::uint64_t put_groups = 0;    ///< puts of several callers that went as one
  std::uint64_t grouped_puts = 0;  ///< the puts in them
  std::uint64_t queued_puts = 0;   ///< waiting for their turn now
};

struct BusStats {
  bool enabled = false;
  bool subscribed = false;
  std::uint64_t connects = 0;
  std::uint64_t messages = 0;
  std::uint64_t heartbeats_sent = 0;
  std::uint64_t heartbeats_seen = 0;  ///< own ones
  std::uint64_t malformed = 0;
  std::array<std::uint64_t, 8> gaps{};  ///< by GapReason
  HistogramSnapshot lag;                ///< own heartbeats: send to applied
  std::uint64_t resyncs_replayed = 0;   ///< what was missed came from the log, L1 was kept
  std::uint64_t resyncs_voided = 0;     ///< the log did not have it, the shard's L1 was voided
  std::uint64_t messages_replayed = 0;
  std::uint64_t tracking_messages = 0;  ///< what Redis itself told; 0 without tracking
  std::uint64_t tracking_keys = 0;      ///< keys of values that it named
};

struct LeaseStats {
  std::uint64_t granted = 0;
  std::uint64_t waited = 0;  ///< loads that found another instance loading
  std::uint64_t lost = 0;    ///< fills refused: the lease had been displaced or had lapsed
  std::uint64_t renewed = 0;
  std::uint64_t polled = 0;  ///< times that who waited asked again
  std::uint64_t woken = 0;   ///< of them, after a word on the bus
};

struct GateStats {
  std::uint64_t updates = 0;  ///< update() calls whose database write was called
  std::uint64_t lapsed = 0;   ///< of them, those that outlived their gate: gate_ttl is too short
  std::uint64_t gated = 0;    ///< loads that met an update in progress: their values were stored nowhere
};

/// Hits of L1 that were compared with Redis afterwards (Config::shadow_reads).
struct ShadowStats {
  bool enabled = false;
  std::uint64_t checked = 0;    ///< compared to the end
  std::uint64_t differing = 0;  ///< of them: Redis held another value, or none, when it was asked first
  std::uint64_t stale = 0;      ///< of those: L1 would still have answered with the old value a budget later
  std::uint64_t orphaned = 0;  ///< not in `stale`: a budget later Redis had no value at all, and L1 still had one (evicted there,
                               ///< or erased by somebody who told nobody)
  std::uint64_t dropped = 0;   ///< not compared: too many at a time, gone from L1, or Redis did not answer
  /// `stale` of a million checked; 0 without any.
  [[nodiscard]] double stale_ppm() const noexcept {
    return checked == 0 ? 0 : static_cast<double>(stale) * 1e6 / static_cast<double>(checked);
  }
};

enum class HealthState : std::uint8_t { ok, degraded, closed };

struct Health {
  HealthState state = HealthState::ok;
  bool l2_available = false;
  bool l1_coherent = false;  ///< L1 answers now
  std::string reason;        ///< empty when ok
};

/// Everything a scrape shows of one store.
struct StoreSnapshot {
  std::string env;
  std::string resource;
  L1Stats l1;
  std::uint64_t l1_configured_bytes =
      0;  ///< by config or Store::resize_l1; l1.capacity_bytes is what memory pressure leaves of it
  L1Workload l1_workload;
  std::vector<ViewStats> views;
  RemoteStats l2;
  BusStats bus;
  LeaseStats leases;
  GateStats gates;
  double coherence_age_seconds = -1;  ///< now minus the instant L1 is known to be coherent as of; -1: never was, or no bus
  double staleness_budget_seconds = 0;
  std::array<std::uint64_t, errc_count> errors{};  ///< of calls, by kind
  Health health;
  std::vector<double> shard_coherence_age_seconds;  ///< as coherence_age_seconds, shard by shard; empty without a bus
  ShadowStats shadow;
};

}  // namespace tiercache
