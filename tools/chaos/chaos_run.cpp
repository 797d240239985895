// SPDX-License-Identifier: Apache-2.0
#include "chaos_run.hpp"

#include "audit.hpp"
#include "board.hpp"
#include "campaign.hpp"
#include "clock.hpp"
#include "field.hpp"
#include "report.hpp"
#include "surroundings.hpp"

#include <tiercache/base/hash.hpp>
#include <tiercache/tiercache.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <utility>

namespace tiercache::chaos {
namespace {

using demo::format;
using demo::now_ns;
using demo::ns_per_ms;
using demo::ns_per_s;
using demo::sleep_ns;

/// The run cannot go on. Thrown and caught in this file only; unwinding ends the children and the servers.
struct Stopped {
  Error error;
};

struct Totals {
  std::uint64_t reads = 0, by_l1 = 0, by_l2 = 0, by_loader = 0, unanswered = 0, within = 0, excused = 0, steps_back = 0;
  std::uint64_t by_put_many = 0, by_erase_many = 0;
  std::uint64_t writes = 0, superseded = 0, write_failures = 0, repeated = 0, staleness_max_ns = 0;
};

Totals sum(const Board& board) {
  Totals t;
  for (unsigned i = 0; i < board.settings().instances; ++i) {
    for (const SessionSlot& s : board.sessions(i)) {
      t.reads += s.reads.get();
      t.by_l1 += s.by_l1.get();
      t.by_l2 += s.by_l2.get();
      t.by_loader += s.by_loader.get();
      t.unanswered += s.unanswered.get();
      t.within += s.within.get();
      t.excused += s.excused.get();
      t.steps_back += s.steps_back.get();
      t.writes += s.writes.get();
      t.by_put_many += s.by_put_many.get();
      t.by_erase_many += s.by_erase_many.get();
      t.superseded += s.superseded.get();
      t.write_failures += s.write_failures.get();
      t.repeated += s.repeated.get();
      t.staleness_max_ns = std::max(t.staleness_max_ns, s.staleness_max_ns.get());
    }
  }
  return t;
}

class Run {
 public:
  explicit Run(const ChaosOptions& options)
      : options_(options), field_(options.instances, options.budget_ms * ns_per_ms, options.seed), board_(prepare()) {
    field_.open(board_);
    campaign_.emplace(field_, board_, options.faults);
  }

  ChaosReport execute() {
    await(Stage::starting, 30);
    const std::int64_t start = now_ns();
    enter(Stage::running);
    make_chaos(start);
    seconds_ = static_cast<double>(now_ns() - start) / 1e9;
    if (enough()) return collect({});  // unwinding ends the children
    enter(Stage::draining);
    await(Stage::draining, 60);
    nap(2 * board_.settings().budget_ns);
    enter(Stage::checking);
    const Audit in_redis = audit_redis();
    await(Stage::checking, 120);
    const ChaosReport report = collect(in_redis);
    enter(Stage::ending);
    if (!field_.children().wait_all(10 * ns_per_s)) throw Stopped{{Errc::internal, "an instance did not end within 10 s"}};
    return report;
  }

 private:
  Board prepare() {
    Settings s;
    s.instances = options_.instances;
    s.threads = options_.threads;
    const std::uint32_t unit = 4 * s.instances * s.threads;
    s.keys = std::max(1U, options_.keys / unit) * unit;
    s.probes = probe_count;
    s.pausing = options_.pauses_everywhere ? ~0U : 1U;
    s.writes_a_second = options_.writes_a_second;
    s.budget_ns = options_.budget_ms * ns_per_ms;
    s.seed = options_.seed;
    s.l1_bytes = std::max<std::uint64_t>(1 << 20, std::uint64_t{s.keys} * 1000);  // somewhat less than everything takes
    s.verbose = options_.verbose;
    if (options_.plan != nullptr) {
      s.log = options_.plan->log == Log::on;
      s.outage_min = options_.plan->outage_min;
    }
    if (options_.plan != nullptr && options_.ablates) s.ablated = options_.plan->remedies;
    for (unsigned i = 0; i < s.instances; ++i) s.ports[i] = field_.port_of(i);
    const std::string resource = format("run-%016llx", static_cast<unsigned long long>(random_u64()));
    std::memcpy(s.resource, resource.c_str(), resource.size() + 1);
    Result<Board> board = Board::create(s);
    if (!board) throw Stopped{board.error()};
    return std::move(*board);
  }

  void enter(Stage stage) { board_.header().stage.store(static_cast<std::uint32_t>(stage), std::memory_order_release); }

  void look_around() {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    const timespec at_once{0, 0};
    if (sigtimedwait(&ends, nullptr, &at_once) > 0) throw Stopped{{Errc::closed, "interrupted"}};
    if (auto ended = field_.children().ended_early()) throw Stopped{{Errc::internal, *ended}};
    if (board_.header().failed.load(std::memory_order_relaxed)) throw Stopped{{Errc::internal, "an instance could not go on"}};
  }
  void nap(std::int64_t ns) {
    for (const std::int64_t end = now_ns() + ns; now_ns() < end; sleep_ns(5 * ns_per_ms)) look_around();
  }
  void await(Stage stage, int seconds) {
    const auto done = [&] {
      const auto blocks = board_.instances();
      return std::all_of(blocks.begin(), blocks.end(), [&](const InstanceBlock& b) {
        return b.done.load(std::memory_order_acquire) > static_cast<std::uint32_t>(stage);
      });
    };
    for (const std::int64_t end = now_ns() + seconds * ns_per_s; !done(); sleep_ns(2 * ns_per_ms)) {
      look_around();
      if (now_ns() >= end) throw Stopped{{Errc::internal, format("the instances were not ready within %d s", seconds)}};
    }
  }

  void make_chaos(std::int64_t start) {
    const auto duration = static_cast<std::int64_t>(options_.minutes * 60e9);
    const std::int64_t warm = start + 2 * board_.settings().budget_ns;
    std::int64_t next_line = start + 5 * ns_per_s;
    while (now_ns() - start < duration && !enough()) {
      look_around();
      if (now_ns() > warm) campaign_->turn(now_ns());
      note_violations();
      if (now_ns() >= next_line) print_line(start), next_line += 5 * ns_per_s;
      sleep_ns(2 * ns_per_ms);
    }
    campaign_->wind_down();
    const std::int64_t end = now_ns() + 30 * ns_per_s;  // what is not quiet by then is a finding: its recovery took too long
    for (; !campaign_->quiet() && !enough() && now_ns() < end; sleep_ns(2 * ns_per_ms)) {
      look_around();
      campaign_->turn(now_ns());
    }
    note_violations();
  }
  [[nodiscard]] bool enough() const { return options_.until_first_violation && board_.header().violations.load() != 0; }

  /// While the faults of its time are still known.
  void note_violations() {
    const std::uint64_t n = std::min<std::uint64_t>(board_.header().violations.load(), violations_kept);
    while (wrong_.size() < n && board_.header().kept[wrong_.size()].complete.load(std::memory_order_acquire)) {
      wrong_.push_back(describe(board_.header().kept[wrong_.size()]));
    }
  }

  static constexpr const char* sources[] = {"nobody", "L1", "Redis", "a load"};
  static constexpr const char* kinds[] = {"erased", "put with a version", "put"};

  [[nodiscard]] std::string describe(const WrongCopy& c) const {
    const RowState& row = board_.rows()[c.key];
    const std::string who = c.instance < options_.instances ? format("instance %u", c.instance) : "the run";
    return format("key %u (%s), %s, by %s: version %llu%s, acknowledged up to %u, committed up to %u, excused up to %u", c.key,
                  kinds[static_cast<std::size_t>(write_kind_of(c.key))], who.c_str(), sources[c.source % 4],
                  static_cast<unsigned long long>(c.version), c.whole ? "" : " of another row", row.checker.acked.load(),
                  row.committed(), row.excused.load());
  }

  [[nodiscard]] ChaosReport::Wrong describe(const Violation& v) const {
    ChaosReport::Wrong w{v.verdict,
                         sources[v.source % 4],
                         v.instance,
                         v.session,
                         v.key,
                         v.version,
                         static_cast<double>(v.staleness) / 1e6,
                         static_cast<double>(v.seen_ns - v.began) / 1e6,
                         kinds[static_cast<std::size_t>(write_kind_of(v.key))],
                         {}};
    const RowState& row = board_.rows()[v.key];
    const std::uint32_t acked = row.checker.acked.load(std::memory_order_acquire);
    w.history.push_back(format("acknowledged up to %u, committed up to %u, excused up to %u, own %u", acked, row.committed(),
                               row.excused.load(), v.own));
    constexpr std::int64_t late = std::int64_t{1} << 62;
    const auto first = static_cast<std::uint32_t>(std::min<std::uint64_t>(v.version + 1, acked));
    for (std::uint32_t version = std::max(2U, first); version <= acked && version < first + 6; ++version) {
      const std::int64_t at = late - board_.acks().staleness(row.checker, version - 1, late);
      w.history.push_back(
          format("version %u acknowledged %.1f ms before the read began", version, static_cast<double>(v.began - at) / 1e6));
    }
    for (const Campaign::Entry& e : campaign_->log()) {
      if (e.ended != 0 && e.ended < v.began - 6 * board_.settings().budget_ns) continue;
      const std::string end = e.ended == 0 ? "still on" : format("%.0f ms", static_cast<double>(e.ended - v.began) / 1e6);
      const bool one = info(e.kind).lane == Lane::instance;
      w.history.push_back(format("%s%s: from %.0f ms to %s", std::string(info(e.kind).name).c_str(),
                                 one ? format(" of instance %u", e.target).c_str() : "",
                                 static_cast<double>(e.began - v.began) / 1e6, end.c_str()));
    }
    return w;
  }

  void print_line(std::int64_t start) {
    if (options_.quiet) return;
    const Totals now = sum(board_);
    std::printf("%5.0f s  %12s reads (%.1f %% by L1)  %9s writes  %5llu faults  %llu violations  excused %llu  [%s]\n",
                static_cast<double>(now_ns() - start) / 1e9, demo::grouped(now.reads - last_.reads).c_str(),
                100.0 * static_cast<double>(now.by_l1 - last_.by_l1) /
                    static_cast<double>(std::max<std::uint64_t>(1, now.reads - last_.reads)),
                demo::grouped(now.writes - last_.writes).c_str(), static_cast<unsigned long long>(campaign_->total()),
                static_cast<unsigned long long>(board_.header().violations.load()), static_cast<unsigned long long>(now.excused),
                campaign_->text().c_str());
    std::fflush(stdout);
    last_ = now;
  }

  /// What Redis holds, through a store that has nothing in L1.
  [[nodiscard]] Audit audit_redis() {
    Result<Store> store = Store::open(instance_config(board_.settings(), field_.master_port()));
    if (!store) throw Stopped{store.error()};
    // Before the first heartbeat comes back the epoch is unknown, and every value distrusted.
    for (const std::int64_t end = now_ns() + 10 * ns_per_s; !store->health().l1_coherent; sleep_ns(2 * ns_per_ms)) {
      if (now_ns() > end) throw Stopped{{Errc::internal, "a store opened at the end did not become coherent within 10 s"}};
    }
    std::vector<std::string> names;
    for (std::uint32_t k = 0; k < board_.rows().size(); ++k) {
      const std::uint32_t keys = board_.settings().keys;
      names.push_back(k < keys ? "k" + std::to_string(k) : "p" + std::to_string(k - keys));
    }
    return audit_rows(board_, options_.instances, store->cache<Cell>("cell", {.ttl = std::chrono::minutes(2)}), names);
  }

  [[nodiscard]] ChaosReport collect(const Audit& in_redis) {
    const Totals t = sum(board_);
    ChaosReport r;
    r.seconds = seconds_;
    r.command = options_.command, r.revision = options_.revision;
    r.redis = field_.redis_version(), r.machine = machine_line(), r.date = date_line();
    r.instances = options_.instances;
    r.threads = options_.threads;
    r.keys = board_.settings().keys;
    r.seed = options_.seed;
    r.budget_ms = options_.budget_ms;
    r.heartbeat_ms = options_.budget_ms / 5.0;
    if (options_.plan != nullptr && options_.ablates) r.ablated = options_.plan->name;
    r.reads = t.reads, r.by_l1 = t.by_l1, r.by_l2 = t.by_l2, r.by_loader = t.by_loader, r.unanswered = t.unanswered;
    r.within = t.within, r.excused = t.excused, r.steps_back = t.steps_back;
    r.max_staleness_ms = static_cast<double>(t.staleness_max_ns) / 1e6;
    r.writes = t.writes, r.superseded = t.superseded, r.write_failures = t.write_failures, r.repeated = t.repeated;
    r.by_put_many = t.by_put_many, r.by_erase_many = t.by_erase_many;
    r.violations = board_.header().violations.load();
    for (std::size_t i = 0; i < verdict_count; ++i) r.violations_by[i] = board_.header().violations_by[i].load();
    r.wrong = wrong_;
    r.audit_present = in_redis.present;
    r.audited = in_redis.keys, r.audit_wrong = in_redis.wrong, r.audit_errors = in_redis.errors;
    r.audit_excused = in_redis.excused;
    for (const InstanceBlock& b : board_.instances()) {
      r.audited += b.checked.load();
      r.audit_present += b.present.load();
      r.grouped_puts += b.grouped_puts.load();
      r.audit_wrong += b.wrong_copies.load();
      r.audit_excused += b.excused_copies.load();
      r.audit_errors += b.check_errors.load();
    }
    for (const WrongCopy& c : board_.header().kept_copies) {
      if (c.complete.load(std::memory_order_acquire)) r.wrong_copies.push_back(describe(c));
    }
    r.fault_counts = campaign_->counts();
    r.fault_verified = campaign_->verified();
    std::vector<std::int64_t> all;
    for (const FaultInfo& f : faults) {
      const std::vector<std::int64_t>& times = campaign_->recovery().times(f.kind);
      r.recovery_of[static_cast<std::size_t>(f.kind)] = times_of(times);
      all.insert(all.end(), times.begin(), times.end());
    }
    r.recovery = times_of(std::move(all));
    r.recovery_interrupted = campaign_->recovery().interrupted();
    // A reconnect: the longest wait between two attempts and one attempt that gets no answer.
    const Config config = instance_config(board_.settings(), 0);
    const auto reconnect = std::chrono::duration<double, std::milli>(config.l2.backoff_max + config.l2.connect_timeout);
    r.recovery_bar_ms = 2 * r.heartbeat_ms + reconnect.count();
    r.longest_recovery_ms = static_cast<double>(campaign_->longest_recovery()) / 1e6;
    return r;
  }

  const ChaosOptions& options_;
  Field field_;
  Board board_;
  std::optional<Campaign> campaign_;
  std::vector<ChaosReport::Wrong> wrong_;
  Totals last_;
  double seconds_ = 0;
};

}  // namespace

Result<ChaosReport> run_chaos(const ChaosOptions& options) {
  try {
    return Run(options).execute();
  } catch (const Stopped& stopped) {
    return stopped.error;
  } catch (const std::exception& e) {
    return Error{Errc::internal, e.what()};
  }
}

}  // namespace tiercache::chaos
