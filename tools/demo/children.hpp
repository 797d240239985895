// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tiercache/base/result.hpp>

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace tiercache::demo {

/// The instances: child processes of this one. Whatever happens to the parent, they end (PR_SET_PDEATHSIG, which is bound to the
/// thread that made them: start them on the main thread). Destruction kills and reaps what still runs, by pid.
///
/// Fork and exec, not fork alone: the parent has threads by then (the private Redis server's), and an instance is to be a process
/// as a service would be one, with nothing inherited but the descriptor of the shared block.
class Children {
 public:
  Children() = default;
  ~Children();
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  /// Runs this program again as instance `index` ("--instance FD INDEX").
  [[nodiscard]] Result<void> start(unsigned index, int shared_fd);
  /// Kills it with SIGKILL and reaps it; it may be started again. No effect where it does not run.
  void kill9(unsigned index);
  /// SIGSTOP: returns when every thread of it stands still; SIGCONT, likewise.
  void pause(unsigned index);
  void resume(unsigned index);
  /// How an instance ended, if one did that was not told to.
  [[nodiscard]] std::optional<std::string> ended_early();
  /// Waits until all have ended by themselves; false: not within the time.
  [[nodiscard]] bool wait_all(std::int64_t timeout_ns);

 private:
  struct Child {
    unsigned index = 0;
    pid_t pid = -1;  ///< -1: reaped
  };
  [[nodiscard]] pid_t pid_of(unsigned index) const noexcept;  ///< -1: does not run

  std::vector<Child> children_;
};

}  // namespace tiercache::demo
