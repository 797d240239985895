// SPDX-License-Identifier: Apache-2.0
#include <tiercache/core/store.hpp>

#include "log_sink.hpp"
#include "store_core.hpp"

namespace tiercache {

Result<Store> Store::open(Config config) {
  if (Result<void> r = config.validate(); !r) return std::move(r).error();
  if (!config.log_sink) config.log_sink = detail::spdlog_sink();
  Log log(config.log_sink, config.log_level);
  try {
    auto core = std::make_shared<detail::StoreCore>(std::move(config), std::move(log));
    if (Result<void> r = core->open_table(); !r) return std::move(r).error();
    core->start();
    return Store(std::move(core));
  } catch (const std::exception& e) {
    return Error{Errc::internal, std::string("the store could not be opened: ") + e.what()};
  }
}

Store::Store(std::shared_ptr<detail::StoreCore> core) noexcept : core_(std::move(core)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&& other) noexcept {
  if (this != &other) {
    close(std::chrono::seconds(2));
    core_ = std::move(other.core_);
  }
  return *this;
}
Store::~Store() { close(std::chrono::seconds(2)); }

StoreSnapshot Store::stats() const { return core_ ? core_->snapshot() : StoreSnapshot{}; }
Result<void> Store::resize_l1(std::uint64_t capacity_bytes) {
  return core_ ? core_->resize_l1(capacity_bytes) : Error{Errc::closed, "the store was moved from"};
}
std::vector<HotKey> Store::hottest(std::uint32_t k) const { return core_ ? core_->hottest(k) : std::vector<HotKey>{}; }
std::vector<ColdKey> Store::coldest(std::uint32_t k) const { return core_ ? core_->coldest(k) : std::vector<ColdKey>{}; }
std::vector<MissCurvePoint> Store::miss_curve() const {
  return core_ ? core_->table->miss_curve() : std::vector<MissCurvePoint>{};
}
Health Store::health() const { return core_ ? core_->health() : Health{HealthState::closed, false, false, "moved from"}; }
void Store::close(std::chrono::milliseconds deadline) {
  if (core_) core_->close(Deadline::after(deadline));
}
Result<void> Store::validate() const { return core_ ? core_->table->validate() : Result<void>{}; }

}  // namespace tiercache
