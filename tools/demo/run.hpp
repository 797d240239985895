// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ablation.hpp"
#include "report.hpp"

#include <tiercache/base/result.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace tiercache::demo {

/// What the command line says.
struct RunOptions {
  double seconds = 20;
  unsigned instances = 3;
  unsigned threads = 4;
  std::uint32_t keys = 100'000;
  double zipf = 0.99;
  double write_percent = 5;
  double db_latency_ms = 1;
  unsigned budget_ms = 500;
  std::uint64_t seed = 42;
  double l1_percent = 10;
  std::string redis_url;             ///< empty: a private server
  std::string trace;                 ///< empty: Zipf
  std::optional<bool> faults;        ///< unset: on without a trace, off with one
  const Ablation* ablate = nullptr;  ///< null: nothing
  std::string json;                  ///< empty: no file
  bool verbose = false;
};

/// The whole run, from the private Redis to the last comparison; prints progress on stdout. SIGINT and SIGTERM must be blocked in
/// every thread: the run takes them from the queue and ends cleanly with an error. Call it on the main thread.
[[nodiscard]] Result<Report> run_demo(const RunOptions& options);

}  // namespace tiercache::demo
