// SPDX-License-Identifier: Apache-2.0
#include "http_client.hpp"

#include <tiercache/base/clock.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

namespace tiercache::test {

RawConnection::RawConnection(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    close(fd_);
    fd_ = -1;
  }
}

RawConnection::~RawConnection() {
  if (fd_ >= 0) close(fd_);
}

bool RawConnection::send(const std::string& bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = ::send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

std::string RawConnection::receive_all(int timeout_ms, bool* closed) {
  if (closed) *closed = false;
  const Deadline deadline = Deadline::after(std::chrono::milliseconds(timeout_ms));
  std::string all;
  char buffer[4096];
  for (;;) {
    pollfd p{fd_, POLLIN, 0};
    if (poll(&p, 1, deadline.left_poll_ms()) <= 0) return all;
    const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) {
      if (closed) *closed = true;
      return all;
    }
    all.append(buffer, static_cast<std::size_t>(n));
  }
}

HttpAnswer parse_answer(const std::string& bytes) {
  HttpAnswer answer;
  const std::size_t end = bytes.find("\r\n\r\n");
  if (bytes.rfind("HTTP/1.1 ", 0) != 0 || end == std::string::npos) return answer;
  answer.status = std::atoi(bytes.c_str() + 9);
  answer.body = bytes.substr(end + 4);
  std::size_t at = bytes.find("\r\n") + 2;
  while (at < end) {
    const std::size_t line_end = bytes.find("\r\n", at);
    const std::string line = bytes.substr(at, line_end - at);
    if (const std::size_t colon = line.find(": "); colon != std::string::npos) {
      answer.headers[line.substr(0, colon)] = line.substr(colon + 2);
    }
    at = line_end + 2;
  }
  return answer;
}

HttpAnswer http(std::uint16_t port, const std::string& method, const std::string& path) {
  RawConnection connection(port);
  if (!connection.connected() || !connection.send(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n")) return {};
  return parse_answer(connection.receive_all(10'000));
}

}  // namespace tiercache::test
