// SPDX-License-Identifier: Apache-2.0
//
// A reader of Prometheus' text format 0.0.4 that is stricter than Prometheus: what promtool would report is an error here.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tiercache::test {

struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

struct Exposition {
  std::map<std::string, std::string> types;  ///< family -> counter | gauge | histogram
  std::map<std::string, std::string> help;
  std::vector<Sample> samples;
  std::vector<std::string> errors;  ///< empty when the text is well-formed

  /// The one sample of that name whose labels include `labels`; nothing when there is none or more than one.
  [[nodiscard]] std::optional<double> value(const std::string& name, const std::map<std::string, std::string>& labels = {}) const;
  [[nodiscard]] std::string error_text() const;
};

/// Reads and checks: names and labels are legal, each family has HELP and TYPE once and before its samples and stands in one
/// piece, counters end in _total and are not negative, no series comes twice, buckets of a histogram are sorted, do not fall,
/// end with +Inf and agree with _count.
[[nodiscard]] Exposition read_exposition(const std::string& text);

}  // namespace tiercache::test
