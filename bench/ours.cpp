// SPDX-License-Identifier: Apache-2.0
#include "ours.hpp"

namespace tiercache::bench {
namespace {

bool holds_enough(const Ours& table, std::size_t keys) {
  return static_cast<double>(table.stats().entries) >= static_cast<double>(keys) * (1 - absent_allowed);
}

/// Puts the keys that are not in; true if there were any.
bool put_absent(Ours& table, std::size_t keys) {
  bool any = false;
  for (std::size_t k = 0; k < keys; ++k) {
    const Request r = request_of(static_cast<std::uint32_t>(k));
    bool found = false;
    table.read(r.key(), [&found](const Value&) { found = true; });
    if (found) continue;
    table.put(r.key(), value_of(k));
    any = true;
  }
  return any;
}

}  // namespace

EntryCost fitting_cost(std::size_t keys) {
  std::uint32_t low = payload_bytes;  // too little
  std::uint32_t high = 1024;          // enough
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    Ours table(keys, {middle});
    put_absent(table, keys);
    (holds_enough(table, keys) ? high : low) = middle;
  }
  return {high};
}

std::unique_ptr<Ours> fill_ours(std::size_t keys, EntryCost& cost) {
  constexpr int passes = 2;  // a key that finds no place takes another's: not for ever the same are without
  for (;; cost.bytes += cost.bytes / 50 + 1) {
    auto table = std::make_unique<Ours>(keys, cost);
    for (int pass = 0; pass < passes && put_absent(*table, keys); ++pass) {
    }
    if (holds_enough(*table, keys)) return table;
    if (cost.bytes > 4096) throw std::runtime_error("the table keeps less than its budget allows, whatever the budget");
  }
}

}  // namespace tiercache::bench
