// SPDX-License-Identifier: Apache-2.0
//
// More threads than cores: who is stopped by the scheduler inside an operation must not stop others.
#include "l1_rows.hpp"
#include "ours.hpp"
#include "peers.hpp"
#include "subject.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace tiercache::bench {

void latency_rows(const Arguments& arguments, Report& report) {
  const std::string get_row = "l1.oversub8.get.p9999";
  const std::string put_row = "l1.oversub8.put.p9999";
  if (!arguments.wants(get_row) && !arguments.wants(put_row)) return;
  attempt(report, get_row, [&] {
    constexpr std::uint32_t keys = 1'000'000;
    constexpr int threads = 8;
    constexpr std::uint32_t read_percent = 90;
    // Long enough that p99.99 of the puts is made of some hundreds, and of several time slices of each thread.
    const double seconds = arguments.seconds * 6;
    const int rounds = std::max(1, (arguments.rounds + 1) / 2);

    EntryCost cost = fitting_cost(100'000);
    cost.bytes += cost.bytes / 20;  // an overwrite holds both entries for a moment: without room for them it would evict
    const Filled ours = fill_ours(keys, cost);
    const Streams streams = make_streams(ours.present, 0.99, std::size_t{1} << 20, threads);

    std::map<std::string, std::function<Latencies()>> runs;
    // An overwrite may take a neighbour's place all the same.
    runs["ours"] = [&] { return latencies(*ours.table, streams, threads, seconds, read_percent, 0.01); };
    const auto add = [&](auto s, const char* peer, double misses_allowed) {
      for (std::uint32_t k = 0; k < keys; ++k) s->put(request_of(k).key(), value_of(k));
      runs[peer] = [&, s, misses_allowed] { return latencies(*s, streams, threads, seconds, read_percent, misses_allowed); };
    };
    for_each_map([&](auto tag, const char* peer) { add(std::make_shared<typename decltype(tag)::type>(keys), peer, 0); });
    // HyperClockCache overwrites by taking the old entry out first: a read in between misses.
    for_each_cache(
        [&](auto tag, const char* peer) { add(std::make_shared<typename decltype(tag)::type>(keys * 2), peer, 0.01); });

    Samples gets;
    Samples puts;
    std::vector<Contender> contenders;
    for (auto& [peer, run] : runs) {
      contenders.push_back({peer, [&, name = peer] {
                              const Latencies l = runs.at(name)();
                              puts[name].push_back(l.puts.quantile_us(0.9999));
                              gets[name].push_back(l.gets.quantile_us(0.9999));
                              return gets[name].back();
                            }});
    }
    static_cast<void>(interleave(contenders, rounds));
    const auto row = [&](const std::string& name, const Samples& samples) {
      if (!arguments.wants(name)) return;
      report.compare({.name = name, .unit = "us", .threads = threads, .workload = "zipf 0.99, 1M, 10 % puts"}, samples, "ours",
                     Better::lower);
    };
    row(get_row, gets);
    row(put_row, puts);
  });
}

}  // namespace tiercache::bench
