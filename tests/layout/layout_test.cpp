// SPDX-License-Identifier: Apache-2.0
#include "rules.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace tiercache::test {
namespace {

namespace fs = std::filesystem;

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return all;
}

TEST(Layout, NoFolderIncludesWhatItMayNot) {
  const LayoutReport report = check_layout(fs::canonical(TIERCACHE_SOURCE_DIR));
  EXPECT_EQ(joined(report.violations), "");
  for (const char* module : {"base", "l1", "l2", "invalidation", "core", "metrics"}) {
    EXPECT_GE(report.files.count(module) ? report.files.at(module) : 0, 3) << "hardly anything was read of " << module;
  }
}

/// A small tree in which every rule is kept; each test breaks one.
class PlantedTree : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "tiercache-layout-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    root_ = name;
    write("core/base/include/tiercache/base/result.hpp", "");
    write("core/base/include/tiercache/base/lab.hpp", "");
    write("l1/include/tiercache/l1/table.hpp", "#include <tiercache/base/result.hpp>\n");
    write("l1/src/table.cpp", "#include <tiercache/base/lab.hpp>\n#include <tiercache/l1/table.hpp>\n#include \"inner.hpp\"\n");
    write("l1/src/inner.hpp", "");
    write("l2/include/tiercache/l2/options.hpp", "#include <tiercache/base/result.hpp>\n");
    write("l2/src/client.cpp", "#include <hiredis/hiredis.h>\n");
    write("invalidation/src/bus.cpp", "#include <tiercache/l2/connection.hpp>\n");
    write("core/include/tiercache/core/config.hpp",
          "#include <tiercache/invalidation/bus.hpp>\n#include <tiercache/l2/options.hpp>\n");
    write("core/include/tiercache/tiercache.hpp", "#include <tiercache/core/config.hpp>\n");
    write("core/src/wiring.cpp", "#include <tiercache/invalidation/bus.hpp>\n#include <tiercache/l2/client.hpp>\n");
    write("core/src/flow.cpp", "#include <tiercache/l1/table.hpp>\n#include <vector>\n");
    write("metrics/src/collector.cpp", "#include <httplib.h>\n#include <prometheus/counter.h>\n");
    write("examples/first.cpp", "#include <tiercache/tiercache.hpp>\n");
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& file, const std::string& includes) {
    write_raw(file, "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n" + includes);
  }
  void write_raw(const std::string& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
  }

  /// Plants `includes` in `file` and expects exactly one violation, which names the file.
  void expect_caught(const std::string& file, const std::string& includes, const std::string& why) {
    SCOPED_TRACE(file + " with " + includes);
    write(file, includes);
    const LayoutReport report = check_layout(root_);
    ASSERT_EQ(report.violations.size(), 1U) << joined(report.violations);
    EXPECT_EQ(report.violations[0].rfind(file + ":3: ", 0), 0U) << report.violations[0];
    EXPECT_NE(report.violations[0].find(why), std::string::npos) << report.violations[0];
    fs::remove(root_ / file);
  }

  fs::path root_;
};

TEST_F(PlantedTree, WithoutAPlantedFaultIsClean) { EXPECT_EQ(joined(check_layout(root_).violations), ""); }

TEST_F(PlantedTree, IncludesOfAModuleThatIsNotInTheRowAreCaught) {
  expect_caught("core/base/include/tiercache/base/x.hpp", "#include <tiercache/l1/table.hpp>\n", "base may not");
  expect_caught("l1/src/x.cpp", "#include <tiercache/l2/options.hpp>\n", "l1 may not");
  expect_caught("l1/src/x.cpp", "#include <tiercache/core/config.hpp>\n", "l1 may not");
  expect_caught("l1/src/x.cpp", "  #  include <tiercache/tiercache.hpp> // why not\n", "l1 may not");
  expect_caught("l2/src/x.cpp", "#include <tiercache/invalidation/bus.hpp>\n", "l2 may not");
  expect_caught("invalidation/src/x.cpp", "#include <tiercache/l1/table.hpp>\n", "invalidation may not");
  expect_caught("invalidation/src/x.cpp", "#include <tiercache/l2/pool.hpp>\n", "invalidation may not");
  expect_caught("core/src/x.cpp", "#include <tiercache/l2/client.hpp>\n", "core may not");
  expect_caught("core/src/x.cpp", "#include <tiercache/l2/options.hpp>\n", "core may not");
  expect_caught("core/src/x.cpp", "#include <tiercache/invalidation/bus.hpp>\n", "core may not");
  expect_caught("core/src/x.cpp", "#include <tiercache/metrics/endpoint.hpp>\n", "core may not");
  expect_caught("metrics/src/x.cpp", "#include <tiercache/tiercache.hpp>\n", "metrics may not");
  expect_caught("metrics/src/x.cpp", "#include <tiercache/l1/table.hpp>\n", "metrics may not");
  expect_caught("examples/x.cpp", "#include <tiercache/l2/client.hpp>\n", "examples may not");
}

TEST_F(PlantedTree, ConfigAndWiringMaySeeMoreButNotEverything) {
  expect_caught("core/src/wiring.cpp", "#include <tiercache/metrics/endpoint.hpp>\n", "core may not");
  write("core/src/wiring.cpp", "");
  expect_caught("core/include/tiercache/core/config.hpp", "#include <tiercache/l2/client.hpp>\n", "core may not");
}

TEST_F(PlantedTree, OtherProjectsHeadersInPublicHeadersAreCaught) {
  expect_caught("l2/include/tiercache/l2/x.hpp", "#include <hiredis/hiredis.h>\n", "public header");
  expect_caught("core/include/tiercache/core/x.hpp", "#include <spdlog/spdlog.h>\n", "public header");
  expect_caught("core/include/tiercache/core/x.hpp", "#include <libcuckoo/cuckoohash_map.hh>\n", "public header");
  expect_caught("metrics/include/tiercache/metrics/x.hpp", "#include <prometheus/counter.h>\n", "public header");
  expect_caught("metrics/include/tiercache/metrics/x.hpp", "#include <httplib.h>\n", "public header");
}

TEST_F(PlantedTree, OtherProjectsHeadersInTheWrongModuleAreCaught) {
  expect_caught("core/src/x.cpp", "#include <hiredis/hiredis.h>\n", "core may not");
  expect_caught("l1/src/x.cpp", "#include <spdlog/spdlog.h>\n", "l1 may not");
  expect_caught("l2/src/x.cpp", "#include <msgpack.hpp>\n", "l2 may not");
}

TEST_F(PlantedTree, TheLabInAPublicHeaderIsCaught) {
  expect_caught("l1/include/tiercache/l1/x.hpp", "#include <tiercache/base/lab.hpp>\n", "lab.hpp");
  expect_caught("core/base/include/tiercache/base/x.hpp", "#include <tiercache/base/lab.hpp>\n", "lab.hpp");
}

TEST_F(PlantedTree, QuotedIncludesThatLeaveTheModuleAreCaught) {
  expect_caught("l1/src/x.cpp", "#include \"../../l2/src/client.cpp\"\n", "leaves the module");
  expect_caught("l1/src/x.cpp", "#include \"missing.hpp\"\n", "not in the module");
  expect_caught("l1/include/tiercache/l1/x.hpp", "#include \"table.hpp\"\n", "public header");
  expect_caught("core/src/x.cpp", "#include \"../../metrics/src/collector.cpp\"\n", "leaves the module");
}

TEST_F(PlantedTree, MissingFirstLinesAreCaught) {
  const auto expect_one = [&](const std::string& file, const std::string& text, const std::string& why) {
    write_raw(file, text);
    const LayoutReport report = check_layout(root_);
    ASSERT_EQ(report.violations.size(), 1U) << joined(report.violations);
    EXPECT_NE(report.violations[0].find(why), std::string::npos) << report.violations[0];
    fs::remove(root_ / file);
  };
  expect_one("l1/include/tiercache/l1/x.hpp", "#pragma once\n", "SPDX");
  expect_one("l1/src/x.cpp", "int x;\n", "SPDX");
  expect_one("l1/include/tiercache/l1/x.hpp", "// SPDX-License-Identifier: Apache-2.0\n", "pragma once");
  expect_one("l1/src/x.cpp", "", "empty");
}

}  // namespace
}  // namespace tiercache::test
