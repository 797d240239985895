// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "board.hpp"
#include "cell.hpp"

#include <tiercache/tiercache.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace tiercache::chaos {

/// How an instance of the run opens its store.
[[nodiscard]] Config instance_config(const Settings& settings, std::uint16_t port);

struct Audit {
  std::uint64_t keys = 0;     ///< looked at
  std::uint64_t present = 0;  ///< of them: there was a copy
  std::uint64_t wrong = 0;    ///< copies that are not the committed row
  std::uint64_t excused = 0;  ///< copies that are not, through a loss that the promise leaves out
  std::uint64_t errors = 0;   ///< keys that could not be looked at
};

/// After the quiet: compares every copy that `cells` answers with its row. An absent copy is right. `instance`: see WrongCopy.
[[nodiscard]] Audit audit_rows(const Board& board, unsigned instance, Cache<Cell> cells, const std::vector<std::string>& names);

}  // namespace tiercache::chaos
