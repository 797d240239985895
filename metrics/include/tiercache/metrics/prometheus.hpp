// SPDX-License-Identifier: Apache-2.0
//
// For programs that already run a prometheus-cpp registry or exposer. Only declares: include prometheus-cpp's own headers to use
// it.
#pragma once

#include <tiercache/metrics/collector.hpp>

#include <memory>

namespace prometheus {
class Collectable;
}  // namespace prometheus

namespace tiercache::metrics {

/// A collectable of the same families that render_text writes. Thread-safe as far as `pull` is; pulls at each Collect(), holds no
/// state between. What `pull` throws comes out of Collect(). prometheus-cpp's exposer keeps a weak_ptr: keep the result alive.
[[nodiscard]] std::shared_ptr<prometheus::Collectable> make_collectable(Pull pull);

}  // namespace tiercache::metrics
