// SPDX-License-Identifier: Apache-2.0
#include "probes.hpp"

#include "clock.hpp"
#include "random.hpp"

#include <algorithm>
#include <cstdint>

namespace tiercache::demo {
namespace {

constexpr unsigned burst_writes = 3;
constexpr std::int64_t gap_min_ns = 5 * ns_per_ms;
constexpr std::int64_t gap_max_ns = 60 * ns_per_ms;
constexpr std::int64_t read_every_ns = 4 * ns_per_ms;

bool running(const SharedBlock& shared) {
  return shared.stage() == Stage::running && !shared.header().failed.load(std::memory_order_relaxed);
}

void read_probes(const SharedBlock& shared, Client& client, unsigned reader) {
  const Settings& s = shared.settings();
  while (running(shared)) {
    for (std::uint32_t p = reader; p < s.probes; p += probe_readers) client.read(s.keys + p);
    sleep_ns(read_every_ns);
  }
}

struct Plan {
  std::uint32_t key = 0;
  std::int64_t due = 0;
  unsigned left = burst_writes;
};

void write_probes(const SharedBlock& shared, Client& client, unsigned instance) {
  const Settings& s = shared.settings();
  Random random(s.seed + 500 + instance);
  const std::int64_t rest = 3 * s.budget_ns;
  std::vector<Plan> plans;
  const std::int64_t start = now_ns();
  for (std::uint32_t p = instance; p < s.probes; p += s.instances) {
    plans.push_back({s.keys + p, start + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(rest)))});
  }
  while (running(shared) && !plans.empty()) {
    Plan& next = *std::min_element(plans.begin(), plans.end(), [](const Plan& a, const Plan& b) { return a.due < b.due; });
    // Short naps: the stage must be noticed.
    if (const std::int64_t wait = next.due - now_ns(); wait > 0) {
      sleep_ns(std::min(wait, 5 * ns_per_ms));
      continue;
    }
    client.write(next.key);
    const std::int64_t gap = gap_min_ns + static_cast<std::int64_t>(random.below(gap_max_ns - gap_min_ns));
    next.left = next.left == 1 ? burst_writes : next.left - 1;
    next.due = now_ns() + (next.left == burst_writes ? rest : gap);
  }
}

}  // namespace

std::vector<std::jthread> start_probes(const SharedBlock& shared, unsigned instance,
                                       const std::function<std::optional<Client>(std::size_t)>& open) {
  std::vector<std::jthread> threads;
  const Settings& s = shared.settings();
  if (s.probes == 0) return threads;
  for (unsigned r = 0; r <= probe_readers; ++r) {
    threads.emplace_back([&shared, instance, r, open] {
      std::optional<Client> client = open(shared.settings().threads + r);
      if (!client) return;
      if (r < probe_readers) read_probes(shared, *client, r);
      else write_probes(shared, *client, instance);
    });
  }
  return threads;
}

}  // namespace tiercache::demo
