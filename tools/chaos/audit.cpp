// SPDX-License-Identifier: Apache-2.0
#include "audit.hpp"

#include "clock.hpp"

#include <algorithm>
#include <chrono>
#include <string_view>

namespace tiercache::chaos {

Config instance_config(const Settings& s, std::uint16_t port) {
  using std::chrono::milliseconds;
  Config config;
  const milliseconds budget(s.budget_ns / demo::ns_per_ms);
  config.env = "chaos";
  config.resource = s.resource;
  config.l1.capacity_bytes = s.l1_bytes;
  config.l1.expected_entry_bytes = 512;
  config.l2.url = "redis://127.0.0.1:" + std::to_string(port);
  config.l2.pool_size = s.threads + (s.probes != 0 ? 8 : 4);
  config.l2.call_timeout = std::max(milliseconds(100), budget / 2);
  config.l2.connect_timeout = config.l2.call_timeout;
  config.l2.backoff_max = std::max(config.l2.backoff_min, budget / 2);
  config.default_deadline = budget;
  config.bus.staleness_budget = budget;
  if (!s.log) config.bus.log_entries = 0;
  config.distrust_other_epochs = true;  // Redis comes back from old snapshots, and replicas that lag are promoted
  config.log_level = s.verbose ? LogLevel::info : LogLevel::off;
  return config;
}

Audit audit_rows(const Board& board, unsigned instance, Cache<Cell> cells, const std::vector<std::string>& names) {
  Audit audit;
  constexpr std::size_t batch = 128;
  for (std::size_t first = 0; first < names.size(); first += batch) {
    const std::size_t n = std::min(batch, names.size() - first);
    const std::vector<std::string_view> some(names.begin() + static_cast<std::ptrdiff_t>(first),
                                             names.begin() + static_cast<std::ptrdiff_t>(first + n));
    const std::vector<Handle<Cell>> handles = cells.get_many(some, {.deadline = std::chrono::seconds(5)});
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t key = first + i;
      ++audit.keys;
      if (!handles[i] && handles[i].error() != nullptr) ++audit.errors;
      if (handles[i]) ++audit.present;
      if (!handles[i]) continue;
      const bool whole = is_of(*handles[i], key, true);
      const Verdict verdict = whole ? judge_copy(board.rows()[key], handles[i]->version) : Verdict::phantom;
      if (verdict == Verdict::excused) ++audit.excused;
      if (!is_violation(verdict)) continue;
      ++audit.wrong;
      report_copy(board, instance, static_cast<std::uint32_t>(key), handles[i]->version, whole,
                  static_cast<std::uint8_t>(handles[i].source()));
    }
  }
  return audit;
}

}  // namespace tiercache::chaos
