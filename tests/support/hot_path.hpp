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

/// From here on any system call of this thread but exit kills the process.
inline void forbid_system_calls() {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog program{sizeof filter / sizeof filter[0], filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(99);
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
