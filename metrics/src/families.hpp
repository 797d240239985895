// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/stats.hpp>

#include <prometheus/metric_family.h>

#include <vector>

namespace tiercache::metrics {

/// The one list of families, with names, help texts and labels, that text and registry show alike.
[[nodiscard]] std::vector<prometheus::MetricFamily> families(const std::vector<StoreSnapshot>& stores);

}  // namespace tiercache::metrics
