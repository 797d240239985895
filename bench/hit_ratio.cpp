// SPDX-License-Identifier: Apache-2.0
//
// Hit ratios on recorded request streams: the real table beside exact LRU, CLOCK, SIEVE and S3-FIFO of the same run. Every object
// counts as 1 and is stored on each miss. Rows: hit.TRACE.OBJECTS (the default policy), hit_lru.* (the LRU mode, held against
// exact LRU), hit_2t.* (two threads, held against one), and the mean of each.
#include "replay.hpp"
#include "report.hpp"
#include "simulators.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace tiercache::bench {
namespace {

constexpr std::array<std::size_t, 4> percents{1, 5, 10, 25};  // of the unique keys
constexpr std::size_t objects_least = 100;
constexpr std::size_t long_trace = 1'000'000;  // requests; from here on two sizes must do

/// The sum of what the published set of traces is to reach; of other traces nothing is known beforehand.
constexpr double mean_least = 0.465;
const std::set<std::string> published{"cloudphysics", "corda_vault", "gli",    "loop", "multi2",
                                      "oltp",         "orm_night",   "sprite", "web07"};

struct Named {
  std::string name;
  tools::Trace trace;
};

/// One trace at one size.
struct Case {
  const Named* named;
  std::size_t objects;
  std::map<std::string, double> ratio;  ///< by policy
  [[nodiscard]] std::string row(const std::string& family) const {
    return family + "." + named->name + "." + std::to_string(objects);
  }
};

const std::vector<std::pair<std::string, Simulator>> simulators{
    {"lru", simulate_lru}, {"clock", simulate_clock}, {"sieve", simulate_sieve}, {"s3fifo", simulate_s3fifo}};

std::vector<std::string> files_of(const Arguments& arguments) {
  std::vector<std::string> files = arguments.traces;
  std::vector<std::string> folders = arguments.folders;
  if (const char* folder = std::getenv("TIERCACHE_TRACES");
      files.empty() && folders.empty() && folder != nullptr && *folder != '\0') {
    folders.emplace_back(folder);
  }
  for (const std::string& folder : folders) {
    std::error_code error;
    std::vector<std::string> found;
    for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      if (it->is_regular_file() && tools::trace_name(it->path().string())) found.push_back(it->path().string());
    if (error) std::fprintf(stderr, "bench hit_ratio: %s: %s\n", folder.c_str(), error.message().c_str());
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

std::vector<std::size_t> sizes_of(const tools::Trace& trace) {
  const bool is_long = trace.requests.size() >= long_trace;
  std::vector<std::size_t> sizes;
  for (const std::size_t percent : percents) {
    if (is_long && percent != 1 && percent != 10) continue;
    const std::size_t objects = trace.unique_keys * percent / 100;
    if (objects >= objects_least) sizes.push_back(objects);
  }
  return sizes;
}

/// Does all of `jobs`, as many at a time as there are cores.
void in_parallel(const std::vector<std::function<void()>>& jobs, Report& report) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < jobs.size();) {
        try {
          jobs[i]();
        } catch (const std::exception& e) {
          const std::lock_guard lock(mutex);
          report.fail(e.what());
        }
        std::fputc('.', stderr);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  std::fputc('\n', stderr);
}

/// A peer with no hit at all would make the ratio infinite: it is given one.
double ratio_of(double ours, double peer, std::size_t requests) {
  return ours == peer ? 1 : ours / std::max(peer, 1 / static_cast<double>(requests));
}

/// Rows of one family: each case's `own` policy beside `peers`, then, where `mean_too`, the means of all. `slack`: how far below
/// exact LRU a row may be; below 0: no target.
void add_family(Report& report, const std::vector<Case>& cases, const std::string& family, const std::string& own,
                const std::vector<std::string>& peers, int threads, double slack, bool mean_too, double least_mean) {
  std::map<std::string, double> sums;
  std::size_t count = 0;
  std::size_t requests = 0;
  const auto base = [&](const std::string& name, double value, const std::string& peer, double theirs, std::size_t n) {
    return Row{.name = name,
               .value = value,
               .unit = "hit ratio",
               .peer = peer == "ours" ? "1t" : peer,
               .peer_value = theirs,
               .ratio = ratio_of(value, theirs, n),
               .threads = threads,
               .workload = "objects of size 1, stored on a miss"};
  };
  for (const Case& c : cases) {
    if (c.ratio.count(own) == 0) continue;
    ++count;
    requests += c.named->trace.requests.size();
    sums[own] += c.ratio.at(own);
    for (const std::string& peer : peers) {
      if (c.ratio.count(peer) == 0) continue;
      sums[peer] += c.ratio.at(peer);
      Row row = base(c.row(family), c.ratio.at(own), peer, c.ratio.at(peer), c.named->trace.requests.size());
      if (slack >= 0 && peer == "lru") row.least = c.ratio.at(peer) - slack;
      report.add(std::move(row));
    }
  }
  if (count == 0 || !mean_too) return;
  for (const std::string& peer : peers) {
    const auto n = static_cast<double>(count);
    Row row = base(family + ".mean", sums[own] / n, peer, sums[peer] / n, requests);
    if (least_mean > 0 && peer == peers.front()) row.least = least_mean;
    report.add(std::move(row));
  }
}

int run(const Arguments& arguments) {
  const std::vector<std::string> files = files_of(arguments);
  if (files.empty()) {
    std::fprintf(
        stderr,
        "bench hit_ratio: no trace given, and the project contains none. Give files by --trace FILE or a folder of them by\n"
        "--traces DIR or TIERCACHE_TRACES: .keys, .lis or .oracleGeneral.bin, each plain or .gz or .zst (docs/traces.md).\n");
    return 2;
  }
  std::vector<Named> traces;
  traces.reserve(files.size());
  std::set<std::string> names;
  for (const std::string& file : files) {
    Result<tools::Trace> trace = tools::read_trace(file);
    if (!trace) {
      std::fprintf(stderr, "bench hit_ratio: %s\n", trace.error().message.c_str());
      return 2;
    }
    traces.push_back({tools::trace_name(file).value_or(file), std::move(*trace)});
    names.insert(traces.back().name);
    std::fprintf(stderr, "%-16s %9zu requests, %8u unique keys\n", traces.back().name.c_str(),
                 traces.back().trace.requests.size(), traces.back().trace.unique_keys);
  }

  Report report("hit_ratio", {});
  std::vector<Case> cases;
  for (const Named& named : traces) {
    const std::vector<std::size_t> sizes = sizes_of(named.trace);
    if (sizes.empty()) std::fprintf(stderr, "%s: too few keys: a quarter of them are fewer than 100\n", named.name.c_str());
    for (const std::size_t objects : sizes) {
      Case c{&named, objects, {}};
      if (arguments.wants(c.row("hit")) || arguments.wants(c.row("hit_lru")) || arguments.wants(c.row("hit_2t"))) {
        cases.push_back(std::move(c));
      }
    }
  }

  std::mutex mutex;
  const auto keep = [&](Case& c, const std::string& policy, std::optional<double> ratio) {
    const std::lock_guard lock(mutex);
    if (ratio) c.ratio[policy] = *ratio;
  };
  std::vector<std::function<void()>> jobs;
  for (Case& c : cases) {
    const tools::Trace& trace = c.named->trace;
    for (const auto& [name, simulate] : simulators)
      jobs.emplace_back(
          [&, &name = name, simulate = simulate] { keep(c, name, simulate(trace.requests, trace.unique_keys, c.objects)); });
    if (arguments.wants(c.row("hit")) || arguments.wants(c.row("hit_2t")))
      jobs.emplace_back([&] { keep(c, "ours", replay(trace, c.objects, Order::adaptive, 1)); });
    if (arguments.wants(c.row("hit_lru")))
      jobs.emplace_back([&] { keep(c, "ours_lru", replay(trace, c.objects, Order::lru, 1)); });
  }
  in_parallel(jobs, report);
  for (Case& c : cases) {
    if (!arguments.wants(c.row("hit_2t"))) continue;
    try {
      keep(c, "ours_2t", replay(c.named->trace, c.objects, Order::adaptive, 2));
    } catch (const std::exception& e) {
      report.fail(c.row("hit_2t") + ": " + e.what());
    }
  }

  const bool all = !arguments.filter;  // a mean of some says nothing
  add_family(report, cases, "hit", "ours", {"lru", "clock", "sieve", "s3fifo"}, 1, 0.005, all,
             names == published ? mean_least : 0);
  add_family(report, cases, "hit_lru", "ours_lru", {"lru"}, 1, 0.01, all, 0);
  add_family(report, cases, "hit_2t", "ours_2t", {"ours"}, 2, -1, all, 0);
  if (!cases.empty() && cases.front().ratio.count("ours_lru") == 0) {
    std::fprintf(stderr, "bench hit_ratio: no rows hit_lru.*: not asked for, or the table's options select no LRU order\n");
  }
  return report.finish(arguments.out);
}

}  // namespace
}  // namespace tiercache::bench

int main(int argc, char** argv) {
  using namespace tiercache::bench;
  return run(parse("hit_ratio", argc, argv,
                   "  --trace FILE    a recorded request stream; may be repeated\n"
                   "  --traces DIR    all of a folder, told by their endings; the default is TIERCACHE_TRACES\n"
                   "                  .keys, .lis or .oracleGeneral.bin, each plain or .gz or .zst\n"));
}
