// SPDX-License-Identifier: Apache-2.0
//
// Replays a request stream through the real l1::Table, as the product reads: find; on a miss count it, take the ticket, "load",
// fill.
#pragma once

#include <trace.hpp>

#include <cstddef>
#include <optional>

namespace tiercache::bench {

enum class Order { adaptive, lru };

/// The share of requests that hit a table of `objects` entries. With more than one thread the requests are dealt in order, a few
/// at a time, so that their order is nearly kept. Nothing when the table cannot keep that order. Throws std::runtime_error on a
/// wrong value.
[[nodiscard]] std::optional<double> replay(const tools::Trace& trace, std::size_t objects, Order order, int threads);

}  // namespace tiercache::bench
