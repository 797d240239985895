// SPDX-License-Identifier: Apache-2.0
#include "exposition.hpp"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <regex>
#include <set>
#include <sstream>

namespace tiercache::test {
namespace {

using Labels = std::map<std::string, std::string>;

bool ends_with(const std::string& s, const std::string& tail) {
  return s.size() >= tail.size() && s.compare(s.size() - tail.size(), tail.size(), tail) == 0;
}

std::string label_text(const Labels& labels) {
  std::string text;
  for (const auto& [key, value] : labels) text += key + "=" + value + ";";
  return text;
}

/// The family that a sample belongs to: histograms have samples of other names.
std::string family_of(const std::string& name, const std::map<std::string, std::string>& types) {
  for (const char* suffix : {"_bucket", "_sum", "_count"}) {
    if (!ends_with(name, suffix)) continue;
    const std::string base = name.substr(0, name.size() - std::string(suffix).size());
    const auto type = types.find(base);
    if (type != types.end() && type->second == "histogram") return base;
  }
  return name;
}

std::optional<double> number(const std::string& text) {
  if (text == "+Inf") return std::numeric_limits<double>::infinity();
  if (text == "-Inf") return -std::numeric_limits<double>::infinity();
  if (text == "NaN" || text == "Nan") return std::nan("");
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0') return std::nullopt;
  return value;
}

/// Reads `{a="x",b="y"}` from `line` at `at`, which moves past it. False when it is no label set.
bool read_labels(const std::string& line, std::size_t& at, Labels& labels, std::string& error) {
  static const std::regex legal("[a-zA-Z_][a-zA-Z0-9_]*");
  ++at;
  while (at < line.size() && line[at] != '}') {
    const std::size_t equals = line.find("=\"", at);
    if (equals == std::string::npos) return error = "label without value", false;
    const std::string key = line.substr(at, equals - at);
    if (!std::regex_match(key, legal) || key.rfind("__", 0) == 0) return error = "illegal label name " + key, false;
    std::string value;
    for (at = equals + 2; at < line.size() && line[at] != '"'; ++at) {
      if (line[at] == '\\') {
        ++at;
        if (at >= line.size() || (line[at] != '\\' && line[at] != '"' && line[at] != 'n')) return error = "illegal escape", false;
        value += line[at] == 'n' ? '\n' : line[at];
      } else {
        value += line[at];
      }
    }
    if (at >= line.size()) return error = "label value without end", false;
    if (!labels.emplace(key, value).second) return error = "label twice: " + key, false;
    ++at;
    if (at < line.size() && line[at] == ',') ++at;
  }
  if (at >= line.size()) return error = "label set without end", false;
  ++at;
  return true;
}

void check_histograms(Exposition& out) {
  struct Series {
    std::vector<std::pair<double, double>> buckets;
    std::optional<double> count, sum;
  };
  std::map<std::string, Series> all;
  for (const Sample& s : out.samples) {
    const std::string family = family_of(s.name, out.types);
    if (out.types[family] != "histogram") continue;
    Labels labels = s.labels;
    const std::string le = labels["le"];
    labels.erase("le");
    Series& series = all[family + "{" + label_text(labels) + "}"];
    if (s.name == family + "_count") series.count = s.value;
    else if (s.name == family + "_sum") series.sum = s.value;
    else if (const auto bound = number(le)) series.buckets.emplace_back(*bound, s.value);
    else out.errors.push_back(family + ": bucket without le");
  }
  for (const auto& [name, series] : all) {
    if (!series.count || !series.sum) out.errors.push_back(name + ": _count or _sum is missing");
    if (series.buckets.empty() || !std::isinf(series.buckets.back().first)) {
      out.errors.push_back(name + ": the last bucket is not +Inf");
      continue;
    }
    for (std::size_t i = 1; i < series.buckets.size(); ++i) {
      if (series.buckets[i].first <= series.buckets[i - 1].first) out.errors.push_back(name + ": bounds do not rise");
      if (series.buckets[i].second < series.buckets[i - 1].second) out.errors.push_back(name + ": counts fall");
    }
    if (series.count && *series.count != series.buckets.back().second) out.errors.push_back(name + ": +Inf is not _count");
  }
}

}  // namespace

std::optional<double> Exposition::value(const std::string& name, const Labels& labels) const {
  std::optional<double> found;
  for (const Sample& s : samples) {
    if (s.name != name) continue;
    bool matches = true;
    for (const auto& [key, value] : labels) {
      const auto it = s.labels.find(key);
      matches = matches && it != s.labels.end() && it->second == value;
    }
    if (!matches) continue;
    if (found) return std::nullopt;
    found = s.value;
  }
  return found;
}

std::string Exposition::error_text() const {
  std::string text;
  for (const std::string& e : errors) text += e + "\n";
  return text;
}

Exposition read_exposition(const std::string& text) {
  static const std::regex legal("[a-zA-Z_:][a-zA-Z0-9_:]*");
  Exposition out;
  const auto fail = [&](const std::string& line, const std::string& why) { out.errors.push_back(why + ": " + line); };
  if (!text.empty() && text.back() != '\n') fail("(end)", "no line feed at the end");

  std::set<std::string> series;
  std::set<std::string> finished;
  std::string current;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.empty()) continue;
    if (line[0] == '#') {
      std::istringstream words(line);
      std::string hash, what, name, rest;
      words >> hash >> what >> name;
      std::getline(words, rest);
      if (!rest.empty()) rest.erase(0, 1);
      if (what == "HELP" && !out.help.emplace(name, rest).second) fail(line, "HELP twice");
      if (what == "HELP" && rest.empty()) fail(line, "empty HELP");
      if (what == "TYPE" && !out.types.emplace(name, rest).second) fail(line, "TYPE twice");
      continue;
    }
    Sample sample;
    std::size_t at = line.find_first_of("{ ");
    if (at == std::string::npos) {
      fail(line, "no value");
      continue;
    }
    sample.name = line.substr(0, at);
    if (!std::regex_match(sample.name, legal)) fail(line, "illegal metric name");
    std::string error;
    if (line[at] == '{' && !read_labels(line, at, sample.labels, error)) {
      fail(line, error);
      continue;
    }
    const auto value = at < line.size() && line[at] == ' ' ? number(line.substr(at + 1)) : std::nullopt;
    if (!value) {
      fail(line, "no number");
      continue;
    }
    sample.value = *value;

    const std::string family = family_of(sample.name, out.types);
    if (!out.types.count(family) || !out.help.count(family)) fail(line, "no TYPE or HELP before it");
    if (family != current) {
      if (!finished.insert(family).second) fail(line, "the family stands in several pieces");
      current = family;
    }
    if (out.types[family] == "counter" && (!ends_with(family, "_total") || !(sample.value >= 0))) fail(line, "no good counter");
    if (out.types[family] != "counter" && ends_with(family, "_total")) fail(line, "_total is for counters");
    if (!series.insert(sample.name + "{" + label_text(sample.labels) + "}").second) fail(line, "series twice");
    out.samples.push_back(std::move(sample));
  }
  check_histograms(out);
  return out;
}

}  // namespace tiercache::test
