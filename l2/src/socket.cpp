// SPDX-License-Identifier: Apache-2.0
#include "socket.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>

namespace tiercache::l2 {
namespace {

// strerror's buffer is shared by all threads; these texts are constants.
const char* text_of(int error) noexcept {
  const char* const text = strerrordesc_np(error);
  return text != nullptr ? text : "unknown error";
}
Error failed(int error) { return {Errc::unavailable, text_of(error)}; }

/// How long the kernel waits in one receive: long beside a round trip, short beside a deadline.
constexpr std::chrono::milliseconds receive_waits{200};

void set_option(int fd, int level, int option, int value) noexcept {
  // A kernel that does not know one of these still serves us.
  static_cast<void>(setsockopt(fd, level, option, &value, sizeof value));
}

struct FreeAddresses {
  void operator()(addrinfo* a) const noexcept { freeaddrinfo(a); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

int look_up(const Endpoint& to, int flags, Addresses& found) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int code = getaddrinfo(to.host.c_str(), std::to_string(to.port).c_str(), &hints, &list);
  if (code == 0) found.reset(list);
  return code;
}

}  // namespace

Result<Socket> Socket::connect(const Endpoint& to, Deadline deadline, int cancel_fd) {
  Addresses addresses;
  if (look_up(to, AI_NUMERICHOST, addresses) != 0) {
    if (const int code = look_up(to, 0, addresses); code != 0) return Error{Errc::unavailable, gai_strerror(code)};
  }
  Error last{Errc::unavailable, "the host has no address"};
  for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
    Socket s(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol));
    if (s.fd_ < 0) {
      last = failed(errno);
      continue;
    }
    s.cancel_by(cancel_fd);
    set_option(s.fd_, IPPROTO_TCP, TCP_NODELAY, 1);
    // A pooled connection whose peer vanished without a word is found dead within half a minute, not within two hours.
    set_option(s.fd_, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(s.fd_, IPPROTO_TCP, TCP_KEEPIDLE, 15);
    set_option(s.fd_, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_option(s.fd_, IPPROTO_TCP, TCP_KEEPCNT, 3);
    if (::connect(s.fd_, a->ai_addr, a->ai_addrlen) == 0) return s;
    if (errno != EINPROGRESS && errno != EINTR) {
      last = failed(errno);
      continue;
    }
    if (auto ready = s.wait(Ready::writable, deadline); !ready)
      return Error{ready.error().code, "connecting: " + ready.error().message};
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(s.fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) return s;
    last = failed(error);
  }
  return last;
}

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::size_t> Socket::send(std::string_view bytes) {
  for (;;) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    if (errno != EINTR) return failed(errno);
  }
}

// A round trip is two system calls, send and this. Looking first, polling and reading would be four, and on loopback each of them
// is a hundredth of the whole. The kernel's own time limit is a fixed one, so the last of the time is still polled out.
void Socket::wait_in_receive() noexcept {
  const timeval limit{0, std::chrono::duration_cast<std::chrono::microseconds>(receive_waits).count()};
  const int flags = fcntl(fd_, F_GETFL);
  waits_ = flags >= 0 && setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
           fcntl(fd_, F_SETFL, flags & ~O_NONBLOCK) == 0;
}

Result<std::size_t> Socket::receive(char* to, std::size_t size, Deadline deadline) {
  const bool far = waits_ && deadline.left() > receive_waits;
  if (!far) {
    if (auto ready = wait(Ready::readable, deadline); !ready) return ready.error();
  }
  return read(to, size, far);
}

Result<std::size_t> Socket::read(char* to, std::size_t size, bool waits) {
  for (;;) {
    const ssize_t n = ::recv(fd_, to, size, waits ? 0 : MSG_DONTWAIT);
    if (n > 0) return static_cast<std::size_t>(n);
    if (n == 0) return Error{Errc::unavailable, "closed by the peer"};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    if (errno == EINTR && waits) return std::size_t{0};  // the caller looks at the time
    if (errno != EINTR) return failed(errno);
  }
}

Result<void> Socket::wait(Ready what, Deadline deadline) {
  for (;;) {
    const int left = deadline.left_poll_ms();
    pollfd polls[2] = {{fd_, static_cast<short>(what == Ready::readable ? POLLIN : POLLOUT), 0}, {cancel_fd_, POLLIN, 0}};
    const int n = ::poll(polls, 2, left);
    if (n < 0 && errno != EINTR) return failed(errno);
    if (n > 0 && polls[1].revents != 0) return Error{Errc::unavailable, "given up: closing"};
    if (n > 0 && polls[0].revents != 0) return {};  // also on an error or a hang-up: the next send or receive names it
    if (deadline.passed()) return Error{Errc::deadline_exceeded, "no answer in time"};
  }
}

bool Socket::quiet() const noexcept {
  char ignored;
  return ::recv(fd_, &ignored, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void Socket::shutdown() noexcept { ::shutdown(fd_, SHUT_RDWR); }

}  // namespace tiercache::l2
