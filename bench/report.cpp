// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <system_error>

namespace tiercache::bench {
namespace {

[[noreturn]] void refuse(const std::string& suite, const std::string& why) {
  std::fprintf(stderr, "bench %s: %s; see --help\n", suite.c_str(), why.c_str());
  std::exit(2);
}

double positive(const std::string& suite, const std::string& flag, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value > 0)) refuse(suite, flag + " wants a number above 0");
  return value;
}

}  // namespace

Arguments parse(const std::string& suite, int argc, char** argv, const std::string& more) {
  Arguments a;
  a.out = std::filesystem::path("build") / "bench" / (suite + ".json");
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--help" || flag == "-h") {
      std::printf(
          "bench %s\n"
          "  --filter REGEX  only rows whose name it matches\n"
          "  --rounds N      samples of each structure; the median counts (5)\n"
          "  --seconds S     length of one sample (0.2)\n"
          "  --out FILE      where the figures go as JSON (%s)\n%s",
          suite.c_str(), a.out.c_str(), more.c_str());
      std::exit(0);
    }
    if (i + 1 == argc) refuse(suite, "'" + flag + "' is unknown or wants a value");
    const std::string value = argv[++i];
    if (flag == "--out") {
      a.out = value;
    } else if (flag == "--filter") {
      try {
        a.filter = std::regex(value);
      } catch (const std::regex_error&) {
        refuse(suite, "--filter wants a regular expression");
      }
    } else if (flag == "--rounds") {
      a.rounds = static_cast<int>(positive(suite, flag, value));
      if (a.rounds < 1) refuse(suite, "--rounds wants 1 or more");
    } else if (flag == "--seconds") {
      a.seconds = positive(suite, flag, value);
    } else if (flag == "--trace" && !more.empty()) {
      a.traces.push_back(value);
    } else if (flag == "--traces" && !more.empty()) {
      a.folders.push_back(value);
    } else {
      refuse(suite, "'" + flag + "' is unknown");
    }
  }
  return a;
}

void Report::compare(const Row& row, const Samples& samples, const std::string& ours, Better better, double scale) {
  const std::vector<double>& own = samples.at(ours);
  for (const auto& [peer, theirs] : samples) {
    if (peer == ours) continue;
    std::vector<double> ratios;
    for (std::size_t round = 0; round < own.size() && round < theirs.size(); ++round)
      ratios.push_back(better == Better::higher ? own[round] / theirs[round] : theirs[round] / own[round]);
    Row r = row;
    r.value = median(own) * scale;
    r.peer = peer;
    r.peer_value = median(theirs) * scale;
    r.ratio = median(ratios);
    r.spread = spread(own);
    r.ratio_spread = spread(ratios);
    add(std::move(r));
  }
}

void Report::fail(const std::string& what) {
  std::fprintf(stderr, "\nbench %s: FAILED: %s\n", suite_.c_str(), what.c_str());
  failures_.push_back(what);
}

const Target* Report::target_of(const Row& row) const {
  for (const Target& t : targets_)
    if (row.name == t.name && (*t.peer == '\0' || row.peer == t.peer)) return &t;
  return nullptr;
}

int Report::finish(const std::filesystem::path& out) const {
  nlohmann::json json = nlohmann::json::array();
  std::printf("\n%-30s %10s %-10s %-18s %10s %7s %6s %7s  %s\n", "row", "ours", "", "peer", "its figure", "ratio", "+-", "target",
              "reached");
  int reached = 0;
  int missed = 0;
  const std::string* last = nullptr;
  for (const Row& row : rows_) {
    const Target given{"", "", row.least.value_or(0)};
    const Target* target = row.least ? &given : target_of(row);
    nlohmann::json j{
        {"name", row.name},       {"value", row.value},           {"unit", row.unit},     {"peer", row.peer},
        {"ratio", row.ratio},     {"peer_value", row.peer_value}, {"spread", row.spread}, {"ratio_spread", row.ratio_spread},
        {"threads", row.threads}, {"workload", row.workload}};
    std::string aim = "-";
    std::string verdict = "-";
    if (target != nullptr) {
      const bool of_value = *target->peer == '\0';
      const bool ok = (of_value ? row.value : row.ratio) >= target->least;
      (ok ? reached : missed) += 1;
      char text[32];
      std::snprintf(text, sizeof text, "%s%.4g", of_value ? "=" : "", target->least);
      aim = text;
      verdict = ok ? "yes" : "NO";
      j["target"] = target->least;
      j["target_of"] = of_value ? "value" : "ratio";
      j["reached"] = ok;
    }
    json.push_back(std::move(j));
    const bool again = last != nullptr && *last == row.name;
    std::printf("%-30s %10.4g %-10s %-18s %10.4g %7.3g %5.1f%% %7s  %s\n", again ? "" : row.name.c_str(), row.value,
                row.unit.c_str(), row.peer.c_str(), row.peer_value, row.ratio, 100 * row.ratio_spread, aim.c_str(),
                verdict.c_str());
    last = &row.name;
  }
  std::printf(
      "\nratio: ours / peer, for latency and bytes peer / ours; above 1 ours is ahead. +-: half the distance between the\n"
      "quartiles of the rounds' ratios. A target with \"=\" is of our figure, not of the ratio. %d reached, %d not.\n",
      reached, missed);

  std::error_code ignored;  // the write below says what is wrong
  if (out.has_parent_path()) std::filesystem::create_directories(out.parent_path(), ignored);
  std::ofstream file(out);
  file << json.dump(2) << '\n';
  file.close();
  if (!file) {
    std::fprintf(stderr, "bench %s: cannot write %s\n", suite_.c_str(), out.c_str());
    return 1;
  }
  for (const std::string& failure : failures_) std::printf("FAILED: %s\n", failure.c_str());
  return failures_.empty() ? 0 : 1;
}

}  // namespace tiercache::bench
