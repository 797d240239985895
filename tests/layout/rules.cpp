// SPDX-License-Identifier: Apache-2.0
#include "rules.hpp"

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>

namespace tiercache::test {
namespace {

namespace fs = std::filesystem;

/// A row of the table: the modules a module may include, and the other projects' headers it alone may see.
struct Row {
  std::string folder;
  std::set<std::string> modules;
  std::set<std::string> third_party;
};

const std::map<std::string, Row>& table() {
  static const std::map<std::string, Row> rows{
      {"base", {"core/base", {"base"}, {"xxhash.h"}}},
      {"l1", {"l1", {"l1", "base"}, {}}},
      {"l2", {"l2", {"l2", "base"}, {"hiredis"}}},
      {"invalidation", {"invalidation", {"invalidation", "base"}, {}}},
      {"core", {"core", {"core", "base", "l1"}, {"msgpack.hpp", "msgpack", "spdlog", "libcuckoo"}}},
      {"metrics", {"metrics", {"metrics", "base"}, {"prometheus", "httplib.h"}}},
      {"examples", {"examples", {"core", "base", "metrics", "l1"}, {"msgpack.hpp", "msgpack", "prometheus"}}},
  };
  return rows;
}

/// Single files that may see more than their module.
bool excepted(const std::string& module, const std::string& file, const std::string& target) {
  if (module == "invalidation") {  // it speaks to Redis over l2's connection
    return target == "tiercache/l2/connection.hpp" || target == "tiercache/l2/options.hpp" || target == "tiercache/l2/client.hpp";
  }
  if (file == "core/src/wiring.cpp")
    return target.rfind("tiercache/l2/", 0) == 0 || target.rfind("tiercache/invalidation/", 0) == 0;
  if (file == "core/include/tiercache/core/config.hpp") {  // Config is made of the modules' option structs
    return target == "tiercache/l2/options.hpp" || target == "tiercache/invalidation/options.hpp" ||
           target == "tiercache/invalidation/bus.hpp";
  }
  return false;
}

/// The first part of a path: "hiredis" of "hiredis/hiredis.h", "httplib.h" of "httplib.h".
std::string first_part(const std::string& path) { return path.substr(0, path.find('/')); }

/// Which of our modules `<tiercache/M/x.hpp>` names; the umbrella header is core's. Empty: none of ours.
std::string module_of_include(const std::string& target) {
  if (target.rfind("tiercache/", 0) != 0) return "";
  const std::string rest = target.substr(10);
  return rest.find('/') == std::string::npos ? "core" : first_part(rest);
}

bool is_below(const fs::path& path, const fs::path& folder) {
  const fs::path relative = path.lexically_normal().lexically_relative(folder.lexically_normal());
  return !relative.empty() && *relative.begin() != "..";
}

class Checker {
 public:
  explicit Checker(fs::path root) : root_(std::move(root)) {}

  LayoutReport run() && {
    for (const auto& [module, row] : table()) {
      const fs::path folder = root_ / row.folder;
      if (!fs::exists(folder)) continue;
      for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator(); ++it) {
        if (module == "core" && it->path() == root_ / "core/base") it.disable_recursion_pending();  // a module of its own
        const std::string extension = it->path().extension().string();
        if (it->is_regular_file() && (extension == ".hpp" || extension == ".cpp" || extension == ".h")) {
          ++report_.files[module];
          read(module, row, it->path());
        }
      }
    }
    std::sort(report_.violations.begin(), report_.violations.end());
    return std::move(report_);
  }

 private:
  void read(const std::string& module, const Row& row, const fs::path& path) {
    static const std::regex include(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)");
    const std::string file = path.lexically_relative(root_).generic_string();
    const bool is_public = is_below(path, root_ / row.folder / "include");
    const auto fail = [&](int line, const std::string& why) {
      report_.violations.push_back(file + ":" + std::to_string(line) + ": " + why);
    };
    std::ifstream in(path);
    bool pragma_once = false;
    int number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (number == 1 && line != "// SPDX-License-Identifier: Apache-2.0") fail(1, "does not begin with the SPDX line");
      pragma_once = pragma_once || line == "#pragma once";
      std::smatch found;
      if (!std::regex_match(line, found, include)) continue;
      const std::string target = found[2];
      if (const std::string why =
              found[1] == "<" ? wrong(module, row, file, is_public, target) : wrong_quoted(row, path, is_public, target);
          !why.empty()) {
        fail(number, why);
      }
    }
    if (number == 0) fail(1, "is empty");
    if (path.extension() == ".hpp" && !pragma_once) fail(1, "has no #pragma once");
  }

  static std::string wrong(const std::string& module, const Row& row, const std::string& file, bool is_public,
                           const std::string& target) {
    const std::string ours = module_of_include(target);
    if (!ours.empty()) {
      if (!row.modules.count(ours) && !excepted(module, file, target)) return module + " may not include <" + target + ">";
      if (target == "tiercache/base/lab.hpp" && (is_public || module == "examples")) {
        return "a public header may not include lab.hpp, which is not installed";
      }
      return "";
    }
    const std::string party = first_part(target);
    static const std::set<std::string> known{"hiredis", "prometheus", "spdlog",   "httplib.h", "msgpack.hpp",
                                             "msgpack", "libcuckoo",  "xxhash.h", "civetweb.h"};
    if (!known.count(party)) return "";
    static const std::set<std::string> hidden{"hiredis", "prometheus", "spdlog", "httplib.h", "libcuckoo", "civetweb.h"};
    if (is_public && hidden.count(party)) return "a public header may not include <" + target + ">";
    if (!row.third_party.count(party)) return module + " may not include <" + target + ">";
    return "";
  }

  /// "x.hpp" is a private header of the same module: beside the file, or under its src.
  std::string wrong_quoted(const Row& row, const fs::path& path, bool is_public, const std::string& target) const {
    if (is_public) return "a public header includes \"" + target + "\": use <tiercache/...>";
    const fs::path folder = root_ / row.folder;
    for (const fs::path& base : {path.parent_path(), folder / "src"}) {
      const fs::path candidate = (base / target).lexically_normal();
      if (fs::exists(candidate)) return is_below(candidate, folder) ? "" : "\"" + target + "\" leaves the module";
    }
    return "\"" + target + "\" is not in the module";
  }

  const fs::path root_;
  LayoutReport report_;
};

}  // namespace

LayoutReport check_layout(const fs::path& root) { return Checker(root).run(); }

}  // namespace tiercache::test
