// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/log.hpp>
#include <tiercache/base/ports.hpp>
#include <tiercache/invalidation/options.hpp>

#include <memory>

namespace tiercache::l2 {
struct Options;
struct Naming;
}  // namespace tiercache::l2

namespace tiercache::invalidation {

/// The bus over Redis pub/sub: a subscriber on its own connection ("tc-bus") and a heartbeat ("tc-beat") that goes through
/// `remote`, the same path as writes. Reconnects for ever with l2's back-off. `remote` must outlive the bus.
[[nodiscard]] std::unique_ptr<BusPort> open_bus(const Options& options, const l2::Options& l2, const l2::Naming& naming,
                                                RemotePort& remote, Log log);

}  // namespace tiercache::invalidation
