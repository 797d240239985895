// SPDX-License-Identifier: Apache-2.0
//
// With eviction: a million keys, room for a tenth, a miss is followed by a put. Throughput and hit ratio come of the same
// samples.
#include "l1_rows.hpp"
#include "ours.hpp"
#include "peers.hpp"
#include "subject.hpp"

#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace tiercache::bench {
namespace {

constexpr std::uint32_t keys = 1'000'000;
constexpr std::uint32_t capacity = keys / 10;

using Run = std::function<Mixed(const Streams&, double seconds, std::uint32_t read_percent)>;

template <class S>
Run runner(std::shared_ptr<S> s) {
  return [s = std::move(s)](const Streams& streams, double seconds, std::uint32_t read_percent) {
    return mixed_rate(
        streams, 2, seconds, read_percent,
        [&](std::string_view key, auto&& f) {
          if constexpr (std::is_same_v<S, Ours>) {
            s->read_counted(key, f);
          } else {
            s->read(key, f);
          }
        },
        [&](std::string_view key, const Value& v) { s->put(key, v); });
  };
}

}  // namespace

void mixed_rows(const Arguments& arguments, Report& report) {
  std::map<std::string, Run> runs;
  Streams streams;
  for (const std::uint32_t percent : {95U, 50U}) {
    const std::string name = "l1.mixed" + std::to_string(percent);
    const std::string rate_row = name + ".zipf.1M.2t";
    const std::string hit_row = name + ".hit_ratio";
    if (!arguments.wants(rate_row) && !arguments.wants(hit_row)) continue;
    attempt(report, rate_row, [&] {
      if (runs.empty()) {
        streams = make_streams(all_ids(keys), 0.99, std::size_t{1} << 22, 2);
        runs["ours"] = runner(std::make_shared<Ours>(capacity, fitting_cost(capacity)));
        for_each_cache(
            [&](auto tag, const char* peer) { runs[peer] = runner(std::make_shared<typename decltype(tag)::type>(capacity)); });
        // Full, and with the popular keys in, before the first sample.
        for (auto& [peer, run] : runs) static_cast<void>(run(streams, 1.0, 95));
      }
      Samples hits;
      std::vector<Contender> contenders;
      for (auto& [peer, run] : runs) {
        contenders.push_back({peer, [&, name = peer] {
                                const Mixed m = runs.at(name)(streams, arguments.seconds * 2, percent);
                                hits[name].push_back(m.hit_ratio);
                                return m.rate;
                              }});
      }
      const Samples rates = interleave(contenders, arguments.rounds);
      const std::string what = "zipf 0.99, 1M keys, room for 10 %, " + std::to_string(percent) + " % reads";
      if (arguments.wants(rate_row)) {
        report.compare({.name = rate_row, .unit = "Mops/s", .threads = 2, .workload = what}, rates, "ours", Better::higher, 1e-6);
      }
      if (arguments.wants(hit_row)) {
        report.compare({.name = hit_row, .unit = "hit ratio", .threads = 2, .workload = what}, hits, "ours", Better::higher);
      }
    });
  }
}

}  // namespace tiercache::bench
