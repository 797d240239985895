// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>

#include <csignal>
#include <thread>
#include <utility>

namespace tiercache {

/// Starts a named thread with all signals blocked: the application's handlers run on the application's threads. They are blocked
/// before it starts, so that there is no window. Throws std::system_error when there are no threads left.
template <class F>
[[nodiscard]] std::thread start_thread(const char* name, F body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  struct Restore {
    const sigset_t& mask;
    ~Restore() { pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  } restore{before};
  return std::thread([name, body = std::move(body)]() mutable {
    pthread_setname_np(pthread_self(), name);
    body();
  });
}

}  // namespace tiercache
