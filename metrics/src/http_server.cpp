// SPDX-License-Identifier: Apache-2.0
#include "http_server.hpp"

#include <httplib.h>

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace tiercache::metrics {
namespace {

/// A non-blocking socket with a budget of bytes to read and one deadline for everything.
class BoundedStream final : public httplib::Stream {
 public:
  BoundedStream(int fd, Deadline deadline, std::size_t bytes_max) : fd_(fd), deadline_(deadline), budget_(bytes_max) {}

  [[nodiscard]] bool is_readable() const override { return begin_ < end_ || wait(POLLIN); }
  [[nodiscard]] bool is_writable() const override { return wait(POLLOUT); }

  ssize_t read(char* to, std::size_t size) override {
    if (begin_ == end_ && !refill()) return -1;  // also at the end of input: the parser wants a whole request
    const std::size_t n = std::min(size, end_ - begin_);
    std::memcpy(to, buffer_.data() + begin_, n);
    begin_ += n;
    return static_cast<ssize_t>(n);
  }

  ssize_t write(const char* from, std::size_t size) override {
    for (;;) {
      const ssize_t n = send(fd_, from, size, MSG_NOSIGNAL);
      if (n >= 0) return n;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (!wait(POLLOUT)) return -1;
      } else if (errno != EINTR) {
        return -1;
      }
    }
  }

  // Nothing of ours looks at addresses.
  void get_remote_ip_and_port(std::string& ip, int& port) const override { unknown(ip, port); }
  void get_local_ip_and_port(std::string& ip, int& port) const override { unknown(ip, port); }
  [[nodiscard]] socket_t socket() const override { return fd_; }

  /// Closing a socket with unread input resets the connection, and the peer may lose the answer that is under way: so say that
  /// no more comes, and take what the peer still sends, for a moment.
  void finish() {
    shutdown(fd_, SHUT_WR);
    deadline_ = deadline_.sooner(Deadline::after(std::chrono::milliseconds(200)));
    budget_ = 64U << 10;
    while (refill()) {
    }
  }

 private:
  static void unknown(std::string& ip, int& port) {
    ip.clear();
    port = 0;
  }

  [[nodiscard]] bool wait(short events) const {
    pollfd p{fd_, events, 0};
    for (;;) {
      const int rc = poll(&p, 1, deadline_.left_poll_ms());
      if (rc > 0) return true;
      if (rc == 0 && deadline_.passed()) return false;
      if (rc < 0 && errno != EINTR) return false;
    }
  }

  bool refill() {
    const std::size_t want = std::min(buffer_.size(), budget_);
    if (want == 0) return false;
    for (;;) {
      if (deadline_.passed()) return false;  // a peer that sends a byte now and then must not get around poll's timeout
      const ssize_t n = recv(fd_, buffer_.data(), want, 0);
      if (n > 0) {
        begin_ = 0;
        end_ = static_cast<std::size_t>(n);
        budget_ -= end_;
        return true;
      }
      if (n == 0) return false;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (!wait(POLLIN)) return false;
      } else if (errno != EINTR) {
        return false;
      }
    }
  }

  const int fd_;
  Deadline deadline_;
  std::size_t budget_;
  std::array<char, 4096> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

/// httplib's constructor sets SIGPIPE to ignored for the whole process; a library has no business there. We send with
/// MSG_NOSIGNAL.
class KeepSigpipe {
 public:
  KeepSigpipe() { sigaction(SIGPIPE, nullptr, &before_); }
  ~KeepSigpipe() { sigaction(SIGPIPE, &before_, nullptr); }
  KeepSigpipe(const KeepSigpipe&) = delete;
  KeepSigpipe& operator=(const KeepSigpipe&) = delete;

 private:
  struct sigaction before_ {};
};

}  // namespace

class HttpServer::Parser final : public httplib::Server {
 public:
  Parser(HttpServer::Handler handler, std::size_t request_bytes_max) {
    set_payload_max_length(request_bytes_max);
    // Before the routing table, which would match paths by regular expressions.
    set_pre_routing_handler([handle = std::move(handler)](const httplib::Request& request, httplib::Response& response) {
      Answer answer;
      if (request.method != "GET" && request.method != "HEAD") {
        answer = {405, "method not allowed\n"};
        response.set_header("Allow", "GET, HEAD");
      } else {
        try {
          answer = handle(request.path);
        } catch (const std::exception& e) {
          answer = {500, std::string(e.what()) + "\n"};
        } catch (...) {
          answer = {500, "unknown exception\n"};
        }
      }
      response.status = answer.status;
      response.set_content(answer.body, answer.type);
      return HandlerResponse::Handled;
    });
  }

  void answer(BoundedStream& stream) {
    bool closed = false;
    process_request(stream, true, closed, nullptr);
  }
};

HttpServer::HttpServer(Handler handler, std::size_t request_bytes_max) : request_bytes_max_(request_bytes_max) {
  const KeepSigpipe keep;
  parser_ = std::make_unique<Parser>(std::move(handler), request_bytes_max);
}

HttpServer::~HttpServer() = default;

void HttpServer::serve(int fd, Deadline deadline) noexcept {
  try {
    BoundedStream stream(fd, deadline, request_bytes_max_);
    parser_->answer(stream);
    stream.finish();
  } catch (...) {  // a request that the parser choked on ends its connection, not the thread
  }
}

}  // namespace tiercache::metrics
