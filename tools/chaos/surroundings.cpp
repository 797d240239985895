// SPDX-License-Identifier: Apache-2.0
#include "surroundings.hpp"

#include "report.hpp"

#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

namespace tiercache::chaos {
namespace {

/// What stands behind "name<blanks>: " in one of the kernel's lists.
std::string entry_of(const char* file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(name)) continue;
    const std::size_t colon = line.find(':');
    const std::size_t at = colon == std::string::npos ? colon : line.find_first_not_of(" \t", colon + 1);
    if (at != std::string::npos) return line.substr(at);
  }
  return "unknown";
}

int status_of(int status) {
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  std::fprintf(stderr, "tiercache_chaos: the run died of signal %d\n", WTERMSIG(status));
  return 2;
}

}  // namespace

std::string machine_line() {
  utsname kernel{};
  uname(&kernel);
  const double gib = std::strtod(entry_of("/proc/meminfo", "MemTotal").c_str(), nullptr) / (1 << 20);
  return demo::format("%u processors (%s), %.1f GiB, %s %s", std::thread::hardware_concurrency(),
                      entry_of("/proc/cpuinfo", "model name").c_str(), gib, kernel.sysname, kernel.release);
}

std::string date_line() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &utc)};
}

int run_apart(const std::function<int()>& work) {
  std::string folder = (std::filesystem::temp_directory_path() / "tiercache-chaos-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) {
    std::fprintf(stderr, "tiercache_chaos: cannot make a temporary folder\n");
    return 2;
  }
  setenv("TMPDIR", folder.c_str(), 1);
  sigset_t awaited;  // SIGCHLD before the fork: its end is not to be missed
  sigemptyset(&awaited);
  for (const int s : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&awaited, s);
  sigset_t before;
  sigprocmask(SIG_BLOCK, &awaited, &before);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // so that it ends in order; its own children are bound to it
    sigprocmask(SIG_SETMASK, &before, nullptr);
    if (getppid() != parent) _exit(2);
    const int status = work();
    std::fflush(nullptr);
    _exit(status);
  }
  int status = 2 << 8;
  while (child > 0) {
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child || (ended < 0 && errno != EINTR)) break;
    if (const int signal = sigwaitinfo(&awaited, nullptr); signal == SIGINT || signal == SIGTERM) kill(child, signal);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return status_of(status);
}

}  // namespace tiercache::chaos
