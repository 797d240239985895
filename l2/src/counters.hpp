// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/stats.hpp>

#include <atomic>
#include <cstdint>

namespace tiercache::l2 {

/// What RemoteStats is pulled from. All relaxed: numbers for people, no decision rests on them.
struct Counters {
  std::atomic<std::uint64_t> connects{0};
  std::atomic<std::uint64_t> reconnects{0};
  std::atomic<std::uint64_t> commands{0};
  std::atomic<std::uint64_t> timeouts{0};
  std::atomic<std::uint64_t> closed_on_error{0};
  std::atomic<std::uint64_t> script_loads{0};
  Histogram latency;
  ErrorCounts errors;
  std::atomic<std::uint64_t> put_groups{0};
  std::atomic<std::uint64_t> grouped_puts{0};
  std::atomic<std::uint64_t> queued_puts{0};  ///< now
};

}  // namespace tiercache::l2
