// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/log.hpp>
#include <tiercache/base/ports.hpp>
#include <tiercache/base/result.hpp>

#include <chrono>
#include <memory>

namespace tiercache::l2 {
struct Options;
struct Naming;
}  // namespace tiercache::l2

namespace tiercache::invalidation {

struct Options {
  bool enabled = true;                                  ///< false: no bus; L1 of this store is not kept coherent with others
  std::chrono::milliseconds staleness_budget{2000};     ///< D: past it L1 is bypassed; 250 ms .. 1 h
  std::chrono::milliseconds heartbeat{0};               ///< H; 0: a fifth of the budget; at most a third of it
  [[nodiscard]] Result<void> validate() const;
  [[nodiscard]] std::chrono::milliseconds heartbeat_interval() const { return heartbeat.count() ? heartbeat : staleness_budget / 5; }
};

/// The bus over Redis pub/sub: a subscriber on its own connection ("tc-bus") and a heartbeat ("tc-beat") that goes through
/// `remote`, the same path as writes. Reconnects for ever with l2's back-off. `remote` must outlive the bus.
[[nodiscard]] std::unique_ptr<BusPort> open_bus(const Options& options, const l2::Options& l2, const l2::Naming& naming,
                                                RemotePort& remote, Log log);

}  // namespace tiercache::invalidation
