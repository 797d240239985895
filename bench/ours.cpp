// SPDX-License-Identifier: Apache-2.0
#include "ours.hpp"

#include <cstdio>
#include <string>

namespace tiercache::bench {
namespace {

std::unique_ptr<Ours> put_all(std::uint32_t keys, EntryCost cost) {
  auto table = std::make_unique<Ours>(keys, cost);
  for (std::uint32_t k = 0; k < keys; ++k) table->put(request_of(k).key(), value_of(k));
  return table;
}

}  // namespace

EntryCost fitting_cost(std::uint32_t keys) {
  std::uint32_t low = payload_bytes;  // too little
  std::uint32_t high = 1024;          // enough
  const std::uint64_t enough = put_all(keys, {high})->stats().entries - keys / 1000;
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (put_all(keys, {middle})->stats().entries >= enough ? high : low) = middle;
  }
  return {high};
}

Filled fill_ours(std::uint32_t keys, EntryCost cost) {
  Filled filled{put_all(keys, cost), {}};
  for (std::uint32_t k = 0; k < keys; ++k)
    filled.table->read(request_of(k).key(), [&](const Value&) { filled.present.push_back(k); });
  const double absent = 1 - static_cast<double>(filled.present.size()) / keys;
  if (absent > absent_allowed) throw std::runtime_error("a share of " + std::to_string(absent) + " of the keys found no place");
  if (absent > 0) std::fprintf(stderr, "(%.2f %% of the keys found no place in our table and are not asked for) ", 100 * absent);
  return filled;
}

}  // namespace tiercache::bench
