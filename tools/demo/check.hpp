// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "row.hpp"
#include "shared.hpp"

#include <tiercache/tiercache.hpp>

#include <cstdint>

namespace tiercache::demo {

struct CheckResult {
  std::uint64_t keys = 0;    ///< written keys looked at
  std::uint64_t lost = 0;    ///< rows below their highest acknowledged version
  std::uint64_t wrong = 0;   ///< copies that differ from the row
  std::uint64_t errors = 0;  ///< keys that could not be looked at
};

/// After the quiet, compares what `rows` has of every key that was ever written with the row itself. An absent copy is right.
[[nodiscard]] CheckResult check_written(const SharedBlock& shared, Cache<Row> rows);

/// The same for an instance, by its own cache; the result goes to its block.
void check_copies(const SharedBlock& shared, const Cache<Row>& rows, unsigned instance);

}  // namespace tiercache::demo
