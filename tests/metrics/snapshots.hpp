// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/stats.hpp>

#include <cstdint>

namespace tiercache::test {

/// A snapshot in which every number is another one, so that a field shown under a wrong name is noticed.
inline StoreSnapshot filled_snapshot() {
  StoreSnapshot s;
  s.env = "prod";
  s.resource = "shop";
  std::uint64_t next = 1;
  const auto fill = [&](auto&... fields) { ((fields = next++), ...); };
  fill(s.l1.capacity_bytes, s.l1.used_bytes, s.l1.fixed_bytes, s.l1.entries, s.l1.retired_bytes, s.l1.inserts, s.l1.evictions,
       s.l1.expirations, s.l1.invalidations, s.l1.refused_no_room, s.l1.refused_too_large, s.l1.refused_fence, s.l1.promoted,
       s.l1.not_promoted, s.l1.demoted, s.l1.crowded_out, s.l1.payload_bytes, s.l1.small_queue_bytes, s.l1_configured_bytes);
  s.l1.small_queue_share = 0.0625;
  s.l1_workload.hit_ratios = {{0.25, 0.5}, {0.5, 0.625}, {1, 0.75}, {2, 0.875}, {4, 0.9375}};
  s.l1_workload.heat_known = true;
  s.l1_workload.hottest_1_share = 0.03125;
  s.l1_workload.hottest_10_share = 0.15625;
  for (const char* name : {"user", "order.v2"}) {
    ViewStats v;
    v.name = name;
    fill(v.l1_hits, v.l1_misses, v.l2_hits, v.misses, v.loads, v.load_failures, v.flight_joins, v.puts, v.erases, v.l1_bypassed,
         v.bad_envelopes, v.foreign_values, v.l1_bytes, v.l1_quota_bytes);
    s.views.push_back(v);
  }
  s.l2.enabled = s.l2.available = true;
  fill(s.l2.connects, s.l2.reconnects, s.l2.connections, s.l2.commands, s.l2.timeouts, s.l2.closed_on_error, s.l2.script_loads,
       s.l2.put_groups, s.l2.grouped_puts, s.l2.queued_puts);
  for (auto& e : s.l2.errors) e = next++;
  s.bus.enabled = s.bus.subscribed = true;
  fill(s.bus.connects, s.bus.messages, s.bus.heartbeats_sent, s.bus.heartbeats_seen, s.bus.malformed, s.bus.resyncs_replayed,
       s.bus.resyncs_voided, s.bus.messages_replayed);
  fill(s.bus.tracking_messages, s.bus.tracking_keys);
  for (auto& g : s.bus.gaps) g = next++;
  fill(s.leases.granted, s.leases.waited, s.leases.lost, s.leases.renewed, s.leases.polled, s.leases.woken);
  fill(s.gates.updates, s.gates.lapsed, s.gates.gated);
  for (auto& e : s.errors) e = next++;
  s.coherence_age_seconds = 0.25;
  s.staleness_budget_seconds = 2;
  s.shard_coherence_age_seconds = {0.25, -1};
  s.shadow.enabled = true;
  fill(s.shadow.checked, s.shadow.differing, s.shadow.stale, s.shadow.orphaned, s.shadow.dropped);
  for (ViewStats& v : s.views) fill(v.l1_stale_hits, v.l1_behind);
  s.health = {HealthState::ok, true, true, ""};

  Histogram latency;
  for (const std::uint64_t us : {0U, 31U, 32U, 100U, 100U, 5'000U}) latency.record_us(us);
  latency.record_us(3'600'000'000);
  s.l2.latency = latency.snapshot();
  Histogram lag;
  lag.record_us(700);
  s.bus.lag = lag.snapshot();
  return s;
}

}  // namespace tiercache::test
