// SPDX-License-Identifier: Apache-2.0
//
// What a hit must not do, made visible: an allocation count a thread, and a filter that kills the process at a system call.
// Replaces malloc: for one source file of an executable of its own, not under sanitizers.
#pragma once

#include <gtest/gtest.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tiercache::testing {
inline thread_local constinit std::uint64_t allocations = 0;  ///< of the calling thread
}

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t n) { return ++tiercache::testing::allocations, __libc_malloc(n); }
void* calloc(std::size_t n, std::size_t m) { return ++tiercache::testing::allocations, __libc_calloc(n, m); }
void* realloc(void* p, std::size_t n) { return ++tiercache::testing::allocations, __libc_realloc(p, n); }
void* aligned_alloc(std::size_t a, std::size_t n) { return ++tiercache::testing::allocations, __libc_memalign(a, n); }
void free(void* p) { __libc_free(p); }
}

namespace tiercache::testing {

/// From here on any system call of this thread kills the process, but exit_group and those that are `allowed`.
inline void forbid_system_calls(const std::vector<std::uint32_t>& allowed = {}) {
  std::vector<sock_filter> filter{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  const auto allow = [&filter](std::uint32_t number) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  };
  allow(SYS_exit_group);
  for (const std::uint32_t number : allowed) allow(number);
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(99);
  // Its memory stays: a destructor's free() might enter the kernel.
  static_cast<void>(new std::vector<sock_filter>(std::move(filter)));
}

template <class F>
int in_child(F&& f) {
  const pid_t child = fork();
  if (child == 0) {
    f();
    _exit(98);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

}  // namespace tiercache::testing
