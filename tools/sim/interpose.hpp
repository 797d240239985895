// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tiercache::sim {

class Network;

/// Whose sockets the product's code opens from here on; null: none.
void set_network(Network* network) noexcept;

}  // namespace tiercache::sim
