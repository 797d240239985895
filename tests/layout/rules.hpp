// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace tiercache::test {

struct LayoutReport {
  std::vector<std::string> violations;  ///< "file:line: what is wrong", sorted
  std::map<std::string, int> files;     ///< module -> files read, so that an empty tree is not taken for a good one
};

/// Reads the include lines of the modules and the examples under `root` and holds them against the table in docs/design.md.
[[nodiscard]] LayoutReport check_layout(const std::filesystem::path& root);

}  // namespace tiercache::test
