// SPDX-License-Identifier: Apache-2.0
//
// The one file that knows what stands behind the ports.
#include "store_core.hpp"

#include <tiercache/invalidation/bus.hpp>
#include <tiercache/l2/client.hpp>

namespace tiercache::detail {

void connect_ports(StoreCore& core) {
  if (!core.config.l2.enabled) return;
  const l2::Naming naming{core.config.env, core.config.resource, core.origin, core.config.bus.log_entries,
                          core.config.instance_name};
  core.remote = l2::open_client(core.config.l2, naming, core.log, core.config.open_timeout);
  if (core.config.bus.enabled) core.bus = invalidation::open_bus(core.config.bus, core.config.l2, naming, *core.remote, core.log);
}

}  // namespace tiercache::detail
