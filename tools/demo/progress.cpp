// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include "report.hpp"

#include <algorithm>

namespace tiercache::demo {
namespace {

HistogramSnapshot difference(const HistogramSnapshot& to, const HistogramSnapshot& from) {
  HistogramSnapshot d;
  for (std::size_t i = 0; i < d.size; ++i) d.count += d.counts[i] = to.counts[i] - from.counts[i];
  return d;
}

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

void Totals::add(const ThreadSlot& s) {
  reads += s.reads.get();
  writes += s.writes.get();
  by_l1 += s.by_l1.get();
  by_l2 += s.by_l2.get();
  by_loader += s.by_loader.get();
  db_queries += s.db_queries.get();
  degraded += s.degraded.get();
  errors += s.errors.get();
  stale += s.stale.get();
  stale_beyond += s.stale_beyond.get();
  staleness_max_ns = std::max(staleness_max_ns, s.staleness_max_ns.get());
  wrong += s.wrong.get();
  l1_hit_ns += s.l1_hit.snapshot();
  l2_hit += s.l2_hit.snapshot();
  load += s.load.snapshot();
}

Totals sum_slots(const SharedBlock& shared, Who who) {
  Totals totals;
  for (unsigned i = 0; i < shared.settings().instances; ++i) {
    const std::span<ThreadSlot> slots = shared.slots(i);
    const std::size_t workers = shared.settings().threads;
    const std::span<ThreadSlot> part = who == Who::workers  ? slots.first(workers)
                                       : who == Who::probes ? slots.subspan(workers)
                                                            : slots;
    for (const ThreadSlot& s : part) totals.add(s);
  }
  return totals;
}

HistogramSnapshot sum_bus_lag(const SharedBlock& shared) {
  HistogramSnapshot lag;
  for (const InstanceBlock& b : shared.instances()) lag += b.bus_lag.snapshot();
  return lag;
}

double l1_ratio(const Totals& from, const Totals& to) { return share(to.by_l1 - from.by_l1, to.reads - from.reads); }

std::string Progress::line(double elapsed_s, double fraction, const std::string& note) {
  const Totals now = sum_slots(shared_, Who::workers);
  const Totals all = sum_slots(shared_, Who::all);
  const HistogramSnapshot lag = sum_bus_lag(shared_);
  const std::uint64_t reads = now.reads - last_.reads;
  const std::uint64_t by_l1 = now.by_l1 - last_.by_l1;
  const double operations = static_cast<double>(reads + now.writes - last_.writes);
  std::string text =
      format("%4.0f s %9s op/s  L1 %5.1f %%  L2 %5.1f %%  p99 L1 %.1f us, L2 %.1f ms, load %.1f ms, bus %.1f ms", elapsed_s,
             grouped(static_cast<std::uint64_t>(operations / (elapsed_s - last_s_))).c_str(), 100 * share(by_l1, reads),
             100 * share(now.by_l2 - last_.by_l2, reads - by_l1), difference(now.l1_hit_ns, last_.l1_hit_ns).quantile(0.99) / 1e3,
             difference(now.l2_hit, last_.l2_hit).quantile(0.99) / 1e3, difference(now.load, last_.load).quantile(0.99) / 1e3,
             difference(lag, last_lag_).quantile(0.99) / 1e3);
  text += format("  stale %s (max %.0f ms, %s beyond)", grouped(all.stale).c_str(),
                 static_cast<double>(all.staleness_max_ns) / 1e6, grouped(all.stale_beyond).c_str());
  if (shared_.settings().requests != 0) {
    text += format("  %3.0f %% done", 100 * fraction);
    if (fraction > 0 && fraction < 1) text += format(", %.0f s left", elapsed_s * (1 - fraction) / fraction);
  }
  if (!note.empty()) text += "  [" + note + "]";
  last_ = now;
  last_lag_ = lag;
  last_s_ = elapsed_s;
  return text;
}

}  // namespace tiercache::demo
