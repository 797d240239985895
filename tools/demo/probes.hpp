// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "client.hpp"
#include "shared.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

namespace tiercache::demo {

/// Starts an instance's probe threads; none when the run has no probes. They end with the running stage.
///
/// Every instance reads all probes every few milliseconds and writes those whose number is its own modulo the instances: a burst
/// of 3 writes, 5 to 60 ms apart, then 3 budgets of nothing. The gaps put writes before, into and after each 20 ms pause
/// of the readers; the rest leaves what a broken check let through in the cache for longer than the budget, where reads meet it.
/// `open(slot)` makes a thread's client.
[[nodiscard]] std::vector<std::jthread> start_probes(const SharedBlock& shared, unsigned instance,
                                                     const std::function<std::optional<Client>(std::size_t)>& open);

}  // namespace tiercache::demo
