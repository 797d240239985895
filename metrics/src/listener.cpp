// SPDX-License-Identifier: Apache-2.0
#include "listener.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>
#include <utility>

namespace tiercache::metrics {
namespace {

Error cannot_listen(const std::string& address, std::uint16_t port, const std::string& why) {
  const bool v6 = address.find(':') != std::string::npos;
  return {Errc::unavailable,
          "cannot listen on " + (v6 ? "[" + address + "]" : address) + ":" + std::to_string(port) + ": " + why};
}

std::string reason(int error) { return std::error_code(error, std::generic_category()).message(); }

Result<int> bound_socket(const std::string& address, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;  // numeric: the name service could block the start
  addrinfo* found = nullptr;
  if (const int rc = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found); rc != 0) {
    return cannot_listen(address, port, gai_strerror(rc));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return cannot_listen(address, port, reason(errno));
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 64) != 0) {
    const int error = errno;
    close(fd);
    return cannot_listen(address, port, reason(error));
  }
  return fd;
}

std::uint16_t port_of(int fd) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) return 0;
  if (name.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&name)->sin6_port);
  return ntohs(reinterpret_cast<sockaddr_in*>(&name)->sin_port);
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::open(const std::string& address, std::uint16_t port, Limits limits, Serve serve) {
  const Result<int> fd = bound_socket(address, port);
  if (!fd) return fd.error();
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) {
    const int error = errno;
    close(*fd);
    return cannot_listen(address, port, reason(error));
  }
  std::unique_ptr<Listener> listener(new Listener(*fd, wake, port_of(*fd), limits, std::move(serve)));
  try {
    listener->start_threads();
  } catch (const std::system_error& e) {  // no thread to be had; those that run are joined by the destructor
    return cannot_listen(address, port, e.what());
  }
  return listener;
}

Listener::Listener(int listen_fd, int wake_fd, std::uint16_t port, Limits limits, Serve serve)
    : listen_fd_(listen_fd), wake_fd_(wake_fd), port_(port), limits_(limits), serve_(std::move(serve)) {
  serving_.reserve(limits_.threads);
}

Listener::~Listener() {
  stop();
  close(wake_fd_);
}

void Listener::start_threads() {
  // Threads inherit the mask: a signal of the application must never be delivered to one of ours.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto restore = [&] { pthread_sigmask(SIG_SETMASK, &before, nullptr); };
  try {
    threads_.reserve(limits_.threads + 1);
    threads_.emplace_back([this] { accept_loop(); });
    for (std::uint32_t i = 0; i < limits_.threads; ++i) threads_.emplace_back([this] { serve_loop(); });
  } catch (...) {
    restore();
    throw;
  }
  restore();
  for (std::thread& t : threads_) pthread_setname_np(t.native_handle(), "tc-http");
}

void Listener::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    // Under the mutex, because serve_loop takes a descriptor off the list before it closes it: none here can be another's by now.
    for (const int fd : serving_) shutdown(fd, SHUT_RDWR);
    for (const int fd : pending_) close(fd);
    pending_.clear();
  }
  changed_.notify_all();
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(wake_fd_, &one, sizeof one);
  for (std::thread& t : threads_) t.join();
  threads_.clear();
  // Only now, when nobody polls it any more: its number may be given to another file at once. This also resets the connections
  // that the kernel had queued.
  if (listen_fd_ >= 0) close(std::exchange(listen_fd_, -1));
}

bool Listener::wait_for_room() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stopping_ || pending_.size() < limits_.pending_max; });
  return !stopping_;
}

void Listener::hand_over(int fd) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      close(fd);
      return;
    }
    pending_.push_back(fd);
  }
  changed_.notify_all();
}

void Listener::accept_loop() noexcept {
  while (wait_for_room()) {
    pollfd waits[] = {{wake_fd_, POLLIN, 0}, {listen_fd_, POLLIN, 0}};
    if (poll(waits, 2, -1) < 0 && errno != EINTR) return;
    if (waits[0].revents != 0) return;
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
      hand_over(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // Out of descriptors: the connection stays queued and poll would return at once, so wait a little for one to be freed.
      poll(waits, 1, 100);
    }
  }
}

void Listener::serve_loop() noexcept {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || !pending_.empty(); });
    if (stopping_) return;
    const int fd = pending_.front();
    pending_.pop_front();
    serving_.push_back(fd);
    lock.unlock();
    changed_.notify_all();  // there is room again

    serve_(fd, Deadline::after(limits_.timeout));

    lock.lock();
    serving_.erase(std::find(serving_.begin(), serving_.end(), fd));
    lock.unlock();
    close(fd);
  }
}

}  // namespace tiercache::metrics
