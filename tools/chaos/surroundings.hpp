// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

namespace tiercache::chaos {

/// Processors, memory and kernel, in one line.
[[nodiscard]] std::string machine_line();
/// The time of day in UTC, to the minute.
[[nodiscard]] std::string date_line();

/// Runs `work` in a child process whose temporary folder is one of its own, and removes that whatever became of the child: by an
/// assertion that failed or a signal it could not tidy up itself. SIGINT and SIGTERM go on to the child. REQUIRES: one thread,
/// both signals blocked. -> the child's exit status; 2 where it died of a signal.
int run_apart(const std::function<int()>& work);

}  // namespace tiercache::chaos
