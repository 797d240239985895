// SPDX-License-Identifier: Apache-2.0
#include "children.hpp"

#include "clock.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

namespace tiercache::demo {

Result<void> Children::start(unsigned index, int shared_fd) {
  // Everything that allocates comes before the fork: after it only async-signal-safe calls are allowed.
  std::array<std::string, 4> words{"instance", "--instance", std::to_string(shared_fd), std::to_string(index)};
  std::array<char*, 5> argv{words[0].data(), words[1].data(), words[2].data(), words[3].data(), nullptr};
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return Error{Errc::internal, std::string("fork: ") + std::strerror(errno)};
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(2);     // the parent died before prctl took effect
    fcntl(shared_fd, F_SETFD, 0);          // this one goes with it; all others are close-on-exec
    execv("/proc/self/exe", argv.data());  // SIGINT and SIGTERM stay blocked: the parent ends the run
    _exit(127);
  }
  children_.push_back({index, pid});
  return {};
}

pid_t Children::pid_of(unsigned index) const noexcept {
  for (const Child& c : children_) {
    if (c.index == index && c.pid >= 0) return c.pid;
  }
  return -1;
}

void Children::kill9(unsigned index) {
  for (Child& c : children_) {
    if (c.index != index || c.pid < 0) continue;
    kill(c.pid, SIGKILL);
    while (waitpid(c.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    c.pid = -1;
  }
  std::erase_if(children_, [](const Child& c) { return c.pid < 0; });
}

void Children::pause(unsigned index) {
  const pid_t pid = pid_of(index);
  if (pid < 0 || kill(pid, SIGSTOP) != 0) return;
  siginfo_t info;  // WNOWAIT: should it have died instead, ended_early() is to find that
  while (waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
}

void Children::resume(unsigned index) {
  if (const pid_t pid = pid_of(index); pid >= 0) kill(pid, SIGCONT);
}

std::optional<std::string> Children::ended_early() {
  for (Child& c : children_) {
    int status = 0;
    if (c.pid < 0 || waitpid(c.pid, &status, WNOHANG) != c.pid) continue;
    c.pid = -1;
    const std::string who = "instance " + std::to_string(c.index);
    if (WIFSIGNALED(status)) return who + " died of signal " + std::to_string(WTERMSIG(status));
    return who + " ended with code " + std::to_string(WEXITSTATUS(status));
  }
  return std::nullopt;
}

bool Children::wait_all(std::int64_t timeout_ns) {
  const std::int64_t end = now_ns() + timeout_ns;
  for (;;) {
    for (Child& c : children_) {
      if (c.pid >= 0 && waitpid(c.pid, nullptr, WNOHANG) == c.pid) c.pid = -1;
    }
    if (std::all_of(children_.begin(), children_.end(), [](const Child& c) { return c.pid < 0; })) return true;
    if (now_ns() >= end) return false;
    sleep_ns(2 * ns_per_ms);
  }
}

Children::~Children() {
  for (const Child& c : children_) {
    if (c.pid >= 0) kill(c.pid, SIGKILL);
  }
  for (const Child& c : children_) {
    while (c.pid >= 0 && waitpid(c.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

}  // namespace tiercache::demo
