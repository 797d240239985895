// SPDX-License-Identifier: Apache-2.0
#include "families.hpp"

#include <tiercache/base/ports.hpp>

#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace tiercache::metrics {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

/// One store and the labels that name it.
struct Named {
  const StoreSnapshot& store;
  Labels labels;

  [[nodiscard]] Labels with(std::initializer_list<std::pair<std::string_view, std::string_view>> more) const {
    Labels all = labels;
    for (const auto& [key, value] : more) all.push_back({std::string(key), std::string(value)});
    return all;
  }
};

std::vector<Named> name_all(const std::vector<StoreSnapshot>& stores) {
  std::vector<Named> named;
  named.reserve(stores.size());
  std::map<std::pair<std::string, std::string>, unsigned> seen;
  for (const StoreSnapshot& s : stores) {
    Labels labels{{"env", s.env}, {"resource", s.resource}};
    if (const unsigned nth = ++seen[{s.env, s.resource}]; nth > 1) labels.push_back({"store", std::to_string(nth)});
    named.push_back({s, std::move(labels)});
  }
  return named;
}

/// Collects the families in the order they are begun. add() goes to the last one.
class Builder {
 public:
  void begin(const char* name, MetricType type, const char* help) {
    MetricFamily family;
    family.name = std::string("tiercache_") + name;
    family.help = help;
    family.type = type;
    out_.push_back(std::move(family));
  }

  void add(Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    if (out_.back().type == MetricType::Counter) metric.counter.value = value;
    else metric.gauge.value = value;
    out_.back().metric.push_back(std::move(metric));
  }
  void add(Labels labels, std::uint64_t value) { add(std::move(labels), static_cast<double>(value)); }
  void add(Labels labels, bool value) { add(std::move(labels), value ? 1.0 : 0.0); }

  void add(Labels labels, const HistogramSnapshot& h) {
    // Every fourth boundary of ours is a power of two microseconds: 32 us .. 16.8 s. Taking boundaries of ours, not round decimal
    // ones, keeps the cumulative counts exact.
    constexpr std::size_t first = HistogramSnapshot::index(32);
    constexpr std::size_t last = HistogramSnapshot::index(1ULL << 24);
    ClientMetric metric;
    metric.label = std::move(labels);
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < h.size; ++i) {
      if (i >= first && i <= last && (i - first) % h.sub == 0) {
        metric.histogram.bucket.push_back({below, static_cast<double>(h.lower(i)) / 1e6});
      }
      below += h.counts[i];
    }
    // The total is the sum of the buckets, not h.count: a scrape must never show +Inf below a smaller bucket.
    metric.histogram.bucket.push_back({below, std::numeric_limits<double>::infinity()});
    metric.histogram.sample_count = below;
    metric.histogram.sample_sum = h.sum_us / 1e6;
    out_.back().metric.push_back(std::move(metric));
  }

  [[nodiscard]] std::vector<MetricFamily> take() && { return std::move(out_); }

 private:
  std::vector<MetricFamily> out_;
};

void add_views(Builder& out, const std::vector<Named>& stores) {
  const auto each = [&](auto&& add) {
    for (const Named& n : stores) {
      for (const ViewStats& v : n.store.views) add(n, v);
    }
  };
  const auto counter = [&](const char* name, std::uint64_t ViewStats::*field, const char* help) {
    out.begin(name, MetricType::Counter, help);
    each([&](const Named& n, const ViewStats& v) { out.add(n.with({{"view", v.name}}), v.*field); });
  };
  out.begin("hits_total", MetricType::Counter, "Reads answered by the tier: l1 is this process, l2 is Redis.");
  each([&](const Named& n, const ViewStats& v) {
    out.add(n.with({{"view", v.name}, {"tier", "l1"}}), v.l1_hits);
    out.add(n.with({{"view", v.name}, {"tier", "l2"}}), v.l2_hits);
  });
  out.begin("misses_total", MetricType::Counter,
            "Reads the tier did not answer: of l1 each one, whatever came of it (bypassed reads too); of l2 those that found the "
            "key in neither tier.");
  each([&](const Named& n, const ViewStats& v) {
    out.add(n.with({{"view", v.name}, {"tier", "l1"}}), v.l1_misses);
    out.add(n.with({{"view", v.name}, {"tier", "l2"}}), v.misses);
  });
  counter("loads_total", &ViewStats::loads, "Calls of loaders.");
  counter("load_failures_total", &ViewStats::load_failures, "Loader calls that threw.");
  counter("flight_joins_total", &ViewStats::flight_joins,
          "Callers that waited for another caller's fetch of the same key in this process.");
  counter("puts_total", &ViewStats::puts, "Put calls.");
  counter("erases_total", &ViewStats::erases, "Erase calls.");
  counter("l1_bypassed_total", &ViewStats::l1_bypassed,
          "Reads that passed L1 by because it was not known to be coherent within the staleness budget.");
  out.begin("bad_values_total", MetricType::Counter,
            "Values in Redis treated as a miss: corrupt ones did not verify or decode, foreign ones are not ours or of a newer "
            "format.");
  each([&](const Named& n, const ViewStats& v) {
    out.add(n.with({{"view", v.name}, {"kind", "corrupt"}}), v.bad_envelopes);
    out.add(n.with({{"view", v.name}, {"kind", "foreign"}}), v.foreign_values);
  });
  out.begin("l1_view_bytes", MetricType::Gauge, "Bytes that the view's entries take of L1's budget.");
  each([&](const Named& n, const ViewStats& v) { out.add(n.with({{"view", v.name}}), v.l1_bytes); });
  out.begin("l1_view_quota_bytes", MetricType::Gauge, "The most that the view may take of L1's budget; absent: no limit.");
  each([&](const Named& n, const ViewStats& v) {
    if (v.l1_quota_bytes != 0) out.add(n.with({{"view", v.name}}), v.l1_quota_bytes);
  });
}

void add_l1(Builder& out, const std::vector<Named>& stores) {
  const auto one = [&](const char* name, MetricType type, std::uint64_t L1Stats::*field, const char* help) {
    out.begin(name, type, help);
    for (const Named& n : stores) out.add(n.labels, n.store.l1.*field);
  };
  one("l1_capacity_bytes", MetricType::Gauge, &L1Stats::capacity_bytes,
      "The byte budget of L1 now: what memory pressure leaves of the configured one.");
  out.begin("l1_configured_bytes", MetricType::Gauge, "The byte budget of L1 as configured, or as it was resized to.");
  for (const Named& n : stores) out.add(n.labels, n.store.l1_configured_bytes);
  out.begin(
      "l1_bytes", MetricType::Gauge,
      "Bytes of L1 in use: used is all, fixed the tables' part, retired the part unlinked but not freed yet, payload that of "
      "keys and values.");
  for (const Named& n : stores) {
    out.add(n.with({{"kind", "used"}}), n.store.l1.used_bytes);
    out.add(n.with({{"kind", "fixed"}}), n.store.l1.fixed_bytes);
    out.add(n.with({{"kind", "retired"}}), n.store.l1.retired_bytes);
    out.add(n.with({{"kind", "payload"}}), n.store.l1.payload_bytes);
  }
  one("l1_entries", MetricType::Gauge, &L1Stats::entries, "Entries in L1.");
  one("l1_small_queue_bytes", MetricType::Gauge, &L1Stats::small_queue_bytes,
      "Bytes of the newcomers in L1, which have to be asked for again to stay; 0 where the number of entries is limited.");
  out.begin("l1_small_queue_share", MetricType::Gauge,
            "The share of L1 that newcomers may have now, as the workload wants it; 0..1.");
  for (const Named& n : stores) out.add(n.labels, n.store.l1.small_queue_share);
  one("l1_inserts_total", MetricType::Counter, &L1Stats::inserts, "Entries that L1 took in.");
  one("l1_evictions_total", MetricType::Counter, &L1Stats::evictions, "Entries evicted from L1 for room.");
  one("l1_promotions_total", MetricType::Counter, &L1Stats::promoted,
      "Entries moved from the queue of newcomers to the main one, because they were asked for again.");
  one("l1_demotions_total", MetricType::Counter, &L1Stats::demoted, "Evictions from the main queue.");
  one("l1_crowded_out_total", MetricType::Counter, &L1Stats::crowded_out,
      "Evictions because a bucket of the table was full, not L1: many mean l1.expected_entry_bytes is too large.");
  one("l1_expirations_total", MetricType::Counter, &L1Stats::expirations,
      "Entries reclaimed because they had expired or were of an older generation.");
  one("l1_invalidations_total", MetricType::Counter, &L1Stats::invalidations, "Entries removed by an erase or an invalidation.");
  out.begin("l1_refusals_total", MetricType::Counter,
            "Puts and fills that L1 refused: no_room, too_large, fence (the key was invalidated while its value was fetched), or "
            "cold (so "
            "large that what it would drive out was asked for more often).");
  for (const Named& n : stores) {
    out.add(n.with({{"reason", "no_room"}}), n.store.l1.refused_no_room);
    out.add(n.with({{"reason", "too_large"}}), n.store.l1.refused_too_large);
    out.add(n.with({{"reason", "fence"}}), n.store.l1.refused_fence);
    out.add(n.with({{"reason", "cold"}}), n.store.l1.not_promoted);
  }
}

/// Estimates of L1's workload; absent as long as nothing was sampled. Keys never become labels.
void add_workload(Builder& out, const std::vector<Named>& stores) {
  const auto factor_name = [](double factor) {
    std::string text = std::to_string(factor);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    return "x" + text;
  };
  out.begin(
      "l1_hit_ratio_estimate", MetricType::Gauge,
      "The hit ratio that L1 would have with so many times its budget: an estimate from a sample of the workload of lately, by "
      "a model of LRU.");
  for (const Named& n : stores) {
    for (const auto& [factor, ratio] : n.store.l1_workload.hit_ratios)
      out.add(n.with({{"capacity", factor_name(factor)}}), ratio);
  }
  out.begin("l1_hottest_share", MetricType::Gauge,
            "The share of L1's hits of lately that go to the hottest key and to the ten hottest.");
  for (const Named& n : stores) {
    if (!n.store.l1_workload.heat_known) continue;
    out.add(n.with({{"keys", "1"}}), n.store.l1_workload.hottest_1_share);
    out.add(n.with({{"keys", "10"}}), n.store.l1_workload.hottest_10_share);
  }
}

void add_l2(Builder& out, const std::vector<Named>& stores) {
  const auto flag = [&](const char* name, bool RemoteStats::*field, const char* help) {
    out.begin(name, MetricType::Gauge, help);
    for (const Named& n : stores) out.add(n.labels, n.store.l2.*field);
  };
  const auto one = [&](const char* name, MetricType type, std::uint64_t RemoteStats::*field, const char* help) {
    out.begin(name, type, help);
    for (const Named& n : stores) out.add(n.labels, n.store.l2.*field);
  };
  flag("l2_enabled", &RemoteStats::enabled, "1 when Redis is configured, 0 when switched off.");
  flag("l2_available", &RemoteStats::available, "1 while at least one connection to Redis works.");
  one("l2_connections", MetricType::Gauge, &RemoteStats::connections, "Connections to Redis open now.");
  one("l2_connects_total", MetricType::Counter, &RemoteStats::connects, "Connections made to Redis.");
  one("l2_reconnects_total", MetricType::Counter, &RemoteStats::reconnects, "Connections made to Redis after one was lost.");
  one("l2_commands_total", MetricType::Counter, &RemoteStats::commands, "Commands and scripts sent to Redis.");
  one("l2_timeouts_total", MetricType::Counter, &RemoteStats::timeouts, "Commands whose answer did not come in time.");
  one("l2_closed_on_error_total", MetricType::Counter, &RemoteStats::closed_on_error,
      "Connections closed because a reply timed out or could not be parsed.");
  one("l2_script_loads_total", MetricType::Counter, &RemoteStats::script_loads, "Scripts loaded into Redis.");
  one("l2_put_groups_total", MetricType::Counter, &RemoteStats::put_groups, "Groups in which puts of several callers were sent.");
  one("l2_grouped_puts_total", MetricType::Counter, &RemoteStats::grouped_puts, "Puts that were sent in groups.");
  one("l2_queued_puts", MetricType::Gauge, &RemoteStats::queued_puts, "Puts that wait for their turn now.");
  out.begin("l2_latency_seconds", MetricType::Histogram, "Time to the answer of a command, of answered commands.");
  for (const Named& n : stores) out.add(n.labels, n.store.l2.latency);

  out.begin("leases_total", MetricType::Counter,
            "Leases on missing keys: granted, waited (another instance was loading), lost (displaced or lapsed before the fill), "
            "renewed; polled (asked again while waiting), woken (of them, after a word on the bus).");
  for (const Named& n : stores) {
    out.add(n.with({{"kind", "granted"}}), n.store.leases.granted);
    out.add(n.with({{"kind", "waited"}}), n.store.leases.waited);
    out.add(n.with({{"kind", "lost"}}), n.store.leases.lost);
    out.add(n.with({{"kind", "renewed"}}), n.store.leases.renewed);
    out.add(n.with({{"kind", "polled"}}), n.store.leases.polled);
    out.add(n.with({{"kind", "woken"}}), n.store.leases.woken);
  }
  out.begin(
      "updates_total", MetricType::Counter,
      "Updates through the gate: done (their database write was called), lapsed (outlived their gate), gated (loads that met "
      "one in progress and were not stored).");
  for (const Named& n : stores) {
    out.add(n.with({{"kind", "done"}}), n.store.gates.updates);
    out.add(n.with({{"kind", "lapsed"}}), n.store.gates.lapsed);
    out.add(n.with({{"kind", "gated"}}), n.store.gates.gated);
  }
}

void add_bus(Builder& out, const std::vector<Named>& stores) {
  const auto flag = [&](const char* name, bool BusStats::*field, const char* help) {
    out.begin(name, MetricType::Gauge, help);
    for (const Named& n : stores) out.add(n.labels, n.store.bus.*field);
  };
  const auto one = [&](const char* name, std::uint64_t BusStats::*field, const char* help) {
    out.begin(name, MetricType::Counter, help);
    for (const Named& n : stores) out.add(n.labels, n.store.bus.*field);
  };
  flag("bus_enabled", &BusStats::enabled, "1 when the invalidation bus is configured.");
  flag("bus_subscribed", &BusStats::subscribed, "1 while the subscription stands.");
  one("bus_connects_total", &BusStats::connects, "Connections made for the subscription.");
  one("bus_messages_total", &BusStats::messages, "Messages received from the bus.");
  one("bus_malformed_total", &BusStats::malformed, "Messages dropped because they were no valid ones.");
  one("bus_tracking_messages_total", &BusStats::tracking_messages, "Messages of Redis' client tracking.");
  one("bus_tracking_keys_total", &BusStats::tracking_keys, "Keys of values that Redis' client tracking named.");
  out.begin("bus_heartbeats_total", MetricType::Counter,
            "Heartbeats of this store: sent counts those whose publishing Redis acknowledged, seen those that came back over the "
            "subscription.");
  for (const Named& n : stores) {
    out.add(n.with({{"kind", "sent"}}), n.store.bus.heartbeats_sent);
    out.add(n.with({{"kind", "seen"}}), n.store.bus.heartbeats_seen);
  }
  one("bus_replayed_messages_total", &BusStats::messages_replayed, "Missed messages that were read from the log.");
  out.begin(
      "bus_resyncs_total", MetricType::Counter,
      "Times missed messages were looked for in the log: replayed, and L1 was kept; or voided, where the log did not have them.");
  for (const Named& n : stores) {
    out.add(n.with({{"kind", "replayed"}}), n.store.bus.resyncs_replayed);
    out.add(n.with({{"kind", "voided"}}), n.store.bus.resyncs_voided);
  }
  out.begin(
      "bus_gaps_total", MetricType::Counter,
      "Times the stream may have missed messages, so that L1 became void; disconnected and silent void nothing by themselves.");
  for (const Named& n : stores) {
    for (std::size_t i = 0; i < gap_reason_count; ++i) {
      out.add(n.with({{"reason", name(static_cast<GapReason>(i))}}), n.store.bus.gaps[i]);
    }
  }
  out.begin("bus_lag_seconds", MetricType::Histogram,
            "Time from sending an own heartbeat to having applied it and all before it.");
  for (const Named& n : stores) out.add(n.labels, n.store.bus.lag);
}

void add_errors(Builder& out, const std::vector<Named>& stores) {
  const auto by_kind = [&](const Named& n, const std::array<std::uint64_t, errc_count>& counts) {
    for (std::size_t i = 0; i < errc_count; ++i) out.add(n.with({{"kind", name(static_cast<Errc>(i))}}), counts[i]);
  };
  out.begin("errors_total", MetricType::Counter,
            "Errors by kind, as calls and the values in them met them: not one a call. A call of many values may count several, "
            "and one that answered all the same counts what it met on the way.");
  for (const Named& n : stores) by_kind(n, n.store.errors);
  out.begin("l2_errors_total", MetricType::Counter, "Requests to Redis that ended with an error.");
  for (const Named& n : stores) by_kind(n, n.store.l2.errors);
}

void add_health(Builder& out, const std::vector<Named>& stores) {
  out.begin("coherence_age_seconds", MetricType::Gauge,
            "Time since the instant as of which L1 is known to be coherent; +Inf: never was; absent without a bus. Past the "
            "budget L1 is bypassed.");
  for (const Named& n : stores) {
    if (!n.store.bus.enabled) continue;
    const double age = n.store.coherence_age_seconds;
    out.add(n.labels, age < 0 ? std::numeric_limits<double>::infinity() : age);
  }
  out.begin("staleness_budget_seconds", MetricType::Gauge, "How old L1's knowledge may be before it is bypassed.");
  for (const Named& n : stores) out.add(n.labels, n.store.staleness_budget_seconds);
  out.begin("l1_coherent", MetricType::Gauge, "1 while L1 answers reads.");
  for (const Named& n : stores) out.add(n.labels, n.store.health.l1_coherent);
  out.begin("health", MetricType::Gauge, "1 for the state the store is in, 0 for the others.");
  for (const Named& n : stores) {
    out.add(n.with({{"state", "ok"}}), n.store.health.state == HealthState::ok);
    out.add(n.with({{"state", "degraded"}}), n.store.health.state == HealthState::degraded);
    out.add(n.with({{"state", "closed"}}), n.store.health.state == HealthState::closed);
  }
}

/// How stale L1 may be, and how stale it was found to be.
void add_staleness(Builder& out, const std::vector<Named>& stores) {
  out.begin(
      "l1_stale_hits_total", MetricType::Counter,
      "Reads answered from L1 marked stale, beyond what they allowed, because the caller wanted that. Counted in hits_total.");
  for (const Named& n : stores) {
    for (const ViewStats& v : n.store.views) out.add(n.with({{"view", v.name}}), v.l1_stale_hits);
  }
  out.begin("l1_behind_total", MetricType::Counter,
            "Reads with the token of a write that L1 had not applied yet, so that Redis was asked.");
  for (const Named& n : stores) {
    for (const ViewStats& v : n.store.views) out.add(n.with({{"view", v.name}}), v.l1_behind);
  }
  constexpr std::size_t shards_shown = 64;
  out.begin("shard_coherence_age_seconds", MetricType::Gauge,
            "coherence_age_seconds by shard; absent above 64 shards and without a bus.");
  for (const Named& n : stores) {
    const std::vector<double>& ages = n.store.shard_coherence_age_seconds;
    for (std::size_t i = 0; i < ages.size() && ages.size() <= shards_shown; ++i) {
      out.add(n.with({{"shard", std::to_string(i)}}), ages[i] < 0 ? std::numeric_limits<double>::infinity() : ages[i]);
    }
  }
  const auto shadow = [&](const char* name, std::uint64_t ShadowStats::*field, const char* help) {
    out.begin(name, MetricType::Counter, help);
    for (const Named& n : stores) {
      if (n.store.shadow.enabled) out.add(n.labels, n.store.shadow.*field);
    }
  };
  shadow("shadow_reads_total", &ShadowStats::checked, "Hits of L1, sampled, that were compared with Redis.");
  shadow("shadow_differing_total", &ShadowStats::differing,
         "Of shadow_reads_total: Redis held another value, or none, when it was first asked.");
  shadow("shadow_stale_total", &ShadowStats::stale,
         "Of shadow_differing_total: L1 would still have answered with the old value a staleness budget later.");
  shadow("shadow_orphaned_total", &ShadowStats::orphaned,
         "Of shadow_differing_total: a budget later Redis had no value and L1 still had one: evicted there, or erased past the "
         "bus.");
  shadow("shadow_dropped_total", &ShadowStats::dropped, "Sampled hits that could not be compared.");
  out.begin("shadow_stale_ppm", MetricType::Gauge, "shadow_stale_total of a million shadow_reads_total, since the store opened.");
  for (const Named& n : stores) {
    if (n.store.shadow.enabled) out.add(n.labels, n.store.shadow.stale_ppm());
  }
}

}  // namespace

std::vector<MetricFamily> families(const std::vector<StoreSnapshot>& stores) {
  const std::vector<Named> named = name_all(stores);
  Builder out;
  add_views(out, named);
  add_l1(out, named);
  add_workload(out, named);
  add_l2(out, named);
  add_bus(out, named);
  add_errors(out, named);
  add_health(out, named);
  add_staleness(out, named);
  return std::move(out).take();
}

}  // namespace tiercache::metrics
