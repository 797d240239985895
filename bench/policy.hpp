// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

namespace tiercache::bench {

/// Selects the table's LRU order, if its options have one; false if they do not.
template <class O>
bool select_lru(O& options) {
  if constexpr (requires { options.policy = std::remove_cvref_t<decltype(options.policy)>::lru; }) {
    options.policy = std::remove_cvref_t<decltype(options.policy)>::lru;
    return true;
  } else {
    return false;
  }
}

}  // namespace tiercache::bench
