// SPDX-License-Identifier: Apache-2.0
//
// Patterns over ids, in Redis's own glob: `*`, `?`, `[ab]`, `[^a]`, `[a-z]`, and `\` before what stands for itself.
#pragma once

#include "key.hpp"

#include <algorithm>
#include <string>
#include <string_view>

namespace tiercache::detail {

/// What matches the ids that begin with `prefix`, whatever signs it holds.
[[nodiscard]] inline std::string glob_of_prefix(std::string_view prefix) {
  std::string glob;
  for (const char c : prefix) {
    if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\') glob += '\\';
    glob += c;
  }
  return glob + '*';
}

/// Why a pattern is refused; null: good. Static text, never the pattern. Redis matches with a step back for each star, so that
/// many of them could hold the server up for every client.
[[nodiscard]] inline const char* glob_fault(std::string_view glob) noexcept {
  constexpr auto stars_max = 8;
  if (id_fault(glob) != nullptr) return "pattern: must be 1 to 1024 bytes above 0x20, without 0x7F and braces";
  if (std::count(glob.begin(), glob.end(), '*') > stars_max) return "pattern: more than 8 stars";
  return nullptr;
}

}  // namespace tiercache::detail
