// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include "check.hpp"
#include "children.hpp"
#include "clock.hpp"
#include "faults.hpp"
#include "progress.hpp"
#include "record.hpp"
#include "return_watch.hpp"
#include "row.hpp"
#include "shared.hpp"
#include "trace.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/tiercache.hpp>

#include <redis_server.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>

namespace tiercache::demo {
namespace {

using tools::read_trace;
using tools::Trace;

/// A folder of the run's own, removed with the object.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tiercache-demo-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The run cannot go on: an instance died, a signal came. Thrown and caught in this file only; unwinding ends the children and
/// Redis and removes the folder.
struct Stopped {
  Error error;
};
template <class T>
T value_or_stop(Result<T> result) {
  if (!result) throw Stopped{result.error()};
  return std::move(*result);
}

template <std::size_t N>
void copy_text(char (&to)[N], const std::string& from) {
  if (from.size() >= N) throw Stopped{{Errc::invalid_argument, "too long: " + from}};
  std::memcpy(to, from.c_str(), from.size() + 1);
}

class Run {
 public:
  Run(const RunOptions& options, const Trace& trace, bool faults)
      : options_(options),
        trace_(trace),
        with_faults_(faults),
        redis_(options.redis_url.empty() ? std::make_unique<testing::RedisServer>() : nullptr) {}

  Report execute() {
    prepare();
    for (unsigned i = 0; i < options_.instances; ++i) {
      if (auto started = children_.start(i, shared_->fd()); !started) throw Stopped{started.error()};
    }
    await(Stage::starting, 30);
    run_workload();
    enter(Stage::draining);
    await(Stage::draining, 60);
    nap(2 * shared_->settings().budget_ns);
    enter(Stage::checking);
    const CheckResult in_redis = check_redis();
    await(Stage::checking, 120);
    Report report = collect(in_redis);
    enter(Stage::ending);
    if (!children_.wait_all(10 * ns_per_s)) throw Stopped{{Errc::internal, "an instance did not end within 10 s"}};
    return report;
  }

 private:
  [[nodiscard]] std::string redis_url() const { return redis_ ? redis_->url() : options_.redis_url; }

  [[nodiscard]] std::uint32_t size_of(std::uint32_t key) const {
    if (key < trace_.sizes.size()) return std::max(trace_.sizes[key], static_cast<std::uint32_t>(row_bytes_min));
    return 100 + static_cast<std::uint32_t>(mix64(key + 1) % 901);
  }

  void prepare() {
    Settings s;
    s.instances = options_.instances;
    s.threads = options_.threads;
    s.keys = trace_.requests.empty() ? options_.keys : trace_.unique_keys;
    s.probes = with_faults_ ? probe_count : 0;
    s.zipf = options_.zipf;
    s.write_percent = options_.write_percent;
    s.db_latency_ns = static_cast<std::int64_t>(options_.db_latency_ms * 1e6);
    s.budget_ns = options_.budget_ms * ns_per_ms;
    s.seed = options_.seed;
    s.verbose = options_.verbose;
    if (options_.ablate != nullptr) s.ablated = std::uint64_t{1} << static_cast<unsigned>(options_.ablate->remedy);
    std::uint64_t bytes = 0;
    for (std::uint32_t key = 0; key < s.keys; ++key) bytes += size_of(key);
    constexpr std::uint64_t l1_bytes_min = 64 << 10;
    constexpr std::uint64_t probe_bytes = 2048;  // the probes come on top: they are to stay in L1
    s.l1_bytes = std::max(l1_bytes_min, static_cast<std::uint64_t>(static_cast<double>(bytes) * options_.l1_percent / 100)) +
                 s.probes * probe_bytes;
    s.l1_entry_bytes = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(bytes / s.keys + 128, 64, 1 << 20));
    copy_text(s.redis_url, redis_url());
    copy_text(s.database, (folder_.path() / "record.db").string());
    copy_text(s.resource, format("run-%016llx", static_cast<unsigned long long>(random_u64())));

    const auto size = [this](std::uint32_t key) { return size_of(key); };
    shared_.emplace(value_or_stop(SharedBlock::create(s, size, trace_.requests)));
    if (auto made = Record::create(s.database, s.keys + s.probes, size); !made) throw Stopped{made.error()};
    std::printf(
        "%u instances of %u threads, %s keys of %s bytes in all, L1 %s bytes each, database latency %.3g ms, "
        "staleness budget %u ms (also l2.backoff_max), seed %llu\n",
        s.instances, s.threads, grouped(s.keys).c_str(), grouped(bytes).c_str(), grouped(s.l1_bytes).c_str(),
        options_.db_latency_ms, options_.budget_ms, static_cast<unsigned long long>(s.seed));
    std::fflush(stdout);
  }

  void enter(Stage stage) { shared_->header().stage.store(static_cast<std::uint32_t>(stage), std::memory_order_release); }

  [[nodiscard]] bool all_done(Stage stage) const {
    for (const InstanceBlock& b : shared_->instances()) {
      if (b.done.load(std::memory_order_acquire) < static_cast<std::uint32_t>(stage) + 1) return false;
    }
    return true;
  }

  /// Throws when the run cannot go on.
  void look_around() {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    const timespec at_once{0, 0};
    if (sigtimedwait(&ends, nullptr, &at_once) > 0) throw Stopped{{Errc::closed, "interrupted"}};
    if (auto ended = children_.ended_early()) throw Stopped{{Errc::internal, *ended}};
    if (shared_->header().failed.load(std::memory_order_relaxed)) throw Stopped{{Errc::internal, "an instance could not go on"}};
  }
  void nap(std::int64_t ns) {
    for (const std::int64_t end = now_ns() + ns; now_ns() < end; sleep_ns(5 * ns_per_ms)) look_around();
  }
  void await(Stage stage, int seconds) {
    for (const std::int64_t end = now_ns() + seconds * ns_per_s; !all_done(stage); sleep_ns(2 * ns_per_ms)) {
      look_around();
      if (now_ns() >= end) throw Stopped{{Errc::internal, format("the instances were not ready within %d s", seconds)}};
    }
  }

  [[nodiscard]] FaultTargets fault_targets() {
    FaultTargets on;
    on.stop_reader = [this](unsigned i, bool stopped) { shared_->instances()[i].stop_reader.store(stopped); };
    on.cut_link = [this](unsigned i, bool cut) { shared_->instances()[i].cut_link.store(cut); };
    on.fault_on = [this](bool fault) { shared_->header().fault_on.store(fault); };
    on.coherent_since = [this] {
      std::int64_t since = 1;
      for (const InstanceBlock& b : shared_->instances()) {
        const std::int64_t one = b.coherent_since.load();
        if (one == 0) return std::int64_t{0};
        since = std::max(since, one);
      }
      return since;
    };
    if (redis_) {
      on.kill_redis = [this] { redis_->kill9(); };
      on.start_redis = [this] { redis_->restart(); };
    }
    return on;
  }

  [[nodiscard]] double fraction_done(std::int64_t elapsed) const {
    if (trace_.requests.empty()) return static_cast<double>(elapsed) / (options_.seconds * 1e9);
    std::uint64_t taken = 0;
    for (const InstanceBlock& b : shared_->instances()) taken += b.next_request.load(std::memory_order_relaxed);
    return std::min(1.0, static_cast<double>(taken) / static_cast<double>(trace_.requests.size()));
  }

  void run_workload() {
    const auto duration = trace_.requests.empty() ? static_cast<std::int64_t>(options_.seconds * 1e9) : 0;
    faults_.emplace(Faults::Times{duration, shared_->settings().budget_ns, options_.instances}, fault_targets());
    Progress progress(*shared_);
    const std::int64_t start = now_ns();
    std::int64_t next_line = start + ns_per_s;
    std::size_t quarter = 1;
    enter(Stage::running);
    for (;;) {
      look_around();
      const std::int64_t now = now_ns();
      const double fraction = fraction_done(now - start);
      // Quarters are taken before the faults turn: the second one ends just before the kill.
      for (; quarter < 4 && fraction >= 0.25 * static_cast<double>(quarter); ++quarter) {
        quarters_[quarter] = sum_slots(*shared_, Who::workers);
      }
      if (duration != 0) watch_return(now, start, duration);
      if (duration != 0 ? now - start >= duration && returned(now, start + duration) : all_done(Stage::running)) break;
      if (with_faults_) faults_->turn(now - start, now, fraction);
      if (now >= next_line) {
        std::puts(progress.line(static_cast<double>(now - start) / 1e9, fraction, with_faults_ ? faults_->text() : "").c_str());
        std::fflush(stdout);
        next_line += ns_per_s;
      }
      sleep_ns(2 * ns_per_ms);
    }
    run_ns_ = now_ns() - start;
    quarters_[4] = sum_slots(*shared_, Who::workers);
    settle();
  }

  void watch_return(std::int64_t now, std::int64_t start, std::int64_t duration) {
    if (!with_faults_ || faults_->killed_at_fraction() < 0 || faults_->recovered_at_fraction() < 0) return;
    if (!return_watch_) return_watch_.emplace(std::max(now, start + duration / 4 * 3), duration / 4);
    if (!return_watch_->due(now)) return;
    const Totals work = sum_slots(*shared_, Who::workers);
    return_watch_->look(now, work.reads, work.by_l1);
  }
  /// Whether the run may end: L1 answers again as it did before the kill, or has had time enough for it. A machine that is busy
  /// with other things makes everything later, and no less true.
  [[nodiscard]] bool returned(std::int64_t now, std::int64_t end) const {
    constexpr std::int64_t patience = 10 * ns_per_s;
    if (!with_faults_ || faults_->killed_at_fraction() < 0) return true;
    if (return_watch_ && return_watch_->share() >= Report::return_min * l1_ratio(quarters_[1], quarters_[2])) return true;
    return now >= std::max(end, return_watch_ ? return_watch_->begin() : end) + patience;
  }

  /// Faults that the end of the run met halfway are ended and recovered from before anything is compared.
  void settle() {
    if (!with_faults_) return;
    faults_->heal();
    for (const std::int64_t end = now_ns() + 30 * ns_per_s; !faults_->settled() && now_ns() < end; sleep_ns(2 * ns_per_ms)) {
      look_around();
      faults_->turn(run_ns_, now_ns(), 1);
    }
    shared_->header().fault_on.store(false);
  }

  /// What Redis holds, through a store that has nothing in L1.
  [[nodiscard]] CheckResult check_redis() {
    Config config;
    config.env = "demo";
    config.resource = shared_->settings().resource;
    config.l1.capacity_bytes = 1 << 20;
    config.l2.url = redis_url();
    config.bus.enabled = false;
    config.log_level = LogLevel::off;
    Store store = value_or_stop(Store::open(config));
    Cache<Row> rows = store.cache<Row>("row");
    const CheckResult result = check_written(*shared_, rows);
    // Somebody else's Redis is left as it was found, but for the bookkeeping keys of this run.
    if (!redis_) static_cast<void>(rows.clear({.deadline = std::chrono::seconds(30)}));
    return result;
  }

  [[nodiscard]] Report collect(const CheckResult& in_redis) const {
    const Totals work = sum_slots(*shared_, Who::workers);
    const Totals all = sum_slots(*shared_, Who::all);
    Report r;
    r.seconds = static_cast<double>(run_ns_) / 1e9;
    r.instances = options_.instances;
    r.threads = options_.threads;
    r.seed = options_.seed;
    r.budget_ms = options_.budget_ms;
    r.reads = work.reads;
    r.writes = work.writes;
    r.reads_by_l1 = work.by_l1;
    r.reads_by_l2 = work.by_l2;
    r.probe_reads = all.reads - work.reads;
    r.probe_writes = all.writes - work.writes;
    r.db_queries = work.db_queries;
    r.errors = all.errors + in_redis.errors;
    r.degraded = all.degraded;
    r.stale_reads = all.stale;
    r.stale_reads_beyond_budget = all.stale_beyond;
    r.max_staleness_ms = static_cast<double>(all.staleness_max_ns) / 1e6;
    r.lost = in_redis.lost;
    r.wrong = all.wrong + in_redis.wrong;
    r.checked_keys = in_redis.keys;
    for (const InstanceBlock& b : shared_->instances()) {
      r.wrong += b.wrong_copies.load(std::memory_order_relaxed);
      r.errors += b.check_errors.load(std::memory_order_relaxed);
    }
    r.l1_hit_us = quantiles(work.l1_hit_ns, 1000);
    r.l2_hit_us = quantiles(work.l2_hit);
    r.load_us = quantiles(work.load);
    r.bus_lag_us = quantiles(sum_bus_lag(*shared_));
    if (!trace_.requests.empty()) r.trace = {trace_.requests.size(), trace_.unique_keys, trace_.bound()};
    if (with_faults_) collect_faults(r);
    return r;
  }

  void collect_faults(Report& r) const {
    const Faults::Counts& c = faults_->counts();
    r.faults = {c.readers_stopped, c.links_cut, c.redis_killed,
                std::string(options_.ablate != nullptr ? options_.ablate->name : "")};
    if (faults_->recovery_ms() >= 0) r.recovery_ms = faults_->recovery_ms();
    // Of a trace that ended while Redis was away, or nearly so, the last quarter tells nothing.
    const bool made_up = trace_.requests.empty();
    const bool judged = made_up || (faults_->recovered_at_fraction() >= 0 && faults_->recovered_at_fraction() <= 0.75);
    if (faults_->killed_at_fraction() >= 0 && judged) {
      r.l1_ratio_before = l1_ratio(quarters_[1], quarters_[2]);
      if (made_up) r.l1_ratio_last = return_watch_ ? return_watch_->share() : 0;
      else r.l1_ratio_last = l1_ratio(quarters_[3], quarters_[4]);
    }
  }

  const RunOptions& options_;
  const Trace& trace_;
  const bool with_faults_;
  TempFolder folder_;
  std::unique_ptr<testing::RedisServer> redis_;
  std::optional<SharedBlock> shared_;
  std::optional<Faults> faults_;
  Children children_;  // last: the instances end before what they use
  std::array<Totals, 5> quarters_;
  std::optional<ReturnWatch> return_watch_;  // from the recovery on
  std::int64_t run_ns_ = 0;
};

}  // namespace

Result<Report> run_demo(const RunOptions& options) {
  const bool faults = options.faults.value_or(options.trace.empty());
  if (options.ablate != nullptr && !faults) {
    return Error{Errc::invalid_argument, "--ablate shows nothing without faults: add --faults"};
  }
  const double least = static_cast<double>(Faults::duration_min(options.budget_ms * ns_per_ms)) / 1e9;
  if (faults && options.trace.empty() && options.seconds < least) {
    return Error{Errc::invalid_argument, format("--seconds: with faults and this budget at least %.1f", least)};
  }
  try {
    Trace trace;
    if (!options.trace.empty()) {
      trace = value_or_stop(read_trace(options.trace));
      std::printf("%s: %s requests, %s unique keys\n", options.trace.c_str(), grouped(trace.requests.size()).c_str(),
                  grouped(trace.unique_keys).c_str());
    }
    return Run(options, trace, faults).execute();
  } catch (const Stopped& stopped) {
    return stopped.error;
  } catch (const std::exception& e) {
    return Error{Errc::internal, e.what()};
  }
}

}  // namespace tiercache::demo
