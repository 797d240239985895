// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "report.hpp"

#include <string>

namespace tiercache::demo {

[[nodiscard]] inline std::string percent(double share) { return format("%.1f %%", 100 * share); }

[[nodiscard]] inline std::string span_us(double us) {
  if (us < 10) return format("%.2f us", us);
  if (us < 1000) return format("%.0f us", us);
  return format("%.1f ms", us / 1000);
}

/// The text of a report: groups of lines, each under a sentence that says what they mean.
class Table {
 public:
  void group(const char* title, const std::string& meaning) { text_ += format("\n%s: %s\n", title, meaning.c_str()); }
  void line(const char* name, const std::string& value, const std::string& note = {}) {
    text_ += format("  %-34s %16s%s%s\n", name, value.c_str(), note.empty() ? "" : "   ", note.c_str());
  }
  void latencies(const char* name, const Report::Quantiles& q) {
    text_ += format("  %-34s %16s %12s %12s\n", name, span_us(q.p50).c_str(), span_us(q.p99).c_str(), span_us(q.p999).c_str());
  }
  void raw(const std::string& text) { text_ += text; }
  [[nodiscard]] std::string text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace tiercache::demo
