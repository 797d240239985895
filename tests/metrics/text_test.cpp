// SPDX-License-Identifier: Apache-2.0
#include "exposition.hpp"
#include "snapshots.hpp"

#include <tiercache/base/ports.hpp>
#include <tiercache/metrics/collector.hpp>
#include <tiercache/metrics/prometheus.hpp>

#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <random>
#include <regex>
#include <set>
#include <stdexcept>

namespace tiercache::test {
namespace {

using metrics::render_text;
using Labels = std::map<std::string, std::string>;

// A checker that accepts everything would let every test below pass: so it is shown each kind of error first.
TEST(Exposition, CheckerNoticesEachKindOfError) {
  const std::string head = "# HELP a_total x\n# TYPE a_total counter\n";
  EXPECT_TRUE(read_exposition(head + "a_total{k=\"v\"} 1\n").errors.empty());
  const std::string histogram = "# HELP h x\n# TYPE h histogram\n";
  EXPECT_TRUE(read_exposition(histogram + "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n").errors.empty());
  const std::string bad[] = {
      "a_total 1\n",
      head + "a_total 1",
      head + "a_total\n",
      head + "a_total -1\n",
      head + "a_total x\n",
      head + "a_total{k=v} 1\n",
      head + "a_total{k=\"v} 1\n",
      head + "a_total{k=\"\\x\"} 1\n",
      head + "a_total{0k=\"v\"} 1\n",
      head + "a_total{k=\"v\",k=\"w\"} 1\n",
      head + "a_total 1\na_total 1\n",
      head + head + "a_total 1\n",
      head + "# HELP b x\n# TYPE b gauge\na_total{k=\"1\"} 1\nb 1\na_total{k=\"2\"} 1\n",
      "# HELP a x\n# TYPE a counter\na 1\n",
      "# HELP a_total x\n# TYPE a_total gauge\na_total 1\n",
      "# HELP a-b x\n# TYPE a-b gauge\na-b 1\n",
      histogram + "h_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n",
      histogram + "h_bucket{le=\"1\"} 1\nh_sum 3\nh_count 1\n",
      histogram + "h_bucket{le=\"2\"} 1\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 3\nh_count 1\n",
      histogram + "h_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 1\n",
      histogram + "h_bucket{le=\"+Inf\"} 2\nh_count 2\n",
  };
  for (const std::string& text : bad) EXPECT_FALSE(read_exposition(text).errors.empty()) << text;
}

TEST(Text, EveryNumberOfASnapshotStandsUnderItsName) {
  const StoreSnapshot s = filled_snapshot();
  const Exposition out = read_exposition(render_text({s}));
  ASSERT_EQ(out.error_text(), "");
  const auto expect = [&](const std::string& name, const Labels& labels, std::uint64_t want) {
    EXPECT_EQ(out.value("tiercache_" + name, labels), static_cast<double>(want)) << name;
  };
  for (const ViewStats& v : s.views) {
    expect("hits_total", {{"view", v.name}, {"tier", "l1"}}, v.l1_hits);
    expect("hits_total", {{"view", v.name}, {"tier", "l2"}}, v.l2_hits);
    expect("misses_total", {{"view", v.name}, {"tier", "l1"}}, v.l1_misses);
    expect("misses_total", {{"view", v.name}, {"tier", "l2"}}, v.misses);
    expect("loads_total", {{"view", v.name}}, v.loads);
    expect("load_failures_total", {{"view", v.name}}, v.load_failures);
    expect("flight_joins_total", {{"view", v.name}}, v.flight_joins);
    expect("puts_total", {{"view", v.name}}, v.puts);
    expect("erases_total", {{"view", v.name}}, v.erases);
    expect("l1_bypassed_total", {{"view", v.name}}, v.l1_bypassed);
    expect("bad_values_total", {{"view", v.name}, {"kind", "corrupt"}}, v.bad_envelopes);
    expect("bad_values_total", {{"view", v.name}, {"kind", "foreign"}}, v.foreign_values);
    expect("l1_view_bytes", {{"view", v.name}}, v.l1_bytes);
    expect("l1_view_quota_bytes", {{"view", v.name}}, v.l1_quota_bytes);
  }
  expect("l1_capacity_bytes", {}, s.l1.capacity_bytes);
  expect("l1_bytes", {{"kind", "used"}}, s.l1.used_bytes);
  expect("l1_bytes", {{"kind", "fixed"}}, s.l1.fixed_bytes);
  expect("l1_bytes", {{"kind", "retired"}}, s.l1.retired_bytes);
  expect("l1_entries", {}, s.l1.entries);
  expect("l1_inserts_total", {}, s.l1.inserts);
  expect("l1_evictions_total", {}, s.l1.evictions);
  expect("l1_expirations_total", {}, s.l1.expirations);
  expect("l1_invalidations_total", {}, s.l1.invalidations);
  expect("l1_refusals_total", {{"reason", "no_room"}}, s.l1.refused_no_room);
  expect("l1_refusals_total", {{"reason", "too_large"}}, s.l1.refused_too_large);
  expect("l1_refusals_total", {{"reason", "fence"}}, s.l1.refused_fence);
  expect("l1_refusals_total", {{"reason", "cold"}}, s.l1.not_promoted);
  expect("l1_promotions_total", {}, s.l1.promoted);
  expect("l1_demotions_total", {}, s.l1.demoted);
  expect("l1_crowded_out_total", {}, s.l1.crowded_out);
  expect("l1_bytes", {{"kind", "payload"}}, s.l1.payload_bytes);
  expect("l1_small_queue_bytes", {}, s.l1.small_queue_bytes);
  expect("l1_configured_bytes", {}, s.l1_configured_bytes);
  EXPECT_EQ(out.value("tiercache_l1_small_queue_share"), 0.0625);
  expect("l2_connects_total", {}, s.l2.connects);
  expect("l2_reconnects_total", {}, s.l2.reconnects);
  expect("l2_connections", {}, s.l2.connections);
  expect("l2_commands_total", {}, s.l2.commands);
  expect("l2_timeouts_total", {}, s.l2.timeouts);
  expect("l2_closed_on_error_total", {}, s.l2.closed_on_error);
  expect("l2_script_loads_total", {}, s.l2.script_loads);
  expect("l2_put_groups_total", {}, s.l2.put_groups);
  expect("l2_grouped_puts_total", {}, s.l2.grouped_puts);
  expect("l2_queued_puts", {}, s.l2.queued_puts);
  expect("leases_total", {{"kind", "granted"}}, s.leases.granted);
  expect("leases_total", {{"kind", "waited"}}, s.leases.waited);
  expect("leases_total", {{"kind", "lost"}}, s.leases.lost);
  expect("leases_total", {{"kind", "renewed"}}, s.leases.renewed);
  expect("leases_total", {{"kind", "polled"}}, s.leases.polled);
  expect("leases_total", {{"kind", "woken"}}, s.leases.woken);
  expect("updates_total", {{"kind", "done"}}, s.gates.updates);
  expect("updates_total", {{"kind", "lapsed"}}, s.gates.lapsed);
  expect("updates_total", {{"kind", "gated"}}, s.gates.gated);
  expect("bus_connects_total", {}, s.bus.connects);
  expect("bus_messages_total", {}, s.bus.messages);
  expect("bus_malformed_total", {}, s.bus.malformed);
  expect("bus_tracking_messages_total", {}, s.bus.tracking_messages);
  expect("bus_tracking_keys_total", {}, s.bus.tracking_keys);
  expect("bus_heartbeats_total", {{"kind", "sent"}}, s.bus.heartbeats_sent);
  expect("bus_heartbeats_total", {{"kind", "seen"}}, s.bus.heartbeats_seen);
  expect("bus_resyncs_total", {{"kind", "replayed"}}, s.bus.resyncs_replayed);
  expect("bus_resyncs_total", {{"kind", "voided"}}, s.bus.resyncs_voided);
  expect("bus_replayed_messages_total", {}, s.bus.messages_replayed);
  for (std::size_t i = 0; i < gap_reason_count; ++i) {
    expect("bus_gaps_total", {{"reason", std::string(name(static_cast<GapReason>(i)))}}, s.bus.gaps[i]);
  }
  for (std::size_t i = 0; i < errc_count; ++i) {
    expect("errors_total", {{"kind", std::string(name(static_cast<Errc>(i)))}}, s.errors[i]);
    expect("l2_errors_total", {{"kind", std::string(name(static_cast<Errc>(i)))}}, s.l2.errors[i]);
  }
  for (const char* on : {"l2_enabled", "l2_available", "bus_enabled", "bus_subscribed", "l1_coherent"}) expect(on, {}, 1);
  EXPECT_EQ(out.value("tiercache_coherence_age_seconds"), 0.25);
  EXPECT_EQ(out.value("tiercache_staleness_budget_seconds"), 2);
  expect("health", {{"state", "ok"}}, 1);
  expect("health", {{"state", "degraded"}}, 0);
  expect("health", {{"state", "closed"}}, 0);
}

TEST(Text, EverySeriesNamesItsStoreAndNoLabelIsUnexpected) {
  const std::set<std::string> known{"env",   "resource", "view",  "tier", "kind", "reason",
                                    "state", "capacity", "shard", "keys", "le"};
  const Exposition out = read_exposition(render_text({filled_snapshot()}));
  ASSERT_FALSE(out.samples.empty());
  for (const Sample& s : out.samples) {
    EXPECT_EQ(s.name.rfind("tiercache_", 0), 0U) << s.name;
    EXPECT_EQ(s.labels.at("env"), "prod") << s.name;
    EXPECT_EQ(s.labels.at("resource"), "shop") << s.name;
    for (const auto& [label, value] : s.labels) EXPECT_TRUE(known.count(label)) << s.name << " has " << label;
  }
}

// Dashboards and alerts are copied from the README: a name that was changed here only would show nothing, silently.
TEST(Text, EveryNameInTheReadmeIsThere) {
  std::ifstream file(TIERCACHE_SOURCE_DIR "/README.md");
  const std::string readme{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const Exposition out = read_exposition(render_text({filled_snapshot()}));
  std::set<std::string> names;
  for (const Sample& s : out.samples) names.insert(s.name);
  for (const auto& [family, type] : out.types) names.insert(family);
  const std::regex name("`(tiercache_[a-z0-9_]+)");
  const std::sregex_iterator first(readme.begin(), readme.end(), name);
  EXPECT_NE(first, std::sregex_iterator()) << "the README names no metric";
  for (auto it = first; it != std::sregex_iterator(); ++it) EXPECT_TRUE(names.contains((*it)[1])) << (*it)[1];
}

TEST(Text, HistogramCountsEachValueBelowItsBoundInSeconds) {
  const Exposition out = read_exposition(render_text({filled_snapshot()}));
  ASSERT_EQ(out.error_text(), "");
  EXPECT_EQ(out.types.at("tiercache_l2_latency_seconds"), "histogram");
  const auto below = [&](double seconds) {
    for (const Sample& s : out.samples) {
      if (s.name == "tiercache_l2_latency_seconds_bucket" && std::abs(std::stod(s.labels.at("le")) - seconds) < 1e-9)
        return s.value;
    }
    return -1.0;
  };
  EXPECT_EQ(below(32e-6), 2);   // 0 and 31 us
  EXPECT_EQ(below(64e-6), 3);   // and 32 us
  EXPECT_EQ(below(128e-6), 5);  // and 100 us twice
  EXPECT_EQ(below(4.096e-3), 5);
  EXPECT_EQ(below(8.192e-3), 6);   // and 5 ms
  EXPECT_EQ(below(16.777216), 6);  // an hour is above every bound
  EXPECT_EQ(out.value("tiercache_l2_latency_seconds_count"), 7);
  EXPECT_NEAR(out.value("tiercache_l2_latency_seconds_sum").value(), 3600.005263, 1e-6);
  EXPECT_EQ(out.value("tiercache_bus_lag_seconds_count"), 1);
}

TEST(Text, HistogramsOfAnyValuesAreWellFormed) {
  const auto seed = std::random_device{}();
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 50; ++round) {
    Histogram h;
    const int n = static_cast<int>(random() % 200);
    for (int i = 0; i < n; ++i) h.record_us(random() >> (random() % 64));
    StoreSnapshot s = filled_snapshot();
    s.l2.latency = h.snapshot();
    const Exposition out = read_exposition(render_text({s}));
    ASSERT_EQ(out.error_text(), "") << "seed " << seed;
    ASSERT_EQ(out.value("tiercache_l2_latency_seconds_count"), n) << "seed " << seed;
  }
}

TEST(Text, WorkloadIsShownByCapacityAndByHowManyKeys) {
  const Exposition out = read_exposition(render_text({filled_snapshot()}));
  ASSERT_EQ(out.error_text(), "");
  const std::pair<const char*, double> ratios[] = {{"x0.25", 0.5}, {"x0.5", 0.625}, {"x1", 0.75}, {"x2", 0.875}, {"x4", 0.9375}};
  for (const auto& [capacity, ratio] : ratios)
    EXPECT_EQ(out.value("tiercache_l1_hit_ratio_estimate", {{"capacity", capacity}}), ratio) << capacity;
  EXPECT_EQ(out.value("tiercache_l1_hottest_share", {{"keys", "1"}}), 0.03125);
  EXPECT_EQ(out.value("tiercache_l1_hottest_share", {{"keys", "10"}}), 0.15625);
}

TEST(Text, WorkloadThatIsNotKnownYetIsAbsent) {
  StoreSnapshot s = filled_snapshot();
  s.l1_workload = {};
  s.views.front().l1_quota_bytes = 0;
  const Exposition out = read_exposition(render_text({s}));
  EXPECT_EQ(out.error_text(), "");
  EXPECT_FALSE(out.value("tiercache_l1_hit_ratio_estimate", {{"capacity", "x1"}}).has_value());
  EXPECT_FALSE(out.value("tiercache_l1_hottest_share", {{"keys", "1"}}).has_value());
  EXPECT_FALSE(out.value("tiercache_l1_view_quota_bytes", {{"view", "user"}}).has_value()) << "no limit";
  EXPECT_TRUE(out.value("tiercache_l1_view_quota_bytes", {{"view", "order.v2"}}).has_value());
}

// A snapshot is read counter by counter while they move, so its total may be behind its buckets; the text must not show that.
TEST(Text, HistogramWhoseTotalLagsBehindItsBucketsIsStillWellFormed) {
  StoreSnapshot s = filled_snapshot();
  s.l2.latency.count -= 3;
  EXPECT_EQ(read_exposition(render_text({s})).error_text(), "");
}

TEST(Text, TwoStoresOfOneNameAreToldApart) {
  StoreSnapshot other = filled_snapshot();
  other.l1.entries = 999;
  const Exposition out = read_exposition(render_text({filled_snapshot(), other}));
  EXPECT_EQ(out.error_text(), "");
  EXPECT_EQ(out.value("tiercache_l1_entries", {{"store", "2"}}), 999);
}

TEST(Text, UnknownCoherenceIsInfiniteAndWithoutABusAbsent) {
  StoreSnapshot s = filled_snapshot();
  s.coherence_age_seconds = -1;
  EXPECT_TRUE(std::isinf(read_exposition(render_text({s})).value("tiercache_coherence_age_seconds").value()));
  s.bus.enabled = false;
  EXPECT_FALSE(read_exposition(render_text({s})).value("tiercache_coherence_age_seconds").has_value());
}

TEST(Text, StalenessIsShownByShardAndAsItWasMeasured) {
  StoreSnapshot s = filled_snapshot();
  const Exposition out = read_exposition(render_text({s}));
  ASSERT_EQ(out.error_text(), "");
  const auto shown = [&](const char* name, const Labels& labels = {}) {
    return out.value(std::string("tiercache_") + name, labels);
  };
  for (const ViewStats& v : s.views) {
    EXPECT_EQ(shown("l1_stale_hits_total", {{"view", v.name}}), static_cast<double>(v.l1_stale_hits));
    EXPECT_EQ(shown("l1_behind_total", {{"view", v.name}}), static_cast<double>(v.l1_behind));
  }
  EXPECT_EQ(shown("shard_coherence_age_seconds", {{"shard", "0"}}), 0.25);
  EXPECT_TRUE(std::isinf(shown("shard_coherence_age_seconds", {{"shard", "1"}}).value())) << "never was";
  EXPECT_EQ(shown("shadow_reads_total"), static_cast<double>(s.shadow.checked));
  EXPECT_EQ(shown("shadow_differing_total"), static_cast<double>(s.shadow.differing));
  EXPECT_EQ(shown("shadow_stale_total"), static_cast<double>(s.shadow.stale));
  EXPECT_EQ(shown("shadow_orphaned_total"), static_cast<double>(s.shadow.orphaned));
  EXPECT_EQ(shown("shadow_dropped_total"), static_cast<double>(s.shadow.dropped));
  EXPECT_NEAR(shown("shadow_stale_ppm").value(),
              1e6 * static_cast<double>(s.shadow.stale) / static_cast<double>(s.shadow.checked), 1);

  s.shadow.enabled = false;
  s.shard_coherence_age_seconds.assign(65, 1);
  const Exposition less = read_exposition(render_text({s}));
  EXPECT_FALSE(less.value("tiercache_shadow_stale_ppm").has_value());
  EXPECT_FALSE(less.value("tiercache_shard_coherence_age_seconds", {{"shard", "0"}}).has_value()) << "too many series";
}

TEST(Text, LabelValuesAreEscaped) {
  StoreSnapshot s = filled_snapshot();
  s.resource = "a\"b\\c\nd";
  const Exposition out = read_exposition(render_text({s}));
  EXPECT_EQ(out.error_text(), "");
  EXPECT_TRUE(out.value("tiercache_l1_entries", {{"resource", "a\"b\\c\nd"}}).has_value());
}

TEST(Text, NoStoresGiveAWellFormedText) { EXPECT_EQ(read_exposition(render_text({})).error_text(), ""); }

TEST(Collectable, ShowsWhatTheTextShowsAndPullsEachTime) {
  int pulls = 0;
  const auto collectable = metrics::make_collectable([&] {
    ++pulls;
    return std::vector{filled_snapshot()};
  });
  EXPECT_EQ(prometheus::TextSerializer().Serialize(collectable->Collect()), render_text({filled_snapshot()}));
  (void)collectable->Collect();
  EXPECT_EQ(pulls, 2);
}

TEST(Collectable, PassesOnWhatPullThrows) {
  const auto collectable =
      metrics::make_collectable([]() -> std::vector<StoreSnapshot> { throw std::runtime_error("store is gone"); });
  EXPECT_THROW((void)collectable->Collect(), std::runtime_error);
}

}  // namespace
}  // namespace tiercache::test
