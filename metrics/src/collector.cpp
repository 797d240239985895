// SPDX-License-Identifier: Apache-2.0
#include <tiercache/metrics/collector.hpp>
#include <tiercache/metrics/prometheus.hpp>

#include "families.hpp"

#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <memory>
#include <utility>

namespace tiercache::metrics {
namespace {

class Collectable final : public prometheus::Collectable {
 public:
  explicit Collectable(Pull pull) : pull_(std::move(pull)) {}
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override { return families(pull_()); }

 private:
  Pull pull_;
};

}  // namespace

std::string render_text(const std::vector<StoreSnapshot>& stores) {
  return prometheus::TextSerializer().Serialize(families(stores));
}

std::shared_ptr<prometheus::Collectable> make_collectable(Pull pull) { return std::make_shared<Collectable>(std::move(pull)); }

}  // namespace tiercache::metrics
