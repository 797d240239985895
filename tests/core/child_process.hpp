// SPDX-License-Identifier: Apache-2.0
//
// A child that is forked before this process has a thread, and talks through shared memory; for who must die between two steps.
#pragma once

#include "instances.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>
#include <string>

namespace tiercache::testing {

/// What parent and child share. Lock-free atomics work across processes.
struct Shared {
  std::atomic<int> port{0};      // set by the parent once Redis runs
  std::atomic<int> command{0};   // parent -> child
  std::atomic<int> state{0};     // child -> parent
  std::atomic<int> database{1};  // the record, which outlives both
  std::atomic<std::int64_t> acknowledged{0};
  std::atomic<std::uint64_t> within{0}, beyond{0}, reads{0};
};

class Child {
 public:
  explicit Child(std::function<void(Shared&)> body) {
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap");
    shared = new (memory) Shared;
    const pid_t parent = getpid();
    pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      try {
        if (!eventually([this] { return shared->port != 0; })) _exit(3);
        body(*shared);
      } catch (...) {
        _exit(2);
      }
      _exit(0);
    }
  }
  ~Child() {
    if (!ended_) kill9();
    munmap(shared, sizeof(Shared));
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int join() {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    ended_ = true;
    return status;
  }
  /// Returns when it is dead.
  void kill9() {
    kill(pid, SIGKILL);
    join();
  }
  Shared* shared = nullptr;
  pid_t pid = -1;

 private:
  bool ended_ = false;
};

inline std::string local_url(int port) { return "redis://127.0.0.1:" + std::to_string(port); }

}  // namespace tiercache::testing
