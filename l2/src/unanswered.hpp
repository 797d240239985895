// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tiercache::l2 {

/// Connections that were closed while a write on them had no answer. Redis may still hold such a write's bytes, in its socket or
/// its query buffer, and run it later: after an erase that another connection has answered, which would bring the erased value
/// back. So before the next write they are killed by their client ids, which drops what was not run; a write that was run already
/// came before.
///
/// Thread-safe; one mutex, held for no system call. Holds at most `most` ids, the newest: more are given up only while Redis
/// hangs, and then the circuit opens after a few.
class Unanswered {
 public:
  void add(std::string_view run_id, const std::string& client_id) {
    if (client_id.empty()) return;
    const std::lock_guard lock(mutex_);
    if (run_id != run_id_) ids_.clear();  // of a server that is gone, and what it had not run with it
    run_id_ = run_id;
    if (ids_.size() == most) ids_.erase(ids_.begin());
    ids_.push_back(client_id);
  }
  /// Those of the server `run_id`. They stay on the list until killed(): another thread's write must not overtake the killing.
  [[nodiscard]] std::vector<std::string> of(std::string_view run_id) const {
    const std::lock_guard lock(mutex_);
    return run_id == run_id_ ? ids_ : std::vector<std::string>{};
  }
  void killed(const std::vector<std::string>& ids) {
    const std::lock_guard lock(mutex_);
    std::erase_if(ids_, [&](const std::string& id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); });
  }

 private:
  static constexpr std::size_t most = 256;
  mutable std::mutex mutex_;
  std::string run_id_;
  std::vector<std::string> ids_;
};

}  // namespace tiercache::l2
