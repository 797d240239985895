// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/stats.hpp>

#include <functional>
#include <string>
#include <vector>

namespace tiercache::metrics {

/// Gives the state of the stores to show, one snapshot a store: `[&] { return std::vector{store.stats()}; }`. Called once a
/// scrape, on the thread that scrapes, possibly on several at once: it must be thread-safe. It may throw; the scrape then fails,
/// nothing else does. What it captures must outlive whoever holds it.
using Pull = std::function<std::vector<StoreSnapshot>()>;

/// The snapshots in Prometheus' text format, version 0.0.4. A pure function. Every name begins with `tiercache_`; labels are env,
/// resource and, where they apply, view, tier, kind, reason, state, capacity, shard, keys (how many); never a key. Two stores of
/// one env and resource would give the same series twice, which Prometheus rejects: the second and later ones carry the label
/// store="2", "3", ...
[[nodiscard]] std::string render_text(const std::vector<StoreSnapshot>& stores);

/// The HTTP media type of render_text.
inline constexpr const char* text_content_type = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace tiercache::metrics
