// SPDX-License-Identifier: Apache-2.0
//
// The outcome: rows of (figure, peer), held against what is to be reached, as a table and as build/bench/SUITE.json.
#pragma once

#include "measure.hpp"

#include <filesystem>
#include <optional>
#include <regex>
#include <string>
#include <vector>

namespace tiercache::bench {

/// What a ratio, or a value, is to reach at least.
struct Target {
  const char* name;
  const char* peer;  ///< "": the value itself, whatever the peer
  double least;
};

enum class Better { higher, lower };

struct Row {
  std::string name;
  double value = 0;  ///< ours
  std::string unit{};
  std::string peer{};
  double peer_value = 0;
  double ratio = 1;  ///< ours / peer where more is better, peer / ours where less is: above 1 is ours ahead
  double spread = 0;
  double ratio_spread = 0;
  int threads = 1;
  std::string workload{};
  std::optional<double> least{};  ///< a target of the value that the run itself gives
};

struct Arguments {
  std::filesystem::path out;
  std::optional<std::regex> filter;
  int rounds = 5;
  double seconds = 0.2;              ///< of one sample
  std::vector<std::string> traces;   ///< files
  std::vector<std::string> folders;  ///< of traces

  [[nodiscard]] bool wants(const std::string& row) const { return !filter || std::regex_search(row, *filter); }
};

/// Ends the process with status 2 on arguments it does not know, 0 after --help. `more` is added to the help text.
[[nodiscard]] Arguments parse(const std::string& suite, int argc, char** argv, const std::string& more = "");

class Report {
 public:
  Report(std::string suite, std::vector<Target> targets) : suite_(std::move(suite)), targets_(std::move(targets)) {}

  /// A row for each peer in `samples`; ratios are taken round by round, then their median. `row` gives name, unit, threads,
  /// workload.
  void compare(const Row& row, const Samples& samples, const std::string& ours, Better better, double scale = 1);
  void add(Row row) { rows_.push_back(std::move(row)); }
  /// The run goes on; its exit status will be 1.
  void fail(const std::string& what);
  [[nodiscard]] const std::vector<Row>& rows() const { return rows_; }

  /// Prints the table, writes the file and returns the process's exit status.
  [[nodiscard]] int finish(const std::filesystem::path& out) const;

 private:
  [[nodiscard]] const Target* target_of(const Row& row) const;

  std::string suite_;
  std::vector<Target> targets_;
  std::vector<Row> rows_;
  std::vector<std::string> failures_;
};

}  // namespace tiercache::bench
