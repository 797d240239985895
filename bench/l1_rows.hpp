// SPDX-License-Identifier: Apache-2.0
//
// The parts of the suite l1. Each measures the rows that are asked for and nothing else.
#pragma once

#include "report.hpp"

namespace tiercache::bench {

void read_rows(const Arguments& arguments,
               Report& report);  ///< l1.get.*, l1.visit.*, l1.get_copy.*, l1.get_many16.*, hot1, bytes
void mixed_rows(const Arguments& arguments, Report& report);    ///< l1.mixed95.*, l1.mixed50.*
void latency_rows(const Arguments& arguments, Report& report);  ///< l1.oversub8.*
void facade_rows(const Arguments& arguments, Report& report);   ///< l1.facade.*

/// Runs one row's measurement; what it throws becomes a failure of the report.
template <class F>
void attempt(Report& report, const std::string& row, F&& f) {
  std::fprintf(stderr, "\n%-30s ", row.c_str());
  try {
    f();
  } catch (const std::exception& e) {
    report.fail(row + ": " + e.what());
  }
}

}  // namespace tiercache::bench
